"""Writing the embedded graph: one delta in one transaction.

A delta goes through ``LOAD FROM $rows`` only: of all the ways to write rows it alone is fast, keeps its
promises when the process is killed, and plans through the primary keys.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kg.errors import StoreError
from kg.stores.embedded_files import REBUILD
from kg.stores.embedded_reading import execute
from kg.stores.embedded_tables import (
    CHUNK,
    DOCUMENT,
    MARKER,
    MENTIONS,
    PART_OF,
    Catalog,
    Pair,
    declare_more,
    quoted,
)
from kg.stores.store import Delta

ROWS_PER_STATEMENT = 20_000


def write_delta(connection: Any, catalog: Catalog, delta: Delta) -> Catalog:
    """Apply a delta in one transaction; return the catalog, new where the delta named new types or pairs.

    Raises :class:`~kg.errors.StoreError` where a row names an endpoint that is not there; nothing is written.
    """
    catalog = _declare(connection, catalog, delta)
    writer = Writer(connection, catalog)
    execute(connection, "BEGIN TRANSACTION")
    try:
        writer.delete_edges(_stack_edges(delta))
        writer.delete_mentions(
            pa.concat_arrays([*_chunks_of(delta.documents), *_chunks_of(delta.gone_documents)])
        )
        for type_, rows in split_rows(delta.gone_nodes, "type"):
            writer.delete_nodes(type_, rows["id"])
        writer.delete_nodes(CHUNK, delta.gone_chunks["id"])
        writer.delete_nodes(DOCUMENT, delta.gone_documents["id"])
        for type_, rows in split_rows(delta.nodes, "type"):
            writer.merge_nodes(type_, entity_columns(rows, catalog.nodes[type_]))
        writer.merge_nodes(DOCUMENT, delta.documents)
        writer.write_chunks(delta.chunks)
        for (predicate, *ends), rows in split_rows(delta.edges, "predicate", "source_type", "target_type"):
            columns = edge_columns(rows, catalog.edges[predicate])
            writer.create_edges(predicate, (ends[0], ends[1]), columns)
        for type_, rows in split_rows(delta.mentions, "entity_type"):
            writer.create_edges(MENTIONS, (CHUNK, type_), mention_columns(rows))
        writer.set_marker(delta.version, delta.token)
        execute(connection, "COMMIT")
    except BaseException:
        # After some errors the engine has ended the transaction by itself.
        with contextlib.suppress(StoreError):
            execute(connection, "ROLLBACK")
        raise
    return catalog


class Writer:
    """Statements on one connection, inside whatever transaction is open; Arrow tables stay alive with it."""

    def __init__(self, connection: Any, catalog: Catalog) -> None:
        self.connection = connection
        self.catalog = catalog
        self._alive: list[pa.Table] = []  # the engine reads the buffers without owning them

    def delete_edges(self, edges: pa.Table) -> None:
        """Delete edges by endpoints and id; those that are not there are passed over."""
        for (predicate, source, target), rows in split_rows(edges, "predicate", "source_type", "target_type"):
            self._run(
                f"MATCH (a:{quoted(source)}) WHERE a.id = c0 WITH a, c1, c2 "
                f"MATCH (a)-[r:{quoted(predicate)}]->(b:{quoted(target)}) "
                "WHERE b.id = c1 AND r.id = c2 DELETE r",
                rows.select(["source", "target", "id"]),
            )

    def delete_mentions(self, documents: pa.Array) -> None:
        """Delete all mentions of all chunks of these documents."""
        for type_ in self.catalog.entities:
            self._run(
                f"MATCH (d:{DOCUMENT}) WHERE d.id = c0 WITH d MATCH (d)<-[:{PART_OF}]-(c:{CHUNK}) WITH c "
                f"MATCH (c)-[m:{MENTIONS}]->(e:{quoted(type_)}) DELETE m",
                pa.table({"id": documents}),
            )

    def delete_nodes(self, table: str, ids: pa.ChunkedArray) -> None:
        """Delete nodes by id with all their edges; those that are not there are passed over."""
        self._run(f"MATCH (n:{quoted(table)}) WHERE n.id = c0 DETACH DELETE n", pa.table({"id": ids}))

    def merge_nodes(self, table: str, rows: pa.Table) -> None:
        """Insert or replace nodes; the first column is the key."""
        names = rows.column_names
        settings = ", ".join(f"n.{quoted(name)} = c{i}" for i, name in enumerate(names) if i > 0)
        statement = f"MERGE (n:{quoted(table)} {{{quoted(names[0])}: c0}}) SET {settings}"
        self._run_counted(statement, rows, f"nodes of {table}")

    def write_chunks(self, chunks: pa.Table) -> None:
        """Insert or replace chunks and tie each to its document."""
        self.merge_nodes(CHUNK, chunks)
        ends = pa.table({"source": chunks["id"], "target": chunks["document"]})
        self._run(
            f"MATCH (a:{CHUNK}) WHERE a.id = c0 WITH a MATCH (a)-[r:{PART_OF}]->(b:{DOCUMENT}) DELETE r", ends
        )
        self.create_edges(PART_OF, (CHUNK, DOCUMENT), ends)

    def create_edges(self, predicate: str, pair: Pair, rows: pa.Table) -> None:
        """Create edges; the first two columns are the ids of the endpoints."""
        names = rows.column_names
        carried = "".join(f", c{i}" for i in range(2, len(names)))
        values = ", ".join(f"{quoted(name)}: c{i}" for i, name in enumerate(names) if i > 1)
        self._run_counted(
            f"MATCH (a:{quoted(pair[0])}) WHERE a.id = c0 WITH a, c1{carried} "
            f"MATCH (b:{quoted(pair[1])}) WHERE b.id = c1 "
            f"CREATE (a)-[r:{quoted(predicate)}{' {' + values + '}' if values else ''}]->(b)",
            rows,
            f"edges {predicate} from {pair[0]} to {pair[1]}",
        )

    def set_marker(self, version: int, token: str) -> None:
        """Say which ledger version the database shows."""
        row = pa.table({"key": [0], "version": [version], "token": [token]})
        self.merge_nodes(MARKER, row)

    def copy(self, table: str, pair: Pair | None, rows: pa.Table) -> None:
        """Bulk-load rows with all columns of the table; only into a database that nobody reads yet."""
        ends = f" (from='{pair[0]}', to='{pair[1]}')" if pair else ""
        self._alive.append(rows)
        execute(self.connection, f"COPY {quoted(table)} FROM $rows{ends}", {"rows": rows})
        self._alive.pop()

    def _run_counted(self, statement: str, rows: pa.Table, what: str) -> None:
        done = self._run(statement, rows)
        if done != rows.num_rows:
            raise StoreError(
                f"{done} of {rows.num_rows} {what} could be written: the others name things that "
                "are not there, or come twice.",
                hint=REBUILD,
            )

    def _run(self, statement: str, rows: pa.Table) -> int:
        done = 0
        for start in range(0, rows.num_rows, ROWS_PER_STATEMENT):
            part = rows.slice(start, ROWS_PER_STATEMENT).combine_chunks()
            part = part.rename_columns([f"c{i}" for i in range(part.num_columns)])
            self._alive.append(part)
            listed = ", ".join(part.column_names)
            text = f"LOAD FROM $rows WITH {listed} {statement} RETURN count(*)"
            done += int(execute(self.connection, text, {"rows": part})[0][0])
        return done


def entity_columns(rows: pa.Table, columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows of NODE_FIELDS with their properties spread over the columns of an entity table."""
    properties, places = _parsed(rows["properties"])
    arrays = []
    for name, kind in columns.items():
        if name in rows.column_names:
            arrays.append(rows[name])
        else:
            values = pa.array([_shown(found.get(name), kind) for found in properties], kind)
            arrays.append(values.take(places))
    return pa.table(arrays, names=list(columns))


def edge_columns(rows: pa.Table, columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows of EDGE_FIELDS as source, target and the columns of a relation table."""
    qualifiers, places = _parsed(rows["qualifiers"])
    arrays = [rows["source"], rows["target"]]
    for name, kind in columns.items():
        if name in rows.column_names:
            arrays.append(rows[name])
        else:
            values = pa.array([_shown([found.get(name)], kind) for found in qualifiers], kind)
            arrays.append(values.take(places))
    return pa.table(arrays, names=["source", "target", *columns])


def mention_columns(rows: pa.Table) -> pa.Table:
    """Rows of MENTION_FIELDS as chunk, entity and count."""
    return rows.select(["chunk", "entity", "count"])


def _parsed(texts: pa.ChunkedArray) -> tuple[list[dict[str, Any]], pa.Array]:
    """The different JSON objects in a column, and which of them every row has: most have an empty one."""
    codes = pc.dictionary_encode(texts).combine_chunks()
    return [json.loads(text) if text else {} for text in codes.dictionary.to_pylist()], codes.indices


def _shown(values: list[Any] | None, kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        found = [_fitting(value, kind.value_type) for value in values or ()]
        return [value for value in found if value is not None] or None
    for value in values or ():
        fitting = _fitting(value, kind)
        if fitting is not None:
            return fitting
    return None


def _fitting(value: Any, kind: pa.DataType) -> Any:
    """The value where it is of this type; facts from before a change of the schema may not be."""
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else None
    if pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if pa.types.is_floating(kind):
        return float(value)
    return int(value) if float(value).is_integer() and -(2**63) <= value < 2**63 else None


def _declare(connection: Any, catalog: Catalog, delta: Delta) -> Catalog:
    types = {*delta.nodes["type"].to_pylist(), *delta.gone_nodes["type"].to_pylist()}
    types |= set(delta.mentions["entity_type"].to_pylist())
    pairs: dict[str, set[Pair]] = {}
    for (predicate, source, target), _ in split_rows(
        _stack_edges(delta), "predicate", "source_type", "target_type"
    ):
        pairs.setdefault(predicate, set()).add((source, target))
    return declare_more(connection, catalog, types, pairs)


def _stack_edges(delta: Delta) -> pa.Table:
    return pa.concat_tables([delta.gone_edges, delta.edges.select(delta.gone_edges.column_names)])


def _chunks_of(documents: pa.Table) -> list[pa.Array]:
    chunks: list[pa.Array] = documents["id"].chunks
    return chunks or [pa.array([], pa.string())]


def split_rows(rows: pa.Table, *names: str) -> Iterator[tuple[Any, pa.Table]]:
    """Split rows by the values of some columns: ``(value, rows)``, or ``(values, rows)`` for several."""
    if not rows.num_rows:
        return
    keys = rows.select(list(names))
    codes = [pc.dictionary_encode(keys[name]).combine_chunks() for name in names]
    number = pa.array([0] * rows.num_rows, pa.int64())
    for code in codes:
        number = pc.add(pc.multiply(number, len(code.dictionary)), code.indices)
    for found in pc.unique(number).to_pylist():
        part = rows.filter(pc.equal(number, found))
        values = tuple(part[name][0].as_py() for name in names)
        yield (values[0] if len(names) == 1 else values), part
