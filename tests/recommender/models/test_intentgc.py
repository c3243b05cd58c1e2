from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.graph.joint import JointGraph
from recommender.models.base import SideData, TrainingData
from recommender.models.intentgc import Config, IntentGc
from tests.recommender.planting import aucs
from tests.worlds import PlainGraph

CONFIG = Config(dim=4, tower=(4, 3, 2), neighbours=3)
EVERY = {"users": np.arange(5), "items": np.arange(5)}


def small_data() -> TrainingData:
    """Five items, of which the fourth shares nothing and the last has no entity; the last user had nothing.

    All of the first four are ``e4``; the first three share more, the first with the second in two ways.
    """
    whole = Interactions.of(
        ["u0", "u0", "u1", "u1", "u2", "u3", "u4"],
        ["i0", "i1", "i1", "i2", "i0", "i3", "i2"],
        catalogue=[f"i{n}" for n in range(5)],
    )
    split = Split(*(whole.select(whole.user < 4), *(whole.select(whole.user > 9) for _ in range(2))))
    triples = [(0, 0, 5), (0, 1, 5), (1, 0, 5), (6, 1, 0), (6, 1, 1), (1, 0, 7), (2, 0, 7), (3, 0, 8)]
    triples += [(item, 2, 4) for item in range(4)]
    graph = PlainGraph([f"e{n}" for n in range(9)], ["p", "q", "s"], np.asarray(triples))
    joint = JointGraph.build(split, graph, {f"i{n}": f"e{n}" for n in range(4)})
    return TrainingData(split.train, joint, SideData(friends=np.asarray([[0, 1], [1, 4]])))


def small(**changes: Any) -> IntentGc:
    model = IntentGc(small_data(), replace(CONFIG, **changes), torch.Generator().manual_seed(0))
    with torch.no_grad():
        for side in (model.users, model.items):
            for bias in side.biases:  # they start at 0 and would hide where they go
                bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    return model


def near(model: IntentGc, side: str) -> list[list[int]]:
    links = model.user_links if side == "users" else model.item_links
    return [links.near[a:b].tolist() for a, b in zip(links.indptr, links.indptr[1:], strict=False)]


def by_hand(model: IntentGc, side: str, row: int) -> Tensor:
    """One row's vector, node by node; the vector-wise convolution."""
    part = getattr(model, side)

    def convolved(node: int, depth: int) -> Tensor:
        if depth == 0:
            return part.table[node]
        others = [convolved(other, depth - 1) for other in near(model, side)[node]]
        own = convolved(node, depth - 1)
        mean = torch.stack(others).mean(dim=0) if others else torch.zeros_like(own)
        if model.config.convolution == "bit":
            return torch.tanh(torch.cat([own, mean]) @ part.weights[depth - 1])
        value = torch.zeros_like(own)
        for w, v, mix in part.weights[depth - 1].T:
            value = value + mix * torch.tanh(w * own + v * mean)
        return value

    value = convolved(row, model.config.layers)
    for number, (weight, bias) in enumerate(zip(part.tower, part.biases, strict=True)):
        value = value @ weight + bias
        if number < len(part.tower) - 1:
            value = torch.relu(value)
    return value / value.norm()


def test_entities_of_items_are_one_edge_away_by_any_relation() -> None:
    data = small_data()
    assert data.graph is not None
    found = data.graph.item_entities().toarray()
    names = data.graph.entity  # which entity of the graph each column is
    linked = [sorted(names[np.flatnonzero(row)].tolist()) for row in found]
    assert linked == [[4, 5, 6], [4, 5, 6, 7], [4, 7], [4, 8], []]
    assert found.max() == 1


def test_items_are_linked_by_shared_entities_and_users_through_their_items() -> None:
    model = small(max_degree=3)  # e4 is shared by four items and skipped
    assert near(model, "items") == [[1], [0, 2], [1], [], []]
    assert model.item_links.count.tolist() == [2, 2, 1, 1]
    assert model.item_links.n_skipped == 1
    # u0 had i0 and i1, u1 had i1 and i2, u2 had i0, u3 had i3: e5, e6 are shared by u0, u1, u2; e7 by u0, u1.
    assert near(model, "users") == [[1, 2], [0, 2], [0, 1], [], []]
    assert model.user_links.count.tolist() == [2 + 2 + 2, 2 + 2, 6, 2, 4, 2]
    assert near(small(max_degree=4), "items") == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], []]
    assert [len(row) for row in near(small(neighbours=1), "items")] == [1, 1, 1, 1, 0]


def test_users_may_be_linked_by_friendship() -> None:
    assert near(small(user_links="friends"), "users") == [[1], [0, 4], [], [], [1]]
    data = small_data()
    with pytest.raises(UsageError, match="needs friends"):
        IntentGc(
            TrainingData(data.train, data.graph), replace(CONFIG, user_links="friends"), torch.Generator()
        )


@pytest.mark.parametrize("convolution", ["vector", "bit"])
@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_vectors_and_gradients_equal_those_by_hand(layers: int, convolution: str) -> None:
    model = small(layers=layers, convolution=convolution, max_degree=3)
    found = model.embed()
    expected = [torch.stack([by_hand(model, side, row) for row in rows]) for side, rows in EVERY.items()]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    rows = torch.tensor([3, 1, 1])
    assert torch.allclose(model.items(rows), expected[1][rows], atol=1e-6)
    probe = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(sum((f * probe).sum() for f in found), list(model.parameters()))
    theirs = torch.autograd.grad(sum((f * probe).sum() for f in expected), list(model.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_filter_of_the_own_vector_alone_is_the_tower() -> None:
    model = small(filters=1, activation="identity", layers=2)
    with torch.no_grad():
        for side in (model.users, model.items):
            for weights in side.weights:
                weights.copy_(torch.tensor([[1.0], [0.0], [1.0]]))
    for side, found in zip((model.users, model.items), model.embed(), strict=True):
        first, second, third = side.tower
        hidden = torch.relu(side.table @ first + side.biases[0])
        hidden = torch.relu(hidden @ second + side.biases[1])
        assert torch.allclose(found, functional.normalize(hidden @ third + side.biases[2]), atol=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
def test_a_bitwise_layer_of_two_scaled_identities_is_a_vectorwise_one(activation: str) -> None:
    vector, bit = small(filters=1, activation=activation), small(convolution="bit", activation=activation)
    with torch.no_grad():
        for one, other in ((vector.users, bit.users), (vector.items, bit.items)):
            one.weights[0].copy_(torch.tensor([[0.7], [-1.3], [1.0]]))
            other.weights[0].copy_(torch.cat([0.7 * torch.eye(4), -1.3 * torch.eye(4)]))
            other.table.copy_(one.table)
            for mine, theirs in zip((*one.tower, *one.biases), (*other.tower, *other.biases), strict=True):
                theirs.copy_(mine)
    for found, expected in zip(bit.embed(), vector.embed(), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


def test_the_loss_is_a_hinge_of_cosines_which_no_scale_changes() -> None:
    model = small(margin=0.3)
    user, liked, other = np.asarray([0, 2, 4]), np.asarray([1, 0, 2]), np.asarray([3, 4, 4])
    users = model.users.output(torch.from_numpy(user))
    cosine = [
        functional.cosine_similarity(users, model.items.output(torch.from_numpy(items)))
        for items in (liked, other)
    ]
    before = model.loss(user, liked, other)
    assert torch.allclose(before, torch.relu(cosine[1] - cosine[0] + 0.3).mean(), atol=1e-6)
    assert before > 0
    for side, scale in ((model.users, 7.0), (model.items, 0.2)):
        with torch.no_grad():
            side.tower[-1].mul_(scale)
            side.biases[-1].mul_(scale)
        assert torch.allclose(model.loss(user, liked, other), before, atol=1e-6)


def test_a_layer_has_only_scalar_weights() -> None:
    for weights in small(filters=3, layers=2).items.weights:
        assert weights.shape == (3, 3)
        assert len(torch.unique(weights)) == 9  # filters that start alike would stay alike


def test_no_interaction_is_an_edge_of_the_convolution() -> None:
    model = small()
    vectors = model.embed()[1].detach()
    with torch.no_grad():
        model.users.table.normal_(generator=torch.Generator().manual_seed(3))
    assert torch.equal(model.embed()[1], vectors)


def test_items_without_entities_and_users_without_history_have_a_finite_score_and_gradient() -> None:
    model = small()
    assert near(model, "items")[4] == near(model, "users")[4] == []
    assert np.isfinite(model.score(EVERY["users"])).all()
    model.loss(np.asarray([4]), np.asarray([4]), np.asarray([3])).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():  # a vector of length 0 has no direction
        model.items.tower[-1].zero_()
        model.items.biases[-1].zero_()
    assert (model.score(EVERY["users"]) == 0).all()


def test_scores_are_cosines() -> None:
    model = small()
    scores = model.score(EVERY["users"])
    assert np.abs(scores).max() <= 1 + 1e-6
    vectors = model.vectors()
    assert np.linalg.norm(vectors.item, axis=1) == pytest.approx(np.ones(5), abs=1e-6)


def test_needs_a_graph() -> None:
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        IntentGc(TrainingData(small_data().train), CONFIG, torch.Generator())


PLANTED: dict[str, Any] = {"tower": (16, 16, 16)}


@pytest.mark.planted
def test_it_reaches_cold_items() -> None:
    warm, cold = aucs("intentgc", "PG-1", **PLANTED)
    assert warm.min() > 0.98
    assert cold.mean() >= 0.97
    assert cold.min() >= 0.94


@pytest.mark.planted
def test_with_the_wrong_graph_it_falls_to_chance() -> None:
    warm, cold = aucs("intentgc", "PG-1-shuffled", **PLANTED)
    assert warm.min() > 0.9  # wrong neighbours cost warm items too
    assert ((cold > 0.4) & (cold < 0.6)).all()


@pytest.mark.planted
def test_it_sees_one_hop() -> None:
    _, shared = aucs("intentgc", "PG-2", seeds=(0,), **PLANTED)  # authors are shared by items
    _, own = aucs("intentgc", "PG-2u", seeds=(0,), **PLANTED)  # every item has its own author
    assert shared.min() > 0.8
    assert 0.4 < own.min() < 0.6


@pytest.mark.planted
def test_cold_items_drawn_as_negatives_learn_to_be_bad() -> None:
    _, cold = aucs("intentgc", "PG-1", **PLANTED)
    warm, spoiled = aucs("intentgc", "PG-1", warm_only=False, **PLANTED)
    assert warm.min() > 0.98  # on warm items nothing shows
    assert cold.mean() - spoiled.mean() > 0.15
