"""What a graph store shows, in comparable form."""

from __future__ import annotations

from typing import Any


def shown(store: Any) -> dict[str, Any]:
    """All that a store shows, read through queries, in comparable form."""
    return {
        "nodes": sorted(map(repr, (scanned(store, "nodes")))),
        "edges": sorted(map(repr, (scanned(store, "edges")))),
        "documents": ordered(store, "MATCH (d:Document) RETURN d.id AS id, d.uri AS uri, d.title AS title"),
        "chunks": ordered(
            store,
            "MATCH (c:Chunk)-[:PART_OF]->(d:Document) RETURN c.id AS id, d.id AS document, c.text AS text, "
            "c.position AS position, c.start AS start, c.end AS end",
        ),
        "mentions": ordered(
            store,
            "MATCH (c:Chunk)-[m:MENTIONS]->(e:Entity) RETURN c.id AS chunk, e.id AS entity, m.count AS n",
        ),
    }


def scanned(store: Any, what: str) -> list[dict[str, Any]]:
    return [row for batch in store.scan(what) for row in batch.to_pylist()]


def ordered(store: Any, cypher: str) -> list[dict[str, Any]]:
    return sorted(store.query(cypher), key=repr)


def by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["id"]))
