"""CKE: what it becomes without its parts, its losses triple by triple, and what only the graph can say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from kg.errors import UsageError
from recommender.graph.joint import JointGraph
from recommender.models.base import SideData, TrainingData
from recommender.models.bpr import Bpr
from recommender.models.bpr import Config as BprConfig
from recommender.models.cke import Cke, Config
from recommender.training.train import Options, train
from tests.recommender.planting import aucs
from tests.recommender.tiny import tiny
from tests.worlds import planted_world

CONFIG = Config(dim=6, relation_dim=6, batch_size=32, knowledge_batch_size=16)


def small(config: Config = CONFIG, side: SideData | None = None) -> Cke:
    split, graph, _ = tiny()
    data = TrainingData(split.train, graph, side or SideData())
    return Cke(data, config, torch.Generator().manual_seed(0))


def test_without_knowledge_it_is_matrix_factorisation() -> None:
    """Step by step the same weights as BPR, the entities held at 0."""
    split, _, _ = tiny()
    model = small(dataclasses.replace(CONFIG, knowledge_weight=0.0, penalty=0.01))
    plain_config = BprConfig(dim=6, batch_size=32, warm_only=True, penalty=0.01)
    plain = Bpr(TrainingData(split.train), plain_config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.entities.zero_()
    model.entities.requires_grad_(False)
    trained = ([model.users, model.items], [plain.users, plain.items])
    for ours, theirs in zip(*trained, strict=True):
        assert torch.equal(ours, theirs)
    optimisers = [torch.optim.Adam(weights, lr=0.01) for weights in trained]
    rngs = [np.random.default_rng(0) for _ in trained]
    epochs = zip(model.losses(rngs[0]), plain.losses(rngs[1]), strict=True)
    for (_, ours), (_, theirs) in epochs:
        assert torch.allclose(ours, theirs, atol=1e-7)
        for optimiser, loss in zip(optimisers, (ours, theirs), strict=True):
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    for ours, theirs in zip(*trained, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def by_triples(model: Cke, chosen: list[int], false_tails: list[int]) -> torch.Tensor:
    known, total = model._triples, torch.zeros((), dtype=model.users.dtype)
    for place, wrong in zip(chosen, false_tails, strict=True):
        relation = int(known.relations[place])
        nodes = (int(known.heads[place]), int(known.tails[place]), wrong)
        h, t, c = (model.entities[node] @ model.projections[relation] for node in nodes)
        h, t, c, r = (functional.normalize(row, dim=0) for row in (h, t, c, model.relations[relation]))
        nearer, farther = (h + r - t).square().sum(), (h + r - c).square().sum()
        squares = sum((row.square().sum() for row in (h, r, t, c)), torch.zeros(()))
        total = total + functional.softplus(nearer - farther) + model.config.knowledge_penalty * squares / 2
    return total / len(chosen)


def test_the_knowledge_loss_equals_triple_by_triple_and_has_exact_gradients() -> None:
    model = small(dataclasses.replace(CONFIG, knowledge_penalty=0.01)).double()
    chosen, wrong = [0, 5, 9, 12, 3, 30], [1, 20, 4, 25, 8, 2]
    found = model.knowledge_loss(np.asarray(chosen), np.asarray(wrong))
    assert torch.allclose(found, by_triples(model, chosen, wrong))

    def loss(*_: torch.Tensor) -> torch.Tensor:
        return model.knowledge_loss(np.asarray(chosen), np.asarray(wrong))

    assert torch.autograd.gradcheck(loss, (model.entities, model.relations, model.projections))


def test_projections_that_change_nothing_leave_transe() -> None:
    model = small()
    with torch.no_grad():
        model.projections.copy_(torch.eye(6).expand_as(model.projections))
        model.entities.copy_(functional.normalize(model.entities))
        model.relations.copy_(functional.normalize(model.relations))
    known, chosen, wrong = model._triples, np.arange(20), np.arange(20)
    head, tail, false_tail = (model.entities[n] for n in (known.heads[:20], known.tails[:20], wrong))
    moved = head + model.relations[known.relations[:20]]
    transe = functional.softplus((moved - tail).square().sum(1) - (moved - false_tail).square().sum(1))
    found = model.knowledge_loss(chosen, wrong) - CONFIG.knowledge_penalty * 2  # four rows of length 1
    assert torch.allclose(found, transe.mean(), atol=1e-6)


def test_learning_brings_true_tails_nearer_than_false_ones() -> None:
    """The sign: lower is nearer, so the true distance must come out smaller."""
    model = small()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    rng, known = np.random.default_rng(0), model._triples
    for _ in range(60):
        chosen, wrong = known.epoch(rng)
        optimiser.zero_grad()
        model.knowledge_loss(chosen, wrong).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(model.knowledge_loss(*known.epoch(rng)).detach()) < 0.4  # .69 where both are as near


@pytest.mark.parametrize("inverses", [False, True])
def test_triples_are_those_of_the_graph_in_the_directions_asked_for(inverses: bool) -> None:
    _, graph, _ = tiny()
    known = small(dataclasses.replace(CONFIG, inverses=inverses))._triples
    n_edges = len(np.flatnonzero(graph.relation < 2 * graph.n_relations))
    assert len(known) == (n_edges if inverses else n_edges // 2)
    assert known.relations.max() == (2 if inverses else 1) * graph.n_relations - 1
    assert known.heads.min() >= 0
    assert max(known.heads.max(), known.tails.max()) < graph.n_entities


def test_an_epoch_goes_through_the_triples_evenly() -> None:
    model = small()
    n = len(model._triples)
    chosen, false_tails = model._knowledge_epoch(np.random.default_rng(0), 2 * n + 5)
    visits = np.bincount(chosen, minlength=n)
    assert len(false_tails) == 2 * n + 5
    assert visits.min() == 2
    assert visits.max() == 3


def test_texts_add_a_linear_map_of_the_encoded_text() -> None:
    _, _, side = tiny()
    vectors = np.asarray(side.item_vectors).copy()
    vectors[3] = 0  # an item without a text
    model = small(dataclasses.replace(CONFIG, text=True), SideData(item_vectors=vectors))
    with torch.no_grad():
        plain = model.items + model.entities[: model.n_items]
        added = model.embed()[1] - plain
    expected = functional.normalize(torch.from_numpy(vectors)) @ model.text_map.detach()
    assert torch.allclose(added, expected, atol=1e-6)
    assert (added[3] == 0).all()
    model.ranking_loss(np.asarray([0]), np.asarray([1]), np.asarray([2])).backward()  # type: ignore[no-untyped-call]
    assert model.text_map.grad is not None
    with pytest.raises(UsageError, match="needs encoded texts"):
        small(dataclasses.replace(CONFIG, text=True))


def test_nothing_known_of_any_item_is_no_harm() -> None:
    world = planted_world(0)
    graph = JointGraph.build(world.split, world.graph, {})
    options = Options(epochs=1, device="cpu")
    model = train("cke", world.split, graph, model_options={"dim": 4}, options=options).model
    assert np.isfinite(model.score(np.asarray([0]))).all()
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        Cke(TrainingData(world.split.train), CONFIG, torch.Generator())


PLANTED = {"relation_dim": 16}


@pytest.mark.planted
def test_cold_items_are_reached_through_the_graph() -> None:
    warm, cold = aucs("cke", "PG-1", **PLANTED)
    assert warm.min() > 0.98
    assert cold.mean() >= 0.82
    assert cold.min() >= 0.8


@pytest.mark.planted
def test_the_wrong_graph_is_chance() -> None:
    warm, cold = aucs("cke", "PG-1-shuffled", **PLANTED)
    assert warm.min() > 0.98
    assert ((cold > 0.4) & (cold < 0.6)).all()


@pytest.mark.planted
def test_cold_items_drawn_as_negatives_learn_to_be_bad() -> None:
    _, cold = aucs("cke", "PG-1", **PLANTED)
    warm, spoiled = aucs("cke", "PG-1", warm_only=False, **PLANTED)
    assert warm.min() > 0.98  # on warm items nothing shows
    assert cold.mean() - spoiled.mean() > 0.15
