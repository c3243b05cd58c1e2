from __future__ import annotations

from dataclasses import replace
from pathlib import Path
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
from recommender.models.base import TrainingData
from recommender.models.kgcn import Config, Kgcn
from recommender.training.train import Options, train
from tests.recommender.planting import aucs
from tests.worlds import PlainGraph

CONFIG = Config(dim=5, neighbours=3, epochs=4)


def six_nodes() -> tuple[Split, JointGraph]:
    """Six entities, the first three of them items; a fourth item has none, and the last user no history.

    ``e0`` and ``e3`` are joined twice, ``e2`` with itself, ``e4`` has more edges than three columns hold, and
    ``e1`` has all its neighbours by one relation.
    """
    whole = Interactions.of(
        ["u0", "u0", "u1", "u1", "u2", "u3"],
        ["i0", "i1", "i1", "i2", "i0", "i2"],
        catalogue=["i0", "i1", "i2", "i3"],
    )
    split = Split(*(whole.select(whole.user < 3), *(whole.select(whole.user > 9) for _ in range(2))))
    triples = [
        (0, 0, 3),
        (0, 1, 3),
        (0, 0, 4),
        (1, 0, 4),
        (1, 0, 5),
        (2, 1, 2),
        (2, 0, 4),
        (3, 1, 5),
        (4, 1, 5),
    ]
    graph = PlainGraph([f"e{n}" for n in range(6)], ["p", "q"], np.asarray(triples))
    return split, JointGraph.build(split, graph, {f"i{n}": f"e{n}" for n in range(3)})


def small(config: Config, **changes: Any) -> Kgcn:
    split, graph = six_nodes()
    settings = replace(config, **changes)
    model = Kgcn(TrainingData(split.train, graph), settings, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for bias in model.biases:  # they start at 0 and would hide where they go
            bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    return model


def neighbours(model: Kgcn, entity: int) -> list[tuple[int, int]]:
    """(relation, entity) of the unmasked columns."""
    rows = zip(
        model.relation[entity].tolist(), model.near[entity].tolist(), model.mask[entity].tolist(), strict=True
    )
    return [(relation, near) for relation, near, kept in rows if kept]


def by_recursion(model: Kgcn, user: int, entity: int, depth: int) -> Tensor:
    """The vector of one entity for one user after ``depth`` iterations, by the book."""
    if depth == 0:
        return model.entities[entity]
    own = by_recursion(model, user, entity, depth - 1)
    near, config = torch.zeros_like(own), model.config
    if out := neighbours(model, entity):
        scores = torch.stack([model.users[user] @ model.relations[relation] for relation, _ in out])
        if config.reduce == "mean":
            scores = scores / config.dim
        weights = torch.exp(scores) / torch.exp(scores).sum()
        for weight, (_, other) in zip(weights, out, strict=True):
            near = near + weight * by_recursion(model, user, other, depth - 1)
        if config.reduce == "mean":
            near = near / len(out)
    joined = {"sum": own + near, "concat": torch.cat([own, near]), "neighbor": near}[config.aggregator]
    value = joined @ model.weights[depth - 1] + model.biases[depth - 1]
    return torch.tanh(value) if depth == config.hops else torch.relu(value)


def recursive_scores(model: Kgcn) -> Tensor:
    rows = [
        torch.stack(
            [
                model.users[user] @ by_recursion(model, user, item, model.config.hops)
                for item in range(model.n_items)
            ]
        )
        for user in range(model.n_users)
    ]
    return torch.stack(rows)


def every_pair(model: Kgcn) -> tuple[Tensor, Tensor]:
    users, items = torch.arange(model.n_users), torch.arange(model.n_items)
    return users.repeat_interleave(len(items)), items.repeat(len(users))


@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("aggregator", ["sum", "concat", "neighbor"])
@pytest.mark.parametrize("hops", [0, 1, 2, 3])
def test_batches_and_ranking_equal_the_recursion(hops: int, aggregator: str, reduce: str) -> None:
    model = small(CONFIG, hops=hops, aggregator=aggregator, reduce=reduce)
    expected = recursive_scores(model)
    found = model.logits(*every_pair(model)).view(model.n_users, -1)
    assert torch.allclose(found, expected, atol=1e-6)
    users = np.arange(model.n_users)
    assert model.score(users) == pytest.approx(expected.detach().numpy(), abs=1e-6)
    assert model.score(users, np.asarray([3, 1])) == pytest.approx(
        expected[:, [3, 1]].detach().numpy(), abs=1e-6
    )
    probe = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((found * probe).sum(), list(model.parameters()), allow_unused=True)
    theirs = torch.autograd.grad((expected * probe).sum(), list(model.parameters()), allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        if other is not None:
            assert one is not None
            assert torch.allclose(one, other, atol=1e-5)


def test_ranking_in_small_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for hops in (1, 2):
        model = small(CONFIG, hops=hops)
        whole = model.score(np.arange(4))
        monkeypatch.setattr("recommender.models.kgcn._NUMBERS_PER_BLOCK", 11)
        monkeypatch.setattr("recommender.models.kgcn._NUMBERS_PER_LEVEL", 60)
        monkeypatch.setattr("recommender.models.kgcn._USERS_PER_CHUNK", 3)
        assert small(CONFIG, hops=hops).score(np.arange(4)) == pytest.approx(whole, abs=1e-6)
        users, items = (part.numpy() for part in every_pair(model))
        assert model.score_pairs(users, items).reshape(whole.shape) == pytest.approx(whole, abs=1e-6)
        monkeypatch.undo()
    assert model.score(np.zeros(0, np.int64)).shape == (0, 4)


def test_some_items_are_seen_alike_by_all_and_some_are_not() -> None:
    model = small(CONFIG)
    model.score(np.arange(4))
    assert model._fields is not None
    assert model._fields.alike_at.tolist() == [1, 3]
    assert model._fields.personal_at.tolist() == [0, 2]


def test_without_hops_it_is_matrix_factorisation() -> None:
    model = small(CONFIG, hops=0, penalty=0.25)
    scores = model.users @ model.entities[:4].T
    assert model.score(np.arange(4)) == pytest.approx(scores.detach().numpy(), abs=1e-6)
    users, items, labels = np.asarray([0, 2, 1]), np.asarray([1, 0, 3]), np.asarray([1, 1, 0], np.float32)
    chosen = scores[torch.from_numpy(users), torch.from_numpy(items)]
    entropy = functional.binary_cross_entropy(torch.sigmoid(chosen), torch.from_numpy(labels))
    squares = sum((t.square().sum() for t in (model.users, model.entities, model.relations)), torch.zeros(()))
    assert torch.allclose(model.loss(users, items, labels), entropy + 0.125 * squares)


def test_like_relations_weigh_like_and_neighbours_are_averaged() -> None:
    model = small(CONFIG, aggregator="neighbor")
    with torch.no_grad():
        model.relations.copy_(model.relations[:1].expand_as(model.relations))
    for item in range(3):
        mean = model.entities[[near for _, near in neighbours(model, item)]].mean(dim=0)
        vector = torch.tanh(mean @ model.weights[0] + model.biases[0])
        assert model.score(np.arange(4))[:, item] == pytest.approx(
            (model.users @ vector).detach().numpy(), abs=1e-6
        )


def test_columns_beyond_the_degree_change_nothing() -> None:
    _, graph = six_nodes()
    degree = np.bincount(graph.head[graph.relation < 4] - graph.n_users, minlength=graph.n_entities)
    full, wider = small(CONFIG, hops=2, neighbours=int(degree.max())), small(CONFIG, hops=2, neighbours=17)
    assert [len(neighbours(full, entity)) for entity in range(graph.n_entities)] == degree.tolist()
    wider.load_state_dict({**wider.state_dict(), **dict(full.named_parameters())})
    assert wider.score(np.arange(4)) == pytest.approx(full.score(np.arange(4)), abs=1e-6)
    drawn = small(CONFIG, hops=2, neighbours=17, with_replacement=True)  # while this does change it
    drawn.load_state_dict({**drawn.state_dict(), **dict(full.named_parameters())})
    assert np.abs(drawn.score(np.arange(4)) - full.score(np.arange(4))).max() > 1e-3


def test_attention_sums_to_one_where_there_are_neighbours() -> None:
    model = small(CONFIG)
    nodes = torch.arange(7)[None].expand(4, -1)
    weights = model._attention(model._liked(model.users), nodes)
    has_edges = model.mask.any(dim=1)
    assert torch.allclose(weights.sum(dim=2), has_edges.float().expand(4, -1))
    assert (weights[:, ~model.mask] == 0).all()


@pytest.mark.parametrize("hops", [1, 2])
def test_items_without_edges_and_users_without_history_have_a_finite_score_and_gradient(hops: int) -> None:
    model = small(CONFIG, hops=hops)
    assert not model.mask[3].any()
    assert np.isfinite(model.score(np.arange(4))).all()
    model.loss(np.asarray([3]), np.asarray([3]), np.ones(1, np.float32)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_neighbours_stay_unless_they_are_drawn_anew() -> None:
    for resample in (False, True):
        model = small(CONFIG, neighbours=2, resample=resample)
        before, tables = model.near.clone(), []
        for epoch in range(6):
            list(model.losses(np.random.default_rng(epoch)))
            tables.append(model.near.clone())
        assert all(torch.equal(before, table) for table in tables) == (not resample)


def test_a_run_with_new_neighbours_resumes_as_if_unbroken(tmp_path: Path) -> None:
    split, graph = six_nodes()
    options = {"dim": 4, "neighbours": 2, "resample": True}

    def scores(folder: Path, *runs: int) -> np.ndarray[Any, Any]:
        for epochs in runs:
            run = Options(epochs=epochs, evaluate_every=1, device="cpu", patience=99)
            model = train(
                "kgcn",
                split,
                graph,
                model_options=options,
                options=run,
                run_folder=folder,
                validate=lambda model: float(np.abs(model.score(np.arange(4))).sum()),
            ).model
        return model.score(np.arange(4))

    assert np.array_equal(scores(tmp_path / "one", 6), scores(tmp_path / "two", 3, 6))


def test_needs_a_graph() -> None:
    split, _ = six_nodes()
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        Kgcn(TrainingData(split.train), CONFIG, torch.Generator())


PLANTED: dict[str, Any] = {"neighbours": 4, "batch_size": 1024, "penalty": 1e-5}


@pytest.mark.planted
def test_one_hop_reaches_cold_items() -> None:
    warm, cold = aucs("kgcn", "PG-1", **PLANTED)
    assert warm.min() > 0.98
    assert cold.mean() >= 0.83
    assert cold.min() >= 0.80


@pytest.mark.planted
def test_two_hops_reach_cold_items() -> None:
    warm, cold = aucs("kgcn", "PG-1", hops=2, **PLANTED)
    assert warm.min() > 0.98
    assert cold.mean() >= 0.88
    assert cold.min() >= 0.82


@pytest.mark.planted
def test_with_the_wrong_graph_it_falls_to_chance() -> None:
    for hops, seeds in ((1, (0, 1, 2)), (2, (0,))):
        warm, cold = aucs("kgcn", "PG-1-shuffled", seeds=seeds, hops=hops, **PLANTED)
        assert warm.min() > 0.98
        assert ((cold > 0.4) & (cold < 0.6)).all()


@pytest.mark.planted
def test_two_hops_see_what_one_cannot() -> None:
    _, shallow = aucs("kgcn", "PG-2u", hops=1, **PLANTED)
    _, deep = aucs("kgcn", "PG-2u", hops=2, **PLANTED)
    assert ((shallow > 0.4) & (shallow < 0.6)).all()
    assert deep.mean() - shallow.mean() >= 0.15
    assert (deep - shallow).min() >= 0.1
