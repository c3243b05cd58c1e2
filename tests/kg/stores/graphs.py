"""Small graphs by hand, in the form that stores are given: deltas and projections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from kg.facts import canonical_json
from kg.schema import parse_schema
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

FILMS = parse_schema(
    """
    name = "films"
    [entity.Film]
    key = "release_year"
    [entity.Person]
    [entity.Genre]
    [relation.DIRECTED_BY]
    domain = ["Film"]
    range = ["Person"]
    [relation.STARS]
    domain = ["Film"]
    range = ["Person"]
    qualifiers = ["role"]
    [relation.HAS_GENRE]
    domain = ["Film"]
    range = ["Genre"]
    [relation.KNOWS]
    domain = ["Person"]
    range = ["Person"]
    symmetric = true
    [property.release_year]
    domain = ["Film"]
    datatype = "integer"
    [property.rating]
    domain = ["Film"]
    datatype = "number"
    [property.birth_year]
    domain = ["Person"]
    datatype = "integer"
    [property.prizes]
    domain = ["Film", "Person"]
    datatype = "string"
    cardinality = "many"
    [property.alive]
    domain = ["Person"]
    datatype = "boolean"
    """
)

Row = dict[str, Any]
_FIELDS: Mapping[str, pa.Schema] = {
    "nodes": NODE_FIELDS,
    "edges": EDGE_FIELDS,
    "gone_nodes": GONE_NODE_FIELDS,
    "gone_edges": GONE_EDGE_FIELDS,
    "documents": DOCUMENT_FIELDS,
    "chunks": CHUNK_FIELDS,
    "mentions": MENTION_FIELDS,
    "gone_documents": GONE_ID_FIELDS,
    "gone_chunks": GONE_ID_FIELDS,
}


def node(identity: str, type_: str, name: str, *aliases: str, version: int = 1, **properties: Any) -> Row:
    """One entity; a property is one value or a list of them."""
    listed = {key: value if isinstance(value, list) else [value] for key, value in properties.items()}
    return {
        "id": identity,
        "type": type_,
        "name": name,
        "aliases": list(aliases),
        "description": "",
        "properties": canonical_json(listed),
        "version": version,
    }


def edge(
    identity: str, predicate: str, source: Row, target: Row, *, version: int = 1, **qualifiers: str
) -> Row:
    """One edge between two nodes."""
    return {
        **ends(identity, predicate, source, target),
        "qualifiers": canonical_json(qualifiers),
        "status": "extracted",
        "confidence": 0.9,
        "support": 1,
        "documents": ["d1"],
        "version": version,
    }


def ends(identity: str, predicate: str, source: Row, target: Row) -> Row:
    """An edge that is gone."""
    return {
        "id": identity,
        "predicate": predicate,
        "source": source["id"],
        "source_type": source["type"],
        "target": target["id"],
        "target_type": target["type"],
    }


def chunk(document: str, position: int, text: str, *, version: int = 1) -> Row:
    """One chunk of a document."""
    return {
        "id": f"{document}#{position}",
        "document": document,
        "position": position,
        "start": 10 * position,
        "end": 10 * position + len(text),
        "text": text,
        "version": version,
    }


def delta(since: int, version: int, **rows: Sequence[Row]) -> Delta:
    """A delta of these rows and no others."""
    tables = {name: pa.Table.from_pylist(list(rows.get(name, ())), schema=_FIELDS[name]) for name in _FIELDS}
    return Delta(since, version, f"token-{version}", **tables)


class Rows:
    """A projection of rows at hand, streamed in batches of two."""

    def __init__(self, version: int, **rows: Sequence[Row]) -> None:
        self.version = version
        self.token = f"token-{version}"
        self._rows = rows

    def batches(self, kind: Kind) -> Iterator[pa.RecordBatch]:
        """Stream one kind."""
        table = pa.Table.from_pylist(list(self._rows.get(kind, ())), schema=_FIELDS[kind])
        yield from table.to_batches(max_chunksize=2)


ALPHA = node("f1", "Film", "Alpha", "Alfa", release_year=1999, rating=7.5, prizes=["Oscar", "Bafta"])
BETA = node("f2", "Film", "Beta", release_year=2001, rating=8.0)
GAMMA = node("f3", "Film", "Gamma", release_year=2001)
DELTA = node("f4", "Film", "Delta")
ANN = node("p1", "Person", "Ann", birth_year=1950, alive=True)
BOB = node("p2", "Person", "Bob", "Robert B.", birth_year=1960, alive=False)
CID = node("p3", "Person", "Cid")
DEE = node("p4", "Person", "Dée")
DRAMA = node("g1", "Genre", "Drama")
NOIR = node("g2", "Genre", "Noir")
NODES = [ALPHA, BETA, GAMMA, DELTA, ANN, BOB, CID, DEE, DRAMA, NOIR]
EDGES = [
    edge("e1", "DIRECTED_BY", ALPHA, ANN),
    edge("e2", "DIRECTED_BY", BETA, ANN),
    edge("e3", "DIRECTED_BY", GAMMA, BOB),
    edge("e4", "STARS", ALPHA, BOB, role="hero"),
    edge("e5", "STARS", ALPHA, CID),
    edge("e6", "STARS", BETA, CID, role="villain"),
    edge("e7", "STARS", BETA, BOB),
    edge("e8", "HAS_GENRE", ALPHA, DRAMA),
    edge("e9", "HAS_GENRE", BETA, DRAMA),
    edge("e10", "HAS_GENRE", GAMMA, NOIR),
    edge("e11", "KNOWS", ANN, BOB),
]
DOCUMENTS = [{"id": "d1", "uri": "file:1", "title": "One", "version": 1}]
CHUNKS = [chunk("d1", 0, "Alpha is"), chunk("d1", 1, "by Ann.")]
MENTIONS = [
    {"chunk": "d1#0", "entity": "f1", "entity_type": "Film", "count": 2},
    {"chunk": "d1#1", "entity": "p1", "entity_type": "Person", "count": 1},
]
EVERYTHING: Mapping[str, Sequence[Row]] = {
    "nodes": NODES,
    "edges": EDGES,
    "documents": DOCUMENTS,
    "chunks": CHUNKS,
    "mentions": MENTIONS,
}
