"""PDF files, through pypdf (the extra ``pdf``)."""

from __future__ import annotations

import io
import logging
from pathlib import PurePath
from typing import Any, BinaryIO

from extraction.readers.reading import ReadOptions, make_document
from kg.errors import DocumentError
from kg.facts import Document

MAX_PDF_BYTES = 500_000_000
"""The largest PDF that is read; its images count, so it is far above what its text may take."""


def read_pdf(stream: BinaryIO, uri: str, options: ReadOptions) -> Document:
    """Read the text of all pages, parted by blank lines; the title is the file's own, else its stem.

    Raises :class:`~kg.errors.DocumentError` for an encrypted file, one without a text layer, a damaged one,
    and where pypdf is not installed.
    """
    try:
        import pypdf
    except ImportError:
        raise DocumentError(
            "reading PDF needs pypdf.", where=uri, hint="Install it: pip install 'loregraph[pdf]'."
        ) from None
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    if not stream.seekable():
        stream = io.BytesIO(stream.read(MAX_PDF_BYTES))
    try:
        reader = pypdf.PdfReader(stream)
        if reader.is_encrypted:
            _unlock(reader, uri)
        text = _page_texts(reader, uri, options)
        title = str(reader.metadata.title or "") if reader.metadata else ""
        pages = len(reader.pages)
    except (DocumentError, MemoryError):
        raise
    except Exception as problem:  # a damaged PDF surfaces as almost any exception
        raise DocumentError(
            f"the PDF is damaged: {type(problem).__name__}: {problem}.",
            where=uri,
            hint="Open it in a viewer and save it again.",
        ) from None
    if not text.strip():
        raise DocumentError(
            f"none of its {pages} pages has a text layer: it holds only images.",
            where=uri,
            hint="Run text recognition over it first, for example `ocrmypdf in.pdf out.pdf`.",
        )
    title = title.replace("\x00", "").strip() or PurePath(uri).stem
    return make_document(text, uri, options, title=title, metadata={"pages": str(pages)})


def _unlock(reader: Any, uri: str) -> None:
    """Open a file whose user password is empty; any other cannot be read."""
    try:
        opened = bool(reader.decrypt(""))
    except Exception:  # the cipher may need a package that is not installed
        opened = False
    if not opened:
        raise DocumentError(
            "the PDF is encrypted.", where=uri, hint="Save a copy without a password and read that."
        )


def _page_texts(reader: Any, uri: str, options: ReadOptions) -> str:
    texts: list[str] = []
    n_characters = 0
    for page in reader.pages:
        text = str(page.extract_text() or "").replace("\r\n", "\n").replace("\r", "\n")
        # Fonts without a character map yield NUL and lone surrogates: no text of the page, so they go.
        text = "".join(character for character in text if character != "\x00" and not _is_half(character))
        n_characters += len(text)
        if n_characters > options.max_document_characters:
            raise DocumentError(
                f"the text has more than {options.max_document_characters:,} characters.",
                where=uri,
                hint="Split the file, or raise max_document_characters.",
            )
        if text.strip():
            texts.append(text.strip())
    return "\n\n".join(texts)


def _is_half(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"
