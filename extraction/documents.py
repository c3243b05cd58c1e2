"""Documents out of files, folders, globs and standard input, as a stream.

Nothing is loaded before it is asked for, and a document that cannot be read is a :class:`ReadFailure` in
the stream, never an end of it. The text is kept as it was read; only its newlines become ``\\n``. What is
markup in HTML and the front matter of Markdown is not text.
"""

from __future__ import annotations

import codecs
import glob
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from extraction.readers.pdf import read_pdf
from extraction.readers.plain import read_markdown, read_text
from extraction.readers.reading import ReadFailure, ReadOptions
from extraction.readers.rows import STANDARD_INPUT, read_json_lines, read_table
from extraction.readers.web import read_html
from kg.errors import DocumentError, UsageError
from kg.facts import Document

__all__ = ["ENDINGS", "FORMATS", "Document", "ReadFailure", "ReadOptions", "read_documents"]

ENDINGS = {
    ".txt": "txt", ".text": "txt", ".md": "md", ".markdown": "md", ".html": "html", ".htm": "html",
    ".xhtml": "html", ".pdf": "pdf", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv",
}  # fmt: skip
"""The format of a file by its ending."""

FORMATS = tuple(dict.fromkeys(ENDINGS.values()))
_WHOLE: dict[str, Callable[[BinaryIO, str, ReadOptions], Document]] = {
    "txt": read_text,
    "md": read_markdown,
    "html": read_html,
    "pdf": read_pdf,
}
_OTHER_HINTS = {
    ".json": "Write one JSON object a line and call it .jsonl.",
    ".gz": "Unpack it first.",
    ".zip": "Unpack it first.",
    ".docx": "Save it as PDF, HTML or text first.",
}


_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    uri: str


def read_documents(
    paths: Sequence[str | Path], options: ReadOptions | None = None, *, stdin: BinaryIO | None = None
) -> Iterator[Document | ReadFailure]:
    """Stream the documents of files, folders (recursively, sorted by name), globs and ``"-"`` (standard
    input).

    In folders, names that start with a dot are left out, and a folder that several links lead to is read
    once. Raises :class:`~kg.errors.UsageError` at once for a path that does not exist, a glob that matches
    nothing, and an unknown format or encoding.
    """
    options = options or ReadOptions()
    _check(options)
    found: list[Path | None] = []
    for path in paths:
        found += [None] if str(path) == "-" else _existing(str(path))
    return _stream(found, options, stdin)


def _check(options: ReadOptions) -> None:
    if options.format is not None and options.format not in FORMATS:
        raise UsageError(
            f"{options.format!r} is no format that can be read.", hint=f"Known: {', '.join(FORMATS)}."
        )
    try:
        codecs.lookup(options.encoding)
    except LookupError:
        raise UsageError(
            f"there is no encoding {options.encoding!r}.", hint="Usual ones: utf-8, cp1252, latin-1, utf-16."
        ) from None


def _existing(path: str) -> list[Path | None]:
    if os.path.lexists(path):
        return [Path(path)]
    if glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        if matches:
            return [Path(match) for match in matches]
        raise UsageError("the pattern matches no file.", where=path, hint="Check it with `ls`.")
    raise UsageError("there is no such file or folder.", where=path, hint="Check the spelling of the path.")


def _stream(
    paths: Sequence[Path | None], options: ReadOptions, stdin: BinaryIO | None
) -> Iterator[Document | ReadFailure]:
    for path in paths:
        if path is None:
            yield from _read_standard_input(stdin or sys.stdin.buffer, options)
        elif os.path.isdir(path):
            for place in _walk(path, options):
                yield from [place] if isinstance(place, ReadFailure) else _read(place, options)
        else:
            yield from _read(_place(path, options), options)


def _read_standard_input(stream: BinaryIO, options: ReadOptions) -> Iterator[Document | ReadFailure]:
    """A whole document is placed by its content, so that the next one from a pipe does not replace it."""
    for found in _guarded(stream, STANDARD_INPUT, options.format or "txt", options):
        if isinstance(found, Document) and found.uri == STANDARD_INPUT:
            title = "" if found.title == STANDARD_INPUT else found.title
            yield replace(found, uri=f"{STANDARD_INPUT}#{found.id[:12]}", title=title)
        else:
            yield found


def _place(path: Path, options: ReadOptions) -> _Place:
    absolute = Path(os.path.abspath(path))
    base = options.relative_to
    if base is not None and absolute.is_relative_to(os.path.abspath(base)):
        return _Place(path, absolute.relative_to(os.path.abspath(base)).as_posix())
    return _Place(path, absolute.as_posix())


def _walk(top: Path, options: ReadOptions) -> Iterator[_Place | ReadFailure]:
    """The files under a folder, ordered by name; a loop, since it may nest deeper than the call stack."""
    read: set[_Identity] = set()
    waiting: list[tuple[Path, tuple[_Identity, ...]]] = [(top, ())]
    while waiting:
        path, above = waiting.pop()
        if not os.path.isdir(path):
            yield _place(path, options)
            continue
        uri = _place(path, options).uri
        try:
            status = path.stat()
            names = sorted(name for name in os.listdir(path) if not name.startswith("."))
        except OSError as problem:
            yield ReadFailure(uri, _unreadable(problem, uri))
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            yield ReadFailure(uri, _leads_back(uri))
        elif identity not in read:
            read.add(identity)
            inside = [path / name for name in reversed(names)]
            waiting += [
                (entry, (*above, identity))
                for entry in inside
                if options.follow_links or not (entry.is_symlink() and os.path.isdir(entry))
            ]


def _leads_back(uri: str) -> DocumentError:
    return DocumentError(
        "this link leads back to a folder above it.",
        where=uri,
        hint="Remove the link, or read the folders one by one.",
    )


def _read(place: _Place, options: ReadOptions) -> Iterator[Document | ReadFailure]:
    try:
        format_ = _format(place, options)
        stream = open(place.path, "rb")  # noqa: SIM115  (closed below; opening alone may fail here)
    except DocumentError as error:
        yield ReadFailure(place.uri, error)
        return
    except OSError as problem:
        yield ReadFailure(place.uri, _unreadable(problem, place.uri))
        return
    with stream:
        yield from _guarded(stream, place.uri, format_, options)


def _format(place: _Place, options: ReadOptions) -> str:
    """The format of a file; refuses what is no file before it is opened, since opening a pipe may block."""
    mode = place.path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise DocumentError(
            "this is not a regular file.", where=place.uri, hint="Pipe it in: … | lore ingest -"
        )
    ending = place.path.suffix.casefold()
    format_ = options.format or ENDINGS.get(ending)
    if format_ is None:
        raise DocumentError(
            f"unknown format {ending or '(the name has no ending)'}.",
            where=place.uri,
            hint=_OTHER_HINTS.get(ending, f"Say what it is: --format {'|'.join(FORMATS)}."),
        )
    return format_


def _guarded(
    stream: BinaryIO, uri: str, format_: str, options: ReadOptions
) -> Iterator[Document | ReadFailure]:
    """Run a reader; what ends it early becomes one last failure of its file."""
    try:
        if format_ == "jsonl":
            yield from read_json_lines(stream, uri, options)
        elif format_ in ("csv", "tsv"):
            yield from read_table(stream, uri, options, delimiter="\t" if format_ == "tsv" else ",")
        else:
            yield _WHOLE[format_](stream, uri, options)
    except DocumentError as error:
        yield ReadFailure(error.where or uri, error)
    except OSError as problem:
        yield ReadFailure(uri, _unreadable(problem, uri))


def _unreadable(problem: OSError, uri: str) -> DocumentError:
    return DocumentError(
        f"it cannot be opened or read: {problem.strerror or problem}.",
        where=uri,
        hint="Check its permissions, and that a link leads somewhere.",
    )
