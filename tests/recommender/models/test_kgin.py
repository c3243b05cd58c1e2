"""KGIN: each equation against a loop, each special case of the paper, and what only the graph can say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from kg.errors import UsageError
from recommender.graph.joint import JointGraph
from recommender.models.base import TrainingData
from recommender.models.kgin import Config, Kgin, dependence, distance_correlation
from tests.recommender.planting import aucs
from tests.recommender.tiny import tiny
from tests.worlds import planted_world

CONFIG = Config(
    dim=6, n_intents=3, n_layers=2, edge_dropout=0.0, interaction_dropout=0.0, message_dropout=0.0
)


def small(config: Config = CONFIG) -> tuple[Kgin, TrainingData]:
    split, graph, _ = tiny()
    data = TrainingData(split.train, graph)
    return Kgin(data, config, torch.Generator().manual_seed(0)), data


def by_loops(model: Kgin, data: TrainingData) -> torch.Tensor:
    """Every layer for every node, one edge at a time."""
    graph = data.graph
    assert graph is not None
    n_users, n_known = graph.n_users, graph.n_relations * (2 if model.config.inverse else 1)
    user, entity = list(model.users.unbind()), list(model.entities.unbind())
    total = [*user, *entity[: graph.n_items]]
    weights = torch.softmax(model.intent_weights, dim=1)
    mixed = [
        torch.stack([weights[p, r] * model.relations[r] for r in range(n_known)]).sum(0)
        for p in range(len(weights))
    ]
    items_of = [data.train.item[data.train.user == u].tolist() for u in range(n_users)]
    for _ in range(model.config.n_layers):
        new_user = []
        for u in range(n_users):
            liked = [entity[i] for i in items_of[u]]
            mean = torch.stack(liked).mean(0) if liked else torch.zeros(model.config.dim)
            share = torch.softmax(torch.stack([user[u] @ z for z in model.intents]), dim=0)
            gate = torch.stack([b * c for b, c in zip(share, mixed, strict=True)]).sum(0)
            new_user.append(functional.normalize(mean * (1 + gate), dim=0))
        new_entity = []
        for e in range(graph.n_entities):
            place = range(graph.indptr[n_users + e], graph.indptr[n_users + e + 1])
            messages = [
                model.relations[graph.relation[k]] * entity[graph.tail[k] - n_users]
                for k in place
                if graph.relation[k] < n_known
            ]
            mean = torch.stack(messages).mean(0) if messages else torch.zeros(model.config.dim)
            new_entity.append(functional.normalize(mean, dim=0))
        user, entity = new_user, new_entity
        total = [a + b for a, b in zip(total, [*user, *entity[: graph.n_items]], strict=True)]
    return torch.stack(total)


@pytest.mark.parametrize("inverse", [True, False])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_vectors_and_gradients_equal_a_loop_over_edges(n_layers: int, inverse: bool) -> None:
    model, data = small(dataclasses.replace(CONFIG, n_layers=n_layers, inverse=inverse))
    found, expected = torch.cat(model.embed()), by_loops(model, data)
    assert torch.allclose(found, expected, atol=1e-6)
    probe = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((found * probe).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((expected * probe).sum(), list(model.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=2e-5)


def test_one_intent_is_all_of_every_user() -> None:
    model, _ = small(dataclasses.replace(CONFIG, n_intents=1))
    assert torch.equal(model.intent_shares(), torch.ones(model.n_users, 1))


def test_relations_of_ones_leave_the_mean_of_the_neighbours() -> None:
    model, data = small(dataclasses.replace(CONFIG, n_layers=1))
    assert data.graph is not None
    with torch.no_grad():
        model.relations.fill_(1)
    items = model.embed()[1] - model.entities[: model.n_items]
    first, graph = data.graph.n_users, data.graph
    for item in range(model.n_items):
        near = graph.tail[graph.indptr[first + item] : graph.indptr[first + item + 1]] - first
        near = near[near >= 0]
        mean = model.entities[near].mean(0) if len(near) else torch.zeros(6)
        assert torch.allclose(items[item], functional.normalize(mean, dim=0), atol=1e-6)


def test_intents_of_zeros_leave_the_mean_of_the_items() -> None:
    model, data = small(dataclasses.replace(CONFIG, n_layers=1))
    with torch.no_grad():
        model.relations.zero_()  # and with them every mixture of them
    users = model.embed()[0] - model.users
    for user in range(model.n_users):
        had = data.train.item[data.train.user == user]
        mean = model.entities[had].mean(0) if len(had) else torch.zeros(6)
        assert torch.allclose(users[user], functional.normalize(mean, dim=0), atol=1e-6)


def test_distance_correlation_tells_equal_from_shuffled() -> None:
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(1000, generator=generator)
    assert float(distance_correlation(sample, sample)) == pytest.approx(1, abs=1e-5)
    assert float(distance_correlation(sample, -3 * sample + 2)) == pytest.approx(1, abs=1e-5)
    shuffled = sample[torch.randperm(1000, generator=generator)]
    assert float(distance_correlation(sample, shuffled)) < 0.15
    parabola = distance_correlation(sample, sample.square())
    assert float(parabola) > 0.3  # no line fits it, which a plain correlation would call 0
    assert float(distance_correlation(sample, torch.ones(1000))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("how", ["distance", "mutual", "cosine"])
def test_dependence_is_least_for_intents_apart_and_has_exact_gradients(how: str) -> None:
    apart, alike = torch.eye(4)[:2], torch.tensor([[1.0, 0, 0, 0], [0.9, 0.1, 0, 0]])
    assert dependence(apart, how) < dependence(alike, how)  # type: ignore[arg-type]
    assert float(dependence(alike[:1], how)) == pytest.approx(0)  # type: ignore[arg-type]
    rows = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda w: dependence(w, how), rows.requires_grad_())  # type: ignore[arg-type]
    same = torch.ones(2, 3, requires_grad=True)
    dependence(same, how).backward()  # type: ignore[arg-type, no-untyped-call]
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


@pytest.mark.parametrize("edge_dropout", [0.2, 0.5, 0.8])
def test_dropped_interactions_leave_the_expected_mean(edge_dropout: float) -> None:
    """The authors divide by what was dropped, not by what was kept: right at a half only."""
    model, _ = small()
    ones, generator = torch.ones(model.n_items, 1), torch.Generator().manual_seed(0)
    drawn = [(model._taste.matrix.drop_out(edge_dropout, generator) @ ones).mean() for _ in range(1000)]
    assert float(torch.stack(drawn).mean()) == pytest.approx(
        float((model._taste.matrix @ ones).mean()), rel=0.03
    )


def test_a_mean_over_drawn_edges_is_over_those_alone() -> None:
    model, _ = small()
    means = model._layers[0].means
    kept = torch.rand(means.matrix.n_values, generator=torch.Generator().manual_seed(0)) < 0.5
    rows = means.of(kept) @ torch.ones(means.matrix.shape[1], 1)
    whole = means.matrix @ torch.ones(means.matrix.shape[1], 1)
    assert set(rows.round(decimals=5).unique().tolist()) == {0.0, 1.0}
    assert (rows <= whole + 1e-6).all()


@pytest.mark.parametrize("dropped", ["edge_dropout", "interaction_dropout", "message_dropout"])
def test_dropout_works_in_training_alone_and_repeats(dropped: str) -> None:
    config = dataclasses.replace(CONFIG, **{dropped: 0.5})  # type: ignore[arg-type]
    found = []
    for _ in range(2):
        model, _ = small(config)
        found.append(torch.cat(model.embed()))
        model.eval()
        assert torch.equal(torch.cat(model.embed()), torch.cat(model.embed()))
        assert not torch.equal(torch.cat(model.embed()), found[-1])
    assert torch.equal(*found)


def test_nothing_known_of_any_item_is_no_harm() -> None:
    world = planted_world(0)
    graph = JointGraph.build(world.split, world.graph, {})
    model = Kgin(TrainingData(world.split.train, graph), Config(dim=4), torch.Generator().manual_seed(0))
    loss = model.loss(np.asarray([0, 1]), np.asarray([0, 399]), np.asarray([2, 3]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        Kgin(TrainingData(world.split.train), CONFIG, torch.Generator())


@pytest.mark.planted
def test_cold_items_are_reached_through_the_graph() -> None:
    warm, cold = aucs("kgin", "PG-1")
    assert warm.min() > 0.99
    assert cold.mean() >= 0.95
    assert cold.min() >= 0.9


@pytest.mark.planted
def test_the_wrong_graph_is_chance() -> None:
    warm, cold = aucs("kgin", "PG-1-shuffled")
    assert warm.min() > 0.99
    assert ((cold > 0.4) & (cold < 0.6)).all()


@pytest.mark.planted
def test_more_layers_see_further() -> None:
    _, shallow = aucs("kgin", "PG-2u", n_layers=1, edge_dropout=0.0, interaction_dropout=0.0)
    _, deep = aucs("kgin", "PG-2u", n_layers=3, edge_dropout=0.0, interaction_dropout=0.0)
    assert 0.4 < shallow.mean() < 0.6  # one hop: every item has its own author
    assert deep.mean() >= 0.85


@pytest.mark.planted
def test_cold_items_gain_from_triples_read_backwards() -> None:
    _, cold = aucs("kgin", "PG-1")
    _, onward = aucs("kgin", "PG-1", inverse=False)
    assert onward.mean() >= 0.85  # the attribute's own vector says who likes the item
    assert onward.min() >= 0.8
    assert cold.mean() - onward.mean() > 0.02


@pytest.mark.planted
def test_cold_items_drawn_as_negatives_learn_to_be_bad() -> None:
    _, cold = aucs("kgin", "PG-1")
    _, spoiled = aucs("kgin", "PG-1", warm_only=False)
    assert cold.mean() - spoiled.mean() > 0.03
