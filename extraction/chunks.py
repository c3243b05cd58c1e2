"""Cutting a document into chunks at sentence boundaries."""

from __future__ import annotations

from collections.abc import Iterator

from kg.errors import UsageError
from kg.facts import Chunk, Document
from kg.sentences import sentences

DEFAULT_MAX_CHARACTERS = 2000
CHUNKING_VERSION = "1"
"""Changes whenever the same text could be cut in another way; part of the stamp of every stored document."""


def split(document: Document, *, max_characters: int = DEFAULT_MAX_CHARACTERS) -> list[Chunk]:
    """Cut a document into chunks of whole sentences, each of at most ``max_characters`` characters.

    Chunks are ordered, disjoint, and cover everything that is not white space. A sentence that is longer
    than a chunk may be is cut at white space, and a longer word wherever it has to be. Raises
    :class:`~kg.errors.UsageError` for ``max_characters`` below 1.
    """
    if max_characters < 1:
        raise UsageError(f"a chunk cannot have {max_characters} characters.", hint="Allow at least 1.")
    spans: list[tuple[int, int]] = []
    for start, end in sentences(document.text):
        for piece_start, piece_end in _fitting(document.text, start, end, max_characters):
            if spans and piece_end - spans[-1][0] <= max_characters:
                spans[-1] = (spans[-1][0], piece_end)
            else:
                spans.append((piece_start, piece_end))
    return [Chunk(document.id, index, start, end) for index, (start, end) in enumerate(spans)]


def _fitting(text: str, start: int, end: int, max_characters: int) -> Iterator[tuple[int, int]]:
    while end - start > max_characters:
        cut = _last_space(text, start, start + max_characters)
        yield start, _trim_end(text, start, cut)
        start = cut
        while text[start].isspace():
            start += 1
    yield start, end


def _last_space(text: str, start: int, limit: int) -> int:
    """The last place up to ``limit`` where white space begins, or ``limit`` inside a longer word."""
    place = limit
    while place > start and not text[place].isspace():
        place -= 1
    return place if place > start else limit


def _trim_end(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1].isspace():
        end -= 1
    return end
