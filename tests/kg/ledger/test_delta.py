"""Deltas: what a projection that lags behind is told, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kg.errors import LedgerError, UsageError
from kg.facts import Assertions, Entity, Fact, Status
from kg.ledger import folding
from kg.ledger.ledger import Ledger
from kg.stores.store import Delta
from tests.kg.ledger.making import (
    ALIEN,
    DUNE,
    SCOTT,
    SIR,
    WEAVER,
    make,
    only_edge,
    open_ledger,
    propose,
    shown,
)
from tests.kg.ledger.mirror import Mirror

TEXT = "Alien was made by Ridley Scott."


def test_an_empty_ledger_has_version_one_and_nothing_to_show() -> None:
    with open_ledger() as ledger:
        delta = ledger.delta(0)
        assert (delta.since, delta.version, delta.token, delta.n_rows) == (0, 1, ledger.token, 0)
        assert len(ledger.token) == 32


def test_a_delta_lists_only_what_was_touched() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        ledger.put_document(*make("Dune", entities=(DUNE,), uri="b", n_chunks=2))
        delta = ledger.delta(2)
        assert delta.nodes["name"].to_pylist() == ["Dune"]
        assert delta.nodes["version"].to_pylist() == [3]
        assert (delta.edges.num_rows, delta.documents.num_rows, delta.chunks.num_rows) == (0, 1, 2)
        assert ledger.delta(3).n_rows == 0


def test_dropping_a_document_lists_all_its_chunks_as_gone_the_most_it_ever_had() -> None:
    with open_ledger() as ledger:
        document, chunks, assertions = make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), n_chunks=4)
        ledger.put_document(document, chunks, assertions)
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), n_chunks=2))
        delta = ledger.delta(2)
        assert delta.chunks["position"].to_pylist() == [0, 1]
        assert delta.gone_chunks["id"].to_pylist() == [f"{document.id}#2", f"{document.id}#3"]
        ledger.drop_document(document.id)
        delta = ledger.delta(3)
        assert delta.gone_documents["id"].to_pylist() == [document.id]
        assert delta.gone_chunks["id"].to_pylist() == [f"{document.id}#{n}" for n in range(4)]
        assert sorted(delta.gone_nodes["id"].to_pylist()) == sorted([ALIEN.id, SCOTT.id])
        (gone,) = delta.gone_edges.to_pylist()
        assert [gone[name] for name in ("predicate", "source", "source_type", "target", "target_type")] == [
            "DIRECTED_BY", ALIEN.id, "Film", SCOTT.id, "Person",
        ]  # fmt: skip


def test_what_came_and_went_between_two_versions_is_gone_too() -> None:
    """A torn apply may have shown it: "alive before minus alive now" would leave a ghost."""
    with open_ledger() as ledger:
        ledger.put_document(*make("Alien", entities=(ALIEN,)))
        mirror = Mirror()
        mirror.apply(ledger.delta(0))
        shown_at = mirror.version()
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), uri="b"))
        torn = ledger.delta(shown_at.version)
        mirror.apply(replace(torn, version=shown_at.version, token=shown_at.token))
        ledger.drop_place("b")
        assert mirror.contents() != shown(ledger)
        mirror.apply(ledger.delta(shown_at.version))
        assert mirror.contents() == shown(ledger)


def test_applying_a_delta_twice_ends_in_the_same_graph() -> None:
    with open_ledger() as ledger:
        mirror = Mirror()
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), n_chunks=3))
        mirror.apply(ledger.delta(0))
        ledger.put_document(*make(TEXT, (ALIEN, "STARS", SCOTT)))
        ledger.merge(SCOTT.id, ALIEN.id)
        delta = ledger.delta(2)
        mirror.apply(delta)
        once = mirror.contents()
        mirror.apply(replace(delta, since=2))
        assert mirror.contents() == once == shown(ledger)


def test_a_merge_touches_the_documents_that_mention_what_moved() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        ledger.put_document(*make("Sir Ridley", entities=(SIR,), uri="b"))
        ledger.put_document(*make("Dune", entities=(DUNE,), uri="c"))
        version = ledger.version
        number = ledger.merge(SIR.id, SCOTT.id)
        assert ledger.delta(version).documents["uri"].to_pylist() == ["b"]
        assert ledger.delta(version).mentions["entity"].to_pylist() == [SCOTT.id]
        version = ledger.version
        ledger.undo_merge(number)
        assert ledger.delta(version).mentions["entity"].to_pylist() == [SIR.id]


def test_at_most_twenty_documents_stand_on_an_edge() -> None:
    with open_ledger() as ledger:
        puts = [
            make(f"Alien {n} by Ridley Scott", (ALIEN, "DIRECTED_BY", SCOTT), uri=f"{n}") for n in range(25)
        ]
        for put in puts:
            ledger.put_document(*put)
        (edge,) = shown(ledger)["edges"].values()
        assert edge[8] == 25
        assert edge[9] == tuple(sorted(put[0].id for put in puts)[:20])


def test_the_graph_does_not_depend_on_the_order_of_sources() -> None:
    puts = [
        make(
            f"Alien {n} and Ridley Scott",
            (ALIEN, "DIRECTED_BY", SCOTT, {"n": str(n % 2)}, "Alien", 0.1 * n),
            (ALIEN, "note", f"n{n % 3}", {}, "Alien", 0.1 * n),
            uri=str(n),
        )
        for n in range(1, 8)
    ]
    graphs, arrays = [], []
    for order in (puts, puts[::-1], puts[3:] + puts[:3]):
        with open_ledger() as ledger:
            for put in order:
                ledger.put_document(*put)
            graphs.append(shown(ledger))
            found = ledger.arrays()
            arrays.append(
                (found.entity_ids, found.edge_ids, found.confidence.tolist(), found.support.tolist())
            )
    assert graphs[0] == graphs[1] == graphs[2]
    assert arrays[0] == arrays[1] == arrays[2]


def test_a_version_ahead_of_the_ledger_is_refused_and_a_diverged_history_is_told_by_its_token() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        copy = ledger.path.with_name("copy.db")
        ledger.backup(copy)
        ledger.drop_place("a.txt")
        ahead = (ledger.version, ledger.token)
        with Ledger(copy) as restored:
            assert restored.knows(0, "")
            assert restored.knows(restored.version, restored.token)
            assert not restored.knows(*ahead)
            with pytest.raises(LedgerError, match="rebuild"):
                restored.delta(ahead[0])
            restored.put_document(*make("Dune", entities=(DUNE,), uri="b"))
            assert restored.version == ahead[0]
            assert not restored.knows(*ahead)
            assert not restored.knows(0, "other")


def test_a_projection_shows_one_version_whatever_is_written_meanwhile() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        before = shown(ledger)
        with ledger.projection() as projection:
            version = ledger.version
            ledger.drop_place("a.txt")
            mirror = Mirror()
            mirror.load(projection)
        assert mirror.contents() == before
        assert mirror.version().version == version == ledger.version - 1


def test_nothing_is_projected_from_inside_a_batch() -> None:
    with open_ledger() as ledger, ledger.batch():
        calls: list[Callable[[], object]] = [
            lambda: ledger.delta(0), ledger.projection, ledger.arrays, ledger.checkpoint,
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(UsageError, match="batch"):
                call()


def test_delta_queries_start_from_the_version_indexes() -> None:
    """GROUP BY tempts SQLite to walk a whole table: a floor of tens of milliseconds for every delta."""
    queries = [folding.edges_sql(1), *folding.nodes_sql(1), *folding.documents_sql(1)]
    with open_ledger() as ledger:
        _grow(ledger, 50)
        with ledger._database.reading() as connection:
            for sql in queries:
                plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", {"since": 1})]
                scans = [line for line in plan if line.startswith("SCAN") and "CONSTANT" not in line]
                assert scans == [], (sql, plan)
                assert any("_version (version>?)" in line for line in plan), plan


def test_the_cost_of_a_delta_does_not_grow_with_the_ledger() -> None:
    def steps_of(n_documents: int) -> int:
        with open_ledger() as ledger:
            _grow(ledger, n_documents)
            version = ledger.version
            ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
            return _steps(ledger, lambda: ledger.delta(version))

    assert steps_of(300) < 1.5 * steps_of(20)


def test_the_cost_of_a_commit_does_not_grow_with_the_sources_of_its_facts() -> None:
    def steps_of(n_documents: int) -> int:
        with open_ledger() as ledger:
            with ledger.batch():
                for n in range(n_documents):
                    ledger.put_document(
                        *make(f"Alien {n}: Ridley Scott", (ALIEN, "DIRECTED_BY", SCOTT), uri=str(n))
                    )
            return _steps(ledger, lambda: ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT))))

    assert steps_of(300) < 1.5 * steps_of(20)


def test_arrays_hold_the_same_graph() -> None:
    with open_ledger() as ledger:
        ledger.put_document(
            *make(
                TEXT,
                (ALIEN, "DIRECTED_BY", SCOTT, {"n": "1"}, "Alien", 0.25),
                (ALIEN, "DIRECTED_BY", SCOTT),
                (ALIEN, "year", 1979),
            )
        )
        ledger.put_source("run", "run", propose((ALIEN, "STARS", WEAVER)))
        ledger.put_source("more", "curated", Assertions((DUNE,)))
        arrays = ledger.arrays()
        assert arrays.entity_ids == sorted(entity.id for entity in (ALIEN, SCOTT, WEAVER, DUNE))
        assert arrays.predicate_names == ["DIRECTED_BY", "STARS"]
        assert sorted(arrays.edge_ids) == sorted(shown(ledger)["edges"])
        assert sorted(arrays.confidence.tolist()) == [0.25, 0.5, 1.0]
        rows = list(zip(arrays.subject, arrays.predicate, arrays.object, arrays.edge_ids, strict=True))
        assert rows == sorted(rows)
        assert arrays.version == ledger.version
        weakest = next(fact.edge_id for fact in ledger.facts() if fact.confidence == 0.25)
        ledger.decide(weakest, Status.ACCEPTED)
        assert ledger.arrays([Status.ACCEPTED]).confidence.tolist() == [0.25]
        only = ledger.arrays([Status.PROPOSED])
        assert only.predicate_names == ["STARS"]
        assert [only.entity_names[i] for i in (only.subject[0], only.object[0])] == [
            "Alien",
            "Sigourney Weaver",
        ]


def test_arrays_of_an_empty_ledger_are_empty() -> None:
    with open_ledger() as ledger:
        arrays = ledger.arrays()
        assert (arrays.entity_ids, arrays.edge_ids, len(arrays.subject)) == ([], [], 0)


def test_literals_of_every_kind_are_shown_as_they_are() -> None:
    with open_ledger() as ledger:
        values = (1, 1.0, True, "1", 'é\n"', -0.5)
        facts = tuple(Fact(ALIEN.id, "note", literal=value, status=Status.CURATED) for value in values)
        ledger.put_source("file", "curated", Assertions((ALIEN,), (), facts))
        assert len(list(ledger.facts())) == 6
        assert [type(fact.literal) for fact in ledger.facts()] == [type(value) for value in values]


def _grow(ledger: Ledger, n_documents: int) -> None:
    with ledger.batch():
        for n in range(n_documents):
            film = Entity.of("Film", f"F{n}")
            ledger.put_document(
                *make(f"F{n} by Sigourney Weaver", (film, "STARS", WEAVER), (film, "year", n), uri=f"{n}")
            )


def _steps(ledger: Ledger, work: Callable[[], object]) -> int:
    """How many instructions SQLite runs for it."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection = ledger._database.connection
    connection.set_progress_handler(step, 1)
    try:
        work()
    finally:
        connection.set_progress_handler(None, 1)
    return count


def test_deltas_are_what_the_seam_says() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        delta = ledger.delta(0)
        assert isinstance(delta, Delta)
        assert delta.edges["id"].to_pylist() == [only_edge(ledger)]
        empty = ledger.delta(2)
        for name in ("nodes", "edges", "documents", "chunks", "mentions", "gone_nodes", "gone_edges"):
            assert getattr(delta, name).schema == getattr(empty, name).schema
