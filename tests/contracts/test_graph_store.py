"""How every graph store is written: applying, repeating, loading."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from kg.errors import LoreError, StoreError
from kg.stores.store import EDGE_FIELDS, NODE_FIELDS, StoreVersion
from tests.contracts.conftest import Opener
from tests.contracts.showing import by_id, ordered, scanned, shown
from tests.kg.stores.graphs import (
    ALPHA,
    ANN,
    BETA,
    BOB,
    CID,
    EDGES,
    EVERYTHING,
    FILMS,
    NODES,
    Rows,
    chunk,
    delta,
    edge,
    ends,
    node,
)

MENTIONED = "MATCH (c:Chunk)-[m:MENTIONS]->(e:Entity) RETURN c.id AS c, e.id AS e, m.count AS n"
GENRE = {"id": "g1", "type": "Genre"}
GAMMA_ENDS = {"id": "f3", "type": "Film"}


# ---- empty, applied, repeated


def test_an_empty_store_shows_version_zero_and_nothing(open_graph: Opener) -> None:
    store = open_graph(FILMS)
    assert store.version() == StoreVersion(0, "")
    assert scanned(store, "nodes") == []
    assert scanned(store, "edges") == []
    assert store.query("MATCH (f:Film) RETURN f.name AS name") == []
    assert store.query("MATCH (e:Entity) RETURN count(e) AS n") == [{"n": 0}]
    assert store.find("Alpha") == []
    assert not any(store.schema().labels.values())


def test_what_is_applied_is_shown(store: Any) -> None:
    assert store.version() == StoreVersion(1, "token-1")
    assert by_id(scanned(store, "nodes")) == by_id(NODES)
    assert by_id(scanned(store, "edges")) == by_id(EDGES)
    assert store.query("MATCH (d:Document) RETURN d.uri AS uri") == [{"uri": "file:1"}]
    assert ordered(store, MENTIONED) == [{"c": "d1#0", "e": "f1", "n": 2}, {"c": "d1#1", "e": "p1", "n": 1}]
    assert ordered(store, "MATCH (c:Chunk)-[:PART_OF]->(d:Document) RETURN c.position AS at, d.id AS d") == [
        {"at": 0, "d": "d1"},
        {"at": 1, "d": "d1"},
    ]


def test_scan_streams_the_declared_fields_in_batches(store: Any) -> None:
    batches = list(store.scan("nodes", batch_rows=3))
    assert all(batch.schema.equals(NODE_FIELDS) for batch in batches)
    assert max(batch.num_rows for batch in batches) <= 3
    edges = pa.Table.from_batches(store.scan("edges", batch_rows=2))
    assert edges.schema.equals(EDGE_FIELDS)
    assert edges.num_rows == len(EDGES)


def test_applying_twice_is_applying_once(store: Any) -> None:
    before = shown(store)
    store.apply(delta(0, 1, **EVERYTHING))
    assert shown(store) == before
    assert store.version() == StoreVersion(1, "token-1")


def test_a_store_shows_the_same_after_reopening(open_graph: Opener) -> None:
    first = open_graph(FILMS)
    first.apply(delta(0, 1, **EVERYTHING))
    before = shown(first)
    again = open_graph(FILMS)
    assert shown(again) == before
    assert again.version() == StoreVersion(1, "token-1")


def test_a_delta_that_starts_ahead_is_refused(store: Any) -> None:
    before = shown(store)
    with pytest.raises(StoreError, match="version 1"):
        store.apply(delta(2, 3, nodes=[node("x", "Film", "X")]))
    assert shown(store) == before
    assert store.version().version == 1


def test_an_older_delta_changes_nothing(store: Any) -> None:
    store.apply(delta(1, 3, nodes=[node("f1", "Film", "Renamed", version=3)]))
    before = shown(store)
    store.apply(delta(1, 2, nodes=[node("f1", "Film", "Old", version=2)]))
    assert shown(store) == before
    assert store.version() == StoreVersion(3, "token-3")


def test_a_delta_may_start_below_the_version_shown(store: Any) -> None:
    store.apply(delta(0, 2, **EVERYTHING, gone_nodes=[{"id": "ghost", "type": "Film"}]))
    assert by_id(scanned(store, "nodes")) == by_id(NODES)
    assert store.version() == StoreVersion(2, "token-2")


def test_an_edge_without_its_ends_is_refused_and_changes_nothing(store: Any) -> None:
    before = shown(store)
    with pytest.raises(StoreError):
        store.apply(delta(1, 2, edges=[edge("e99", "DIRECTED_BY", ALPHA, node("nobody", "Person", "N"))]))
    assert shown(store) == before
    assert store.version() == StoreVersion(1, "token-1")


def test_a_name_that_no_schema_could_have_is_refused(store: Any) -> None:
    with pytest.raises(LoreError):
        store.apply(delta(1, 2, nodes=[node("x", "Film`) DETACH DELETE n //", "X")]))
    assert by_id(scanned(store, "nodes")) == by_id(NODES)


# ---- changes


CHANGES = [
    delta(0, 1, **EVERYTHING),
    delta(
        1, 2,
        nodes=[node("f1", "Film", "Alpha II", "Alpha", version=2, release_year=2003), BOB],
        edges=[{**edge("e4", "STARS", ALPHA, BOB, version=2, role="heroine"), "support": 3}],
        gone_edges=[ends("e1", "DIRECTED_BY", ALPHA, ANN), ends("e8", "HAS_GENRE", ALPHA, GENRE)],
    ),
    delta(
        2, 3,
        nodes=[node("f9", "Film", "Iota", version=3)],
        edges=[edge("e90", "STARS", node("f9", "Film", "Iota"), CID, version=3)],
        gone_nodes=[{"id": "f3", "type": "Film"}],
        gone_edges=[ends("e3", "DIRECTED_BY", GAMMA_ENDS, BOB),
                    ends("e10", "HAS_GENRE", GAMMA_ENDS, {"id": "g2", "type": "Genre"})],
        documents=[{"id": "d2", "uri": "file:2", "title": "Two", "version": 3}],
        chunks=[chunk("d2", 0, "Iota.", version=3)],
        mentions=[{"chunk": "d2#0", "entity": "f9", "entity_type": "Film", "count": 1}],
    ),
]  # fmt: skip


def test_delta_after_delta_ends_where_one_load_does(open_graph: Opener) -> None:
    store = open_graph(FILMS)
    for change in CHANGES:
        store.apply(change)
    stepwise = shown(store)
    nodes = {row["id"]: row for change in CHANGES for row in change.nodes.to_pylist()}
    edges = {row["id"]: row for change in CHANGES for row in change.edges.to_pylist()}
    del nodes["f3"], edges["e1"], edges["e8"], edges["e3"], edges["e10"]
    everything = {
        kind: [row for change in CHANGES for row in getattr(change, kind).to_pylist()]
        for kind in ("documents", "chunks", "mentions")
    }
    store.load(Rows(3, nodes=list(nodes.values()), edges=list(edges.values()), **everything))
    assert shown(store) == stepwise
    assert store.version() == StoreVersion(3, "token-3")


def test_what_is_gone_goes_and_what_never_was_may_be_named(store: Any) -> None:
    store.apply(
        delta(
            1, 2,
            gone_nodes=[{"id": "p3", "type": "Person"}, {"id": "never", "type": "Film"}],
            gone_edges=[ends("e5", "STARS", ALPHA, CID), ends("e6", "STARS", BETA, CID),
                        ends("no", "STARS", BETA, BOB)],
        )
    )  # fmt: skip
    assert "p3" not in {row["id"] for row in scanned(store, "nodes")}
    assert {row["id"] for row in EDGES} - {row["id"] for row in scanned(store, "edges")} == {"e5", "e6"}


def test_a_node_that_goes_takes_its_mentions_along(store: Any) -> None:
    store.apply(
        delta(1, 2, gone_nodes=[{"id": "p1", "type": "Person"}],
              gone_edges=[ends("e1", "DIRECTED_BY", ALPHA, ANN), ends("e2", "DIRECTED_BY", BETA, ANN),
                          ends("e11", "KNOWS", ANN, BOB)])
    )  # fmt: skip
    assert store.query("MATCH (:Chunk)-[m:MENTIONS]->(:Entity) RETURN count(m) AS n") == [{"n": 1}]


def test_a_torn_apply_is_mended_by_the_next_delta(store: Any) -> None:
    whole = replace(CHANGES[1], token="token-2")
    torn = replace(whole, version=1, token="token-1", gone_edges=whole.gone_edges.slice(0, 1))
    store.apply(torn)
    assert store.version() == StoreVersion(1, "token-1")
    store.apply(whole)
    store.apply(CHANGES[2])
    mended = shown(store)
    store.load(Rows(0))
    for change in CHANGES:
        store.apply(change)
    assert shown(store) == mended


def test_ghosts_of_a_torn_first_apply_do_not_stay(open_graph: Opener) -> None:
    store = open_graph(FILMS)
    store.apply(replace(delta(0, 1, nodes=[ALPHA, ANN], edges=[EDGES[0]]), version=0, token=""))
    assert store.version() == StoreVersion(0, "")
    store.apply(
        delta(0, 2, nodes=[ALPHA], gone_nodes=[{"id": "p1", "type": "Person"}],
              gone_edges=[ends("e1", "DIRECTED_BY", ALPHA, ANN)])
    )  # fmt: skip
    assert scanned(store, "nodes") == [ALPHA]
    assert scanned(store, "edges") == []


def test_the_mentions_of_a_document_are_replaced(store: Any) -> None:
    store.apply(
        delta(
            1, 2,
            documents=[{"id": "d1", "uri": "file:1", "title": "One", "version": 2}],
            chunks=[chunk("d1", 0, "Alpha is", version=2)],
            mentions=[{"chunk": "d1#0", "entity": "p2", "entity_type": "Person", "count": 5}],
        )
    )  # fmt: skip
    assert store.query(MENTIONED) == [{"c": "d1#0", "e": "p2", "n": 5}]


def test_a_document_may_lose_all_its_mentions(store: Any) -> None:
    store.apply(delta(1, 2, documents=[{"id": "d1", "uri": "file:9", "title": "", "version": 2}]))
    assert store.query("MATCH (:Chunk)-[m:MENTIONS]->() RETURN count(m) AS n") == [{"n": 0}]
    assert store.query("MATCH (d:Document) RETURN d.uri AS uri, d.title AS title") == [
        {"uri": "file:9", "title": ""}
    ]


def test_gone_chunks_and_documents_go_with_their_mentions(store: Any) -> None:
    store.apply(delta(1, 2, gone_documents=[{"id": "d1"}], gone_chunks=[{"id": "d1#0"}, {"id": "d1#1"}]))
    assert store.query("MATCH (d:Document) RETURN count(d) AS n") == [{"n": 0}]
    assert store.query("MATCH (c:Chunk) RETURN count(c) AS n") == [{"n": 0}]
    assert by_id(scanned(store, "nodes")) == by_id(NODES)


def test_properties_that_vanish_vanish(store: Any) -> None:
    store.apply(
        delta(1, 2, nodes=[node("f1", "Film", "Alpha", version=2, rating=1.0)],
              edges=[edge("e4", "STARS", ALPHA, BOB, version=2)])
    )  # fmt: skip
    [row] = store.query("MATCH (f:Film {id: 'f1'})-[r:STARS]->(p:Person {id: 'p2'}) RETURN f, r")
    assert row["f"].keys() == {"id", "type", "name", "aliases", "description", "version", "rating", "_labels"}
    assert "role" not in row["r"]
    assert row["f"]["aliases"] == []


def test_two_relations_of_one_pair_are_kept_apart(store: Any) -> None:
    store.apply(
        delta(
            1, 2,
            edges=[edge("e20", "DIRECTED_BY", ALPHA, BOB), edge("e21", "STARS", ALPHA, BOB, role="cameo"),
                   edge("e22", "STARS", ALPHA, BOB, role="voice")],
        )
    )  # fmt: skip
    found = ordered(
        store, "MATCH (:Film {id: 'f1'})-[r:STARS]->(:Person {id: 'p2'}) RETURN r.id AS id, r.role AS role"
    )
    assert found == [
        {"id": "e21", "role": "cameo"},
        {"id": "e22", "role": "voice"},
        {"id": "e4", "role": "hero"},
    ]
    assert store.query("MATCH (:Film {id: 'f1'})-[r]->(:Person {id: 'p2'}) RETURN count(r) AS n") == [
        {"n": 4}
    ]
    store.apply(delta(2, 3, gone_edges=[ends("e21", "STARS", ALPHA, BOB)]))
    assert store.query("MATCH (:Film {id: 'f1'})-[r:STARS]->(:Person {id: 'p2'}) RETURN count(r) AS n") == [
        {"n": 2}
    ]


def test_a_node_may_be_linked_to_itself(store: Any) -> None:
    store.apply(delta(1, 2, edges=[edge("loop", "KNOWS", ANN, ANN)]))
    assert store.query("MATCH (a:Person {id: 'p1'})-[r:KNOWS]->(b:Person) RETURN b.id AS id ORDER BY id") == [
        {"id": "p1"},
        {"id": "p2"},
    ]


# ---- loading


def test_a_load_replaces_everything(store: Any) -> None:
    store.load(Rows(7, nodes=[ALPHA, BOB], edges=[EDGES[3]]))
    assert by_id(scanned(store, "nodes")) == [ALPHA, BOB]
    assert scanned(store, "edges") == [EDGES[3]]
    assert store.version() == StoreVersion(7, "token-7")
    for label in ("Document", "Chunk"):
        assert store.query(f"MATCH (n:{label}) RETURN count(n) AS n") == [{"n": 0}]
    store.apply(delta(7, 8, nodes=[ANN]))
    assert by_id(scanned(store, "nodes")) == by_id([ALPHA, BOB, ANN])


class _Gone(Exception):
    """What the projection dies of."""


class _Breaking(Rows):
    """A projection that ends in the middle, as that of a killed process."""

    def batches(self, kind: Any) -> Any:
        for number, batch in enumerate(super().batches(kind)):
            if kind == "edges" and number == 1:
                raise _Gone
            yield batch


def test_a_load_that_breaks_never_passes_for_a_whole_one(store: Any) -> None:
    before = shown(store)
    with pytest.raises(_Gone):
        store.load(_Breaking(2, nodes=NODES, edges=EDGES))
    found = store.version()
    assert found.version == 0 or (found == StoreVersion(1, "token-1") and shown(store) == before)
    store.load(Rows(2, **EVERYTHING))
    assert shown(store) == before


def test_a_broken_load_is_swept_by_a_first_delta(open_graph: Opener) -> None:
    store = open_graph(FILMS)
    with pytest.raises(_Gone):
        store.load(_Breaking(2, nodes=NODES, edges=EDGES))
    assert store.version() == StoreVersion(0, "")
    store.apply(delta(0, 5, nodes=[ALPHA]))
    assert scanned(store, "nodes") == [ALPHA]


def test_a_property_that_does_not_fit_its_datatype_is_not_shown(store: Any) -> None:
    odd = node(
        "f8", "Film", "Odd", version=2, release_year=["soon", 1990, 1991], rating=[True, 6], prizes=[1]
    )
    store.apply(delta(1, 2, nodes=[odd]))
    [row] = store.query("MATCH (f:Film {id: 'f8'}) RETURN f")
    assert (row["f"]["release_year"], row["f"]["rating"]) == (1990, 6.0)
    assert "prizes" not in row["f"]


def test_many_rows_go_in_and_out(open_graph: Opener) -> None:
    store = open_graph(FILMS)
    films = [node(f"f{i:05}", "Film", f"Film {i}") for i in range(6000)]
    people = [node(f"p{i:05}", "Person", f"Person {i}") for i in range(50)]
    links = [edge(f"e{i:05}", "STARS", films[i % 6000], people[i % 50]) for i in range(8000)]
    store.apply(delta(0, 1, nodes=films + people, edges=links))
    assert store.query("MATCH (:Film)-[r:STARS]->(:Person) RETURN count(r) AS n") == [{"n": 8000}]
    gone = [ends(row["id"], "STARS", films[i % 6000], people[i % 50]) for i, row in enumerate(links)]
    store.apply(
        delta(1, 2, gone_edges=gone, gone_nodes=[{"id": row["id"], "type": "Film"} for row in films[3000:]])
    )
    assert len(scanned(store, "nodes")) == 3050
    assert scanned(store, "edges") == []
