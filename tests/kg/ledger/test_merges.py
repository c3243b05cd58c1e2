"""Merges, undoing them, and what follows them."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from kg.errors import NotFound, UsageError
from kg.facts import Assertions, Entity, Fact, Status
from kg.ledger import merges
from kg.ledger.ledger import Ledger
from kg.ledger.merges import replay
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


def _two_names(ledger: Ledger) -> None:
    ledger.put_document(*make("Alien was made by Ridley Scott.", (ALIEN, "DIRECTED_BY", SCOTT)))
    ledger.put_document(*make("Sir Ridley made Alien.", (ALIEN, "DIRECTED_BY", SIR), uri="b.txt"))


def test_a_merge_joins_edges_names_and_mentions() -> None:
    with open_ledger() as ledger:
        _two_names(ledger)
        number = ledger.merge(SIR.id, SCOTT.id, reason="same man")
        graph = shown(ledger)
        assert graph["nodes"].keys() == {ALIEN.id, SCOTT.id}
        assert graph["nodes"][SCOTT.id][:3] == ("Person", "Ridley Scott", ("Sir Ridley",))
        (edge,) = graph["edges"].values()
        assert (edge[1], edge[3], edge[8]) == (ALIEN.id, SCOTT.id, 2)
        assert {entity for _, entity in graph["mentions"]} == {ALIEN.id, SCOTT.id}
        assert ledger.canonical(SIR.id) == SCOTT.id
        (merge,) = ledger.merges()
        assert (merge.number, merge.loser, merge.winner, merge.reason, merge.undone) == (
            number, SIR.id, SCOTT.id, "same man", False,
        )  # fmt: skip
        (row,) = ledger.entities_named("sir  RIDLEY")
        assert (row.id, row.n_mentions) == (SCOTT.id, 2)
        loser = ledger.entity(SIR.id)
        assert loser is not None
        assert loser.name == "Sir Ridley"


def test_an_undo_is_exact() -> None:
    with open_ledger() as ledger:
        _two_names(ledger)
        before = shown(ledger)
        number = ledger.merge(SIR.id, SCOTT.id)
        assert shown(ledger) != before
        ledger.undo_merge(number)
        assert shown(ledger) == before
        assert ledger.merges()[0].undone
        assert ledger.check() == []


@pytest.mark.parametrize("seed", range(5))
def test_undo_is_exact_in_any_order(seed: int) -> None:
    rng = random.Random(seed)
    people = [Entity.of("Person", f"P{index}") for index in range(7)]
    with open_ledger() as ledger:
        facts = [(person, "KNOWS", rng.choice(people)) for person in people for _ in range(3)]
        ledger.put_source("c", "curated", propose(*facts, kind="curated"))
        before = shown(ledger)
        numbers = [ledger.merge(*(end.id for end in rng.sample(people, 2))) for _ in range(6)]
        numbers = list(dict.fromkeys(numbers))
        rng.shuffle(numbers)
        for number in numbers:
            ledger.undo_merge(number)
        assert shown(ledger) == before


def test_the_root_of_the_winner_stays() -> None:
    assert replay({1: (1, 2), 2: (2, 3), 3: (4, 1)}) == {1: 3, 2: 3, 3: 3, 4: 3}
    assert replay({1: (1, 2), 3: (4, 1)}) == {1: 2, 2: 2, 4: 2}
    assert replay({2: (2, 1), 1: (1, 2)}) == {1: 2, 2: 2}
    assert replay({}) == {}


def test_the_second_of_two_writers_cannot_undo_the_same_merge() -> None:
    with open_ledger() as ledger, Ledger(ledger.path) as other:
        _two_names(ledger)
        number = ledger.merge(SIR.id, SCOTT.id)
        assert not other.merges()[0].undone
        ledger.undo_merge(number)
        version = ledger.version
        with pytest.raises(UsageError, match="already undone"):
            other.undo_merge(number)
        assert other.version == version


def test_merges_that_make_no_sense_are_refused() -> None:
    with open_ledger() as ledger:
        _two_names(ledger)
        version = ledger.version
        with pytest.raises(UsageError, match="itself"):
            ledger.merge(SIR.id, SIR.id)
        with pytest.raises(NotFound, match="no entity"):
            ledger.merge(SIR.id, "none")
        with pytest.raises(NotFound, match="no merge 7"):
            ledger.undo_merge(7)
        with pytest.raises(NotFound):
            ledger.canonical("none")
        assert ledger.version == version


def test_a_standing_merge_keeps_its_number() -> None:
    with open_ledger() as ledger:
        _two_names(ledger)
        number = ledger.merge(SIR.id, SCOTT.id)
        version = ledger.version
        assert ledger.merge_many([(SIR.id, SCOTT.id)], reason="again") == [number]
        assert ledger.version == version
        ledger.undo_merge(number)
        assert ledger.merge(SIR.id, SCOTT.id) == number + 1


def test_merging_many_is_one_commit() -> None:
    people = [Entity.of("Person", f"P{index}") for index in range(4)]
    with open_ledger() as ledger:
        ledger.put_source("c", "curated", Assertions(tuple(people)))
        numbers = ledger.merge_many([(p.id, people[0].id) for p in people[1:]], reason="all one")
        assert ledger.version == 3
        assert [row.number for row in ledger.merges()] == numbers == [1, 2, 3]
        assert len(shown(ledger)["nodes"]) == 1
        with pytest.raises(NotFound):
            ledger.merge_many([(people[0].id, people[1].id), ("none", people[1].id)], reason="")
        assert len(ledger.merges()) == 3


def test_a_long_chain_is_replayed_once_for_many_merges() -> None:
    people = [Entity.of("Person", f"P{index}") for index in range(1500)]
    with open_ledger() as ledger:
        ledger.put_source("c", "curated", Assertions(tuple(people)))
        start = time.process_time()
        pairs = [(one.id, two.id) for one, two in pairwise(people)]
        ledger.merge_many(pairs, reason="")
        assert time.process_time() - start < 3.0  # replaying for each takes more than ten
        assert {ledger.canonical(person.id) for person in people} == {people[-1].id}


def test_merges_that_run_wild_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merges, "COMPONENT_LIMIT", 5)
    people = [Entity.of("Person", f"P{index}") for index in range(8)]
    with open_ledger() as ledger:
        ledger.put_source("c", "curated", Assertions(tuple(people)))
        with pytest.raises(UsageError, match="more than 5"):
            ledger.merge_many([(p.id, people[0].id) for p in people[1:]], reason="")
        assert ledger.merges() == []
        assert len(shown(ledger)["nodes"]) == 8


def test_a_merge_may_join_types() -> None:
    with open_ledger() as ledger:
        _two_names(ledger)
        ledger.merge(SIR.id, ALIEN.id)
        edges = shown(ledger)["edges"].values()
        assert [(edge[2], edge[4]) for edge in edges] == [("Film", "Person")]
        assert all(entity_type == "Film" for entity_type, _ in
                   (row for key, row in shown(ledger)["mentions"].items() if key[1] == ALIEN.id))  # fmt: skip


def test_a_loop_made_by_a_merge_is_not_shown_but_kept() -> None:
    with open_ledger() as ledger:
        ledger.put_source(
            "c", "curated", propose((SIR, "KNOWS", SCOTT), (SIR, "KNOWS", WEAVER), kind="curated")
        )
        before = shown(ledger)
        number = ledger.merge(SIR.id, SCOTT.id)
        assert [edge[3] for edge in shown(ledger)["edges"].values()] == [WEAVER.id]
        assert len(list(ledger.facts())) == ledger.statistics().facts == 1
        assert len(ledger.arrays().edge_ids) == 1
        ledger.undo_merge(number)
        assert shown(ledger) == before


def test_a_node_lives_while_any_member_is_spoken_of() -> None:
    with open_ledger() as ledger:
        _two_names(ledger)
        ledger.merge(SIR.id, SCOTT.id)
        ledger.drop_place("a.txt")
        node = shown(ledger)["nodes"][SCOTT.id]
        assert node[1:3] == ("Sir Ridley", ())
        assert ledger.entity(SCOTT.id) is None
        ledger.drop_place("b.txt")
        assert shown(ledger)["nodes"] == {}
        _two_names(ledger)
        assert shown(ledger)["nodes"][SCOTT.id][1:3] == ("Ridley Scott", ("Sir Ridley",))


def test_what_is_written_after_a_merge_lands_on_the_canonical_entity() -> None:
    with open_ledger() as ledger:
        _two_names(ledger)
        ledger.merge(SIR.id, SCOTT.id)
        ledger.put_document(*make("Dune? Not by Sir Ridley.", (DUNE, "DIRECTED_BY", SIR), uri="c"))
        assert {edge[3] for edge in shown(ledger)["edges"].values()} == {SCOTT.id}
        assert ledger.check() == []


def test_symmetric_edges_are_ordered_by_public_id_after_merges() -> None:
    low, high = sorted([SCOTT, SIR], key=lambda entity: entity.id)
    with open_ledger(symmetric={"KNOWS"}) as ledger:
        ledger.put_source("one", "curated", propose((WEAVER, "KNOWS", low), kind="curated"))
        ledger.put_source("two", "curated", propose((low, "KNOWS", WEAVER), kind="curated"))
        ledger.put_source("three", "curated", propose((high, "KNOWS", WEAVER), kind="curated"))
        for loser, winner in ((low, high), (high, low)):
            number = ledger.merge(loser.id, winner.id)
            (edge,) = shown(ledger)["edges"].values()
            assert (edge[1], edge[3]) == tuple(sorted([winner.id, WEAVER.id]))
            assert edge[8] == 3
            ledger.undo_merge(number)
        assert sorted(edge[8] for edge in shown(ledger)["edges"].values()) == [1, 2]


def test_another_set_of_symmetric_predicates_derives_edges_again() -> None:
    with open_ledger() as ledger:
        for name, ends in (("one", (SIR, SCOTT)), ("two", (SCOTT, SIR))):
            ledger.put_source(name, "curated", propose((ends[0], "KNOWS", ends[1]), kind="curated"))
        before = shown(ledger)
        assert len(before["edges"]) == 2
        version = ledger.version
        with Ledger(ledger.path, symmetric={"KNOWS"}) as other:
            assert len(shown(other)["edges"]) == 1
            assert other.version == version + 1
        with Ledger(ledger.path) as other:
            assert only_edge(other) == only_edge(ledger)
        with Ledger(ledger.path, symmetric={"KNOWS"}) as other:
            assert other.version == version + 1
        # The first handle learns it too before it writes.
        ledger.put_source("three", "curated", propose((SIR, "KNOWS", SCOTT), kind="curated"))
        assert [edge[8] for edge in shown(ledger)["edges"].values()] == [3]
        ledger.drop_source("three")
        with Ledger(ledger.path, symmetric=()) as other:
            assert shown(other) == before
            assert other.check() == []


def test_the_best_value_of_a_property_comes_first() -> None:
    with open_ledger() as ledger:
        for name, (value, confidence) in enumerate(
            [("b", 0.5), ("a", 0.5), ("c", 0.9), ("d", 0.1), ("d", 0.1)]
        ):
            fact = Fact(ALIEN.id, "note", literal=value, confidence=confidence, status=Status.CURATED)
            ledger.put_source(f"s{name}", "curated", Assertions((ALIEN,), (), (fact,)))
        assert shown(ledger)["nodes"][ALIEN.id][4] == '{"note":["d","c","a","b"]}'
