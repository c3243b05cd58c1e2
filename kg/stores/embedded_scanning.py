"""Reading the embedded graph as a whole: entities and edges as Arrow batches, and what there is of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from kg.facts import canonical_json
from kg.schema import Schema
from kg.stores.embedded_reading import execute
from kg.stores.embedded_tables import (
    CHUNK,
    DOCUMENT,
    EDGE_COLUMNS,
    ENTITY_COLUMNS,
    MARKER,
    MENTIONS,
    PART_OF,
    Catalog,
)
from kg.stores.store import EDGE_FIELDS, NODE_FIELDS, GraphSchema

_DATATYPES = {pa.string(): "string", pa.int64(): "integer", pa.float64(): "number", pa.bool_(): "boolean"}


def scan_nodes(connection: Any, catalog: Catalog, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Stream entities with the fields of NODE_FIELDS; properties are those that their columns show."""
    for name in catalog.entities:
        columns = list(catalog.nodes[name])
        listed = ", ".join(f"n.`{column}` AS `{column}`" for column in columns)
        for rows in _batches(connection, f"MATCH (n:`{name}`) RETURN {listed}", columns, batch_rows):
            extra = [column for column in columns if column not in ENTITY_COLUMNS]
            values = [rows[column].to_pylist() for column in extra]
            packed = [
                canonical_json(
                    {
                        c: v if isinstance(v, list) else [v]
                        for c, v in zip(extra, row, strict=True)
                        if v is not None
                    }
                )
                for row in zip(*values, strict=True)
            ] or ["{}"] * rows.num_rows
            arrays = [
                pa.array(packed, pa.string())
                if field.name == "properties"
                else rows[field.name].cast(field.type)
                for field in NODE_FIELDS
            ]
            yield from pa.table(arrays, schema=NODE_FIELDS).combine_chunks().to_batches()


def scan_edges(connection: Any, catalog: Catalog, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Stream edges between entities with the fields of EDGE_FIELDS."""
    for name in catalog.relations:
        columns = list(catalog.edges[name])
        extra = [column for column in columns if column not in EDGE_COLUMNS]
        listed = ", ".join(f"r.`{column}` AS `{column}`" for column in columns)
        for source, target in sorted(catalog.pairs[name]):
            text = (
                f"MATCH (a:`{source}`)-[r:`{name}`]->(b:`{target}`) RETURN a.id AS `a`, b.id AS `b`, {listed}"
            )
            for rows in _batches(connection, text, ["source", "target", *columns], batch_rows):
                values = [rows[column].to_pylist() for column in extra]
                packed = [
                    canonical_json({c: v for c, v in zip(extra, row, strict=True) if v is not None})
                    for row in zip(*values, strict=True)
                ] or ["{}"] * rows.num_rows
                fixed = {
                    "predicate": pa.array([name] * rows.num_rows),
                    "source_type": pa.array([source] * rows.num_rows),
                    "target_type": pa.array([target] * rows.num_rows),
                    "qualifiers": pa.array(packed, pa.string()),
                }
                arrays = [
                    fixed[field.name] if field.name in fixed else rows[field.name].cast(field.type)
                    for field in EDGE_FIELDS
                ]
                yield from pa.table(arrays, schema=EDGE_FIELDS).combine_chunks().to_batches()


def graph_schema(connection: Any, catalog: Catalog, schema: Schema) -> GraphSchema:
    """Count every label and relationship type; list the properties that each is meant to have."""
    labels = {
        name: _count(connection, f"MATCH (n:`{name}`) RETURN count(*)")
        for name in catalog.nodes
        if name != MARKER
    }
    relationships = {
        name: _count(connection, f"MATCH ()-[r:`{name}`]->() RETURN count(*)") for name in catalog.edges
    }
    properties = {name: _node_properties(catalog, schema, name) for name in labels}
    properties |= {name: _edge_properties(catalog, schema, name) for name in relationships}
    return GraphSchema(labels, relationships, properties)


def _node_properties(catalog: Catalog, schema: Schema, label: str) -> dict[str, str]:
    columns = catalog.nodes[label]
    if label in (DOCUMENT, CHUNK):
        wanted = list(columns)
    else:
        wanted = [*ENTITY_COLUMNS, *(prop.name for prop in schema.properties_of(label))]
    return {name: _datatype(columns[name]) for name in wanted if name in columns}


def _edge_properties(catalog: Catalog, schema: Schema, name: str) -> dict[str, str]:
    columns = catalog.edges[name]
    relation = schema.relations.get(name)
    if name in (MENTIONS, PART_OF):
        wanted = list(columns)
    else:
        wanted = [*EDGE_COLUMNS, *(relation.qualifiers if relation else ())]
    return {name: _datatype(columns[name]) for name in wanted if name in columns}


def _datatype(kind: pa.DataType) -> str:
    return f"list of {_DATATYPES[kind.value_type]}" if pa.types.is_list(kind) else _DATATYPES[kind]


def _batches(connection: Any, text: str, names: list[str], batch_rows: int) -> Iterator[pa.Table]:
    result = connection.execute(text)
    try:
        # Without a chunk size the engine reserves room for ten million values at once.
        table = result.get_as_arrow(chunk_size=batch_rows).rename_columns(names)
    finally:
        result.close()
    for start in range(0, table.num_rows, batch_rows):
        yield table.slice(start, batch_rows)


def _count(connection: Any, statement: str) -> int:
    return int(execute(connection, statement)[0][0])
