"""HTML pages."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePath
from typing import Any, BinaryIO

from extraction.readers.reading import ReadOptions, decode, make_document, read_bounded
from kg.errors import DocumentError
from kg.facts import Document

NOT_CONTENT = frozenset(
    {
        "head", "script", "style", "noscript", "template", "nav", "footer", "aside", "form", "button",
        "select", "iframe", "object", "svg", "canvas", "audio", "video",
    }
)  # fmt: skip
"""Elements whose content is not read."""

_PARAGRAPHS = frozenset(
    {
        "address", "article", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset",
        "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "li", "main",
        "ol", "p", "pre", "section", "summary", "table", "ul",
    }
)  # fmt: skip
_LINES = frozenset({"br", "tr", "caption"})
_CELLS = frozenset({"td", "th"})
_SPACES = re.compile(r"[ \t\n\f\u00a0]+")
_BREAKS = re.compile(r"[ \t]*\n[ \t\n]*")
_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)


def read_html(stream: BinaryIO, uri: str, options: ReadOptions) -> Document:
    """Read the visible text of a page, its paragraphs parted by blank lines.

    Scripts, styles, navigation, forms and footers are left out. The title is the page's ``<title>``, else
    its first ``<h1>``, else the file's stem. A page that is not in ``options.encoding`` is read in the
    encoding that it declares.
    """
    from selectolax.lexbor import LexborHTMLParser

    data = read_bounded(stream, uri, options)
    page = LexborHTMLParser(_decode_page(data, uri, options))
    heading = _clean(_title(page.css_first("title")) or _title(page.css_first("h1")))
    text = _clean("".join(_pieces(page.body))) if page.body is not None else ""
    if not text:
        raise DocumentError(
            "the page holds no readable text.",
            where=uri,
            hint="A page that scripts fill has to be saved from a browser after it has loaded.",
        )
    return make_document(text, uri, options, title=heading or PurePath(uri).stem)


def _decode_page(data: bytes, uri: str, options: ReadOptions) -> str:
    try:
        return decode(data, uri, options)
    except DocumentError:
        declared = _DECLARED.search(data[:4096])
        if declared is None:
            raise
        try:
            return decode(data, uri, replace(options, encoding=declared[1].decode("ascii")))
        except LookupError:
            pass
        raise


def _title(node: Any) -> str:
    return str(node.text(deep=True)) if node is not None else ""


def _pieces(body: Any) -> list[str]:
    """Texts and breaks in document order; a loop, since a page may nest deeper than the call stack."""
    pieces: list[str] = []
    node = body
    preformatted = 0
    while node is not None:
        tag = node.tag
        if tag == "-text":
            content = node.text_content or ""
            pieces.append(content if preformatted else _SPACES.sub(" ", content))
        elif tag not in NOT_CONTENT:
            pieces.append(_break(tag))
            if node.child is not None:
                preformatted += tag == "pre"
                node = node.child
                continue
        while node.next is None:
            node = node.parent
            if node is None or node.tag == "body":
                return pieces
            preformatted -= node.tag == "pre"
            pieces.append("\n\n" if node.tag in _PARAGRAPHS else "")
        node = node.next
    return pieces


def _break(tag: str) -> str:
    if tag in _PARAGRAPHS:
        return "\n\n"
    if tag in _LINES:
        return "\n"
    return " " if tag in _CELLS else ""


def _clean(text: str) -> str:
    """Single spaces, and at most one blank line between paragraphs."""
    text = _BREAKS.sub(lambda found: "\n\n" if found[0].count("\n") > 1 else "\n", text)
    return re.sub(r" {2,}", " ", text).strip()
