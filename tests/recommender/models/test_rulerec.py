from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn import functional

from kg.errors import UsageError
from recommender.graph.joint import JointGraph
from recommender.models.base import SideData, TrainingData
from recommender.models.rulerec import Config, RuleRec, association_loss
from recommender.training.train import Options, train
from tests.recommender.models.test_contract import tiny
from tests.recommender.planting import SEEDS, aucs, trained
from tests.worlds import PlainGraph, planted_world

CONFIG = Config(dim=6)


def small(config: Config = CONFIG, side: SideData | None = None) -> RuleRec:
    split, graph, _ = tiny()
    data = TrainingData(split.train, graph, side or SideData())
    return RuleRec(data, config, torch.Generator().manual_seed(0))


def weighed(model: RuleRec) -> RuleRec:
    with torch.no_grad():
        model.weights.copy_(torch.randn(len(model.weights), generator=torch.Generator().manual_seed(1)))
    model.refresh()
    return model


def test_without_weights_it_is_matrix_factorisation() -> None:
    model = small()
    users, items = model.users.detach().numpy(), model.items.detach().numpy()
    assert np.allclose(model.score(np.arange(30)), users @ items.T, atol=1e-6)
    assert not np.allclose(weighed(model).score(np.arange(30)), users @ items.T, atol=1e-3)


def test_scores_are_base_plus_weighed_features() -> None:
    model = weighed(small())
    users, items = np.repeat(np.arange(30), 20), np.tile(np.arange(20), 30)
    base = (model.users @ model.items.T).detach().numpy()
    expected = base + (model.features(users, items) @ model.weights.detach().numpy()).reshape(30, 20)
    assert np.allclose(model.score(np.arange(30)), expected, atol=1e-4)
    assert np.allclose(model.score_pairs(users, items).reshape(30, 20), expected, atol=1e-4)
    logits = model.logits(torch.from_numpy(users), torch.from_numpy(items))
    assert np.allclose(logits.detach().numpy().reshape(30, 20), expected, atol=1e-4)


def test_an_item_in_the_history_says_nothing_about_itself() -> None:
    model = small()
    train_ = tiny()[0].train
    before = model.features(train_.user, train_.item)
    for row in range(0, len(train_), 7):
        kept = np.delete(np.arange(len(train_)), row)
        shorter = train_.select(kept)
        ones = np.ones(len(shorter), np.float32)
        model._history = sparse.csr_array((ones, (shorter.user, shorter.item)), shape=(30, 20))
        assert np.array_equal(model.features(train_.user[[row]], train_.item[[row]])[0], before[row])


def test_ranking_differences_are_those_of_the_features() -> None:
    model = small()
    difference = model.features(model._user, model._positive) - model.features(model._user, model._negative)
    assert np.array_equal(difference, model._difference.toarray())
    train_ = tiny()[0].train
    assert np.isin(model._user * 20 + model._positive, train_.keys).all()
    assert not np.isin(model._user * 20 + model._negative, train_.keys).any()


@pytest.mark.parametrize("kind", ["sigmoid", "linear", "chi-square", "none"])
def test_association_losses(kind: str) -> None:
    weights, bias = torch.tensor([0.5, -1.0]), torch.tensor(0.25)
    features = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.5]])
    labels, chi = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([8.0, 2.0])
    guess = [0.5 - 2 + 0.25, -1 + 0.25, 1.5 - 0.5 + 0.25]
    expected = {
        "sigmoid": np.mean(
            [np.log1p(np.exp(-guess[0])), np.log1p(np.exp(guess[1])), np.log1p(np.exp(-guess[2]))]
        ),
        "linear": np.mean([(guess[0] - 1) ** 2, guess[1] ** 2, (guess[2] - 1) ** 2]),
        "chi-square": ((0.5 - 1) ** 2 + (-1 - 0.25) ** 2) / 2,
        "none": 0.0,
    }
    found = association_loss(kind, weights, bias, features, labels, chi)  # type: ignore[arg-type]
    assert float(found) == pytest.approx(expected[kind], rel=1e-6)


def test_the_loss_is_ranking_plus_rate_times_associations() -> None:
    model = weighed(small(replace(CONFIG, rule_rate=0.3, penalty=0.0, batch_size=10**6)))
    _, found = next(model.losses(np.random.default_rng(4)))
    rng = np.random.default_rng(4)
    order = rng.permutation(len(model._user))[: len(model._user) // 10]
    pairs = rng.integers(0, len(model._pairs), 10**6)
    users, items = model._user[order], (model._positive[order], model._negative[order])
    positive, negative = (model.logits(torch.from_numpy(users), torch.from_numpy(part)) for part in items)
    expected = functional.softplus(negative - positive).mean() + 0.3 * model.rule_loss(pairs)
    assert torch.allclose(found, expected, atol=1e-5)


def test_hard_keeps_the_best_by_chi_square_and_soft_keeps_all() -> None:
    soft = small(replace(CONFIG, selection="soft"))
    hard = small(replace(CONFIG, rules=2))
    assert len(soft.rules) > 2 == len(hard.rules)
    assert hard.rules == soft.rules[:2]
    assert (np.diff(soft.chi_squares) <= 0).all()


def test_given_associations_are_used() -> None:
    pairs = np.asarray([(n, (n + 1) % 18) for n in range(18)])
    model = small(side=SideData(associations=pairs))
    assert (model._labels == 1).sum() == 18
    assert (small()._labels == 1).sum() != 18


def test_rules_are_told_by_the_names_of_their_relations() -> None:
    told = weighed(small()).rule_weights(["BY", "HAS", "OF"])
    assert [rule.weight for rule in told] == sorted((rule.weight for rule in told), reverse=True)
    assert any(rule.rule == "-BY-> <-BY-" for rule in told)


def test_a_graph_is_needed_and_one_without_rules_leaves_the_base() -> None:
    split, _, _ = tiny()
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        RuleRec(TrainingData(split.train), CONFIG, torch.Generator())
    empty = PlainGraph(["a"], ["R"], np.zeros((0, 3), dtype=np.int64))
    graph = JointGraph.build(split, empty, {})
    found = train("rulerec", split, graph, options=Options(epochs=1, device="cpu")).model
    assert isinstance(found, RuleRec)
    assert found.rules == []
    assert np.isfinite(found.score(np.arange(5))).all()


@pytest.mark.planted
def test_the_rule_of_the_planted_world_is_learned_and_reaches_cold_items() -> None:
    warm, cold = aucs("rulerec", "PG-1")
    assert warm.min() > 0.97
    assert cold.mean() >= 0.97
    assert cold.min() >= 0.95
    for kind in ("none", "sigmoid", "linear", "chi-square"):
        for seed in SEEDS:
            world = planted_world(seed)
            model = trained("rulerec", world, seed, epochs=10, rule_loss=kind)
            assert isinstance(model, RuleRec)
            told = model.rule_weights(world.graph.relation_names)
            assert told[0].rule == "-HAS-> <-HAS-"
            assert told[0].weight > 0.2
            assert told[0].chi_square > 20 * told[-1].chi_square


@pytest.mark.planted
def test_with_the_wrong_graph_cold_items_are_at_chance() -> None:
    _, cold = aucs("rulerec", "PG-1-shuffled")
    assert ((cold > 0.4) & (cold < 0.6)).all()


@pytest.mark.planted
def test_three_steps_do_not_reach_a_school_behind_an_author() -> None:
    """An item, its author, the author's school, another author: the next item is a fourth step away."""
    _, cold = aucs("rulerec", "PG-2u")
    assert 0.4 < cold.mean() < 0.6
    _, shared = aucs("rulerec", "PG-2")
    assert shared.mean() >= 0.68  # items of the same author are two steps away
