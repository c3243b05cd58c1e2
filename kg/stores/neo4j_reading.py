"""Reading from Neo4j: values as plain Python, pages of columns as Arrow, candidates for a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from kg.facts import canonical_json
from kg.schema import Schema
from kg.stores.store import EDGE_FIELDS, NODE_FIELDS

BASE_PROPERTIES: Mapping[str, Mapping[str, str]] = {
    "Entity": {
        "id": "string", "name": "string", "type": "string", "aliases": "list of string",
        "description": "string", "version": "integer",
    },
    "Document": {"id": "string", "uri": "string", "title": "string", "version": "integer"},
    "Chunk": {
        "id": "string", "document": "string", "position": "integer", "start": "integer", "end": "integer",
        "text": "string", "version": "integer",
    },
}  # fmt: skip
_NODE_PAGE = (
    "MATCH (n:Entity) WHERE n.id > $after WITH n ORDER BY n.id LIMIT $rows "
    "RETURN collect(properties(n)) AS rows"
)
_EDGE_PAGE = (
    "MATCH (a:Entity)-[r:`{name}`]->(b:Entity) WHERE r.id > $after WITH a, r, b ORDER BY r.id LIMIT $rows "
    "RETURN collect(r.id) AS id, collect(a.id) AS source, collect(a.type) AS source_type, "
    "collect(b.id) AS target, collect(b.type) AS target_type, collect(r.status) AS status, "
    "collect(r.confidence) AS confidence, collect(r.support) AS support, collect(r.documents) AS documents, "
    "collect(r.version) AS version, collect({qualifiers}) AS qualifiers"
)
_CANDIDATES = (
    "CALL db.index.fulltext.queryNodes($index, $words, {limit: $limit}) YIELD node, score "
    "WHERE $type IS NULL OR node.type = $type "
    "RETURN node.id AS id, node.name AS name, node.type AS type, node.aliases AS aliases"
)
_WORD = re.compile(r"\w+")


def plain(value: Any) -> Any:
    """A value of the driver as plain Python: nodes, relationships and paths as dictionaries, times as text.

    A node is its properties and ``_labels``; a relationship its properties and ``_type``; a path
    ``{"nodes": [...], "relationships": [...]}``.
    """
    from neo4j.graph import Node, Path, Relationship

    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Node):
        return {**_mapping(value), "_labels": sorted(value.labels)}
    if isinstance(value, Relationship):
        return {**_mapping(value), "_type": value.type}
    if isinstance(value, Path):
        return {
            "nodes": [plain(node) for node in value.nodes],
            "relationships": [plain(relationship) for relationship in value.relationships],
        }
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "iso_format"):
        return value.iso_format()
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def _mapping(entity: Any) -> dict[str, Any]:
    return {str(name): plain(item) for name, item in entity.items() if item is not None}


def node_pages(session: Any, schema: Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """Stream entity nodes with the fields of NODE_FIELDS, ordered by id."""
    after = ""
    while True:
        page = session.execute_read(_one, _NODE_PAGE, {"after": after, "rows": rows})["rows"]
        if page:
            yield pa.RecordBatch.from_pylist([_node(found, schema) for found in page], NODE_FIELDS)
        if len(page) < rows:
            return
        after = page[-1]["id"]


def edge_pages(session: Any, name: str, qualifiers: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Stream the relationships of one type with the fields of EDGE_FIELDS, ordered by id.

    ``name`` and ``qualifiers`` go into the text of the query: names of a schema only.
    """
    columns = "[" + ", ".join(f"r.`{qualifier}`" for qualifier in qualifiers) + "]"
    text = _EDGE_PAGE.format(name=name, qualifiers=columns)
    after = ""
    while True:
        page = dict(session.execute_read(_one, text, {"after": after, "rows": rows}))
        n_rows = len(page["id"])
        if n_rows:
            page["predicate"] = [name] * n_rows
            page["qualifiers"] = [
                canonical_json(
                    {q: text for q, text in zip(qualifiers, found, strict=True) if text is not None}
                )
                for found in page["qualifiers"]
            ]
            arrays = [pa.array(page[column.name], column.type) for column in EDGE_FIELDS]
            yield pa.RecordBatch.from_arrays(arrays, schema=EDGE_FIELDS)
        if n_rows < rows:
            return
        after = page["id"][-1]


def candidates(session: Any, index: str, text: str, type_: str | None, limit: int) -> list[Any]:
    """Entities that share a word with ``text``, exactly or up to two letters, best first by the index."""
    words = _WORD.findall(text)[:32]
    if not words:
        return []
    # Quoted: a plain word is looked up as it stands, and AND, OR, NOT are words like any other.
    query = " ".join(f'"{word}" {word.lower()}~' for word in words)
    parameters = {"index": index, "words": query, "limit": limit, "type": type_}
    return list(session.execute_read(lambda tx: [dict(record) for record in tx.run(_CANDIDATES, parameters)]))


def _one(tx: Any, text: str, parameters: Mapping[str, Any]) -> Any:
    return tx.run(text, parameters).single(strict=True)


def _node(found: dict[str, Any], schema: Schema) -> dict[str, Any]:
    properties = {
        name: value if isinstance(value, list) else [value]
        for name, value in found.items()
        if name in schema.properties
    }
    row = {name: found.get(name) for name in NODE_FIELDS.names}
    return {**row, "properties": canonical_json(properties)}
