"""The stamp on a stored document that says what extracted it, so that a later run can leave it alone."""

from __future__ import annotations

from dataclasses import replace

from extraction.chunks import CHUNKING_VERSION
from extraction.extractor import Extractor
from kg.facts import Document, content_hash
from kg.ledger.ledger import Ledger

STAMP = "extraction"
"""The metadata key under which a stored document says what extracted it."""


def stamp_of(extractor: Extractor, max_characters: int) -> str:
    """What a document's facts depend on besides the document: the extractor's name and a short hash."""
    return (
        f"{extractor.name} {content_hash(extractor.fingerprint, str(max_characters), CHUNKING_VERSION)[:16]}"
    )


def stamped(document: Document, stamp: str) -> Document:
    """The document with the stamp among its metadata."""
    return replace(document, metadata={**document.metadata, STAMP: stamp})


def is_stored(ledger: Ledger, document: Document) -> bool:
    """Whether the document's place holds exactly this document, extracted in the same way."""
    place = ledger.place(document.uri)
    return (
        place is not None
        and place.document == document.id
        and place.title == document.title
        and dict(place.metadata) == dict(document.metadata)
    )
