from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kg.errors import TrainingError, UsageError
from recommender.models.base import TrainingData
from recommender.models.ripplenet import Config, RippleNet
from tests.recommender.planting import aucs
from tests.recommender.spreading import NOTHING_HAD, ONE_PATH, ONLY_UNLINKED, small_data

SMALL: dict[str, Any] = {"dim": 5, "memories": 4}


def small(*, linked: bool = True, **options: Any) -> RippleNet:
    config = Config(**{**SMALL, **options})
    return RippleNet(small_data(linked=linked), config, torch.Generator().manual_seed(0)).double()


def batch(model: RippleNet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """40 rows of users with memories: training pairs, others, and a few pairs twice."""
    rng = np.random.default_rng(1)
    users = rng.integers(ONE_PATH, 8, 40)
    return users, rng.integers(0, 10, 40), rng.integers(0, 2, 40).astype(np.float64)


def naive(model: RippleNet, users: np.ndarray, items: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, knowledge term and penalty with one matrix per slot, as the equations read."""
    config, view = model.config, model.view
    v, user = model.entities[items], torch.zeros(len(users), config.dim, dtype=torch.float64)
    told, penalty = torch.zeros(2, dtype=torch.float64)
    for hop in range(config.hops):
        position = model.sets[users, hop].numpy()
        heads = view.head[position]
        h, t = model.entities[heads], model.entities[view.tail[position]]
        matrices = model.relations[view.relation[position]]
        logits = torch.einsum("bi,bmij,bmj->bm", v, matrices, h)
        if config.mask_target:
            own = torch.from_numpy(heads == items[:, None])
            shown = torch.exp(logits).masked_fill(own, 0)
            p = shown / shown.sum(dim=1, keepdim=True).clamp(min=1e-300)
        else:
            p = torch.softmax(logits, dim=1)
        o = torch.einsum("bm,bmd->bd", p, t)
        user = user + o
        if config.item_update == "plus":
            v = v + o
        elif config.item_update == "plus_transform":
            assert model.transform is not None
            v = (v + o) @ model.transform
        told = told + torch.sigmoid(torch.einsum("bmi,bmij,bmj->bm", h, matrices, t)).mean()
        squares = [h.square().sum(2), t.square().sum(2), matrices.square().sum((2, 3))]
        penalty = penalty + torch.stack(squares).sum(0).mean()
    return (v * user).sum(dim=1), -told, penalty


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask_target": False},
        {"item_update": "plus", "inverse": False},
        {"item_update": "none", "hops": 1},
        {"hops": 3, "memories": 7, "mask_target": False},
    ],
)
def test_loss_and_gradients_equal_the_naive_ones(options: dict[str, Any]) -> None:
    model = small(knowledge_weight=0.3, penalty=0.02, **options)
    users, items, labels = batch(model)
    score, told, penalty = naive(model, users, items)
    truth = torch.from_numpy(labels)
    expected = functional.binary_cross_entropy_with_logits(score, truth) + 0.3 * told + 0.02 * penalty
    found = model.loss(users, items, labels)
    assert abs((found - expected).item()) < 1e-10
    parameters = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        assert (one - other).abs().max().item() < 1e-10
        assert one.abs().max().item() > 1e-6


@pytest.mark.parametrize("item_update", ["plus_transform", "plus", "none"])
@pytest.mark.parametrize("mask_target", [False, True])
def test_ranking_all_items_gives_the_pairs_scores(item_update: Any, mask_target: bool) -> None:
    model = small(item_update=item_update, mask_target=mask_target, hops=3)
    users, items = np.arange(ONE_PATH, 8), np.arange(10)
    every = np.repeat(users, 10), np.tile(items, len(users))
    expected = naive(model, *every)[0].detach().numpy().reshape(len(users), 10)
    assert np.abs(model.score(users) - expected).max() < 1e-10
    assert np.abs(model.score_pairs(*every).reshape(len(users), 10) - expected).max() < 1e-10
    some = model.score(users, np.asarray([7, 2]))
    assert np.abs(some - expected[:, [7, 2]]).max() < 1e-10


def test_without_relation_matrices_the_answer_is_the_mean_of_the_tails() -> None:
    model = small(mask_target=False)
    with torch.no_grad():
        model.relations.zero_()
    users, items, _ = batch(model)
    memories, _ = model.recall(torch.from_numpy(users))
    _, weights = model.answer(torch.from_numpy(items), memories)
    for memory, weight in zip(memories, weights, strict=True):
        assert torch.allclose(weight, torch.full_like(weight, 1 / 4), atol=1e-12)
        answer = functional.embedding_bag(memory.value, memory.values, per_sample_weights=weight, mode="sum")
        assert torch.allclose(answer, memory.values[memory.value].mean(dim=1), atol=1e-12)


def test_one_memory_of_one_hop_in_closed_form() -> None:
    model = small(hops=1, memories=1, mask_target=False)
    assert model.transform is not None
    tail = model.entities[int(model.view.tail[model.sets[ONE_PATH, 0, 0]])]
    expected = ((model.entities[3] + tail) @ model.transform) @ tail
    assert model.logits(torch.tensor([ONE_PATH]), torch.tensor([3])).item() == pytest.approx(expected.item())


def test_the_order_of_the_memories_does_not_matter() -> None:
    model = small()
    users, items = (torch.from_numpy(part) for part in batch(model)[:2])
    before = model.logits(users, items)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(3))
    model.sets = model.sets[:, :, order]
    assert order.tolist() != [0, 1, 2, 3]
    assert torch.allclose(model.logits(users, items), before, atol=1e-12)


def test_the_reconstruction_term_is_that_of_the_dense_slices() -> None:
    model = small(knowledge_form="reconstruction")
    view, total = model.view, torch.zeros((), dtype=torch.float64)
    for relation in range(view.n_relations):
        truth = torch.zeros(view.n_entities, view.n_entities, dtype=torch.float64)
        chosen = view.relation == relation
        truth[view.head[chosen], view.tail[chosen]] = 1
        total = total + (truth - model.entities @ model.relations[relation] @ model.entities.T).square().sum()
    _, triples = model.recall(torch.tensor([3]))
    found = model.knowledge_loss(triples)
    assert found.item() == pytest.approx(total.item() / len(view.head), abs=1e-10)
    ours = torch.autograd.grad(found, (model.entities, model.relations))
    theirs = torch.autograd.grad(total / len(view.head), (model.entities, model.relations))
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in zip(ours, theirs, strict=True))


def test_a_masked_target_tells_its_score_nothing() -> None:
    model = small(mask_target=True)
    memories, _ = model.recall(torch.tensor([ONE_PATH, 3]))
    _, weights = model.answer(torch.tensor([0, 9]), memories)
    assert weights[0][0].tolist() == [0, 0, 0, 0]  # all of this user's first hop came from item 0
    assert weights[0][1].sum().item() == pytest.approx(1)


def test_users_without_memories_and_unlinked_items_have_finite_scores() -> None:
    model = small()
    scores = model.score(np.arange(8))
    assert np.isfinite(scores).all()
    assert (scores[[NOTHING_HAD, ONLY_UNLINKED]] == 0).all()
    assert (scores[ONE_PATH:, [8, 9]] != 0).all()
    assert (model.score_pairs(np.asarray([NOTHING_HAD, 3]), np.asarray([1, 1])) != 0).tolist() == [
        False,
        True,
    ]
    seen = np.concatenate([model._sampler.labelled_epoch(np.random.default_rng(0))[0] for _ in range(3)])
    assert ONLY_UNLINKED in seen
    assert all(np.isfinite(loss.item()) for _, loss in model.losses(np.random.default_rng(0)))


def test_a_graph_without_triples_scores_nothing_and_cannot_be_learned() -> None:
    model = small(linked=False)
    assert (model.score(np.arange(8)) == 0).all()
    assert (model.score_pairs(np.arange(8), np.arange(8)) == 0).all()
    weights = model.edge_weights()
    assert weights is not None
    assert np.isfinite(weights).all()
    with pytest.raises(TrainingError, match="no user's items"):
        next(model.losses(np.random.default_rng(0)))
    with pytest.raises(UsageError, match="knowledge graph"):
        RippleNet(TrainingData(small_data().train), Config(), torch.Generator())


def test_edge_weights_are_attention_relative_to_an_even_hand() -> None:
    model = small(mask_target=False, hops=1)
    with torch.no_grad():
        model.relations.zero_()
    degree = np.diff(model.graph.indptr)
    even = model.edge_weights()
    assert np.allclose(even, 1 / np.repeat(degree, degree))
    model = small(mask_target=False, hops=1)
    weights = model.edge_weights()
    assert weights is not None
    assert not np.allclose(weights, even, atol=1e-3)
    sums = np.bincount(model.graph.head, weights, minlength=len(degree))
    assert np.allclose(sums[degree > 0], 1, atol=1e-6)
    interactions = np.flatnonzero((model.graph.triple < 0) & (model.graph.head < model.graph.n_users))
    assert np.allclose(weights[interactions], even[interactions])


PLANTED: dict[str, Any] = {"memories": 16, "epochs": 20}


@pytest.mark.planted
def test_reaches_cold_items_over_two_hops_in_both_directions() -> None:
    warm, cold = aucs("ripplenet", "PG-1", **PLANTED)
    assert warm.mean() > 0.97
    assert cold.mean() >= 0.75
    assert cold.min() >= 0.68


@pytest.mark.planted
def test_is_blind_to_cold_items_in_the_triples_direction_alone() -> None:
    warm, cold = aucs("ripplenet", "PG-1", **PLANTED, inverse=False)
    assert warm.mean() > 0.97
    assert ((cold > 0.45) & (cold < 0.55)).all()


@pytest.mark.planted
def test_a_shuffled_graph_says_nothing_about_cold_items() -> None:
    _, cold = aucs("ripplenet", "PG-1-shuffled", **PLANTED)
    assert 0.4 < cold.mean() < 0.6
