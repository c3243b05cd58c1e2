from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kg.errors import QueryFailed, QueryTimeout, StoreError, StoreLocked
from kg.schema import Schema, parse_schema
from kg.stores.store import GraphSchema, StoreVersion
from tests.kg.ledger.fuzz import run_fuzz
from tests.kg.ledger.mirror import Contents, row_of
from tests.kg.ledger.world import SCHEMA as FUZZ_SCHEMA
from tests.kg.stores import embedded_writer
from tests.kg.stores.graphs import (
    ALPHA,
    ANN,
    BETA,
    BOB,
    CHUNKS,
    DOCUMENTS,
    EDGES,
    EVERYTHING,
    FILMS,
    MENTIONS,
    NODES,
    Rows,
    chunk,
    delta,
    edge,
    ends,
    node,
)

pytest.importorskip("ladybug")

from kg.stores import embedded, embedded_loading
from kg.stores.embedded import EmbeddedStore
from kg.stores.embedded_reading import Statement

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path / "graph", FILMS) as opened:
        opened.apply(delta(0, 1, **EVERYTHING))
        yield opened


def names(store: EmbeddedStore, cypher: str, **parameters: Any) -> list[Any]:
    """The first column."""
    return [next(iter(row.values())) for row in store.query(cypher, parameters)]


def scanned(store: EmbeddedStore) -> tuple[dict[str, Any], dict[str, Any]]:
    nodes = {row["id"]: row for batch in store.scan("nodes") for row in batch.to_pylist()}
    edges = {row["id"]: row for batch in store.scan("edges") for row in batch.to_pylist()}
    return nodes, edges


# ---- writing


def test_a_new_store_is_empty_and_knows_its_schema(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "graph", FILMS) as store:
        assert store.version() == StoreVersion(0, "")
        assert store.query("MATCH (n) RETURN n") == []
        assert store.query("MATCH (f:Film)-[:STARS]->(p:Person) RETURN f.rating, p.birth_year") == []


@pytest.mark.parametrize("loaded", [False, True])
def test_what_is_written_is_shown(tmp_path: Path, loaded: bool) -> None:
    with EmbeddedStore(tmp_path / "graph", FILMS) as store:
        if loaded:
            store.load(Rows(1, **EVERYTHING))
        else:
            store.apply(delta(0, 1, **EVERYTHING))
        nodes, edges = scanned(store)
        assert nodes == {row["id"]: row for row in NODES}
        assert edges == {row["id"]: row for row in EDGES}
        assert store.version() == StoreVersion(1, "token-1")
        rows = store.query("MATCH (c:Chunk)-[m:MENTIONS]->(e) RETURN c.id AS c, e.name AS e, m.count AS n")
        assert sorted(map(str, rows)) == [
            "{'c': 'd1#0', 'e': 'Alpha', 'n': 2}",
            "{'c': 'd1#1', 'e': 'Ann', 'n': 1}",
        ]
        assert names(store, "MATCH (c:Chunk)-[:PART_OF]->(d:Document) RETURN d.uri") == ["file:1", "file:1"]


def test_applying_again_changes_nothing(store: EmbeddedStore) -> None:
    before = scanned(store)
    store.apply(delta(0, 1, **EVERYTHING))
    assert scanned(store) == before
    assert names(store, "MATCH (:Chunk)-[m:MENTIONS]->() RETURN count(m)") == [2]


def test_a_delta_replaces_and_removes(store: EmbeddedStore) -> None:
    renamed = node("f1", "Film", "Alpha II", version=2)
    store.apply(
        delta(
            1,
            2,
            nodes=[renamed],
            edges=[edge("e1", "DIRECTED_BY", ALPHA, ANN, version=2)],
            gone_edges=[
                ends("e4", "STARS", ALPHA, BOB),
                ends("e7", "STARS", BETA, BOB),
                ends("e11", "KNOWS", ANN, BOB),
                ends("e3", "DIRECTED_BY", node("f3", "Film", ""), BOB),
                ends("e99", "KNOWS", BOB, ANN),
            ],
            gone_nodes=[{"id": "p2", "type": "Person"}, {"id": "nobody", "type": "Person"}],
        )
    )
    assert store.query("MATCH (f:Film {id: 'f1'}) RETURN f") == [
        {"f": {"id": "f1", "name": "Alpha II", "type": "Film", "aliases": [], "description": "",
               "version": 2, "_labels": ["Entity", "Film"]}}
    ]  # fmt: skip
    assert names(store, "MATCH (p:Person) RETURN p.name ORDER BY p.name") == ["Ann", "Cid", "Dée"]
    assert names(store, "MATCH (:Film)-[r:STARS]->() RETURN r.id ORDER BY r.id") == ["e5", "e6"]
    assert names(store, "MATCH (:Film)-[r:DIRECTED_BY]->() RETURN r.version ORDER BY r.id") == [2, 1]


def test_a_document_listed_again_has_just_the_mentions_listed(store: EmbeddedStore) -> None:
    store.apply(
        delta(
            1,
            2,
            documents=[{**DOCUMENTS[0], "title": "Uno", "version": 2}],
            chunks=[chunk("d1", 0, "Alpha was", version=2)],
            gone_chunks=[{"id": "d1#1"}, {"id": "d9#0"}],
            mentions=[{"chunk": "d1#0", "entity": "p1", "entity_type": "Person", "count": 5}],
        )
    )
    rows = store.query(
        "MATCH (d:Document)<-[:PART_OF]-(c)-[m:MENTIONS]->(e) RETURN d.title, c.text, e.id, m.count"
    )
    assert rows == [{"d.title": "Uno", "c.text": "Alpha was", "e.id": "p1", "m.count": 5}]
    store.apply(delta(2, 3, gone_documents=[{"id": "d1"}], gone_chunks=[{"id": "d1#0"}]))
    assert store.query("MATCH (n:Document|Chunk) RETURN n") == []


def test_types_and_relations_outside_the_schema_are_made(store: EmbeddedStore) -> None:
    city = node("c1", "City", "Rome", version=2)
    store.apply(
        delta(
            1,
            2,
            nodes=[city],
            edges=[edge("x1", "SET_IN", ALPHA, city), edge("x2", "KNOWS", ALPHA, city)],
            mentions=[{"chunk": "d1#0", "entity": "c1", "entity_type": "City", "count": 1}],
            documents=DOCUMENTS,
            gone_edges=[ends("x3", "BURIED_IN", ANN, city)],
        )
    )
    assert (
        names(store, "MATCH (:Film)-[:SET_IN|KNOWS]->(c:City)<-[:MENTIONS]-(:Chunk) RETURN c.name")
        == ["Rome"] * 2
    )
    assert store.schema().labels["City"] == 1
    with pytest.raises(StoreError, match="cannot be a label"):
        store.apply(delta(2, 3, nodes=[node("b", "Bad`Name", "x")]))


def test_a_missing_endpoint_leaves_the_store_as_it_was(store: EmbeddedStore) -> None:
    before = scanned(store)
    nobody = node("p9", "Person", "Nobody")
    with pytest.raises(StoreError, match="could be written"):
        store.apply(delta(1, 2, nodes=[node("f9", "Film", "New")], edges=[edge("x", "STARS", ALPHA, nobody)]))
    assert scanned(store) == before
    assert store.version() == StoreVersion(1, "token-1")
    store.apply(delta(1, 2, nodes=[node("f9", "Film", "New")]))
    assert store.version().version == 2


def test_a_gap_is_refused_and_the_past_is_passed_over(store: EmbeddedStore) -> None:
    with pytest.raises(StoreError, match="starts at 2"):
        store.apply(delta(2, 3))
    store.apply(delta(1, 5))
    store.apply(delta(1, 4, gone_nodes=[{"id": "f1", "type": "Film"}]))
    assert store.version() == StoreVersion(5, "token-5")
    assert names(store, "MATCH (f:Film {id: 'f1'}) RETURN f.name") == ["Alpha"]


def test_a_load_that_fails_leaves_the_old_graph(store: EmbeddedStore) -> None:
    nobody = node("p9", "Person", "Nobody")
    with pytest.raises(StoreError, match="written"):
        store.load(Rows(7, nodes=NODES, edges=[edge("x", "STARS", ALPHA, nobody)]))
    assert store.version().version == 1
    assert names(store, "MATCH (f:Film) RETURN count(f)") == [4]
    assert len(list(store._folder.path.glob("graph-*.lbug"))) == 1


def test_a_large_load_waits_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_loading, "ROWS_IN_MEMORY", 3)
    with EmbeddedStore(tmp_path / "it's [a] *", FILMS) as store:
        store.load(Rows(1, **EVERYTHING))
        nodes, edges = scanned(store)
        assert (len(nodes), len(edges)) == (len(NODES), len(EDGES))
        assert names(store, "MATCH (:Chunk)-[m:MENTIONS]->() RETURN count(m)") == [len(MENTIONS)]
        assert names(store, "MATCH (:Chunk)-[m:PART_OF]->() RETURN count(m)") == [len(CHUNKS)]
        assert not store._folder.spill.exists()


def test_readers_keep_the_old_graph_during_a_load(store: EmbeddedStore) -> None:
    stream = store.scan("nodes", batch_rows=1)
    next(stream)
    store.load(Rows(2, nodes=[ANN]))
    assert names(store, "MATCH (n:Entity) RETURN n.name") == ["Ann"]
    assert sum(batch.num_rows for batch in stream) == len(NODES) - 1


def test_threads_read_while_one_writes(store: EmbeddedStore) -> None:
    wrong: list[Any] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            rows = store.query("MATCH (f:Film) RETURN min(f.version) AS low, max(f.version) AS high")
            if rows[0]["low"] != rows[0]["high"]:
                wrong.append(rows)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(2, 12):
        films = [node(f"f{i}", "Film", f"F{i}", version=version) for i in (1, 2, 3, 4)]
        if version == 6:
            store.load(Rows(version, nodes=films))
        else:
            store.apply(delta(version - 1, version, nodes=films))
    stop.set()
    for thread in threads:
        thread.join()
    # Before version 2 all films had version 1, so a mixture is a torn read.
    assert not wrong


# ---- opening


def test_reopened_it_is_the_same(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path, FILMS) as store:
        store.apply(delta(0, 1, **EVERYTHING))
        before = scanned(store)
    with EmbeddedStore(tmp_path, FILMS) as store:
        assert scanned(store) == before
        store.load(Rows(2, nodes=NODES))
    with EmbeddedStore(tmp_path, FILMS) as store:
        assert store.version() == StoreVersion(2, "token-2")


def test_a_schema_may_grow(tmp_path: Path) -> None:
    small = parse_schema('[entity.Film]\n[relation.SEQUEL_OF]\ndomain=["Film"]\nrange=["Film"]')
    with EmbeddedStore(tmp_path, small) as store:
        store.apply(delta(0, 1, nodes=[ALPHA, BETA], edges=[edge("s", "SEQUEL_OF", BETA, ALPHA)]))
        assert store.query("MATCH (f:Film) RETURN keys(f) AS k LIMIT 1")[0]["k"] == [
            "aliases", "description", "id", "name", "type", "version"
        ]  # fmt: skip
    with EmbeddedStore(tmp_path, FILMS) as store:
        assert names(store, "MATCH (f:Film)-[:SEQUEL_OF]->() RETURN f.rating") == [None]
        store.apply(delta(1, 2, nodes=[ALPHA]))
        assert names(store, "MATCH (f:Film {id: 'f1'}) RETURN f.rating") == [7.5]


def test_a_changed_datatype_asks_for_a_rebuild(tmp_path: Path) -> None:
    EmbeddedStore(tmp_path, FILMS).close()
    year = replace(FILMS.properties["release_year"], datatype="string")
    changed = replace(FILMS, properties={**FILMS.properties, "release_year": year})
    with pytest.raises(StoreError, match="lore store rebuild"):
        EmbeddedStore(tmp_path, changed)
    with EmbeddedStore(tmp_path, changed, fresh=True) as store:
        assert store.version().version == 0


def test_names_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    schema = parse_schema('[entity.Award]\n[relation.AWARD]\ndomain=["Award"]\nrange=["Award"]')
    with pytest.raises(StoreError, match="case only"):
        EmbeddedStore(tmp_path, schema)


def test_two_owners_in_one_process_are_refused(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path, FILMS), pytest.raises(StoreLocked, match="this process"):
        EmbeddedStore(tmp_path / ".." / tmp_path.name, FILMS)
    EmbeddedStore(tmp_path, FILMS).close()


def test_another_process_is_named(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from kg.schema import Schema; "
        "from kg.stores.embedded import EmbeddedStore; from tests.kg.stores.graphs import FILMS; "
        "s = EmbeddedStore(Path(sys.argv[1]), FILMS); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StoreLocked, match=f"process {other.pid}"):
            EmbeddedStore(tmp_path, FILMS)
        other.kill()
    EmbeddedStore(tmp_path, FILMS).close()


@pytest.mark.parametrize("damage", ["no database", "old engine", "cut off", "no pointer"])
def test_a_damaged_file_asks_for_a_rebuild(tmp_path: Path, damage: str) -> None:
    with EmbeddedStore(tmp_path, FILMS) as store:
        store.load(Rows(1, **EVERYTHING))
        path = store._folder.current()
    data = path.read_bytes()
    changed = {
        "no database": b"x" * 5000,
        "old engine": data[:4] + (40).to_bytes(8, "little") + data[12:],
        "cut off": data[: len(data) // 3],
        "no pointer": data,
    }[damage]
    path.write_bytes(changed)
    if damage == "no pointer":
        (tmp_path / "current").write_text("../elsewhere")
    with pytest.raises(StoreError, match="lore store rebuild"):
        EmbeddedStore(tmp_path, FILMS)
    with EmbeddedStore(tmp_path, FILMS, fresh=True) as store:
        store.load(Rows(1, **EVERYTHING))
        assert names(store, "MATCH (f:Film) RETURN count(f)") == [4]


def test_rubbish_of_a_killed_load_is_removed(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path, FILMS) as store:
        store.load(Rows(1, nodes=NODES))
        kept = store._folder.current()
    for name in ("graph-1.lbug", "graph-9.lbug", "graph-9.lbug.wal"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "loading").mkdir()
    with EmbeddedStore(tmp_path, FILMS) as store:
        assert names(store, "MATCH (f:Film) RETURN count(f)") == [4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", kept.name, "lock"]


def test_closed_it_says_so(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, FILMS)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.query("RETURN 1")


# ---- reading


def test_find_ranks_exact_names_and_aliases_first(store: EmbeddedStore) -> None:
    best, *others = store.find("alpha")
    assert (best.id, best.score) == ("f1", 1.0)
    assert all(hit.score < 1 for hit in others)
    assert store.find("ALFA", type="Film")[0].score == 1.0
    assert store.find("Robert B", k=1)[0].id == "p2"
    assert store.find("Alpga", k=1)[0].id == "f1"
    assert store.find("alpha", type="Person") == []
    assert store.find("") == store.find("zzzzzz") == store.find("alpha", k=0) == []
    assert store.find("a'b\n\\ $x `", k=1) == []


def test_schema_counts_and_names_properties(store: EmbeddedStore) -> None:
    found = store.schema()
    assert isinstance(found, GraphSchema)
    assert found.labels == {"Film": 4, "Person": 4, "Genre": 2, "Document": 1, "Chunk": 2}
    assert found.relationships == {
        "DIRECTED_BY": 3, "STARS": 4, "HAS_GENRE": 3, "KNOWS": 1, "MENTIONS": 2, "PART_OF": 2
    }  # fmt: skip
    assert found.properties["Film"]["release_year"] == "integer"
    assert found.properties["Film"]["prizes"] == "list of string"
    assert "birth_year" not in found.properties["Film"]
    assert found.properties["STARS"]["role"] == "string"


def test_limits_on_rows_bytes_and_time(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(store.query("MATCH (n) RETURN n.id", limit=3)) == 3
    assert len(store.query("MATCH (n) RETURN n.id LIMIT 5", limit=3)) == 3
    assert len(store.query("UNWIND range(1, 9) AS x RETURN x UNION ALL RETURN 1 AS x", limit=4)) == 4
    with pytest.raises(QueryTimeout, match=r"0\.2 seconds"):
        store.query(
            "UNWIND range(1, 20000) AS x UNWIND range(1, 20000) AS y WITH x, y WHERE x * y % 7 = 3 "
            "RETURN count(*)",
            timeout=0.2,
        )
    monkeypatch.setattr("kg.stores.embedded_reading.MAX_RESULT_BYTES", 1000)
    with pytest.raises(QueryFailed, match="larger than"):
        store.query("MATCH (n) RETURN n")


# ---- strangers


def test_untrusted_queries_give_the_same_rows(store: EmbeddedStore) -> None:
    cypher = "MATCH (f:Film {name: $name})-[r:STARS]->(p) RETURN f, r, p.name ORDER BY p.name"
    assert store.query_untrusted(cypher, {"name": "Alpha"}) == store.query(cypher, {"name": "Alpha"})
    store.apply(delta(1, 2, nodes=[node("f9", "Film", "New")]))
    assert store.query_untrusted("MATCH (f:Film) RETURN count(f) AS n") == [{"n": 5}]
    store.load(Rows(3, nodes=[ANN]))
    assert store.query_untrusted("MATCH (n) RETURN n.name AS n") == [{"n": "Ann"}]
    with pytest.raises(QueryFailed, match="rejects"):
        store.query_untrusted("RETURN 1 + [2] AS x")


def test_what_gets_past_the_gate_costs_one_answer(store: EmbeddedStore, tmp_path: Path) -> None:
    def attack(text: str) -> None:
        with pytest.raises(QueryFailed):
            store._sandbox.run(Statement(text, {}), limit=10, timeout=0.5)
        assert store.query_untrusted("MATCH (f:Film) RETURN count(f) AS n") == [{"n": 4}]

    stolen = tmp_path / "stolen.csv"
    attack("RETURN " + "(" * 5000 + "1" + ")" * 5000)
    attack("RETURN size(repeat('a', 2000000000))")
    attack("UNWIND range(1, 1000000000) AS x RETURN count(x)")
    attack(f"COPY (MATCH (n:Film) RETURN n.name) TO '{stolen}'")
    attack("CHECKPOINT")
    attack("CREATE (:Film {id: 'x'})")
    assert not stolen.exists() or stolen.stat().st_size == 0
    assert names(store, "MATCH (f:Film) RETURN count(f)") == [4]


def test_a_dead_child_is_replaced(store: EmbeddedStore) -> None:
    assert store.query_untrusted("RETURN 1 AS x") == [{"x": 1}]
    for child in store._sandbox._idle:
        if child._process is not None:
            os.kill(child._process.pid, signal.SIGKILL)
            child._process.wait()
    assert store.query_untrusted("RETURN 2 AS x") == [{"x": 2}]


def test_the_child_sees_nothing_of_the_environment(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush")
    assert store.query_untrusted("RETURN 1 AS x") == [{"x": 1}]
    (child,) = [found for found in store._sandbox._idle if found._process is not None]
    assert child._process is not None
    environment = Path(f"/proc/{child._process.pid}/environ")
    if environment.exists():
        assert b"hush" not in environment.read_bytes()


# ---- histories and kills


def _contents(store: EmbeddedStore) -> Contents:
    found: Contents = {
        kind: dict(row_of(kind, row) for batch in store.scan(kind) for row in batch.to_pylist())  # type: ignore[arg-type]
        for kind in ("nodes", "edges")
    }
    queries = {
        "documents": "MATCH (d:Document) RETURN d.id AS id, d.uri AS uri, d.title AS title",
        "chunks": "MATCH (c:Chunk)-[:PART_OF]->(d:Document) RETURN c.id AS id, d.id AS document, "
        "c.position AS position, c.start AS start, c.end AS end, c.text AS text",
        "mentions": "MATCH (c:Chunk)-[m:MENTIONS]->(e:Entity) RETURN c.id AS chunk, e.id AS entity, "
        "e.type AS entity_type, m.count AS count",
    }
    for kind, cypher in queries.items():
        found[kind] = dict(row_of(kind, row) for row in store.query(cypher, limit=100_000))
    return found


def _fuzz(path: Path, seed: int, n_operations: int, schema: Schema = FUZZ_SCHEMA) -> int:
    with EmbeddedStore(path, schema) as store:
        return run_fuzz(seed, n_operations, store, read=_contents, tear="staged").compared


def test_a_random_history_is_followed(tmp_path: Path) -> None:
    assert _fuzz(tmp_path, 1, 25) > 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 16))
def test_long_random_histories_are_followed(tmp_path: Path, seed: int) -> None:
    assert _fuzz(tmp_path, seed, 150) > 20


def _kill_rounds(path: Path, n_rounds: int, seed: int) -> int:
    """Kill a writer at random moments; what it was promised must be there, and nothing half-done."""
    rng = random.Random(seed)
    promised = 0
    for _ in range(n_rounds):
        program = "from tests.kg.stores.embedded_writer import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(rng.randrange(1000))],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as writer:  # fmt: skip
            assert writer.stdout is not None
            assert writer.stderr is not None
            first = writer.stdout.readline()
            time.sleep(rng.random() * 0.3)
            writer.kill()
            printed = (first + writer.stdout.read()).split(b"\n")[:-1]
            assert writer.stderr.read() == b""
        promised = max(promised, *(int(line) for line in printed))
        with EmbeddedStore(path, FILMS) as store:
            version = store.version().version
            assert version >= promised
            wanted = embedded_writer.content(version)
            nodes, edges = scanned(store)
            assert nodes == {row["id"]: row for row in wanted["nodes"]}
            assert edges == {row["id"]: row for row in wanted["edges"]}
    return promised


def test_a_killed_writer_leaves_a_whole_version(tmp_path: Path) -> None:
    assert _kill_rounds(tmp_path, 2, 1) > 1


@pytest.mark.slow
def test_a_writer_killed_often_leaves_whole_versions(tmp_path: Path) -> None:
    assert _kill_rounds(tmp_path, 20, 2) > 40


@pytest.mark.slow
def test_a_full_pool_is_emptied_by_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "APPLIES_PER_CHECKPOINT", 1000)
    monkeypatch.setenv("LORE_BUFFER_POOL_MB", "48")
    with EmbeddedStore(tmp_path, FILMS) as store:
        for version in range(1, 60):
            store.apply(delta(version - 1, version, nodes=NODES, edges=EDGES))
        assert names(store, "MATCH ()-[r]->() RETURN count(r)") == [len(EDGES)]
