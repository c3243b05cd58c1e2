"""How every graph store is read: queries, names, counts."""

from __future__ import annotations

from typing import Any

import pytest

from kg.errors import QueryFailed, QueryRefused, QueryTimeout, UsageError
from tests.contracts.conftest import Opener
from tests.contracts.showing import by_id, ordered, scanned
from tests.kg.stores.graphs import (
    FILMS,
    NODES,
    delta,
    edge,
    node,
)

# ---- queries


def test_nodes_relationships_and_paths_come_as_plain_values(store: Any) -> None:
    [row] = store.query(
        "MATCH p = (f:Film {id: 'f1'})-[r:DIRECTED_BY]->(d:Person) RETURN f, r, d, p, [1, 2] AS l, null AS no"
    )
    assert row["f"] == {
        "id": "f1", "type": "Film", "name": "Alpha", "aliases": ["Alfa"], "description": "", "version": 1,
        "release_year": 1999, "rating": 7.5, "prizes": ["Oscar", "Bafta"], "_labels": ["Entity", "Film"],
    }  # fmt: skip
    assert row["r"] == {
        "id": "e1", "status": "extracted", "confidence": 0.9, "support": 1, "documents": ["d1"], "version": 1,
        "_type": "DIRECTED_BY",
    }  # fmt: skip
    assert row["d"]["alive"] is True
    assert row["p"] == {"nodes": [row["f"], row["d"]], "relationships": [row["r"]]}
    assert (row["l"], row["no"]) == ([1, 2], None)


def test_documents_and_chunks_are_no_entities(store: Any) -> None:
    [row] = store.query("MATCH (c:Chunk {id: 'd1#0'})-[:PART_OF]->(d:Document) RETURN c, d")
    assert row["d"] == {"id": "d1", "uri": "file:1", "title": "One", "version": 1, "_labels": ["Document"]}
    assert row["c"]["_labels"] == ["Chunk"]
    assert (row["c"]["text"], row["c"]["position"]) == ("Alpha is", 0)


@pytest.mark.parametrize(
    "value", ['O\'Hara "x" `y` \\ \n\t', "Ł😀é", 3, -(2**63), 2.5, True, None, [1, 2], ["a"], []]
)
def test_parameters_come_back_as_they_went(store: Any, value: Any) -> None:
    assert store.query("RETURN $value AS value", {"value": value}) == [{"value": value}]


def test_parameters_are_values_and_never_text(store: Any) -> None:
    attack = "Alpha'}) DETACH DELETE f //"
    assert store.query("MATCH (f:Film {name: $name}) RETURN f.id AS id", {"name": attack}) == []
    assert store.query("MATCH (f:Film) WHERE f.name IN $names RETURN f.id AS id", {"names": ["Alpha"]}) == [
        {"id": "f1"}
    ]


@pytest.mark.parametrize("parameters", [{}, {"name": 2**63}, {"name": object()}, {"name": "\ud800"}])
def test_parameters_that_cannot_be_are_the_callers_mistake(store: Any, parameters: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        store.query("MATCH (f:Film {name: $name}) RETURN f.id AS id", parameters)


def test_the_limit_caps_the_rows(store: Any) -> None:
    assert len(store.query("MATCH (e:Entity) RETURN e.id AS id", limit=4)) == 4
    assert store.query("UNWIND range(1, 1000000) AS x RETURN x", limit=2) == [{"x": 1}, {"x": 2}]
    for limit in (0, -1):
        with pytest.raises(UsageError):
            store.query("RETURN 1 AS x", limit=limit)


def test_the_timeout_stops_an_endless_query_and_the_store_lives_on(store: Any) -> None:
    numbers = "UNWIND range(1, 100000) AS a UNWIND range(1, 100000) AS b "
    endless = numbers + "WITH a, b WHERE a = -b RETURN count(*) AS n"
    with pytest.raises(QueryTimeout, match="1 second"):
        store.query(endless, timeout=1)
    assert store.query("RETURN 1 AS x") == [{"x": 1}]


@pytest.mark.parametrize(
    "cypher",
    [
        "CREATE (n:Film {id: 'x'})",
        "MATCH (f:Film) SET f.name = 'x'",
        "MATCH (f:Film) DETACH DELETE f",
        "MERGE (f:Film {id: 'x'}) RETURN f",
        "MATCH (f:Film) REMOVE f.name RETURN f",
        "RETURN 1 AS x; RETURN 2 AS x",
        "LOAD CSV FROM 'file:///etc/passwd' AS line RETURN line",
        "CALL dbms.listConfig() YIELD name RETURN name",
        "",
        "RETURN " + "(" * 5000 + "1" + ")" * 5000 + " AS x",
        "RETURN '" + "x" * 20_000 + "' AS x",
    ],
)
def test_what_is_no_reading_query_is_refused(store: Any, cypher: str) -> None:
    with pytest.raises(QueryRefused):
        store.query(cypher)
    assert by_id(scanned(store, "nodes")) == by_id(NODES)


@pytest.mark.parametrize("cypher", ["MATCH (f:Film RETURN f", "RETURN toInteger(", "RETURN x AS y"])
def test_what_is_no_cypher_is_told_so(store: Any, cypher: str) -> None:
    with pytest.raises((QueryRefused, QueryFailed)):
        store.query(cypher)


def test_strangers_queries_read_the_same(store: Any) -> None:
    cypher = "MATCH (f:Film)-[r:STARS]->(p:Person) RETURN f, r.role AS role, p.name AS name"
    assert sorted(store.query_untrusted(cypher), key=repr) == ordered(store, cypher)


NAMES = [
    "O'Brien", 'The "Quoted" One', "back`tick``s", "slash\\es\\\\", "Ünïcödé",
    "日本の映画", "😀 👩‍👩‍👧", "tab\tand\nline",
    "{curly: $brace}", "// comment", "/* c */", "null", "x" * 3000, "; DROP",
    "a\u0301 combining", "nul\x00byte",
]  # fmt: skip


def test_names_of_any_characters_survive(open_graph: Opener) -> None:
    store = open_graph(FILMS)
    rows = [node(f"n{i}", "Film", name, name + "!", prizes=[name]) for i, name in enumerate(NAMES)]
    rows.append(node("plain", "Person", "P"))
    links = [edge(f"e{i}", "STARS", rows[i], rows[-1], role=name) for i, name in enumerate(NAMES)]
    store.apply(delta(0, 1, nodes=rows, edges=links))
    assert by_id(scanned(store, "nodes")) == by_id(rows)
    assert by_id(scanned(store, "edges")) == by_id(links)
    for i, name in enumerate(NAMES):
        found = store.query("MATCH (f:Film {name: $name}) RETURN f.id AS id", {"name": name})
        assert found == [{"id": f"n{i}"}], name


# ---- finding, counting


def test_find_knows_names_and_aliases(store: Any) -> None:
    best = store.find("alpha")[0]
    assert (best.id, best.name, best.type, best.score) == ("f1", "Alpha", "Film", 1.0)
    assert store.find("Robert B.")[0].id == "p2"
    assert store.find("Robert B.")[0].score == 1.0


def test_find_forgives_a_slip_and_a_missing_accent(store: Any) -> None:
    assert store.find("Alpah")[0].id == "f1"
    assert store.find("Dee")[0].id == "p4"
    assert 0 < store.find("Alpah")[0].score < 1


def test_find_keeps_to_a_type_and_a_number(store: Any) -> None:
    assert {hit.type for hit in store.find("Bob", type="Person")} == {"Person"}
    assert store.find("Alpha", type="Person") == [] or store.find("Alpha", type="Person")[0].type == "Person"
    assert len(store.find("a", k=1)) <= 1
    assert store.find("Alpha", k=0) == []


@pytest.mark.parametrize(
    "text", ["", " ", '+-&|!(){}[]^"~*?:\\/', "AND OR NOT", "name:Alpha", "*", "a" * 5000, "'"]
)
def test_find_takes_any_text(store: Any, text: str) -> None:
    for hit in store.find(text):
        assert 0 <= hit.score <= 1


def test_the_schema_counts_what_is_there(store: Any) -> None:
    found = store.schema()
    for label, n in {"Film": 4, "Person": 4, "Genre": 2, "Document": 1, "Chunk": 2}.items():
        assert found.labels[label] == n, label
    for relation, n in {"STARS": 4, "DIRECTED_BY": 3, "KNOWS": 1, "MENTIONS": 2, "PART_OF": 2}.items():
        assert found.relationships[relation] == n, relation
    assert found.properties["Film"]["release_year"] == "integer"
    assert found.properties["Film"]["prizes"] == "list of string"
    assert found.properties["Person"]["name"] == "string"
