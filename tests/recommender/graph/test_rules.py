from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from scipy import sparse

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.graph.item_paths import ItemPaths
from recommender.graph.joint import JointGraph
from recommender.graph.rules import (
    RuleWalks,
    chi_square,
    connecting_rules,
    had_together,
    pair_features,
    spell_rule,
    user_features,
    with_unrelated,
)
from recommender.models.rulerec import association_loss
from tests.recommender.models.test_contract import tiny
from tests.recommender.planting import SEEDS
from tests.worlds import PlainGraph


def joint(triples: list[tuple[int, int, int]], n_items: int, n_entities: int, n_relations: int) -> JointGraph:
    """A graph whose first entities are the items."""
    items = [f"i{n:03d}" for n in range(n_items)]
    train = Interactions.of(["u", "u"], items[:2], catalogue=items)
    nothing = train.select(np.zeros(2, dtype=bool))
    names = [f"e{n:03d}" for n in range(n_entities)]
    plain = PlainGraph(names, [f"r{n}" for n in range(n_relations)], np.asarray(triples))
    return JointGraph.build(Split(train, nothing, nothing), plain, dict(zip(items, names, strict=False)))


TRIPLES = [(0, 0, 3), (0, 0, 4), (1, 0, 3), (2, 0, 4), (3, 1, 5), (1, 1, 2)]


def test_walk_probabilities_are_those_counted_by_hand() -> None:
    walks = RuleWalks(joint(TRIPLES, 3, 6, 2))
    there_and_back = walks.endpoints((0, 2)).toarray()
    assert there_and_back[0, :3] == pytest.approx([0.5, 0.25, 0.25])
    assert there_and_back[1, :3] == pytest.approx([0.5, 0.5, 0])
    assert walks.between_items((0, 2)).toarray() == pytest.approx(
        np.asarray([[0, 0.25, 0.25], [0.5, 0, 0], [0.5, 0, 0]])
    )
    assert walks.between_items((1,)).toarray().tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_ends_sum_to_one_unless_a_walk_comes_to_a_dead_end() -> None:
    walks = RuleWalks(joint(TRIPLES, 3, 6, 2))
    assert walks.endpoints((0, 2)).sum(axis=1) == pytest.approx([1, 1, 1])
    assert walks.endpoints((0, 1)).sum(axis=1) == pytest.approx([0.5, 1, 0])  # entity 4 leads nowhere by 1
    _, graph, _ = tiny()
    walks = RuleWalks(graph)
    for rule in itertools.product(range(6), repeat=2):
        sums = walks.endpoints(rule).sum(axis=1)
        assert (sums <= 1 + 1e-9).all()
        out = {r: np.bincount(graph.head[graph.relation == r], minlength=graph.n_nodes) for r in rule}
        for item in range(graph.n_items):
            node = graph.n_users + item
            edges = slice(graph.indptr[node], graph.indptr[node + 1])
            middles = graph.tail[edges][graph.relation[edges] == rule[0]]
            if len(middles) and (out[rule[1]][middles] > 0).all():
                assert sums[item] == pytest.approx(1)


def test_unlikely_walks_are_dropped_and_rows_stay_small() -> None:
    _, graph, _ = tiny()
    whole, few = RuleWalks(graph), RuleWalks(graph, least=0.2)
    for rule in ((0, 3), (1, 4), (0, 3, 0)):
        kept = few.endpoints(rule)
        assert np.diff(kept.indptr).max() <= 5
        assert (kept.toarray() <= whole.endpoints(rule).toarray() + 1e-12).all()


@pytest.mark.parametrize("rule", [(), (4,), (0, -1)])
def test_what_is_no_rule_is_refused(rule: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="no rule"):
        RuleWalks(joint(TRIPLES, 3, 6, 2)).endpoints(rule)


def test_items_go_with_those_that_the_same_users_had() -> None:
    rows = [("a", "w"), ("a", "x"), ("b", "w"), ("b", "x"), ("c", "w"), ("c", "y"), ("d", "w"), ("d", "y")]
    train = Interactions.of(*zip(*[*rows, ("e", "y"), ("e", "z")], strict=True))
    assert had_together(train, 5).tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]]  # y and z: one user only
    assert had_together(train, 1).tolist() == [[0, 1], [1, 0], [2, 0]]  # x goes with w more than y does


def test_unrelated_pairs_are_none_of_the_given() -> None:
    pairs = np.asarray([[0, 1], [0, 2], [3, 0]])
    every, labels = with_unrelated(np.tile(pairs, (50, 1)), np.arange(4), 4, np.random.default_rng(0))
    drawn = every[labels == 0]
    assert {tuple(pair) for pair in drawn.tolist()} == {(0, 3), (3, 1), (3, 2)}
    assert (labels == 1).sum() == 150


def test_chi_square_equals_the_table() -> None:
    features = np.asarray([[2, 0, 1], [1, 0, 1], [0, 0, 1], [1, 0, 1]], dtype=np.float32)
    labels = np.asarray([1, 1, 0, 0], dtype=np.float32)
    # Sums 3 and 1 where 2 and 2 are expected: 1/2 + 1/2.
    assert chi_square(features, labels) == pytest.approx([1.0, 0.0, 0.0])
    assert chi_square(features, np.ones(4, np.float32)).tolist() == [0, 0, 0]


def test_features_of_a_user_are_sums_and_leave_the_item_itself_out() -> None:
    _, graph, _ = tiny()
    walks = RuleWalks(graph)
    matrices = [walks.between_items(rule) for rule in ((0, 3), (1, 4))]
    rng = np.random.default_rng(0)
    had = (rng.random((7, 20)) < 0.3).astype(np.float32)
    users, items = np.repeat(np.arange(7), 20), np.tile(np.arange(20), 7)
    found = user_features(sparse.csr_array(had), matrices, users, items)
    for number, matrix in enumerate(matrices):
        assert found[:, number].reshape(7, 20) == pytest.approx(had @ matrix.toarray(), abs=1e-6)
        assert pair_features(matrices, users, items)[:, number] == pytest.approx(
            matrix.toarray()[users, items]
        )
    for item in range(20):  # leakage: whether an item is in the history says nothing about itself
        with_it, without = had.copy(), had.copy()
        with_it[:, item], without[:, item] = 1, 0
        same = (np.arange(7), np.full(7, item))
        one, other = (user_features(sparse.csr_array(h), matrices, *same) for h in (with_it, without))
        assert np.array_equal(one, other)


def test_rules_are_those_that_connect_the_pairs() -> None:
    graph = joint(TRIPLES, 3, 6, 2)
    paths = ItemPaths.of(graph)
    assert connecting_rules(paths, np.asarray([[0, 1], [0, 2], [1, 0]]), 10)[0] == (0, 2)
    assert connecting_rules(paths, np.asarray([[1, 2]]), 10) == [(1,)]
    assert connecting_rules(paths, np.zeros((0, 2), dtype=np.int64), 10) == []


def test_rules_are_spelled_with_their_direction() -> None:
    assert spell_rule((0, 3), ["DIRECTED_BY", "HAS"]) == "-DIRECTED_BY-> <-HAS-"


@cache
def recovered(seed: int, noise: float, *, shuffled: bool = False) -> tuple[int, float, int]:
    """The planted rule's rank by chi-square among 36, its lead over the next, its rank by learned weight."""
    rng = np.random.default_rng(seed)
    n_items = 400
    head = np.repeat(np.arange(n_items), 12)
    relation = np.tile(np.repeat(np.arange(6), 2), n_items)
    triples = np.stack([head, relation, rng.integers(0, n_items, len(head))], axis=1)
    rules = list(itertools.product(range(6), repeat=2))
    planted = rules.index((2, 4))
    walks = RuleWalks(joint(np.unique(triples, axis=0).tolist(), n_items, n_items, 6))
    matrices = [walks.between_items(rule) for rule in rules]
    pairs = np.stack(matrices[planted].nonzero(), axis=1)
    random = rng.random(len(pairs)) < noise
    pairs[random, 1] = rng.integers(0, n_items, int(random.sum()))
    if shuffled:
        pairs[:, 1] = rng.permutation(pairs[:, 1])
    every, labels = with_unrelated(pairs, np.arange(n_items), n_items, rng)
    features = pair_features(matrices, every[:, 0], every[:, 1])
    scores = chi_square(features, labels)
    others = np.delete(scores, planted)
    weights, bias = torch.zeros(36, requires_grad=True), torch.zeros((), requires_grad=True)
    optimiser = torch.optim.Adam([weights, bias], lr=0.1)
    given = [torch.from_numpy(part) for part in (features, labels, scores.astype(np.float32))]
    for _ in range(100):
        optimiser.zero_grad()
        association_loss("sigmoid", weights, bias, *given).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    learned = weights.detach().numpy()
    rank = [int((values > values[planted]).sum()) + 1 for values in (scores, learned)]
    return rank[0], float(scores[planted] / others.max()), rank[1]


@pytest.mark.planted
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_planted_rule_is_first_among_36(seed: int, noise: float) -> None:
    by_chi_square, lead, by_weight = recovered(seed, noise)
    print(
        f"rule recovery, seed {seed}, noise {noise}: {by_chi_square}, {lead:.0f} times the next, {by_weight}"
    )
    assert by_chi_square == by_weight == 1
    assert lead > 200


@pytest.mark.planted
def test_pairs_put_together_at_random_have_no_rule() -> None:
    leads = [recovered(seed, 0.0, shuffled=True)[1] for seed in SEEDS]
    print(f"rule recovery, shuffled: {np.round(leads, 2)} times the next")
    assert max(leads) < 3
