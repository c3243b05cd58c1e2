"""The words everything is said in: documents, chunks, entities, mentions, facts and their evidence.

All of them are frozen values. Offsets count characters of the document's text as stored; an end is exclusive.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Literal = str | int | float | bool
"""A literal object of a fact. A date is an ISO 8601 string."""


class Status(StrEnum):
    """What a fact is worth: see :data:`STATUS_STRENGTH` for the order in which base statuses win."""

    EXTRACTED = "extracted"
    CURATED = "curated"
    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


STATUS_STRENGTH: Mapping[Status, int] = {Status.CURATED: 3, Status.EXTRACTED: 2, Status.PROPOSED: 1}
"""Base statuses, strongest highest. ``accepted`` and ``rejected`` are decisions and win over all of these."""


def content_hash(*parts: str) -> str:
    """Hash text parts to 32 hexadecimal digits (BLAKE2b, 16 bytes); parts cannot run into each other."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def normalise_name(name: str) -> str:
    """Fold a name to the form that identity is decided on: NFKC, case-folded, single spaces, plain quotes."""
    text = unicodedata.normalize("NFKC", name).replace("’", "'").replace("‘", "'")
    return " ".join(text.casefold().split())


def canonical_json(value: object) -> str:
    """Write a value as JSON in the one form that hashes and comparisons rely on."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an id (hash of the text), the place it came from, and metadata.

    ``uri`` is the place: the same text may be stored under several. ``title`` may be empty.
    """

    id: str
    text: str
    uri: str
    title: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, text: str, uri: str, *, title: str = "", metadata: Mapping[str, str] | None = None
    ) -> Document:
        """Make a document whose id is the hash of its text."""
        return cls(content_hash("document", text), text, uri, title, dict(metadata or {}))


@dataclass(frozen=True, slots=True)
class Chunk:
    """The span ``[start, end)`` of a document; ``index`` counts the chunks of the document from 0."""

    document: str
    index: int
    start: int
    end: int

    @property
    def id(self) -> str:
        """The chunk's id: the document's id, ``#`` and the index."""
        return f"{self.document}#{self.index}"


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing. Its id is a hash of type, normalised name and discriminator, never the name itself.

    ``discriminator`` keeps homonyms apart (a release year, a birth year, "director"); empty for most.
    """

    id: str
    type: str
    name: str
    discriminator: str = ""
    description: str = ""

    @classmethod
    def of(cls, type: str, name: str, *, discriminator: str = "", description: str = "") -> Entity:
        """Make an entity with its derived id."""
        name = " ".join(unicodedata.normalize("NFC", name).split())
        identity = content_hash("entity", type, normalise_name(name), discriminator)
        return cls(identity, type, name, discriminator, description)


@dataclass(frozen=True, slots=True)
class Mention:
    """One place in the document at hand that names an entity: ``text[start:end] == surface``."""

    entity: str
    start: int
    end: int
    surface: str


@dataclass(frozen=True, slots=True)
class Span:
    """Evidence in the text: ``document.text[start:end] == quote``."""

    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Inference:
    """Evidence that is not a text: which model inferred the fact, with which score, along which path."""

    model: str
    version: str
    score: float
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """One assertion: ``subject`` and ``object`` are entity ids; exactly one of object and literal is set.

    ``qualifiers`` include a validity interval as ``valid_from``/``valid_to`` (ISO dates or years).
    A fact from a document has at least one span; any other has an inference or comes from a curated source.
    """

    subject: str
    predicate: str
    object: str | None = None
    literal: Literal | None = None
    qualifiers: Mapping[str, str] = field(default_factory=dict)
    confidence: float = 1.0
    status: Status = Status.EXTRACTED
    spans: tuple[Span, ...] = ()
    inference: Inference | None = None

    def __post_init__(self) -> None:
        if (self.object is None) == (self.literal is None):
            raise ValueError(f"a fact has an object or a literal, one of the two: {self!r}")

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two assertions of one source the same."""
        target = self.object if self.object is not None else "=" + canonical_json(self.literal)
        return self.subject, self.predicate, target, canonical_json(dict(self.qualifiers))


@dataclass(frozen=True, slots=True)
class Assertions:
    """All that one source asserts. Every entity id used by a mention or fact is among ``entities``."""

    entities: tuple[Entity, ...] = ()
    mentions: tuple[Mention, ...] = ()
    facts: tuple[Fact, ...] = ()
