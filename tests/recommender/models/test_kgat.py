from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Interactions, Ints
from recommender.data.splits import Split, random_split
from recommender.graph.joint import JointGraph
from recommender.models.base import TrainingData, Vectors
from recommender.models.gradient import ranking_loss, squared_norm
from recommender.models.kgat import Config, Kgat
from recommender.training.train import Options, train
from tests.worlds import PlainGraph, planted_world


def small(config: Config) -> Kgat:
    """About 30 nodes with a hub, several edges between one pair, and nodes without any edge."""
    rng = np.random.default_rng(0)
    whole = Interactions.of(
        [f"u{u}" for u in rng.integers(0, 6, 24)],
        [f"i{i}" for i in rng.integers(0, 8, 24)],
        catalogue=[f"i{i}" for i in range(9)],
    )
    entities = [f"e{n:02d}" for n in range(24)]
    triples = np.unique(
        np.stack([rng.integers(0, 18, 50), rng.integers(0, 3, 50), rng.integers(0, 22, 50)], axis=1), axis=0
    )
    triples = np.unique(np.concatenate([triples, [(0, 0, 5), (0, 1, 5), (0, 2, 5)]]), axis=0)
    links = {f"i{i}": f"e{i:02d}" for i in range(8)}
    split = random_split(whole, rng)
    graph = JointGraph.build(split, PlainGraph(entities, ["p", "q", "r"], triples), links)
    return Kgat(TrainingData(split.train, graph), config, torch.Generator().manual_seed(0))


CONFIG = Config(dim=6, relation_dim=5, layers=(4, 3))


def edges(model: Kgat) -> list[tuple[int, int, int]]:
    graph = model.graph
    return list(zip(graph.head.tolist(), graph.relation.tolist(), graph.tail.tolist(), strict=True))


def dense_attention(model: Kgat) -> torch.Tensor:
    logits = []
    for head, relation, tail in edges(model):
        projection = model.projections[relation]
        logits.append(
            (model.nodes[tail] @ projection)
            @ torch.tanh(model.nodes[head] @ projection + model.relations[relation])
        )
    matrix = torch.full((model.graph.n_nodes, len(logits)), float("-inf"))
    for position, (head, _, _) in enumerate(edges(model)):
        matrix[head, position] = logits[position]
    filled = torch.isfinite(matrix).any(dim=1)
    return torch.softmax(matrix[filled], dim=1).sum(dim=0)


def dense_embed(model: Kgat, attention: torch.Tensor) -> torch.Tensor:
    n = model.graph.n_nodes
    adjacency = torch.zeros(n, n)
    for weight, (head, _, tail) in zip(attention, edges(model), strict=True):
        adjacency[head, tail] = adjacency[head, tail] + weight
    layer, outputs = model.nodes, [model.nodes]
    for number in range(len(model.config.layers)):
        near = adjacency @ layer
        layer = functional.leaky_relu(
            (layer + near) @ model.sum_weights[number] + model.sum_biases[number]
        ) + functional.leaky_relu(
            (layer * near) @ model.product_weights[number] + model.product_biases[number]
        )
        outputs.append(functional.normalize(layer))
    return torch.cat(outputs, dim=1)[: model.n_core]


def test_without_projections_attention_is_one_over_degree() -> None:
    model = small(CONFIG)
    with torch.no_grad():
        model.projections.zero_()
    model.refresh()
    degree = np.diff(model.graph.indptr)
    found = model.edge_weights()
    assert np.allclose(found, 1 / np.repeat(degree, degree))


def test_a_linear_layer_is_own_plus_mean() -> None:
    model = small(Config(dim=6, relation_dim=5, layers=(6,), message_dropout=0.0))
    with torch.no_grad():
        model.nodes.abs_()  # positive, so the activation changes nothing
        model.sum_weights[0].copy_(torch.eye(6))
        model.product_weights[0].zero_()
    own, output = torch.cat(model.embed()).detach()[:, :6], torch.cat(model.embed()).detach()[:, 6:]
    graph = model.graph
    for node in range(model.n_core):
        near = graph.tail[graph.indptr[node] : graph.indptr[node + 1]]
        mean = model.nodes[near].mean(dim=0) if len(near) else torch.zeros(6)
        assert torch.allclose(output[node], functional.normalize(own[node] + mean, dim=0), atol=1e-6)


def test_attention_equals_the_dense_one_and_sums_to_one() -> None:
    model = small(CONFIG)
    model.refresh()
    found = torch.from_numpy(model.edge_weights())
    assert torch.allclose(found, dense_attention(model), atol=1e-6)
    degree = np.diff(model.graph.indptr)
    sums = np.bincount(model.graph.head, found.numpy(), minlength=len(degree))
    assert np.allclose(sums[degree > 0], 1, atol=1e-6)
    pairs = [(head, tail) for head, _, tail in edges(model)]
    assert len(set(pairs)) < len(pairs)  # several edges between one pair are really in this graph


@pytest.mark.parametrize("layers", [(4,), (4, 3), (4, 4, 3)])
def test_vectors_and_gradients_equal_the_dense_reference(layers: tuple[int, ...]) -> None:
    model = small(Config(dim=6, relation_dim=5, layers=layers))
    model.refresh()
    model.eval()
    weights = torch.from_numpy(model.edge_weights())
    found, expected = torch.cat(model.embed()), dense_embed(model, weights)
    assert torch.allclose(found, expected, atol=1e-6)
    probe = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((found * probe).sum(), list(model.parameters()), allow_unused=True)
    theirs = torch.autograd.grad((expected * probe).sum(), list(model.parameters()), allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert torch.allclose(one, other, atol=1e-5)


def test_knowledge_loss_equals_triple_by_triple_and_has_exact_gradients() -> None:
    model = small(Config(dim=6, relation_dim=5, layers=(4,), penalty=0.01)).double()
    rng = np.random.default_rng(0)
    chosen = rng.permutation(model.graph.n_edges)[:20]
    wrong = rng.integers(0, model.graph.n_nodes, 20)
    total = torch.zeros((), dtype=torch.float64)
    for edge, corrupted in zip(chosen, wrong, strict=True):
        head, relation, tail = edges(model)[edge]
        h, t, c = (model.nodes[node] @ model.projections[relation] for node in (head, tail, int(corrupted)))
        r = model.relations[relation]
        true, false = (h + r - t).square().sum(), (h + r - c).square().sum()
        squares = sum((part.square().sum() for part in (h, r, t, c)), torch.zeros((), dtype=torch.float64))
        total = total + functional.softplus(true - false) + 0.01 * squares / 2
    assert torch.allclose(model.knowledge_loss(chosen, wrong), total / 20)
    inputs = (model.nodes, model.relations, model.projections)

    def loss(*_: torch.Tensor) -> torch.Tensor:
        return model.knowledge_loss(chosen, wrong)

    assert torch.autograd.gradcheck(loss, inputs)


def test_corrupted_tails_make_no_edge() -> None:
    model = small(CONFIG)
    positions, tails = model._triples.epoch(np.random.default_rng(0), 1.0)
    assert sorted(positions) == list(range(model.graph.n_edges))
    known = set(edges(model))
    assert not any(
        (int(model.graph.head[p]), int(model.graph.relation[p]), int(t)) in known
        for p, t in zip(positions, tails, strict=True)
    )


def test_attention_gets_no_gradient_from_ranking() -> None:
    model = small(CONFIG)
    model.refresh()
    model.ranking_loss(np.asarray([0, 1]), np.asarray([0, 1]), np.asarray([2, 3])).backward()
    assert model.nodes.grad is not None
    assert model.projections.grad is None
    assert model.relations.grad is None


def test_starts_from_given_vectors_and_refuses_others() -> None:
    world = planted_world(0)
    graph = JointGraph.build(world.split, world.graph, world.links)
    data, rng = TrainingData(world.split.train, graph), torch.Generator().manual_seed(0)
    given = Vectors(np.full((600, 6), 2.0, np.float32), np.full((400, 6), 3.0, np.float32))
    model = Kgat(data, CONFIG, rng, given)
    assert (model.nodes[:600] == 2).all()
    assert (model.nodes[600:1000] == 3).all()
    with pytest.raises(UsageError, match="dimensions"):
        Kgat(data, Config(dim=7), rng, given)
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        Kgat(TrainingData(world.split.train), CONFIG, rng)


def skewed(config: Config, seed: int) -> Kgat:
    """60 users and 40 items of very different degrees, some without any edge, around 80 entities."""
    rng = np.random.default_rng(seed)
    users, items = (60 * rng.random(150) ** 2).astype(int), (40 * rng.random(150) ** 3).astype(int)
    whole = Interactions.of(
        [f"u{u:02d}" for u in users],
        [f"i{i:02d}" for i in items],
        catalogue=[f"i{i:02d}" for i in range(45)],
    )
    heads, tails = (80 * rng.random(120) ** 2).astype(int), (80 * rng.random(120)).astype(int)
    triples = np.unique(np.stack([heads, rng.integers(0, 3, 120), tails], axis=1), axis=0)
    entities = [f"e{n:02d}" for n in range(80)]
    split = random_split(whole, rng)
    links = {f"i{i:02d}": f"e{i:02d}" for i in range(40)}
    graph = JointGraph.build(split, PlainGraph(entities, ["p", "q", "r"], triples), links)
    model = Kgat(TrainingData(split.train, graph), config, torch.Generator().manual_seed(seed))
    model = model.double()
    model.refresh()
    return model


@pytest.mark.parametrize("layers", [(4,), (4, 3), (5, 4, 3)])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.0, 0.9, 2.0])
def test_rows_of_a_batch_equal_those_of_all(
    layers: tuple[int, ...], seed: int, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and every gradient, with users who come twice, hubs, and nodes without edges."""
    monkeypatch.setattr("recommender.graph.propagation._WORTH_RESTRICTING", threshold)
    model = skewed(Config(dim=6, relation_dim=5, layers=layers, message_dropout=0.0, penalty=0.01), seed)
    rng = np.random.default_rng(seed)
    user = rng.choice([0, 1, 59, *rng.integers(0, model.n_users, 5)], 12) % model.n_users
    positive, negative = rng.integers(0, model.n_items, (2, 12))
    found = model.ranking_loss(user, positive, negative)
    users, items = model.embed()
    u, p, n = users[user], items[positive], items[negative]
    expected = ranking_loss(u, p, n) + 0.01 * squared_norm(u, p, n)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    weights = [weight for weight in model.parameters() if weight not in {model.relations, model.projections}]
    ours, theirs = (torch.autograd.grad(loss, weights) for loss in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-10)
    assert any(gradient.abs().max() > 1e-4 for gradient in ours)


def test_gradients_of_one_step_are_not_changed_by_the_next() -> None:
    """In 32 bits the table of gradients lies in memory that is used again: not while somebody holds it."""
    model = skewed(Config(dim=6, relation_dim=5, layers=(4,), message_dropout=0.0), 0).float()
    model.refresh()
    batches = [(np.asarray([n, n + 20]), np.asarray([n, 9]), np.asarray([30, n])) for n in (1, 2)]

    def gradient(batch: tuple[Ints, Ints, Ints]) -> torch.Tensor:
        return torch.autograd.grad(model.ranking_loss(*batch), model.nodes)[0]

    first = gradient(batches[0])
    kept = first.clone()
    assert not torch.allclose(gradient(batches[1]), kept)
    assert torch.equal(first, kept)
    model.ranking_loss(*batches[0]).backward()
    model.ranking_loss(*batches[1]).backward()
    edges, tails = model._triples.epoch(np.random.default_rng(0), 0.2)
    model.knowledge_loss(edges, tails).backward()
    of_knowledge = torch.autograd.grad(model.knowledge_loss(edges, tails), model.nodes)[0]
    assert model.nodes.grad is not None
    assert torch.allclose(model.nodes.grad, kept + gradient(batches[1]) + of_knowledge, atol=1e-6)


def test_few_rows_are_really_picked_out() -> None:
    model = skewed(Config(dim=6, relation_dim=5, layers=(5, 4, 3)), 0)
    nodes = torch.tensor([50, 55, 70])
    layers = model._propagation.towards(nodes)
    assert layers is not None
    assert layers[-1].matrix.shape[0] == 3
    sizes = [layer.matrix.shape[0] for layer in layers]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < model.n_core


def test_left_out_edges_keep_the_expected_vectors_and_a_resumed_draw_repeats() -> None:
    model = skewed(Config(dim=6, relation_dim=5, layers=(4,), message_dropout=0.0, node_dropout=0.3), 0)
    whole = model.eval()._propagation.everywhere()[0].matrix
    state = model.generator.get_state()
    drawn = [whole.drop_out(0.3, model.generator) for _ in range(400)]
    mean = sum(float(one.multiply(model.nodes)[0, 0]) for one in drawn) / len(drawn)
    assert mean == pytest.approx(float(whole.multiply(model.nodes)[0, 0]), abs=0.05)
    assert 0.6 < drawn[0].n_values / whole.n_values < 0.8
    model.generator.set_state(state)
    assert torch.equal(whole.drop_out(0.3, model.generator).columns, drawn[0].columns)
    batch = (np.asarray([0, 1]), np.asarray([0, 1]), np.asarray([2, 3]))
    same = [model.ranking_loss(*batch).item() for _ in range(2)]
    model.train()
    assert same[0] == same[1] != model.ranking_loss(*batch).item()


def test_a_resumed_run_with_edges_left_out_ends_in_the_same_numbers(tmp_path: Path) -> None:
    world = planted_world(0)
    graph = JointGraph.build(world.split, world.graph, world.links)
    options = {"dim": 8, "relation_dim": 8, "layers": [8], "node_dropout": 0.2, "knowledge_share": 0.5}

    def run(epochs: int, folder: Path) -> Kgat:
        settings = Options(epochs=epochs, device="cpu")
        model = train(
            "kgat", world.split, graph, model_options=options, options=settings, run_folder=folder
        ).model
        assert isinstance(model, Kgat)
        return model

    whole = run(3, tmp_path / "whole")
    run(1, tmp_path / "parts")
    assert torch.equal(run(3, tmp_path / "parts").nodes, whole.nodes)


def test_attention_in_pieces_equals_attention_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = skewed(CONFIG, 0)
    whole = model.edge_weights()
    for at_once in (1, 7, 60):
        monkeypatch.setattr("recommender.graph.attention._EDGES_AT_ONCE", at_once)
        monkeypatch.setattr("recommender.graph.attention._EDGES_MULTIPLIED", max(1, at_once // 2))
        model.refresh()
        assert np.allclose(model.edge_weights(), whole, atol=1e-12)


def test_knowledge_can_visit_triples_in_one_direction_in_batches_of_a_given_size() -> None:
    model = skewed(replace(CONFIG, knowledge_edges="forward", knowledge_batch_size=16), 0)
    visited: list[Ints] = []
    model.knowledge_loss = lambda edges, tails: visited.append(edges)  # type: ignore[assignment, func-returns-value]
    for _ in model.losses(np.random.default_rng(0)):
        pass
    edges, graph = np.concatenate(visited), model.graph
    assert sorted(edges) == np.flatnonzero(graph.relation < graph.n_relations).tolist()
    assert {len(batch) for batch in visited[:-1]} == {16}


def test_split_with_nothing_held_out_still_builds() -> None:
    world = planted_world(0)
    assert isinstance(world.split, Split)
    assert JointGraph.build(world.split, world.graph, {}).n_linked_items == 0
