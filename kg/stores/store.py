"""The seam to every graph database: what a store is given, and the eight methods it answers.

A store is a projection of the ledger: it can be thrown away and rebuilt. It holds, inside the database, the
ledger version and token that it shows.

What it shows, on every engine alike:

- one node per canonical entity, labelled with its type (``:Film``); ``:Entity`` also matches it;
  properties ``id, name, type, aliases, description, version`` and the literal properties of the schema;
- one relationship per edge, typed with its predicate, with ``id, status, confidence, support, documents,
  version`` and the qualifiers that the schema declares for it;
- ``(:Document {id, uri, title, version})``, ``(:Chunk {id, document, position, start, end, text, version})``,
  ``(:Chunk)-[:PART_OF]->(:Document)`` and ``(:Chunk)-[:MENTIONS {count}]->(entity)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa

NODE_FIELDS = pa.schema(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("name", pa.string()),
        ("aliases", pa.list_(pa.string())),  # other surfaces and merged names, sorted
        ("description", pa.string()),
        ("properties", pa.string()),  # canonical JSON: {property: [values, best supported first]}
        ("version", pa.int64()),
    ]
)
EDGE_FIELDS = pa.schema(
    [
        ("id", pa.string()),
        ("predicate", pa.string()),
        ("source", pa.string()),
        ("source_type", pa.string()),
        ("target", pa.string()),
        ("target_type", pa.string()),
        ("qualifiers", pa.string()),  # canonical JSON: {name: text}
        ("status", pa.string()),
        ("confidence", pa.float64()),
        ("support", pa.int64()),  # distinct sources that assert it, decisions not counted
        ("documents", pa.list_(pa.string())),  # ids of up to DOCUMENTS_PER_EDGE supporting documents, sorted
        ("version", pa.int64()),
    ]
)
DOCUMENT_FIELDS = pa.schema(
    [("id", pa.string()), ("uri", pa.string()), ("title", pa.string()), ("version", pa.int64())]
)
CHUNK_FIELDS = pa.schema(
    [
        ("id", pa.string()),
        ("document", pa.string()),
        ("position", pa.int64()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("text", pa.string()),
        ("version", pa.int64()),
    ]
)
MENTION_FIELDS = pa.schema(
    [("chunk", pa.string()), ("entity", pa.string()), ("entity_type", pa.string()), ("count", pa.int64())]
)
GONE_NODE_FIELDS = pa.schema([("id", pa.string()), ("type", pa.string())])
GONE_EDGE_FIELDS = pa.schema(
    [
        ("id", pa.string()),
        ("predicate", pa.string()),
        ("source", pa.string()),
        ("source_type", pa.string()),
        ("target", pa.string()),
        ("target_type", pa.string()),
    ]
)
GONE_ID_FIELDS = pa.schema([("id", pa.string())])
DOCUMENTS_PER_EDGE = 20


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed in the ledger between two versions, folded at the later one.

    Idempotent: applying it twice, or after a half-applied earlier attempt, ends in the same graph. ``gone_*``
    lists everything touched that is not alive at ``version``, whether or not the store ever showed it. For
    every document in ``documents`` all its mentions are listed, and replace those the store shows for it;
    ``gone_chunks`` names chunks whose node and mentions must go.
    """

    since: int
    version: int
    token: str
    nodes: pa.Table
    edges: pa.Table
    gone_nodes: pa.Table
    gone_edges: pa.Table
    documents: pa.Table
    chunks: pa.Table
    mentions: pa.Table
    gone_documents: pa.Table
    gone_chunks: pa.Table

    @property
    def n_rows(self) -> int:
        """How many rows the delta carries in all."""
        tables = (
            self.nodes, self.edges, self.gone_nodes, self.gone_edges, self.documents, self.chunks,
            self.mentions, self.gone_documents, self.gone_chunks,
        )  # fmt: skip
        return sum(table.num_rows for table in tables)


Kind = Literal["nodes", "edges", "documents", "chunks", "mentions"]


class Projection(Protocol):
    """Everything the graph shows at one ledger version, streamed: what a full load is made from."""

    @property
    def version(self) -> int:
        """The ledger version."""

    @property
    def token(self) -> str:
        """The ledger's token at that version."""

    def batches(self, kind: Kind) -> Iterator[pa.RecordBatch]:
        """Stream one kind with the fields named above, each row once."""


@dataclass(frozen=True, slots=True)
class StoreVersion:
    """The ledger version that a store shows; the token tells a restored ledger from the original."""

    version: int
    token: str


@dataclass(frozen=True, slots=True)
class Hit:
    """An entity found by name: ``score`` is in [0, 1], 1 for an exact name or alias."""

    id: str
    name: str
    type: str
    score: float


@dataclass(frozen=True, slots=True)
class GraphSchema:
    """What is in the database: counts by label and relationship type, property datatypes by label."""

    labels: Mapping[str, int]
    relationships: Mapping[str, int]
    properties: Mapping[str, Mapping[str, str]]


class GraphStore(Protocol):
    """A graph database that shows the ledger."""

    def apply(self, delta: Delta) -> None:
        """Move the store forward to ``delta.version``; safe to repeat.

        Raises :class:`~kg.errors.StoreError` where ``delta.since`` is not at or below the version shown.
        """

    def load(self, projection: Projection) -> None:
        """Replace the whole content; readers see the old graph until the new one is complete."""

    def version(self) -> StoreVersion:
        """The ledger version and token shown; version 0 and an empty token for an empty store."""

    def query(
        self,
        cypher: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int = 1000,
        timeout: float = 30.0,
    ) -> list[dict[str, Any]]:
        """Run one read-only Cypher query and return at most ``limit`` rows as plain Python values.

        ``timeout`` is in seconds. Raises :class:`~kg.errors.QueryRefused`, :class:`~kg.errors.QueryFailed`,
        :class:`~kg.errors.QueryTimeout` or :class:`~kg.errors.ServiceUnavailable`.
        """

    def query_untrusted(
        self,
        cypher: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int = 1000,
        timeout: float = 30.0,
    ) -> list[dict[str, Any]]:
        """As :meth:`query`, for a text that a stranger wrote: it cannot bring the process down."""

    def scan(self, what: Literal["nodes", "edges"], *, batch_rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """Stream entity nodes or edges with the fields of NODE_FIELDS or EDGE_FIELDS, in any order."""

    def find(self, text: str, *, type: str | None = None, k: int = 10) -> list[Hit]:
        """The ``k`` entities whose name or alias is closest to ``text``, best first."""

    def schema(self) -> GraphSchema:
        """What is in the database, from counts."""

    def close(self) -> None:
        """Release files and connections."""
