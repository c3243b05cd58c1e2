"""What is peculiar to the store on a Neo4j server."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from kg.errors import QueryFailed, QueryRefused, ServiceUnavailable, StoreError, StoreLocked
from kg.stores import neo4j as neo4j_store
from kg.stores.neo4j import Neo4jStore
from kg.stores.neo4j_writing import Writer
from kg.stores.store import StoreVersion
from tests.conftest import Neo4jServer
from tests.kg.stores.graphs import ALPHA, ANN, BOB, EDGES, EVERYTHING, FILMS, NODES, Rows, delta, edge, node

pytestmark = pytest.mark.neo4j


@pytest.fixture
def open_store(
    neo4j_server: Neo4jServer, wipe_neo4j: Callable[[], None]
) -> Iterator[Callable[[], Neo4jStore]]:
    """Open a store on the emptied server; several may be open at once."""
    wipe_neo4j()
    stores: list[Neo4jStore] = []

    def opener() -> Neo4jStore:
        url, user, password = neo4j_server
        stores.append(Neo4jStore(url, FILMS, user=user, password=password))
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Neo4jStore]) -> Neo4jStore:
    """A store that shows EVERYTHING at version 1."""
    opened = open_store()
    opened.apply(delta(0, 1, **EVERYTHING))
    return opened


@pytest.fixture
def administer(neo4j_server: Neo4jServer) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Run anything on the server, as its administrator."""
    from neo4j import GraphDatabase

    url, user, password = neo4j_server
    with GraphDatabase.driver(url, auth=(user, password), notifications_min_severity="OFF") as driver:
        yield lambda text, **values: driver.execute_query(text, values, database_="neo4j").records


# ---- opening


def test_a_server_that_is_not_there_is_named_with_advice() -> None:
    with pytest.raises(ServiceUnavailable, match=r"bolt://127.0.0.1:9: .*does not answer.*port 9") as caught:
        Neo4jStore("bolt://127.0.0.1:9", FILMS, user="neo4j", password="s3cret-word")
    assert "s3cret-word" not in caught.value.message


def test_a_wrong_password_is_told_from_a_dead_server(neo4j_server: Neo4jServer) -> None:
    with pytest.raises(ServiceUnavailable, match="refuses the login") as caught:
        Neo4jStore(neo4j_server.url, FILMS, user="nobody", password="s3cret-word")
    assert "s3cret-word" not in caught.value.message


def test_a_database_that_is_not_there_is_named(neo4j_server: Neo4jServer) -> None:
    url, user, password = neo4j_server
    with pytest.raises(ServiceUnavailable, match="no such database"):
        Neo4jStore(url, FILMS, user=user, password=password, database="nosuch")


def test_somebody_elses_nodes_are_not_taken_over(
    open_store: Callable[[], Neo4jStore], administer: Callable[..., Any]
) -> None:
    administer("CREATE (:Entity {id: 'theirs'})")
    with pytest.raises(StoreError, match="did not write"):
        open_store()
    assert len(administer("MATCH (n:Entity) RETURN n")) == 1


def test_nodes_of_other_labels_are_left_alone(store: Neo4jStore, administer: Callable[..., Any]) -> None:
    administer("MATCH (f:Film {id: 'f1'}) CREATE (:Bookmark {n: 1})-[:MARKS]->(f)")
    store.load(Rows(2, nodes=NODES))
    assert len(administer("MATCH (b:Bookmark) RETURN b")) == 1


def test_constraints_and_indexes_are_declared_once(
    store: Neo4jStore, open_store: Callable[[], Neo4jStore], administer: Callable[..., Any]
) -> None:
    def declared() -> set[str]:
        constraints = administer("SHOW CONSTRAINTS YIELD name, type, labelsOrTypes, properties")
        return {f"{row['type']} {row['labelsOrTypes'][0]}.{row['properties'][0]}" for row in constraints}

    wanted = {f"UNIQUENESS {label}" for label in ("Entity.id", "Document.id", "Chunk.id", "LoreMarker.key")}
    wanted |= {f"RELATIONSHIP_UNIQUENESS {name}.id" for name in FILMS.relations}
    before = declared()
    assert wanted <= before
    open_store()
    assert declared() == before
    assert administer("SHOW FULLTEXT INDEXES YIELD name WHERE name = 'lore_entity_names' RETURN name")


def test_nodes_carry_both_labels(store: Neo4jStore, administer: Callable[..., Any]) -> None:
    rows = administer("MATCH (n:Entity) RETURN DISTINCT labels(n) AS labels, n.type AS type")
    assert {(frozenset(row["labels"]), row["type"]) for row in rows} == {
        (frozenset({"Entity", type_}), type_) for type_ in ("Film", "Person", "Genre")
    }


# ---- appliers


def test_a_second_applier_waits_and_then_gives_up(
    store: Neo4jStore, administer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    administer("MATCH (m:LoreMarker) SET m.claim = 'other', m.claimed_until = timestamp() + 60000")
    monkeypatch.setattr(neo4j_store, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(StoreLocked, match="another process"):
        store.apply(delta(1, 2, nodes=[ALPHA]))
    assert store.version().version == 1


def test_the_claim_of_a_dead_applier_runs_out(store: Neo4jStore, administer: Callable[..., Any]) -> None:
    administer("MATCH (m:LoreMarker) SET m.claim = 'dead', m.claimed_until = timestamp() - 1")
    store.apply(delta(1, 2, nodes=[ALPHA]))
    assert store.version().version == 2


def test_an_applier_that_lost_its_claim_writes_no_more(
    store: Neo4jStore, administer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asleep for longer than the lease while somebody else moved on."""
    original = Writer._hold

    def sleepy(self: Writer, transaction: Any, version: int) -> None:
        administer("MATCH (m:LoreMarker) SET m.claim = 'faster', m.version = 7")
        original(self, transaction, version)

    monkeypatch.setattr(Writer, "_hold", sleepy)
    with pytest.raises(StoreLocked, match="took over"):
        store.apply(delta(1, 2, nodes=[node("late", "Film", "Late")]))
    monkeypatch.undo()
    assert store.version().version == 7
    assert store.query("MATCH (f:Film {id: 'late'}) RETURN f") == []


def test_many_appliers_at_once_end_at_the_last_version(open_store: Callable[[], Neo4jStore]) -> None:
    open_store().apply(delta(0, 1, **EVERYTHING))
    problems: list[BaseException] = []

    def follow(store: Neo4jStore, number: int) -> None:
        try:
            for _ in range(12):
                shown = store.version().version
                rows = [node("f1", "Film", f"Alpha {shown + 1}", version=shown + 1)]
                store.apply(delta(shown, shown + 1, nodes=rows, edges=[EDGES[number]]))
        except BaseException as problem:
            problems.append(problem)

    stores = [open_store() for _ in range(3)]
    threads = [threading.Thread(target=follow, args=pair) for pair in zip(stores, range(3), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A slower one may find that its delta starts at a version that others left behind, which is allowed.
    assert problems == []
    shown = stores[0].version()
    assert 12 < shown.version <= 37
    assert stores[0].query("MATCH (f:Film {id: 'f1'}) RETURN f.name AS name") == [
        {"name": f"Alpha {shown.version}"}
    ]


class _Killed(BaseException):
    """The end of the process, as far as this test goes."""


def test_an_apply_of_many_transactions_that_is_killed_is_mended(
    store: Neo4jStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = [node(f"x{i:05}", "Film", f"X {i}", version=2) for i in range(12_000)]
    links = [edge(f"y{i:05}", "STARS", films[i], ANN, version=2) for i in range(12_000)]
    change = delta(1, 2, nodes=films, edges=links)
    original = Writer._unit
    done = 0

    def killed(self: Writer, *arguments: Any) -> None:
        nonlocal done
        done += 1
        if done == 2:
            raise _Killed
        original(self, *arguments)

    monkeypatch.setattr(Writer, "_unit", killed)
    with pytest.raises(_Killed):
        store.apply(change)
    monkeypatch.undo()
    assert store.version() == StoreVersion(1, "token-1")
    assert 0 < store.query("MATCH (f:Film) RETURN count(f) AS n")[0]["n"] < 12_004
    store.apply(change)
    assert store.version() == StoreVersion(2, "token-2")
    assert store.query("MATCH (f:Film) RETURN count(f) AS n") == [{"n": 12_004}]
    assert store.query("MATCH (:Film)-[r:STARS]->(:Person) RETURN count(r) AS n") == [{"n": 12_004}]


def test_a_commit_whose_answer_was_lost_counts_as_done(
    store: Neo4jStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Writer._unit

    def twice(self: Writer, transaction: Any, works: Any, version: int, target: Any) -> None:
        original(self, transaction, works, version, target)
        if target is not None:
            original(self, transaction, works, version, target)

    monkeypatch.setattr(Writer, "_unit", twice)
    store.apply(delta(1, 2, nodes=[ALPHA]))
    assert store.version() == StoreVersion(2, "token-2")


def test_a_wiped_database_starts_over(store: Neo4jStore, wipe_neo4j: Callable[[], None]) -> None:
    wipe_neo4j()
    assert store.version() == StoreVersion(0, "")
    with pytest.raises(StoreError):
        store.apply(delta(1, 2, nodes=[ALPHA]))
    store.apply(delta(0, 2, nodes=[ALPHA]))
    assert store.version() == StoreVersion(2, "token-2")


def test_relations_outside_the_schema_are_shown_and_constrained(
    store: Neo4jStore, administer: Callable[..., Any]
) -> None:
    store.apply(delta(1, 2, edges=[edge("odd", "MENTORED_BY", ANN, BOB)]))
    assert "odd" in {row["id"] for batch in store.scan("edges") for row in batch.to_pylist()}
    assert store.schema().relationships["MENTORED_BY"] == 1
    assert administer("SHOW CONSTRAINTS YIELD name WHERE name = 'lore_edge_MENTORED_BY' RETURN name")
    administer("DROP CONSTRAINT lore_edge_MENTORED_BY")


# ---- queries

LEGITIMATE = [
    "MATCH (a:Film {id: 'f1'})((x)-[:STARS]-(y)){1,3}(b:Person) RETURN DISTINCT b.name AS name",
    "MATCH p = SHORTEST 1 (a:Person {id: 'p2'})-[:STARS]-+(b:Person {id: 'p3'}) RETURN length(p) AS n",
    "MATCH p = ALL SHORTEST (a:Person {id: 'p2'})-[:STARS]-{1,4}(b:Person {id: 'p3'}) RETURN length(p) AS n",
    "MATCH p = allShortestPaths((a:Person {id: 'p2'})-[*..4]-(b:Person {id: 'p3'})) RETURN length(p) AS n",
    "MATCH (f:Film) CALL (f) { MATCH (f)-[:STARS]->(p) RETURN count(p) AS n } RETURN f.name AS name, n",
    "MATCH (f:Film) RETURN f.name AS n, COLLECT { MATCH (f)-[:STARS]->(p) RETURN p.name } AS cast",
    "RETURN reduce(total = 0, x IN [1, 2, 3] | total + x) AS total",
    "MATCH (f:Film) RETURN f {.name, .release_year, cast: [(f)-[:STARS]->(p) | p.name]} AS film",
    "CALL db.labels() YIELD label RETURN label",
    "CALL db.index.fulltext.queryNodes('lore_entity_names', 'alpha') YIELD node, score RETURN node.name AS n",
    "MATCH (f:Film) WHERE f.release_year IS NOT NULL RETURN f.name AS n ORDER BY f.release_year, n LIMIT 2",
    "MATCH (a:Person)-[:KNOWS*0..2]-(b:Person) RETURN count(*) AS n",
    "MATCH (n:Film|Person) WHERE n.id IN ['f1', 'p1'] RETURN n.id AS id "
    "UNION MATCH (n:Genre) RETURN n.id AS id",
    "MATCH (a:Film), (b:Film) WHERE a.release_year = b.release_year AND a.id < b.id RETURN a.id AS a",
    "MATCH (a)-[r:STARS]->(b) WHERE r.id = 'e4' RETURN a.id AS a, b.id AS b",
    "CYPHER runtime=slotted MATCH (f:Film) RETURN count(f) AS n",
    "MATCH (a)-->(b)-->(c) RETURN count(*) AS n",
    "MATCH (f:Film) WITH f.release_year AS year, collect(f.id) AS ids WHERE size(ids) > 1 RETURN year, ids",
    "RETURN duration.between(date('2020-01-01'), date('2020-01-02')).days AS d",
    "MATCH (e:Entity) WHERE elementId(e) = 'nothing' RETURN e",
]


@pytest.mark.parametrize("cypher", LEGITIMATE)
def test_all_that_only_reads_runs(store: Neo4jStore, cypher: str) -> None:
    rows = store.query(cypher)
    assert rows or "nothing" in cypher


def test_times_points_and_lengths_come_as_text(store: Neo4jStore) -> None:
    [row] = store.query(
        "RETURN date('2020-02-29') AS d, datetime('2020-02-29T12:00:00Z') AS t, duration('P1DT2H') AS l, "
        "point({x: 1, y: 2}) AS p, localtime('10:00') AS c"
    )
    assert row["d"] == "2020-02-29"
    assert row["t"].startswith("2020-02-29T12:00:00")
    assert (row["l"], row["c"]) == ("P1DT2H", "10:00:00.000000000")
    assert row["p"] == [1.0, 2.0]


@pytest.mark.parametrize(
    "cypher",
    [
        "RETURN " + " XOR ".join(["true"] * 60) + " AS x",
        "RETURN " + "NOT " * 200 + "true AS x",
        "RETURN " + "+".join(["1"] * 2_000) + " AS x",
        "MATCH (n) WHERE " + "EXISTS { MATCH (n) WHERE " * 30 + "true" + "}" * 30 + " RETURN n",
    ],
)
def test_what_would_hold_up_the_planner_is_not_even_sent(store: Neo4jStore, cypher: str) -> None:
    start = time.monotonic()
    with pytest.raises(QueryRefused):
        store.query(cypher)
    assert time.monotonic() - start < 1


def test_a_result_too_large_for_the_server_fails_and_the_server_lives_on(store: Neo4jStore) -> None:
    with pytest.raises(QueryFailed):
        store.query("UNWIND range(1, 100000000) AS x RETURN size(collect(toString(x))) AS n", timeout=10)
    assert store.query("RETURN 1 AS x") == [{"x": 1}]


def test_an_idle_store_outlives_its_connections(store: Neo4jStore, administer: Callable[..., Any]) -> None:
    for row in administer("CALL dbms.listConnections() YIELD connectionId, userAgent"):
        if row["userAgent"] == "loregraph":
            administer("CALL dbms.killConnection($id)", id=row["connectionId"])
    assert store.query("RETURN 1 AS x") == [{"x": 1}]


def test_a_query_survives_a_connection_that_ends_under_it(neo4j_server: Neo4jServer) -> None:
    url, user, password = neo4j_server
    with _Proxy(url) as proxy, Neo4jStore(proxy.url, FILMS, user=user, password=password) as store:
        assert store.query("RETURN 1 AS x") == [{"x": 1}]
        proxy.resets_left = 1
        assert store.query("RETURN 2 AS x") == [{"x": 2}]
        assert proxy.resets_left == 0
        proxy.resets_left = 1000
        with pytest.raises(ServiceUnavailable, match="does not answer"):
            store.query("RETURN 3 AS x")


class _Proxy:
    """Passes bytes on to a server; while ``resets_left``, resets the connection that next sends any."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"bolt://127.0.0.1:{self._listener.getsockname()[1]}"
        self.resets_left = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> _Proxy:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(self._server)
                threading.Thread(target=self._answer, args=(theirs, ours), daemon=True).start()
                threading.Thread(target=self._ask, args=(ours, theirs), daemon=True).start()

    @staticmethod
    def _answer(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while data := client.recv(65536):
                if self.resets_left:
                    self.resets_left -= 1
                    # Lingering for no time makes the close a reset.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    server.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
