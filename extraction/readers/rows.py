"""Files with one document a row: JSON lines and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, BinaryIO

from extraction.readers.reading import ReadFailure, ReadOptions, decode, make_document
from kg.errors import DocumentError
from kg.facts import Document, content_hash

COUNT_LINES = "#"
"""The ``id_field`` that names every row by its line number."""

STANDARD_INPUT = "stdin"
"""The place of standard input; a row from it is named by its content, where a line number says nothing."""

_SKIP_BYTES = 1 << 20
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file: its number from 1, the offset of its first byte, its bytes, its whole length.

    ``data`` is ``None`` where the line is longer than allowed: it was skipped without being held.
    """

    number: int
    offset: int
    data: bytes | None
    n_bytes: int


def read_lines(stream: BinaryIO, max_bytes: int) -> Iterator[Line]:
    """Stream the lines of a file in bounded memory."""
    number, offset = 0, 0
    while data := stream.readline(max_bytes + 1):
        number += 1
        n_bytes = len(data)
        too_long = n_bytes > max_bytes and not data.endswith(b"\n")
        if too_long:
            while not data.endswith(b"\n") and (data := stream.readline(_SKIP_BYTES)):
                n_bytes += len(data)
        yield Line(number, offset, None if too_long else data, n_bytes)
        offset += n_bytes


def read_json_lines(stream: BinaryIO, uri: str, options: ReadOptions) -> Iterator[Document | ReadFailure]:
    """Read one document a line: ``text_field`` is its text, every other scalar becomes metadata.

    A line that cannot be used is one failure, and reading goes on with the next.
    """
    _check_encoding(options, uri)
    rows = _Rows(uri, options)
    nothing = True
    for line in read_lines(stream, options.max_line_bytes):
        where = f"{uri}#{line.number}"
        try:
            text = _line_text(line, where, options)
            if not text.strip():
                continue
            nothing = False
            yield rows.document(_parse(text, where), line.number)
        except DocumentError as error:
            nothing = False
            yield ReadFailure(where, error)
    if nothing:
        raise DocumentError("the file is empty.", where=uri, hint="Leave it out.")


def read_table(
    stream: BinaryIO, uri: str, options: ReadOptions, *, delimiter: str
) -> Iterator[Document | ReadFailure]:
    """Read one document a row of a CSV file with a header: ``text_field`` names the column of the text.

    ``delimiter`` is tried first, then the other usual ones. A row that cannot be used is one failure. A
    missing column, a byte of another encoding, or a quote that is never closed ends the file with one
    failure, since nothing after it could be told apart.
    """
    _check_encoding(options, uri)
    csv.field_size_limit(max(csv.field_size_limit(), options.max_document_characters))
    texts = _Texts(stream, uri, options)
    first = next((text for text in texts if text.strip()), None)
    if first is None:
        raise DocumentError("the file is empty.", where=uri, hint="Leave it out.")
    delimiter, names = _header(first, uri, options, delimiter)
    rows = _Rows(uri, options)
    for number, cells in _table_rows(texts, delimiter):
        where = f"{uri}#{number}"
        try:
            if len(cells) != len(names):
                raise DocumentError(
                    f"the row has {len(cells)} cells, the header {len(names)}.",
                    where=where,
                    hint="A cell that holds the delimiter has to be quoted.",
                )
            yield rows.document(dict(zip(names, cells, strict=True)), number)
        except DocumentError as error:
            yield ReadFailure(where, error)
    if texts.number <= 1:
        raise DocumentError("the file holds a header and no row.", where=uri, hint="Leave it out.")


class _Texts:
    """The decoded lines of a file; ``number`` is that of the line given last."""

    def __init__(self, stream: BinaryIO, uri: str, options: ReadOptions) -> None:
        self.uri = uri
        self.number = 0
        self._options = options
        self._lines = read_lines(stream, options.max_line_bytes)

    def __iter__(self) -> _Texts:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        return _line_text(line, f"{self.uri}#{line.number}", self._options)


def _table_rows(texts: _Texts, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of the line it starts at."""
    reader = csv.reader(texts, delimiter=delimiter)
    while True:
        number = texts.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as problem:
            raise DocumentError(
                f"the row that starts here cannot be read: {problem}.",
                where=f"{texts.uri}#{number}",
                hint="Look for a quote that is never closed; the rest of the file was not read.",
            ) from None
        if cells is None:
            return
        if any(cells):
            yield number, cells


class _Rows:
    """Turns the rows of one file into documents, each under a place of its own."""

    def __init__(self, uri: str, options: ReadOptions) -> None:
        self.uri = uri
        self.options = options
        self._seen: set[int] = set()

    def document(self, row: Mapping[str, Any], number: int) -> Document:
        """Make the document of a row, which is an object with at least one field."""
        where = f"{self.uri}#{number}"
        options = self.options
        text = row.get(options.text_field)
        if not isinstance(text, str):
            raise _no_text(row, where, options)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        uri = f"{self.uri}#{self._identity(row, number, text, where)}"
        title = _scalar(row.get(options.title_field)) or ""
        metadata = {
            name: value
            for name, found in row.items()
            if name not in (options.text_field, options.title_field) and (value := _scalar(found))
        }
        return make_document(text, uri, options, title=title, metadata=metadata)

    def _identity(self, row: Mapping[str, Any], number: int, text: str, where: str) -> str:
        wanted = self.options.id_field
        named = None if wanted == COUNT_LINES else _scalar(row.get(wanted or "id"))
        if named is None and wanted not in (None, COUNT_LINES):
            raise DocumentError(
                f"there is no {wanted!r} in this row.",
                where=where,
                hint=f"It has: {', '.join(row)}. Name another with --id-field, or leave that out.",
            )
        if named is None:
            return content_hash(text)[:12] if self.uri == STANDARD_INPUT else str(number)
        # Two rows of one place would replace each other in the ledger.
        if wanted is None and hash(named) in self._seen:
            named = f"{named}@{number}"
        key = hash(named)
        if key in self._seen:
            raise DocumentError(
                f"the id {named!r} was used by an earlier row of this file.",
                where=where,
                hint=f'Name another field with --id-field, or count lines with --id-field "{COUNT_LINES}".',
            )
        self._seen.add(key)
        return named


def _no_text(row: Mapping[str, Any], where: str, options: ReadOptions) -> DocumentError:
    found = row.get(options.text_field)
    if found is not None:
        return DocumentError(f"{options.text_field!r} is a {type(found).__name__}, not a text.", where=where)
    return DocumentError(
        f"there is no {options.text_field!r} in this row.",
        where=where,
        hint=_name_the_fields(row, options.text_field),
    )


def _name_the_fields(names: Mapping[str, Any] | list[str], wanted: str) -> str:
    close = get_close_matches(wanted.casefold(), [name.casefold() for name in names], n=1)
    guess = [name for name in names if name.casefold() in close]
    listed = f"It has: {', '.join(names)}."
    return f"{listed} Name the one with the text: --text-field {guess[0] if guess else 'NAME'}."


def _scalar(value: object) -> str | None:
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return None


def _line_text(line: Line, where: str, options: ReadOptions) -> str:
    if line.data is None:
        raise DocumentError(
            f"the line has {line.n_bytes:,} bytes, more than {options.max_line_bytes:,}.",
            where=where,
            hint="Split its text into several documents, or raise max_line_bytes.",
        )
    return decode(line.data, where, options, offset=line.offset)


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text.rstrip())
    except json.JSONDecodeError as problem:
        raise DocumentError(
            f"this line is not valid JSON: {problem.msg} at column {problem.colno}.",
            where=where,
            hint="A jsonl file holds one object a line.",
        ) from None
    except (ValueError, RecursionError) as problem:
        raise DocumentError(f"this line is not usable JSON: {problem}.", where=where) from None
    if not isinstance(row, dict):
        raise DocumentError(
            f"this line is a JSON {type(row).__name__}, not an object.",
            where=where,
            hint='Write {"text": "…"} on each line.',
        )
    return row


def _header(first: str, uri: str, options: ReadOptions, delimiter: str) -> tuple[str, list[str]]:
    """The delimiter whose reading of the header names the text column, and the names."""
    readings = {
        tried: [name.strip() for name in next(csv.reader([first], delimiter=tried))]
        for tried in (delimiter, *(other for other in _DELIMITERS if other != delimiter))
    }
    for tried, names in readings.items():
        if options.text_field in names:
            return tried, names
    names = max(readings.values(), key=len)
    raise DocumentError(
        f"there is no column {options.text_field!r}.",
        where=uri,
        hint=_name_the_fields(names, options.text_field),
    )


def _check_encoding(options: ReadOptions, uri: str) -> None:
    """Lines are found by their bytes, so a newline has to be one byte."""
    if "\n".encode(options.encoding) != b"\n":
        raise DocumentError(
            f"a file of rows cannot be read in {options.encoding}.",
            where=uri,
            hint=f"Convert it first: iconv -f {options.encoding} -t utf-8 FILE > NEW.",
        )
