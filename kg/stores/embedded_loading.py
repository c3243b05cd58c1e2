"""Filling a new, empty graph file with everything at once.

Bulk loading (``COPY``) is several times faster than a delta, but it tears when it shares a transaction, and
it is fast only as the first and only load of a table. So rows are gathered by table, on disk once they are
many, and each table is loaded in one go, into a file that nobody reads yet.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from kg.stores.embedded_tables import CHUNK, DOCUMENT, MENTIONS, PART_OF, Catalog, Pair, declare_more
from kg.stores.embedded_writing import Writer, edge_columns, entity_columns, mention_columns, split_rows
from kg.stores.store import Projection

ROWS_IN_MEMORY = 1_000_000
"""More rows than this wait on disk."""

_Key = tuple[str, Pair | None]


def write_all(connection: Any, catalog: Catalog, projection: Projection, spill: Path) -> Catalog:
    """Fill a new, empty database with everything a projection streams, the marker last.

    ``spill`` is a folder for rows that wait, made and deleted here.

    Raises :class:`~kg.errors.StoreError` where rows contradict each other; throw the file away then.
    """
    spill.mkdir(parents=True, exist_ok=True)
    loader = _Loader(connection, catalog, spill)
    try:
        _stream(loader, projection)
    finally:
        loader.close()
        shutil.rmtree(spill, ignore_errors=True)
    Writer(connection, loader.catalog).set_marker(projection.version, projection.token)
    return loader.catalog


def _stream(loader: _Loader, projection: Projection) -> None:
    for batch in projection.batches("nodes"):
        for type_, rows in split_rows(pa.Table.from_batches([batch]), "type"):
            loader.add_nodes(type_, rows)
    for batch in projection.batches("documents"):
        loader.add(DOCUMENT, None, pa.Table.from_batches([batch]))
    for batch in projection.batches("chunks"):
        chunks = pa.Table.from_batches([batch])
        loader.add(CHUNK, None, chunks)
        ends = pa.table({"source": chunks["id"], "target": chunks["document"]})
        loader.add(PART_OF, (CHUNK, DOCUMENT), ends)
    loader.flush_nodes()
    for batch in projection.batches("edges"):
        for (predicate, source, target), rows in split_rows(
            pa.Table.from_batches([batch]), "predicate", "source_type", "target_type"
        ):
            loader.add_edges(predicate, (source, target), rows)
    for batch in projection.batches("mentions"):
        for type_, rows in split_rows(pa.Table.from_batches([batch]), "entity_type"):
            loader.add(MENTIONS, (CHUNK, type_), mention_columns(rows))
    loader.flush()


class _Loader:
    """Gathers rows by table and loads each table once."""

    def __init__(self, connection: Any, catalog: Catalog, spill: Path) -> None:
        self.catalog = catalog
        self._writer = Writer(connection, catalog)
        self._spill = spill
        self._waiting: dict[_Key, list[pa.Table]] = {}
        self._n_waiting = 0
        self._n_files = 0
        self._files: dict[_Key, tuple[Path, pa.ipc.RecordBatchFileWriter]] = {}

    def add_nodes(self, type_: str, rows: pa.Table) -> None:
        """Take entities of one type."""
        if type_ not in self.catalog.nodes:
            self._grow([type_], {})
        self.add(type_, None, entity_columns(rows, self.catalog.nodes[type_]))

    def add_edges(self, predicate: str, pair: Pair, rows: pa.Table) -> None:
        """Take edges of one relation between two types."""
        if pair not in self.catalog.pairs.get(predicate, ()):
            self._grow([], {predicate: [pair]})
        self.add(predicate, pair, edge_columns(rows, self.catalog.edges[predicate]))

    def add(self, table: str, pair: Pair | None, rows: pa.Table) -> None:
        """Take rows with the columns of the table, endpoints first for a relation."""
        self._waiting.setdefault((table, pair), []).append(rows)
        self._n_waiting += rows.num_rows
        if self._n_waiting >= ROWS_IN_MEMORY:
            self._to_disk()

    def flush_nodes(self) -> None:
        """Load the nodes that wait: edges need all their endpoints."""
        for key in [key for key in {*self._waiting, *self._files} if key[1] is None]:
            self._copy(key)

    def flush(self) -> None:
        """Load all that waits."""
        for key in {*self._waiting, *self._files}:
            self._copy(key)

    def close(self) -> None:
        """Close the files of rows that never were loaded."""
        for _, writer in self._files.values():
            writer.close()
        self._files.clear()

    def _to_disk(self) -> None:
        for key, tables in self._waiting.items():
            if key not in self._files:
                self._n_files += 1
                path = self._spill / f"{self._n_files}.arrow"
                self._files[key] = path, pa.ipc.new_file(path, tables[0].schema)
            for table in tables:
                self._files[key][1].write_table(table)
        self._waiting.clear()
        self._n_waiting = 0

    def _copy(self, key: _Key) -> None:
        tables = self._waiting.pop(key, [])
        self._n_waiting -= sum(table.num_rows for table in tables)
        if key in self._files:
            path, writer = self._files.pop(key)
            for table in tables:
                writer.write_table(table)
            writer.close()
            with pa.memory_map(str(path)) as mapped:
                self._writer.copy(*key, pa.ipc.open_file(mapped).read_all())
            path.unlink()
        elif any(table.num_rows for table in tables):
            self._writer.copy(*key, pa.concat_tables(tables))

    def _grow(self, types: Iterable[str], pairs: Mapping[str, Iterable[Pair]]) -> None:
        self.catalog = declare_more(self._writer.connection, self.catalog, types, pairs)
