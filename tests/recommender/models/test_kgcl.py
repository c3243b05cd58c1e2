"""KGCL: what it becomes without its parts, each part against a loop, and what planted worlds show."""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.evaluation.evaluate import evaluate, pair_auc
from recommender.graph.joint import JointGraph
from recommender.models.base import TrainingData
from recommender.models.kgcl import Config, ItemEdges, Kgcl, View, info_nce, keep_probabilities
from recommender.models.lightgcn import Config as LightGcnConfig
from recommender.models.lightgcn import LightGcn, normalised_adjacency
from recommender.training.train import Options, train
from tests.recommender.planting import SEEDS, trained
from tests.recommender.tiny import tiny
from tests.worlds import Variant, planted_world, with_noise

CONFIG = Config(dim=6, batch_size=32)


def small(config: Config = CONFIG) -> Kgcl:
    split, graph, _ = tiny()
    return Kgcl(TrainingData(split.train, graph), config, torch.Generator().manual_seed(0))


def test_without_contrast_and_knowledge_it_is_lightgcn() -> None:
    split, _, _ = tiny()
    model = small(dataclasses.replace(CONFIG, contrast_weight=0.0, knowledge=False, penalty=0.01))
    plain_config = LightGcnConfig(dim=6, batch_size=32, penalty=0.01, sample_by="interaction", warm_only=True)
    plain = LightGcn(TrainingData(split.train), plain_config, torch.Generator().manual_seed(0))
    core = model.n_users + model.n_items
    assert torch.equal(model.nodes[:core], plain.nodes)
    optimisers = [torch.optim.Adam([weights], lr=0.01) for weights in (model.nodes, plain.nodes)]
    epochs = zip(*(one.losses(np.random.default_rng(0)) for one in (model, plain)), strict=True)
    for (_, ours), (_, theirs) in epochs:
        assert torch.allclose(ours, theirs, atol=1e-7)
        for optimiser, loss in zip(optimisers, (ours, theirs), strict=True):
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    assert torch.allclose(model.nodes[:core], plain.nodes, atol=1e-6)
    assert torch.allclose(torch.cat(model.embed()), torch.cat(plain.embed()), atol=1e-6)


def by_items(model: Kgcl, kept: list[int]) -> torch.Tensor:
    """Item vectors from the padded form of the paper's code, item by item."""
    config, known, first = model.config, model._edges.corrupter, model.n_users
    rows = []
    for item in range(model.n_items):
        own = model.nodes[first + item]
        edges = [edge for edge in kept if known.heads[edge] == item]
        if edges:
            near = torch.stack([model.nodes[first + known.tails[edge]] for edge in edges])
            asked = torch.stack([model.relations[known.relations[edge]] for edge in edges])
            both = torch.cat([own.expand(len(edges), -1), near], dim=1)
            logit = ((both @ model.attention_weights + model.attention_bias) * asked).sum(dim=1)
            weights = torch.softmax(functional.leaky_relu(logit, config.slope), dim=0)
            own = own + weights @ near
        rows.append(own)
    return torch.stack(rows)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_item_vectors_and_gradients_equal_a_loop_over_items(share: float) -> None:
    model = small()
    with torch.no_grad():
        model.attention_bias.fill_(0.3)
    n = len(model._edges)
    kept = torch.rand(n, generator=torch.Generator().manual_seed(1)) < share
    found = model._item_vectors(None if share == 1 else kept)
    expected = by_items(model, list(range(n)) if share == 1 else torch.nonzero(kept).flatten().tolist())
    assert torch.allclose(found, expected, atol=1e-6)
    probe = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad((found * probe).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((expected * probe).sum(), list(model.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_an_item_has_at_most_so_many_edges_and_no_interaction() -> None:
    _, graph, _ = tiny()
    whole = ItemEdges(graph, 100, torch.Generator().manual_seed(0)).corrupter
    n_users, known = graph.n_users, 2 * graph.n_relations
    of_items = (graph.head >= n_users) & (graph.head < n_users + graph.n_items) & (graph.relation < known)
    assert len(whole) == of_items.sum()
    few = ItemEdges(graph, 1, torch.Generator().manual_seed(0)).corrupter
    assert np.array_equal(few.heads, np.unique(whole.heads))
    everything = set(zip(whole.heads, whole.relations, whole.tails, strict=True))
    assert set(zip(few.heads, few.relations, few.tails, strict=True)) < everything
    other = ItemEdges(graph, 1, torch.Generator().manual_seed(1)).corrupter
    assert not np.array_equal(few.tails, other.tails)  # drawn, not the first ones


def test_identical_views_leave_what_can_be_computed_by_hand() -> None:
    """Three nodes at angles 0, 60 and 90 degrees: cosines 1/2, 0 and the root of 3/4."""
    nodes = torch.tensor([[1.0, 0], [0.5, math.sqrt(0.75)], [0, 1]])
    cosines = [[1, 0.5, 0], [0.5, 1, math.sqrt(0.75)], [0, math.sqrt(0.75), 1]]
    expected = [math.log(sum(math.exp(c / 0.2) for c in row)) - 1 / 0.2 for row in cosines]
    found = info_nce(nodes, nodes, torch.arange(3), 0.2)
    assert float(found) == pytest.approx(np.mean(expected), abs=1e-6)
    assert float(info_nce(nodes[:1], nodes, torch.tensor([0]), 0.2)) == pytest.approx(expected[0], abs=1e-6)


def test_contrast_a_piece_at_a_time_equals_the_whole_with_exact_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recommender.models.kgcl._COLUMNS_PER_PIECE", 3)
    generator = torch.Generator().manual_seed(0)
    rows, table = (torch.randn(n, 4, dtype=torch.float64, generator=generator) for n in (5, 8))
    same = torch.tensor([7, 0, 3, 3, 2])
    expected = functional.cross_entropy(rows @ table.T / 0.2, same)
    assert torch.allclose(info_nce(rows, table, same, 0.2), expected)
    inputs = (rows.requires_grad_(), table.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, same, 0.2), inputs)


@pytest.mark.parametrize("dropout", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.5])
def test_the_share_of_interactions_kept_is_the_one_asked_for(dropout: float, spread: float) -> None:
    training = planted_world(0).split.train
    agreement = 1 - spread * np.random.default_rng(0).random(training.n_items)
    chance = keep_probabilities(agreement, training, dropout)
    assert chance[training.item].mean() == pytest.approx(1 - dropout, abs=1e-9)
    assert ((chance >= 0) & (chance <= 0.95 + 1e-12)).all()
    order = np.argsort(agreement)
    assert (np.diff(chance[order]) >= -1e-12).all()  # what agrees more is kept more
    assert keep_probabilities(agreement, training, 0.01) == pytest.approx(0.95)  # no more than the cap


def test_views_keep_the_share_and_differ() -> None:
    world = planted_world(0)
    data = TrainingData(world.split.train, JointGraph.build(world.split, world.graph, world.links))
    model = Kgcl(data, dataclasses.replace(CONFIG, interaction_dropout=0.3), torch.Generator().manual_seed(0))
    views = model.views()
    for view in views:
        kept = view.adjacency.n_values / 2 / len(data.train)
        assert kept == pytest.approx(0.7, abs=0.02)
        assert view.edges is not None
        assert float(view.edges.float().mean()) == pytest.approx(0.5, abs=0.05)
    assert views[0].adjacency.n_values != views[1].adjacency.n_values


@pytest.mark.parametrize("warm_only", [True, False])
def test_contrast_of_a_view_with_itself_is_that_of_identical_vectors(warm_only: bool) -> None:
    """Among all users and, where cold items are no negatives, the items that somebody had."""
    split, _, _ = tiny()
    model = small(dataclasses.replace(CONFIG, warm_only=warm_only))
    view = View(None, normalised_adjacency(split.train, torch.device("cpu")))
    user, item = np.asarray([0, 1, 1]), np.asarray([2, 2, 5])
    users, items = (functional.normalize(part) for part in model.embed())
    of_users = functional.cross_entropy(users[[0, 1]] @ users.T / 0.2, torch.tensor([0, 1]))
    among = items[torch.from_numpy(split.train.popularity > 0)] if warm_only else items
    of_items = functional.cross_entropy(items[[2, 5]] @ among.T / 0.2, torch.tensor([2, 5]))
    assert len(among) < len(items) or not warm_only
    assert torch.allclose(model.contrast_loss(user, item, (view, view)), of_users + of_items, atol=1e-5)


def test_the_knowledge_loss_equals_edge_by_edge() -> None:
    model = small()
    known, first = model._edges.corrupter, model.n_users
    total = torch.zeros(())
    for edge, wrong in ((0, 22), (7, 4)):
        h, t, c = (model.nodes[first + int(n)] for n in (known.heads[edge], known.tails[edge], wrong))
        r = model.relations[known.relations[edge]]
        total = total + functional.softplus((h + r - t).square().sum() - (h + r - c).square().sum())
        total = total + 1e-3 / 2 * torch.stack([part.square().sum() for part in (h, r, t, c)]).sum()
    assert torch.allclose(model.knowledge_loss(np.asarray([0, 7]), np.asarray([22, 4])), total / 2)


def test_nothing_known_of_any_item_is_no_harm() -> None:
    world = planted_world(0)
    graph = JointGraph.build(world.split, world.graph, {})
    options = Options(epochs=1, device="cpu")
    model = train("kgcl", world.split, graph, model_options={"dim": 4}, options=options).model
    assert np.isfinite(model.score(np.asarray([0]))).all()
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        Kgcl(TrainingData(world.split.train), CONFIG, torch.Generator())


@cache
def levels(name: str, variant: Variant = "PG-1", noise: float = 0.0, **options: float) -> NDArray[np.float64]:
    """Warm AUC, cold AUC and Recall@20 among cold items, of three seeds: [3, 3]."""
    found = []
    for seed in SEEDS:
        world = planted_world(seed, variant)
        model = trained(name, with_noise(world, noise, seed), seed, **options)
        training = world.split.train
        cold = np.flatnonzero(training.popularity == 0)
        users, places = np.nonzero(world.likes[:, world.attribute[cold]])
        truth = Interactions.of(
            [training.user_ids[user] for user in users],
            [training.item_ids[cold[place]] for place in places],
            catalogue=training.item_ids,
        )
        recall = evaluate(model, truth, candidates=cold).figures()["recall@20"]
        pairs = [pair_auc(model, p.users, p.items, p.labels) for p in (world.warm, world.cold)]
        found.append([*pairs, recall])
    print(f"{name} {variant} noise {noise} {options}: {np.round(found, 3).tolist()}")
    return np.asarray(found)


@pytest.mark.planted
def test_cold_items_are_reached_through_the_graph() -> None:
    warm, cold, _ = levels("kgcl", noise=0.0).T
    assert warm.min() > 0.99
    assert cold.mean() >= 0.95
    assert cold.min() >= 0.9


@pytest.mark.planted
def test_the_wrong_graph_is_chance() -> None:
    warm, cold, _ = levels("kgcl", "PG-1-shuffled").T
    assert warm.min() > 0.98
    assert ((cold > 0.4) & (cold < 0.6)).all()


@pytest.mark.planted
def test_false_triples_cost_less_than_without_contrast_and_than_they_cost_kgat() -> None:
    """Two false triples for each true one; a fifth as many as true ones costs nobody what can be measured."""

    def drop(name: str, **options: float) -> float:
        clean, noisy = (levels(name, noise=noise, **options)[:, 2] for noise in (0.0, 2.0))
        return float((clean - noisy).mean())

    ours = drop("kgcl")
    assert ours < 0.08
    assert ours < drop("kgcl", contrast_weight=0.0)
    assert ours + 0.02 < drop("kgat")
