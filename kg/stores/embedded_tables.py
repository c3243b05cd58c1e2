"""The tables of the embedded graph: one per entity type and relation, made from the schema, grown on demand.

The engine wants every label, relationship type, property and pair of endpoint types declared, and calls a
query wrong that names one it does not know. So every entity table has the columns of all properties of the
schema, and every relation table the columns of all qualifiers: what a thing does not have is null, as in
Neo4j. Empty columns cost next to nothing on disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from kg.errors import StoreError
from kg.schema import Property, Schema
from kg.stores.embedded_files import REBUILD
from kg.stores.embedded_reading import execute

MARKER = "LoreMarker"
DOCUMENT = "Document"
CHUNK = "Chunk"
MENTIONS = "MENTIONS"
PART_OF = "PART_OF"

_STRINGS = pa.list_(pa.string())
ENTITY_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "name": pa.string(),
    "type": pa.string(),
    "aliases": _STRINGS,
    "description": pa.string(),
    "version": pa.int64(),
}
EDGE_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "status": pa.string(),
    "confidence": pa.float64(),
    "support": pa.int64(),
    "documents": _STRINGS,
    "version": pa.int64(),
}
_OTHER_NODES: dict[str, dict[str, pa.DataType]] = {
    DOCUMENT: {"id": pa.string(), "uri": pa.string(), "title": pa.string(), "version": pa.int64()},
    CHUNK: {
        "id": pa.string(),
        "document": pa.string(),
        "position": pa.int64(),
        "start": pa.int64(),
        "end": pa.int64(),
        "text": pa.string(),
        "version": pa.int64(),
    },
    MARKER: {"key": pa.int64(), "version": pa.int64(), "token": pa.string()},
}
_OTHER_EDGES: dict[str, dict[str, pa.DataType]] = {MENTIONS: {"count": pa.int64()}, PART_OF: {}}
_ARROW = {
    "string": pa.string(),
    "date": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}
_ENGINE = {pa.string(): "STRING", pa.int64(): "INT64", pa.float64(): "DOUBLE", pa.bool_(): "BOOL"}
_FROM_ENGINE = {name: kind for kind, name in _ENGINE.items()}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")

Pair = tuple[str, str]
"""The types of a relation's two ends, source first."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """What is declared in the database: columns by table, endpoint pairs by relation."""

    nodes: Mapping[str, Mapping[str, pa.DataType]]
    edges: Mapping[str, Mapping[str, pa.DataType]]
    pairs: Mapping[str, frozenset[Pair]]
    entities: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = sorted(name for name in self.nodes if name not in _OTHER_NODES)
        object.__setattr__(self, "entities", tuple(names))

    @property
    def relations(self) -> list[str]:
        """The relations between entities, sorted."""
        return sorted(name for name in self.edges if name not in _OTHER_EDGES)


def quoted(name: str) -> str:
    """The name in back-ticks. Raises :class:`~kg.errors.StoreError` where it is not a plain name."""
    if _NAME.fullmatch(name) is None:
        raise StoreError(f"{name!r} cannot be a label, relationship type or property.")
    return f"`{name}`"


def column_type(prop: Property) -> pa.DataType:
    """The column type that shows a property of the schema; dates are ISO 8601 texts."""
    kind = _ARROW[prop.datatype]
    return pa.list_(kind) if prop.cardinality == "many" else kind


def read_catalog(connection: Any) -> Catalog:
    """Read what is declared in the database."""
    nodes: dict[str, dict[str, pa.DataType]] = {}
    edges: dict[str, dict[str, pa.DataType]] = {}
    pairs: dict[str, frozenset[Pair]] = {}
    for row in execute(connection, "CALL show_tables() RETURN *"):
        name, kind = str(row[1]), str(row[2])
        columns = {
            str(column[1]): _arrow_type(str(column[2]))
            for column in execute(connection, f"CALL table_info('{name}') RETURN *")
        }
        if kind == "NODE":
            nodes[name] = columns
        else:
            edges[name] = columns
            found = execute(connection, f"CALL show_connection('{name}') RETURN *")
            pairs[name] = frozenset((str(pair[0]), str(pair[1])) for pair in found)
    return Catalog(nodes, edges, pairs)


def declare_schema(connection: Any, schema: Schema) -> Catalog:
    """Declare all that the schema names, and return the catalog; what is declared already stays.

    Raises :class:`~kg.errors.StoreError` where a property changed its datatype, or two names clash.
    """
    catalog = read_catalog(connection)
    _refuse_clashes([*schema.entities, *schema.relations, *catalog.nodes, *catalog.edges])
    columns = {prop.name: column_type(prop) for prop in schema.properties.values()}
    qualifiers = {name: pa.string() for relation in schema.relations.values() for name in relation.qualifiers}
    statements = []
    for name, fixed in _OTHER_NODES.items():
        statements += _node_table(catalog, name, fixed)
    for name in sorted({*schema.entities, *catalog.entities}):
        statements += _node_table(catalog, name, {**ENTITY_COLUMNS, **columns})
    mentioned = {(CHUNK, name) for name in {*schema.entities, *catalog.entities}}
    statements += _edge_table(catalog, MENTIONS, _OTHER_EDGES[MENTIONS], mentioned)
    statements += _edge_table(catalog, PART_OF, _OTHER_EDGES[PART_OF], {(CHUNK, DOCUMENT)})
    for name in catalog.relations:
        if name not in schema.relations:
            statements += _edge_table(catalog, name, {**EDGE_COLUMNS, **qualifiers}, catalog.pairs[name])
    for relation in schema.relations.values():
        wanted = {(source, target) for source in relation.domain for target in relation.range}
        statements += _edge_table(catalog, relation.name, {**EDGE_COLUMNS, **qualifiers}, wanted)
    return _declare(connection, catalog, statements)


def declare_more(
    connection: Any, catalog: Catalog, types: Iterable[str], pairs: Mapping[str, Iterable[Pair]]
) -> Catalog:
    """Declare entity types and endpoint pairs that rows at hand name; return the catalog, new if it grew."""
    wanted = {name: set(ends) for name, ends in pairs.items()}
    ends = {name for found in wanted.values() for pair in found for name in pair}
    new_types = sorted(({*types, *ends}) - set(catalog.nodes))
    _refuse_clashes([*new_types, *wanted, *catalog.nodes, *catalog.edges])
    some_entity = catalog.nodes[catalog.entities[0]] if catalog.entities else ENTITY_COLUMNS
    some_edge = catalog.edges[catalog.relations[0]] if catalog.relations else EDGE_COLUMNS
    statements = []
    for name in new_types:
        statements += _node_table(catalog, name, some_entity)
    if new_types:
        mentioned = {(CHUNK, name) for name in new_types}
        statements += _edge_table(catalog, MENTIONS, _OTHER_EDGES[MENTIONS], mentioned)
    for name, found in sorted(wanted.items()):
        columns = catalog.edges.get(name, some_edge)
        statements += _edge_table(catalog, name, columns, found)
    return _declare(connection, catalog, statements)


def _declare(connection: Any, catalog: Catalog, statements: list[str]) -> Catalog:
    for statement in statements:
        execute(connection, statement)
    return read_catalog(connection) if statements else catalog


def _node_table(catalog: Catalog, name: str, columns: Mapping[str, pa.DataType]) -> list[str]:
    existing = catalog.nodes.get(name)
    if existing is None:
        listed = ", ".join(f"{quoted(column)} {_engine_type(kind)}" for column, kind in columns.items())
        key = next(iter(columns))
        return [f"CREATE NODE TABLE {quoted(name)}({listed}, PRIMARY KEY({quoted(key)}))"]
    return _more_columns(name, existing, columns)


def _edge_table(
    catalog: Catalog, name: str, columns: Mapping[str, pa.DataType], pairs: Iterable[Pair]
) -> list[str]:
    existing = catalog.edges.get(name)
    if existing is None:
        ends = [f"FROM {quoted(source)} TO {quoted(target)}" for source, target in sorted(pairs)]
        listed = [f"{quoted(column)} {_engine_type(kind)}" for column, kind in columns.items()]
        return [f"CREATE REL TABLE {quoted(name)}({', '.join(ends + listed)})"]
    missing = sorted(set(pairs) - catalog.pairs[name])
    return _more_columns(name, existing, columns) + [
        f"ALTER TABLE {quoted(name)} ADD IF NOT EXISTS FROM {quoted(source)} TO {quoted(target)}"
        for source, target in missing
    ]


def _more_columns(
    name: str, existing: Mapping[str, pa.DataType], columns: Mapping[str, pa.DataType]
) -> list[str]:
    statements = []
    for column, kind in columns.items():
        found = existing.get(column)
        if found is None:
            statements.append(
                f"ALTER TABLE {quoted(name)} ADD IF NOT EXISTS {quoted(column)} {_engine_type(kind)}"
            )
        elif found != kind:
            raise StoreError(
                f"{name}.{column} is {_engine_type(found)} in the graph, {_engine_type(kind)} in the schema.",
                hint=REBUILD,
            )
    return statements


def _refuse_clashes(names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise StoreError(
                f"{other} and {name} differ in case only, which the embedded graph cannot hold.",
                hint="Rename one of them in the schema, or use Neo4j.",
            )


def _engine_type(kind: pa.DataType) -> str:
    return f"{_ENGINE[kind.value_type]}[]" if pa.types.is_list(kind) else _ENGINE[kind]


def _arrow_type(name: str) -> pa.DataType:
    if name.endswith("[]"):
        return pa.list_(_FROM_ENGINE[name[:-2]])
    return _FROM_ENGINE[name]
