"""The seam to every extractor: what one is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kg.facts import Assertions, Chunk, Document


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that an extractor found and would not assert.

    ``reason`` is a short name that refusals are counted by ("quote not in the text"); ``detail`` says what
    was refused. ``start`` and ``end`` are document offsets where the place is known.
    """

    reason: str
    detail: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    """What one chunk of a document yields; the offsets of mentions and spans are document offsets."""

    assertions: Assertions
    refused: tuple[Refusal, ...] = ()


class Extractor(Protocol):
    """Reads entities, mentions and facts out of one chunk of a document.

    ``name`` is "local" or "llm". ``fingerprint`` changes whenever the output for the same text could change
    (schema, prompt version, model, version of the pattern language): documents read under another fingerprint
    are extracted again. An extractor gets its schema in its constructor.
    """

    @property
    def name(self) -> str:
        """What kind of extractor this is."""

    @property
    def fingerprint(self) -> str:
        """What the output depends on, besides the text, as a short text."""

    async def extract(self, document: Document, chunk: Chunk) -> Extraction:
        """Extract from ``document.text[chunk.start:chunk.end]``.

        Raises :class:`~kg.errors.LoreError` where this chunk cannot be extracted; the document is then
        reported as failed and tried again at the next run.
        """
