"""What every reader shares: the options, the failure, decoding, and the checks on a text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kg.errors import DocumentError
from kg.facts import Document

MARKUP_ALLOWANCE = 8
"""A file may hold this many bytes for each allowed character: UTF-8 takes up to 4, the rest is markup."""

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NEWLINES = re.compile("\r\n?")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read documents.

    ``text_field``, ``title_field`` and ``id_field`` name fields of a JSON line or columns of a CSV file;
    without ``id_field`` a row is named by its ``id`` where it has one (and by its line too where an earlier
    row has the same), else by its line number, and ``"#"`` always counts lines. ``format`` ("txt", "md",
    "html", "pdf", "jsonl", "csv", "tsv") overrides what the ending says. ``max_document_characters`` bounds
    one document, ``max_line_bytes`` one line of a jsonl or CSV file. ``relative_to`` is a folder: places
    inside it are named relative to it, all others by their absolute path. ``follow_links`` says whether
    linked folders are read.
    """

    text_field: str = "text"
    title_field: str = "title"
    id_field: str | None = None
    format: str | None = None
    encoding: str = "utf-8"
    max_document_characters: int = 2_000_000
    max_line_bytes: int = 16_000_000
    relative_to: Path | None = None
    follow_links: bool = True

    @property
    def max_file_bytes(self) -> int:
        """The largest file that is read as one document."""
        return self.max_document_characters * MARKUP_ALLOWANCE


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """A document that could not be read: the place, and why."""

    where: str
    error: DocumentError


def read_bounded(stream: BinaryIO, uri: str, options: ReadOptions) -> bytes:
    """Read a whole stream, or raise :class:`~kg.errors.DocumentError` where it is larger than allowed."""
    data = stream.read(options.max_file_bytes + 1)
    if len(data) > options.max_file_bytes:
        raise DocumentError(
            f"the file is larger than {options.max_file_bytes:,} bytes.",
            where=uri,
            hint="Split it, write it as jsonl with one document a line, or raise max_document_characters.",
        )
    return data


def decode(data: bytes, uri: str, options: ReadOptions, *, offset: int = 0) -> str:
    """Decode bytes, drop a byte order mark, and turn every newline into ``\\n``; all else stays as it is.

    ``offset`` is where ``data`` starts in its file, for error messages. Raises
    :class:`~kg.errors.DocumentError` naming the byte that does not fit the encoding, and what to try.
    """
    try:
        text = data.decode(options.encoding)
    except UnicodeDecodeError as problem:
        place = problem.start + offset
        raise DocumentError(
            f"byte 0x{data[problem.start]:02x} at offset {place:,} is not {options.encoding} text.",
            where=uri,
            hint=_encoding_hint(data),
        ) from None
    if "\x00" in text:
        raise DocumentError(
            f"a NUL at character {text.index(chr(0)):,}: this is no text in {options.encoding}.",
            where=uri,
            hint="If it is UTF-16 text, say --encoding utf-16; a binary file has to be converted first.",
        )
    return _NEWLINES.sub("\n", text.removeprefix("\ufeff"))


def _encoding_hint(data: bytes) -> str:
    if data.startswith(_UTF_16_MARKS):
        return "It starts with the mark of UTF-16: try --encoding utf-16."
    controls = sum(byte < 9 or 13 < byte < 32 for byte in data[:4096])
    if controls * 50 > min(len(data), 4096):
        return "It looks like a binary file: convert it to text first."
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "Name its encoding with --encoding (latin-1 reads any bytes, but may misread letters)."
    return "If it is Western European text, try --encoding cp1252."


def make_document(
    text: str, uri: str, options: ReadOptions, *, title: str = "", metadata: Mapping[str, str] | None = None
) -> Document:
    """Make a document of a text that can be stored.

    Raises :class:`~kg.errors.DocumentError` for a text that is empty, too long, or no valid Unicode.
    """
    if not text.strip():
        raise DocumentError("there is no text in it.", where=uri, hint="Leave it out, or fill it.")
    if len(text) > options.max_document_characters:
        raise DocumentError(
            f"the text has {len(text):,} characters, more than {options.max_document_characters:,}.",
            where=uri,
            hint="Split it into several documents, or raise max_document_characters.",
        )
    check_storable(uri, uri, "the place")
    check_storable(text, uri, "the text")
    check_storable(title, uri, "the title")
    for name, value in (metadata or {}).items():
        check_storable(name, uri, "a field's name")
        check_storable(value, uri, f"the field {name!r}")
    return Document.of(text, uri, title=" ".join(title.split()), metadata=metadata)


def check_storable(value: str, uri: str, name: str) -> None:
    """Raise :class:`~kg.errors.DocumentError` for a NUL character or half of a surrogate pair."""
    wrong = value.find("\x00")
    if wrong < 0:
        found = _SURROGATE.search(value) if not value.isascii() else None
        wrong = found.start() if found else -1
    if wrong >= 0:
        raise DocumentError(
            f"{name} holds the character U+{ord(value[wrong]):04X} at {wrong:,}, which is no text.",
            where=uri,
            hint="Remove it where the file is made.",
        )
