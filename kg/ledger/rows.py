"""What the ledger answers with: frozen rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kg.facts import Inference, Literal, Status


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One stored document; ``title`` is that of its first place, ``n_facts`` counts its assertions."""

    id: str
    uris: tuple[str, ...]
    title: str
    n_characters: int
    n_chunks: int
    n_facts: int


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """What is stored at a place: the id of its document, and the title and metadata it has there."""

    uri: str
    document: str
    title: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EntityRow:
    """One canonical entity: its name is the spelling that most sources use, ``aliases`` the others, sorted.

    ``n_mentions`` counts the places in documents that name it or anything merged into it.
    """

    id: str
    type: str
    name: str
    aliases: tuple[str, ...]
    discriminator: str
    n_mentions: int
    description: str = ""


@dataclass(frozen=True, slots=True)
class MergeRow:
    """One merge as it was decided; ``loser`` and ``winner`` are entity ids."""

    number: int
    loser: str
    winner: str
    reason: str
    undone: bool


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One decision on an edge; dropping ``source`` revokes it."""

    source: str
    status: Status
    by: str
    version: int


@dataclass(frozen=True, slots=True)
class ProvenanceRow:
    """Why a fact is believed: one piece of evidence.

    ``source`` is the id of what asserts it and ``kind`` what that is: ``document``, ``run`` or ``curated``.
    For a document, ``text[start:end] == quote`` and ``sentence`` is the sentence around it (empty where
    all facts are streamed: it is only looked for when one fact is asked about); otherwise these
    are ``None`` or empty and a run has an ``inference``. Status and confidence are the assertion's own.
    """

    source: str
    kind: str
    document: str | None
    uri: str
    title: str
    start: int | None
    end: int | None
    quote: str
    sentence: str
    confidence: float
    status: Status
    inference: Inference | None


@dataclass(frozen=True, slots=True)
class FactEntity:
    """An end of a fact: the canonical entity's id, name and type."""

    id: str
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class FactRow:
    """One edge, literal ones included: exactly one of ``object`` and ``literal`` is set.

    ``support`` counts distinct sources, ``confidence`` is the highest of theirs, in [0, 1].
    """

    edge_id: str
    subject: FactEntity
    predicate: str
    object: FactEntity | None
    literal: Literal | None
    qualifiers: Mapping[str, str]
    status: Status
    confidence: float
    support: int
    evidence: tuple[ProvenanceRow, ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """How much the ledger holds: canonical entities, facts that are not rejected, pieces of evidence."""

    documents: int
    chunks: int
    entities: int
    facts: int
    evidence: int
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class LedgerArrays:
    """The graph as arrays: canonical entities sorted by id, one row per edge between two entities.

    ``subject`` and ``object`` index ``entity_ids``, ``predicate`` indexes ``predicate_names`` (sorted). Rows
    are sorted by subject, predicate, object, edge id; edges that differ only in qualifiers are separate rows.
    """

    version: int
    entity_ids: list[str]
    entity_names: list[str]
    entity_types: list[str]
    predicate_names: list[str]
    subject: NDArray[np.int64]
    predicate: NDArray[np.int64]
    object: NDArray[np.int64]
    confidence: NDArray[np.float32]
    support: NDArray[np.int32]
    edge_ids: list[str]
