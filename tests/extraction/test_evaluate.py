from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extraction.evaluate import (
    Score,
    Triple,
    b_cubed,
    clusters,
    micro_intervals,
    score_facts,
    score_pairs,
    triples_of,
)
from kg.errors import UsageError
from kg.facts import Assertions, Entity, Fact

GOLD: list[Triple] = [("Alien", "BY", "Scott"), ("Alien", "WITH", "Weaver"), ("Alien", "WITH", "Hurt")]
FOUND: list[Triple] = [("alien", "BY", "scott"), ("Alien", "WITH", "Weaver"), ("Alien", "IN", "Space")]


def test_counts_by_predicate() -> None:
    scores = score_facts([(FOUND, GOLD), ([], [("Ran", "BY", "Kurosawa")])])
    assert scores.by_predicate == {"BY": Score(1, 0, 1), "WITH": Score(1, 0, 1), "IN": Score(0, 1, 0)}
    assert scores.micro == Score(2, 1, 2)
    assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == (2 / 3, 1 / 2, 4 / 7)
    assert (scores.macro.precision, scores.macro.recall) == (1.0, 0.5)


def test_a_right_triple_of_another_text_is_wrong() -> None:
    scores = score_facts([([GOLD[0]], []), ([], [GOLD[0]])])
    assert scores.micro == Score(0, 1, 1)


def test_names_can_be_folded_further() -> None:
    pair = ([("Alien", "BY", "R. Scott")], [("Alien", "BY", "R Scott")])
    assert score_facts([pair]).micro.f1 == 0.0
    assert score_facts([pair], normalise=lambda name: name.replace(".", "")).micro.f1 == 1.0


def test_nothing_scores_nothing() -> None:
    scores = score_facts([])
    assert (scores.micro.precision, scores.micro.f1, scores.macro.f1) == (0.0, 0.0, 0.0)


def test_triples_of_assertions() -> None:
    alien, scott = Entity.of("Film", "Alien"), Entity.of("Person", "Ridley Scott")
    facts = (
        Fact(alien.id, "BY", object=scott.id),
        Fact(alien.id, "year", literal=1979),
        Fact(alien.id, "good", literal=True),
    )
    assert triples_of(Assertions((alien, scott), (), facts)) == {
        ("Alien", "BY", "Ridley Scott"), ("Alien", "year", "1979"), ("Alien", "good", "true"),
    }  # fmt: skip


def test_intervals_hold_the_value_and_shrink_with_more_texts() -> None:
    few = [(FOUND, GOLD), ([], GOLD), (GOLD, GOLD)] * 5
    widths = []
    for pairs in (few, few * 20):
        intervals = micro_intervals(pairs, rng=np.random.default_rng(1))
        assert intervals["f1"].value == pytest.approx(score_facts(pairs).micro.f1)
        assert intervals["f1"].low < intervals["f1"].value < intervals["f1"].high
        widths.append(intervals["f1"].high - intervals["f1"].low)
    assert widths[1] < widths[0] / 3


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        right = rng.random(60) < 0.7
        pairs = [([GOLD[0] if ok else FOUND[2]], [GOLD[0]]) for ok in right]
        interval = micro_intervals(pairs, rng=rng, n_samples=300)["precision"]
        hits += interval.low <= 0.7 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_an_interval_needs_texts() -> None:
    with pytest.raises(UsageError):
        micro_intervals([], rng=np.random.default_rng(1))


def test_known_clusterings() -> None:
    gold = dict(zip("abcdefg", [1, 1, 1, 2, 2, 3, 3], strict=True))
    found = dict(zip("abcdefg", [1, 1, 2, 2, 2, 2, 3], strict=True))
    assert score_pairs(found, gold) == Score(2, 5, 3)
    scores = b_cubed(found, gold)
    assert scores.precision == pytest.approx((1 + 1 + 1 / 4 + 2 / 4 + 2 / 4 + 1 / 4 + 1) / 7)
    assert scores.recall == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1 + 1 / 2 + 1 / 2) / 7)
    assert b_cubed(gold, gold).f1 == 1.0


@settings(max_examples=100, deadline=None)
@given(labels=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_clusterings_against_their_definitions(labels: list[tuple[int, int]]) -> None:
    found = {str(n): one for n, (one, _) in enumerate(labels)}
    gold = {str(n): other for n, (_, other) in enumerate(labels)}
    said = {pair for pair in combinations(found, 2) if found[pair[0]] == found[pair[1]]}
    true = {pair for pair in combinations(gold, 2) if gold[pair[0]] == gold[pair[1]]}
    assert score_pairs(found, gold) == Score(len(said & true), len(said - true), len(true - said))
    if labels:
        each = [
            sum(found[o] == found[t] and gold[o] == gold[t] for o in found)
            / sum(found[o] == found[t] for o in found)
            for t in found
        ]
        assert b_cubed(found, gold).precision == pytest.approx(sum(each) / len(each))


def test_clusterings_of_other_things_are_refused() -> None:
    with pytest.raises(UsageError, match="'b'"):
        b_cubed({"a": 1}, {"a": 1, "b": 1})


def test_clusters_of_pairs() -> None:
    assert clusters([("b", "c"), ("c", "d")], "abcde") == {"a": "a", "b": "b", "c": "b", "d": "b", "e": "e"}
