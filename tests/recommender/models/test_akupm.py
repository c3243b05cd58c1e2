from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kg.errors import UsageError
from recommender.models.akupm import Akupm, Config, repeats
from recommender.models.base import TrainingData
from recommender.models.ripplenet import Config as RippleConfig
from recommender.models.ripplenet import RippleNet
from tests.recommender.planting import aucs
from tests.recommender.spreading import NOTHING_HAD, ONE_PATH, ONLY_UNLINKED, small_data


def small(*, linked: bool = True, **options: Any) -> Akupm:
    config = Config(**{"dim": 6, "memories": 4, "mask_target": False, **options})
    model = Akupm(small_data(linked=linked), config, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        model.clicked_vector.normal_(generator=torch.Generator().manual_seed(1))
    return model


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return (
        rng.integers(ONLY_UNLINKED, 8, 40),
        rng.integers(0, 10, 40),
        rng.integers(0, 2, 40).astype(np.float64),
    )


def sets_of(model: Akupm, user: int) -> list[list[Tensor]]:
    """The distinct elements of each of a user's sets, as projected."""
    had = model._train.item[model._train.user == user]
    drawn = [item for item in model.items[user].tolist() if item in had][: len(had)]
    assert len(set(drawn)) == min(len(had), model.config.memories)
    sets = [[model.entities[item] + model.clicked_vector for item in drawn]]
    for position in model.sets[user].tolist() if model.has_triples[user] else []:
        elements = {(int(model.view.relation[place]), int(model.view.tail[place])) for place in position}
        sets.append([model.entities[tail] @ model.relations[r] for r, tail in sorted(elements)])
    return sets


def naive(model: Akupm, user: int, item: int) -> Tensor:
    """One score, set by set, head by head, over distinct elements alone."""
    candidate, total = model.entities[item], torch.zeros(model.config.dim, dtype=torch.float64)
    width = model.config.dim // model.config.heads
    for elements in sets_of(model, user):
        x = torch.stack(elements)
        mixed = []
        for start in range(0, model.config.dim, width):
            q, k, v = (x @ m[:, start : start + width] for m in (model.queries, model.keys, model.values))
            mixed.append(torch.softmax(q @ k.T / math.sqrt(width), dim=1) @ v)
        s = x + torch.cat(mixed, dim=1)
        total = total + torch.softmax(s @ candidate, dim=0) @ s
    return candidate @ total


@pytest.mark.parametrize(("hops", "memories", "heads"), [(2, 4, 2), (1, 7, 3), (3, 2, 1)])
def test_scores_and_gradients_equal_the_naive_ones(hops: int, memories: int, heads: int) -> None:
    model = small(hops=hops, memories=memories, heads=heads)
    users, items, _ = batch()
    found = model.logits(torch.from_numpy(users), torch.from_numpy(items))
    expected = torch.stack([naive(model, u, i) for u, i in zip(users.tolist(), items.tolist(), strict=True)])
    assert (found - expected).abs().max().item() < 1e-10
    parameters = [model.entities, model.relations, model.clicked_vector]
    parameters += [model.queries, model.keys, model.values]
    probe = torch.randn(len(users), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours = torch.autograd.grad(found @ probe, parameters)
    theirs = torch.autograd.grad(expected @ probe, parameters)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max().item() < 1e-10
        assert one.abs().max().item() > 1e-6


@pytest.mark.parametrize("options", [{}, {"mask_target": True}, {"self_attention": False, "hops": 3}])
def test_ranking_all_items_gives_the_pairs_scores(options: dict[str, Any]) -> None:
    model = small(**options)
    every = np.repeat(np.arange(8), 10), np.tile(np.arange(10), 8)
    assert np.abs(model.score(np.arange(8)).ravel() - model.score_pairs(*every)).max() < 1e-10


def test_without_self_attention_and_with_ripplenets_weights_it_is_ripplenet() -> None:
    model = small(self_attention=False)
    config = RippleConfig(dim=6, memories=4, mask_target=False, item_update="none")
    ripplenet = RippleNet(small_data(), config, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        model.entities.copy_(ripplenet.entities)
        model.relations.copy_(torch.eye(6).expand_as(model.relations))
    users, items = (torch.from_numpy(part) for part in batch()[:2])
    kept = model.has_triples[users]
    users, items = users[kept], items[kept]
    assert torch.equal(model.sets, ripplenet.sets)
    theirs, _ = ripplenet.recall(users)
    ours, _ = model.recall(users)
    both = [
        replace(their, values=our.values, value=our.value)
        for our, their in zip(ours[1:], theirs, strict=True)
    ]
    assert torch.allclose(model.answer(items, both)[0], ripplenet.logits(users, items), atol=1e-12)
    assert not torch.allclose(model.answer(items, ours[1:])[0], ripplenet.logits(users, items), atol=1e-3)


def test_an_element_alone_becomes_itself_and_its_projection() -> None:
    model = small(memories=1)
    memories, _ = model.recall(torch.tensor([3]))
    for memory, (x,) in zip(memories, sets_of(model, 3), strict=True):
        assert torch.allclose(memory.values[memory.value[0, 0]], x + x @ model.values, atol=1e-12)


def test_the_order_within_a_set_does_not_matter() -> None:
    model = small()
    users, items = (torch.from_numpy(part) for part in batch()[:2])
    before = model.logits(users, items)
    order = torch.tensor([2, 0, 3, 1])
    model.sets, model.hidden = model.sets[:, :, order], model.hidden[:, :, order]
    model.items, model.no_item = model.items[:, order], model.no_item[:, order]
    assert torch.allclose(model.logits(users, items), before, atol=1e-12)


def test_empty_slots_get_no_weight_and_do_not_enter_self_attention() -> None:
    model = small()
    users, items = (torch.from_numpy(part) for part in batch()[:2])
    memories, _ = model.recall(users)
    _, weights = model.answer(items, memories)
    hidden = torch.stack([memory.hidden for memory in memories if memory.hidden is not None])
    assert hidden.any()
    assert (torch.stack(weights)[hidden] == 0).all()
    assert (torch.stack(weights)[~hidden] > 0).all()
    table = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slot = torch.tensor([[[0, 1, 2, 3]]])
    empty = torch.tensor([[[False, False, True, True]]])
    one = model.within_sets(table, slot, empty)[:2]
    other = model.within_sets(table, torch.tensor([[[0, 1, 4, 5]]]), empty)[:2]
    assert torch.equal(one, other)
    assert torch.allclose(one, model.within_sets(table, slot[..., :2], empty[..., :2]), atol=1e-12)


def test_repeats_are_all_but_one_of_each() -> None:
    assert repeats(np.asarray([[3, 1, 3, 3], [2, 2, 1, 1]])).tolist() == [
        [False, False, True, True],
        [False, True, False, True],
    ]


def test_the_loss_is_the_sum_of_its_written_terms() -> None:
    model = small(knowledge_weight=0.3, penalty=0.02, margin=0.5)
    users, items, labels = batch()
    state = model.generator.get_state()
    found = model.loss(users, items, labels).item()
    logit = model.logits(torch.from_numpy(users), torch.from_numpy(items))
    _, triples = model.recall(torch.from_numpy(users))
    model.generator.set_state(state)
    wrong = torch.randint(model.view.n_entities, (len(triples.head),), generator=model.generator)
    margins, squares = [], 0.0
    rows = zip(triples.head, triples.relation, triples.tail, wrong, triples.count.tolist(), strict=True)
    for h, r, t, w, count in rows:
        head, tail, other = (model.entities[node] @ model.relations[r] for node in (h, t, w))
        moved = head + model.relation_vectors[r]
        true, false = (moved - tail).square().sum(), (moved - other).square().sum()
        margins += [max(0.0, 0.5 + (true - false).item())] * count
        norms = [model.entities[h], model.entities[t], model.relations[r]]
        squares += count * sum(norm.square().sum().item() for norm in norms)
    per_hop = len(margins) / model.config.hops
    expected = functional.binary_cross_entropy_with_logits(logit, torch.from_numpy(labels)).item()
    expected += 0.3 * float(np.mean(margins)) + 0.02 * squares / per_hop
    assert found == pytest.approx(expected, abs=1e-10)
    assert 0 < np.mean(np.asarray(margins) > 0) < 1


def test_users_without_history_or_triples_have_finite_scores() -> None:
    model = small()
    scores = model.score(np.arange(8))
    assert np.isfinite(scores).all()
    assert (scores[NOTHING_HAD] == 0).all()
    assert (scores[ONLY_UNLINKED:] != 0).all()  # an item that nothing is known about is an element still
    bare = small(linked=False)
    assert np.isfinite(bare.score(np.arange(8))).all()
    for some in (model, bare):
        assert all(np.isfinite(loss.item()) for _, loss in some.losses(np.random.default_rng(0)))
        weights = some.edge_weights()
        assert weights is not None
        assert np.isfinite(weights).all()


def test_impossible_heads_and_a_missing_graph_are_refused() -> None:
    with pytest.raises(UsageError, match="heads"):
        small(heads=4)
    with pytest.raises(UsageError, match="knowledge graph"):
        Akupm(TrainingData(small_data().train), Config(), torch.Generator())


def test_a_masked_target_is_hidden_among_the_items_and_where_it_leads() -> None:
    model = small(mask_target=True)
    memories, _ = model.recall(torch.tensor([ONE_PATH]))
    _, weights = model.answer(torch.tensor([0]), memories)
    assert not weights[0].any()
    assert not weights[1].any()
    assert weights[2].any()


PLANTED: dict[str, Any] = {"epochs": 8}


@pytest.mark.planted
def test_reaches_cold_items_over_two_hops_in_both_directions() -> None:
    warm, cold = aucs("akupm", "PG-1", **PLANTED)
    assert warm.mean() > 0.97
    assert cold.mean() >= 0.9
    assert cold.min() >= 0.8


@pytest.mark.planted
def test_is_blind_to_cold_items_in_the_triples_direction_alone() -> None:
    warm, cold = aucs("akupm", "PG-1", **PLANTED, inverse=False)
    assert warm.mean() > 0.97
    assert ((cold > 0.45) & (cold < 0.55)).all()


@pytest.mark.planted
def test_a_shuffled_graph_says_nothing_about_cold_items() -> None:
    _, cold = aucs("akupm", "PG-1-shuffled", **PLANTED)
    assert 0.4 < cold.mean() < 0.6
