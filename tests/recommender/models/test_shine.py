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
from recommender.models.base import SideData, TrainingData
from recommender.models.shine import AutoEncoder, Config, Shine, attributes
from recommender.training.train import Options, train
from tests.recommender.planting import SEEDS, trained
from tests.worlds import PlainGraph, Variant, planted_world, rated_pairs

N = 60


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def rows_of(seed: int, shape: tuple[int, int] = (9, 7)) -> sparse.csr_array:
    """Signs, a few of them, and a row and a column without any."""
    rng = np.random.default_rng(seed)
    dense = rng.choice([-1.0, 0.0, 1.0], shape, p=[0.2, 0.6, 0.2])
    dense[3], dense[:, 2] = 0, 0
    return sparse.csr_array(dense)


def dense_loss(encoder: AutoEncoder, rows: NDArray[np.float64], alpha: float) -> torch.Tensor:
    """``|(x - x^) * l|²`` with every cell there, the mean over rows."""
    x, bias = torch.from_numpy(rows).to(encoder.below), encoder.biases
    code = torch.tanh(x @ encoder.below + bias["below"]) @ encoder.code + bias["code"]
    output = torch.tanh(code @ encoder.back + bias["back"]) @ encoder.above.T + bias["above"]
    weight = torch.where(x != 0, alpha, 1.0)
    return ((x - output) * weight).square().sum(dim=1).mean()


@pytest.mark.parametrize("alpha", [1.0, 10.0])
def test_the_loss_without_dense_rows_is_that_of_the_dense_auto_encoder(alpha: float) -> None:
    """With alpha 1 that is a plain auto-encoder."""
    matrix = rows_of(0)
    encoder = AutoEncoder(matrix, Config(dim=3, hidden=5, alpha=alpha), generator()).double()
    with torch.no_grad():
        for bias in encoder.biases.values():
            bias.uniform_(-0.5, 0.5, generator=generator())
    chosen = np.asarray([8, 0, 3, 5])
    found, expected = (
        encoder.reconstruction_loss(chosen),
        dense_loss(encoder, matrix.toarray()[chosen], alpha),
    )
    assert torch.allclose(found, expected)
    parameters = list(encoder.parameters())
    ours, theirs = (torch.autograd.grad(loss, parameters) for loss in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other)


def test_a_linear_auto_encoder_reaches_the_singular_value_decomposition() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(12, 3)) @ rng.normal(size=(3, 10)) + 0.3 * rng.normal(size=(12, 10))
    rows = np.concatenate([half, -half])  # columns have mean 0, so that biases are of no use
    best = (np.linalg.svd(rows, compute_uv=False)[3:] ** 2).sum() / len(rows)
    config = Config(dim=3, hidden=8, alpha=1.0, activation="linear")
    encoder = AutoEncoder(sparse.csr_array(rows), config, generator())
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.01)
    for step in range(1500):
        optimiser.param_groups[0]["lr"] = 0.01 if step < 1000 else 0.002
        optimiser.zero_grad()
        loss = encoder.reconstruction_loss(np.arange(24))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert 0.9999 < float(loss.detach()) / best < 1.01


def small(**options: Any) -> tuple[Shine, Interactions]:
    rng = np.random.default_rng(0)
    rated = Interactions.of(
        [f"u{u}" for u in rng.integers(0, 6, 40)],
        [f"i{i}" for i in rng.integers(0, 9, 40)],
        weight=rng.integers(1, 6, 40).astype(float),
        catalogue=[f"i{i}" for i in range(10)],
    )
    data = TrainingData(rated.at_least(4), None, SideData(rated=rated))
    return Shine(data, Config(dim=3, hidden=4, **options), generator()), rated


def test_only_observed_signs_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rated = small(batch_size=7)
    seen: list[NDArray[np.int64]] = []
    real = model.sign_loss

    def watched(user: NDArray[np.int64], item: NDArray[np.int64], sign: NDArray[np.float32]) -> torch.Tensor:
        seen.append(user * 10 + item)
        assert set(sign.tolist()) <= {-1.0, 1.0}
        return real(user, item, sign)

    monkeypatch.setattr(model, "sign_loss", watched)
    assert all(phase == "signs" for phase, _ in model.losses(np.random.default_rng(0)))
    signed = rated.select((rated.weight >= 4) | (rated.weight <= 2))
    assert 0 < len(signed) < len(rated)  # a rating of 3 carries no sign
    assert np.array_equal(np.sort(np.concatenate(seen)), signed.keys)


def test_the_sign_loss_is_the_mean_over_its_pairs() -> None:
    model, _ = small()
    model.eval()
    user, item, sign = model.signed.user, model.signed.item, model.signed.weight
    users, items = (part.detach().numpy() for part in model.embed())
    expected = (((users[user] * items[item]).sum(axis=1) - sign) ** 2).mean()
    assert float(model.sign_loss(user, item, sign).detach()) == pytest.approx(expected, rel=1e-5)


def test_a_node_is_the_mean_of_the_networks_it_is_in() -> None:
    rated = Interactions.of(["a", "a", "b", "c"], ["x", "y", "x", "z"], weight=[5, 1, 5, 3], catalogue=["w"])
    side = SideData(rated=rated, friends=np.asarray([[0, 1], [1, 0]]))
    model = Shine(TrainingData(rated.at_least(4), None, side), Config(dim=3, hidden=4), generator()).eval()
    given, social = model.encoders["given"], model.encoders["social"]
    assert isinstance(given, AutoEncoder)
    assert isinstance(social, AutoEncoder)
    assert social._matrix.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert given._matrix.toarray()[0].tolist() == [0, 1, -1, 0]
    users, items = model.embed()
    both = np.asarray([0, 1])
    assert torch.allclose(users[:2], (given.encode(both) + social.encode(both)) / 2)
    assert not users[2].any()  # no sign, no friend
    assert not items[0].any()  # nobody had it


def test_dropped_networks_leave_one() -> None:
    model, _ = small(network_dropout=0.9)
    linked = torch.tensor([[1.0] * 200, [1.0] * 200, [0.0] * 200])
    kept = model._dropped(linked)
    assert (kept.sum(dim=0) >= 1).all()
    assert not kept[2].any()
    assert 0 < (kept.sum(dim=0) == 1).sum() < 200


def test_profiles_are_of_shared_entities() -> None:
    rated = Interactions.of(["a", "a", "b"], ["x", "y", "x"], weight=[5, 1, 2])
    nothing = rated.select(np.zeros(3, dtype=bool))
    plain = PlainGraph(["x", "y", "both", "one"], ["HAS"], np.asarray([(0, 0, 2), (1, 0, 2), (0, 0, 3)]))
    graph = JointGraph.build(Split(rated.at_least(4), nothing, nothing), plain, {"x": "x", "y": "y"})
    assert attributes(graph).toarray().tolist() == [[1], [1]]
    model = Shine(TrainingData(rated.at_least(4), graph, SideData(rated=rated)), Config(), generator())
    profile = model.encoders["profile"]
    assert isinstance(profile, AutoEncoder)
    assert profile._matrix.toarray().tolist() == [[1], [0], [1], [1]]  # b liked nothing


@pytest.mark.parametrize("ratings", [[5, 4, 3], [1, 2, 3]])
def test_one_sign_is_refused(ratings: list[int]) -> None:
    rated = Interactions.of(["a", "b", "c"], ["x", "y", "x"], weight=ratings)
    with pytest.raises(UsageError, match="one sign only"):
        Shine(TrainingData(rated, None, SideData(rated=rated)), Config(), generator())


def camps(seed: int, density: float) -> float:
    """Sign accuracy on the hidden half of the links of two camps: + within, - across."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 2, N), rng.integers(0, 2, N)
    user, item = np.nonzero(rng.random((N, N)) < density)
    whole = Interactions.of(
        [f"u{u:02d}" for u in user],
        [f"i{i:02d}" for i in item],
        weight=np.where(one[user] == other[item], 5.0, 1.0),
        catalogue=[f"i{i:02d}" for i in range(N)],
    )
    shown = rng.random(len(whole)) < 0.5
    observed, hidden = whole.select(shown), whole.select(~shown)
    nothing = whole.select(np.zeros(len(whole), dtype=bool))
    split = Split(observed.at_least(4), nothing, nothing)
    options = Options(seed=seed, device="cpu", epochs=200)
    model = train("shine", split, side=SideData(rated=observed), options=options).model
    return float(np.mean((model.score_pairs(hidden.user, hidden.item) > 0) == (hidden.weight > 3)))


@pytest.mark.planted
@pytest.mark.parametrize("density", [1.0, 0.5, 0.2])
def test_hidden_signs_of_two_camps(density: float) -> None:
    """At .2 a tenth of all pairs is seen, six links a node."""
    found = np.asarray([camps(seed, density) for seed in SEEDS])
    print(f"shine camps {density}: {found.round(3)}")
    assert found.mean() > 0.95
    assert found.min() > 0.92


@cache
def aucs(variant: Variant, **options: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Warm and cold AUC of each seed."""
    found = []
    for seed in SEEDS:
        world = planted_world(seed, variant)
        side = SideData(rated=rated_pairs(world, seed))
        model = trained("shine", world, seed, epochs=15, side=side, **options)
        found.append([pair_auc(model, p.users, p.items, p.labels) for p in (world.warm, world.cold)])
    warm, cold = np.asarray(found).T
    print(f"shine {variant} {options}: warm {warm.round(3)}, cold {cold.round(3)}")
    return warm, cold


@pytest.mark.planted
def test_profiles_tell_of_cold_items() -> None:
    warm, cold = aucs("PG-1")
    assert warm.mean() > 0.98
    assert cold.mean() > 0.95
    assert cold.min() > 0.9


@pytest.mark.planted
def test_shuffled_profiles_tell_nothing() -> None:
    warm, cold = aucs("PG-1-shuffled")
    assert warm.mean() > 0.98
    assert 0.4 < cold.mean() < 0.6


@pytest.mark.planted
def test_profiles_answer_alone_because_networks_are_left_out() -> None:
    _, kept = aucs("PG-1", network_dropout=0.0)
    _, dropped = aucs("PG-1")
    assert dropped.mean() > kept.mean() + 0.1
