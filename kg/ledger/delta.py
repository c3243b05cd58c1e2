"""Deltas and projections: what a graph store is given, as Arrow tables."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from kg.ledger.connection import Database, head_of
from kg.ledger.folding import (
    Shown,
    fold_chunks,
    fold_documents,
    fold_edges,
    fold_mentions,
    fold_nodes,
)
from kg.stores.store import (
    CHUNK_FIELDS,
    DOCUMENT_FIELDS,
    EDGE_FIELDS,
    GONE_EDGE_FIELDS,
    GONE_ID_FIELDS,
    GONE_NODE_FIELDS,
    MENTION_FIELDS,
    NODE_FIELDS,
    Delta,
    Kind,
)

BATCH_ROWS = 20_000
"""Rows in one batch of a projection."""

_FIELDS = {
    "nodes": NODE_FIELDS,
    "edges": EDGE_FIELDS,
    "documents": DOCUMENT_FIELDS,
    "chunks": CHUNK_FIELDS,
    "mentions": MENTION_FIELDS,
}


def make_delta(connection: sqlite3.Connection, since: int) -> Delta:
    """Fold all that was touched after ``since``, at the connection's snapshot."""
    version, token = head_of(connection)
    nodes = list(fold_nodes(connection, since))
    edges = list(fold_edges(connection, since))
    documents = list(fold_documents(connection, since))
    chunks = [
        _chunk(shown, *chunk)
        for shown in documents
        if shown.number is not None
        for chunk in fold_chunks(connection, shown.number)
    ]
    return Delta(
        since=since,
        version=version,
        token=token,
        nodes=_table(NODE_FIELDS, (node[:-1] for node in nodes if node.alive)),
        edges=_table(EDGE_FIELDS, (edge for edge in edges if edge.shown)),
        gone_nodes=_table(GONE_NODE_FIELDS, ((node.id, node.type) for node in nodes if not node.alive)),
        gone_edges=_table(GONE_EDGE_FIELDS, (edge[:6] for edge in edges if not edge.shown)),
        documents=_table(DOCUMENT_FIELDS, (_document(d) for d in documents if d.number is not None)),
        chunks=_table(CHUNK_FIELDS, chunks),
        mentions=_table(MENTION_FIELDS, fold_mentions(connection, since)),
        gone_documents=_table(GONE_ID_FIELDS, ((d.id,) for d in documents if d.number is None)),
        gone_chunks=_table(GONE_ID_FIELDS, _gone_chunks(documents, chunks)),
    )


class LedgerProjection:
    """Everything the graph shows at one version, streamed from a read snapshot of its own.

    Close it, or use it in a ``with`` block: until then SQLite cannot shorten its write-ahead log.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.translated():
            self._connection = database.open_snapshot()
            self._version, self._token = head_of(self._connection)
        self._finalizer = weakref.finalize(self, self._connection.close)

    @property
    def version(self) -> int:
        """The ledger version."""
        return self._version

    @property
    def token(self) -> str:
        """The ledger's token at that version."""
        return self._token

    def batches(self, kind: Kind) -> Iterator[pa.RecordBatch]:
        """Stream one kind, each row once, in batches of :data:`BATCH_ROWS`."""
        rows = self._rows(kind)
        with self._database.translated():
            while True:
                part = list(islice(rows, BATCH_ROWS))
                if not part:
                    return
                yield from _table(_FIELDS[kind], part).to_batches()

    def close(self) -> None:
        """End the snapshot."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, kind: Kind) -> Iterator[tuple[Any, ...]]:
        connection = self._connection
        if kind == "nodes":
            return (node[:-1] for node in fold_nodes(connection, 0) if node.alive)
        if kind == "edges":
            return (edge for edge in fold_edges(connection, 0) if edge.shown)
        if kind == "mentions":
            return fold_mentions(connection, 0)
        documents = (shown for shown in fold_documents(connection, 0) if shown.number is not None)
        if kind == "documents":
            return (_document(shown) for shown in documents)
        return (
            _chunk(shown, *chunk)
            for shown in documents
            if shown.number is not None
            for chunk in fold_chunks(connection, shown.number)
        )


def _document(shown: Shown) -> tuple[Any, ...]:
    return shown.id, shown.uri, shown.title, shown.version


def _chunk(shown: Shown, position: int, start: int, end: int, text: str) -> tuple[Any, ...]:
    return f"{shown.id}#{position}", shown.id, position, start, end, text, shown.version


def _gone_chunks(documents: Sequence[Shown], chunks: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str]]:
    there = {chunk[0] for chunk in chunks}
    for shown in documents:
        for position in range(shown.chunks):
            identity = f"{shown.id}#{position}"
            if identity not in there:
                yield (identity,)


def _table(fields: pa.Schema, rows: Iterable[Sequence[Any]]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    if not columns:
        return fields.empty_table()
    arrays = [pa.array(column, type) for column, type in zip(columns, fields.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=fields)
