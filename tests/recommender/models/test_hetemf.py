from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.evaluation.evaluate import pair_auc
from recommender.graph.joint import JointGraph
from recommender.graph.metapaths import nearest_by_path
from recommender.graph.segment import SparseMatrix
from recommender.models.base import SideData, TrainingData
from recommender.models.hetemf import Config, HeteMf, as_matrix, laplacian_of, on_simplex, roughness
from tests.recommender.planting import SEEDS, trained
from tests.worlds import PlainGraph, Variant, planted_world, rated_pairs

CPU = torch.device("cpu")


def toy(triples: list[tuple[int, int, int]], config: Config) -> HeteMf:
    """Five users, eight items (the first eight of twelve entities), of which the last has no rating."""
    rng = np.random.default_rng(0)
    rated = Interactions.of(
        [f"u{u}" for u in rng.integers(0, 5, 25)],
        [f"i{i}" for i in rng.integers(0, 7, 25)],
        weight=rng.integers(1, 6, 25).astype(float),
        catalogue=[f"i{i}" for i in range(8)],
    )
    nothing = rated.select(np.zeros(len(rated), dtype=bool))
    split = Split(rated.at_least(4), nothing, nothing)
    entities = [f"e{n:02d}" for n in range(12)]
    plain = PlainGraph(entities, ["HAS", "BY"], np.asarray(triples))
    graph = JointGraph.build(split, plain, {f"i{i}": entities[i] for i in range(8)})
    data = TrainingData(split.train, graph, SideData(rated=rated))
    return HeteMf(data, config, torch.Generator().manual_seed(0))


TRIPLES = [(0, 0, 8), (1, 0, 8), (2, 0, 9), (3, 0, 9), (4, 1, 10), (7, 1, 10), (5, 1, 10)]
RATINGS_ONLY = Config(dim=3, unobserved="none", penalty=2.0)


def whole_laplacian(model: HeteMf, dtype: torch.dtype = torch.float32) -> SparseMatrix:
    weights = model.path_weights.tolist()
    parts = [one.toarray() * weight for one, weight in zip(model.laplacians, weights, strict=True)]
    return as_matrix(sparse.csr_array(np.sum(parts, axis=0)), CPU, dtype)


def test_the_loss_is_the_equation() -> None:
    model = toy(TRIPLES, RATINGS_ONLY).double()
    rated, config = model.rated, model.config
    u, v = model.users.detach().numpy(), model.items.detach().numpy()
    errors = (u[rated.user] * v[rated.item]).sum(axis=1) - (rated.weight - rated.weight.mean())
    along = 0.0
    for path, theta in zip(model.found.paths, model.path_weights.tolist(), strict=True):
        similar = nearest_by_path([path.half], 50).toarray()
        similar *= model.n_items / similar.sum()
        squares = ((v[:, None] - v[None]) ** 2).sum(axis=2)
        along += theta * (similar * squares).sum()
    expected = (
        (errors**2).sum() + config.penalty * ((u**2).sum() + (v**2).sum()) + config.smoothness / 2 * along
    )
    laplacian = whole_laplacian(model, torch.float64)
    found = model.factor_loss(rated.user, rated.item, rated.weight, laplacian)
    assert float(found.detach()) * len(rated) == pytest.approx(expected, rel=1e-5)


def test_without_smoothness_it_is_ridge_regression() -> None:
    """At each user's ridge solution for the given item vectors the gradient is 0."""
    model = toy(TRIPLES, Config(dim=3, unobserved="none", penalty=2.0, smoothness=0.0)).double()
    rated, v = model.rated, model.items.detach().numpy()
    for user in range(5):
        own = rated.user == user
        x, y = v[rated.item[own]], rated.weight[own] - model.offset
        solved = np.linalg.solve(x.T @ x + 2.0 * np.eye(3), x.T @ y)
        with torch.no_grad():
            model.users[user] = torch.from_numpy(solved)
    loss = model.factor_loss(rated.user, rated.item, rated.weight, whole_laplacian(model, torch.float64))
    (slope,) = torch.autograd.grad(loss, model.users)
    assert slope.abs().max() < 1e-7


def test_the_regulariser_has_gradient_two_l_v() -> None:
    rng = np.random.default_rng(0)
    half = sparse.csr_array((rng.random((7, 4)) < 0.5).astype(float))
    laplacian = laplacian_of(nearest_by_path([half], 9).astype(np.float64))
    matrix = as_matrix(laplacian, CPU, torch.float64)
    vectors = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: roughness(v, matrix), (vectors,))
    (slope,) = torch.autograd.grad(roughness(vectors, matrix), vectors)
    assert torch.allclose(slope, 2 * torch.from_numpy(laplacian.toarray()) @ vectors)


def test_huge_smoothness_makes_a_connected_block_equal() -> None:
    """Items 0-3 share an entity; the others share nothing and are pushed nowhere."""
    model = toy(
        [(item, 0, 8) for item in range(4)], Config(dim=3, smoothness=1e6, penalty=0.1, unobserved="none")
    )
    before = model.items.detach().clone()
    rated, laplacian = model.rated, whole_laplacian(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(400):
        optimiser.zero_grad()
        model.factor_loss(rated.user, rated.item, rated.weight, laplacian).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    after = model.items.detach()
    spread_before, spread = (rows[:4].std(dim=0).max() for rows in (before, after))
    assert spread < 1e-3 < spread_before / 10
    assert after[4:7].std(dim=0).max() > 0.05


def test_projection_on_the_simplex() -> None:
    for seed in range(20):
        drawn = torch.randn(5, generator=torch.Generator().manual_seed(seed)) * 3
        found = on_simplex(drawn)
        assert float(found.sum()) == pytest.approx(1, abs=1e-6)
        assert (found >= 0).all()
        assert torch.allclose(on_simplex(found), found, atol=1e-6)
        for _ in range(50):  # no other point of the simplex is nearer
            other = torch.distributions.Dirichlet(torch.ones(5)).sample()
            assert (drawn - found).norm() <= (drawn - other).norm() + 1e-6
    assert torch.allclose(on_simplex(torch.tensor([0.2, 0.8])), torch.tensor([0.2, 0.8]))


def test_path_weights_stay_on_the_simplex_and_prefer_the_path_that_vectors_agree_on() -> None:
    model = toy(TRIPLES, Config(dim=3, weight_penalty=0.01, weight_steps=200, unobserved="none"))
    with torch.no_grad():
        model.items[1], model.items[3] = model.items[0], model.items[2]  # the pairs of the first relation
        model.path_weights.copy_(torch.tensor([0.5, 0.5]))
    assert [path.relations for path in model.found.paths] == [(0,), (1,)]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for phase, loss in model.losses(np.random.default_rng(0)):
        if phase == "weights":
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            model.after_step(phase)
            assert float(model.path_weights.detach().sum()) == pytest.approx(1, abs=1e-6)
    assert model.path_weights[0] > 0.9


def test_an_item_without_path_is_pulled_nowhere() -> None:
    model = toy(TRIPLES, RATINGS_ONLY)
    alone = 6
    for laplacian in model.laplacians:
        dense = laplacian.toarray()
        assert np.isfinite(dense).all()
        assert not dense[alone].any()
        assert dense.sum(axis=1) == pytest.approx(0, abs=1e-6)


def test_sampled_zeros_are_no_rated_pairs() -> None:
    model = toy(TRIPLES, Config(dim=3))
    user, item, rating = model._epoch(np.random.default_rng(0))
    zeros = rating == 0
    assert zeros.sum() == len(model.rated)
    assert not np.isin(user[zeros] * 8 + item[zeros], model.rated.keys).any()
    assert (item[zeros] != 7).all()  # the item without ratings is never drawn


def test_edges_weigh_what_their_path_weighs() -> None:
    model = toy(TRIPLES, Config(dim=3))
    with torch.no_grad():
        model.path_weights.copy_(torch.tensor([0.7, 0.3]))
    weights, relation = model.edge_weights(), model.graph.relation
    assert weights is not None
    assert weights[(relation == 0) | (relation == 2)] == pytest.approx(0.7)
    assert weights[(relation == 1) | (relation == 3)] == pytest.approx(0.3)
    assert weights[relation >= 4] == pytest.approx(1)


def test_a_graph_without_a_path_is_refused() -> None:
    with pytest.raises(UsageError, match="finds no meta-path"):
        toy([(0, 0, 8), (1, 0, 9)], Config())


@cache
def aucs(variant: Variant, **options: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Warm and cold AUC of each seed."""
    found = []
    for seed in SEEDS:
        world = planted_world(seed, variant)
        model = trained("hetemf", world, seed, side=SideData(rated=rated_pairs(world, seed)), **options)
        found.append([pair_auc(model, p.users, p.items, p.labels) for p in (world.warm, world.cold)])
    warm, cold = np.asarray(found).T
    print(f"hetemf {variant} {options}: warm {warm.round(3)}, cold {cold.round(3)}")
    return warm, cold


@pytest.mark.planted
def test_cold_items_take_the_vectors_of_those_alike() -> None:
    warm, cold = aucs("PG-1")
    assert warm.mean() > 0.98
    assert cold.mean() > 0.97
    assert cold.min() > 0.93


@pytest.mark.planted
@pytest.mark.parametrize(("variant", "smoothness"), [("PG-1-shuffled", 10.0), ("PG-1", 0.0)])
def test_without_the_graph_cold_items_are_at_chance(variant: Variant, smoothness: float) -> None:
    warm, cold = aucs(variant, smoothness=smoothness)
    assert warm.mean() > 0.98
    assert 0.4 < cold.mean() < 0.6


@pytest.mark.planted
def test_two_hops_need_longer_paths() -> None:
    _, near = aucs("PG-2u")
    _, far = aucs("PG-2u", max_length=2)
    assert 0.4 < near.mean() < 0.6
    assert far.mean() > 0.95
