"""A projection in memory: the simplest thing that can be handed deltas, torn ones too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa

from kg.stores.store import Delta, Projection, StoreVersion

Row = tuple[Any, ...]
Contents = dict[str, dict[Any, Row]]
"""What a graph shows: kind -> key -> row, without versions. See :func:`row_of` for the rows."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "nodes": ("id",),
    "edges": ("id",),
    "documents": ("id",),
    "chunks": ("id",),
    "mentions": ("chunk", "entity"),
}


class Showing(Protocol):
    """What a fuzz run needs of a graph store."""

    def apply(self, delta: Delta) -> None: ...

    def load(self, projection: Projection) -> None: ...

    def version(self) -> StoreVersion: ...


def row_of(kind: str, record: Mapping[str, Any]) -> tuple[Any, Row]:
    """Key and comparable row of one record of a kind: lists as tuples, the version left out."""
    key = tuple(record[name] for name in KEYS[kind])
    row = tuple(
        tuple(value) if isinstance(value, list) else value
        for name, value in record.items()
        if name not in KEYS[kind] and name != "version"
    )
    return (key[0] if len(key) == 1 else key), row


class Mirror:
    """Nodes, edges, documents, chunks and mentions in dictionaries."""

    def __init__(self) -> None:
        self._shown = StoreVersion(0, "")
        self._records: dict[str, dict[Any, dict[str, Any]]] = {kind: {} for kind in KEYS}

    def apply(self, delta: Delta) -> None:
        """Apply everything in the delta; an edge or mention may come before its ends do."""
        assert delta.since <= self._shown.version
        for kind, keys in (("nodes", ("id",)), ("edges", ("id",)), ("chunks", ("id",))):
            for record in getattr(delta, f"gone_{kind}").to_pylist():
                self._records[kind].pop(record[keys[0]], None)
        for record in delta.gone_documents.to_pylist():
            self._records["documents"].pop(record["id"], None)
        touched = {*delta.documents["id"].to_pylist(), *delta.gone_documents["id"].to_pylist()}
        gone = set(delta.gone_chunks["id"].to_pylist())
        mentions = self._records["mentions"]
        for key in [key for key in mentions if key[0].split("#")[0] in touched or key[0] in gone]:
            del mentions[key]
        for kind in KEYS:
            self._add(kind, getattr(delta, kind))
        self._shown = StoreVersion(delta.version, delta.token)

    def load(self, projection: Projection) -> None:
        """Start anew."""
        self._records = {kind: {} for kind in KEYS}
        kind: Any
        for kind in KEYS:
            for batch in projection.batches(kind):
                count = len(self._records[kind])
                self._add(kind, batch)
                assert len(self._records[kind]) == count + batch.num_rows, f"{kind} came twice"
        self._shown = StoreVersion(projection.version, projection.token)

    def version(self) -> StoreVersion:
        """What is shown."""
        return self._shown

    def contents(self) -> Contents:
        """Everything shown, in comparable form."""
        return {
            kind: dict(row_of(kind, record) for record in records.values())
            for kind, records in self._records.items()
        }

    def versions(self) -> dict[str, dict[Any, Any]]:
        """The version of everything that has one."""
        return {
            kind: {key: record["version"] for key, record in records.items() if "version" in record}
            for kind, records in self._records.items()
        }

    def _add(self, kind: str, rows: pa.Table | pa.RecordBatch) -> None:
        for record in rows.to_pylist():
            key, _ = row_of(kind, record)
            self._records[kind][key] = record


def contents(store: Any) -> Contents:
    """Nodes and edges of any graph store, read with ``scan``; everything of a mirror."""
    if isinstance(store, Mirror):
        return store.contents()
    return {
        kind: dict(row_of(kind, record) for batch in store.scan(kind) for record in batch.to_pylist())
        for kind in ("nodes", "edges")
    }
