"""Plain text and Markdown."""

from __future__ import annotations

import re
import tomllib
from pathlib import PurePath
from typing import BinaryIO

from extraction.readers.reading import ReadOptions, decode, make_document, read_bounded
from kg.errors import DocumentError
from kg.facts import Document

_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?\n)??\1[ \t]*(?:\n|\Z)", re.DOTALL)
_YAML_SCALAR = re.compile(r"([A-Za-z_][\w-]*):[ \t]+(.+)")
_ATX_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_SETEXT_HEADING = re.compile(r"^(?! )([^\n]*\S[^\n]*)\n=+[ \t]*$", re.MULTILINE)


def read_text(stream: BinaryIO, uri: str, options: ReadOptions) -> Document:
    """Read plain text; the title is the file's stem."""
    text = decode(read_bounded(stream, uri, options), uri, options)
    return make_document(text, uri, options, title=PurePath(uri).stem)


def read_markdown(stream: BinaryIO, uri: str, options: ReadOptions) -> Document:
    """Read Markdown; its marks stay in the text, YAML or TOML front matter leaves it and becomes metadata.

    The title is the front matter's, else the first heading, else the file's stem.
    """
    text = decode(read_bounded(stream, uri, options), uri, options)
    metadata: dict[str, str] = {}
    found = _FRONT_MATTER.match(text)
    if found:
        metadata = _front_matter(found[1], found[2] or "", uri)
        text = text[found.end() :].lstrip("\n")
    title = metadata.pop(options.title_field, "") or _first_heading(text) or PurePath(uri).stem
    return make_document(text, uri, options, title=title, metadata=metadata)


def _front_matter(fence: str, block: str, uri: str) -> dict[str, str]:
    if fence == "+++":
        try:
            values = tomllib.loads(block)
        except tomllib.TOMLDecodeError as problem:
            raise DocumentError(f"the front matter is not valid TOML: {problem}.", where=uri) from None
        return {name: str(value) for name, value in values.items() if not isinstance(value, dict | list)}
    found = {}
    for line in block.splitlines():
        scalar = _YAML_SCALAR.fullmatch(line.rstrip())
        if scalar and scalar[2][0] not in "[{|>&*":
            found[scalar[1]] = scalar[2].strip("\"'")
    return found


def _first_heading(text: str) -> str:
    headings = [found for form in (_ATX_HEADING, _SETEXT_HEADING) if (found := form.search(text))]
    first = min(headings, key=lambda found: found.start(), default=None)
    return first[1].strip() if first else ""
