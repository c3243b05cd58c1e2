from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kg.errors import UsageError
from recommender.data.interactions import Interactions, Ints
from recommender.evaluation.evaluate import pair_auc
from recommender.knowledge_text import mean_vectors
from recommender.models.base import SideData, TrainingData
from recommender.models.ctr import BackboneName, DcnV2, DeepFm
from recommender.models.kar import Adaptor, Config, Kar, check_told_first
from recommender.training.train import Options, train
from tests.recommender.planting import SEEDS
from tests.worlds import N_ATTRIBUTES, N_ITEMS, planted_world

BACKBONES: tuple[BackboneName, ...] = get_args(BackboneName)


def adaptor(n_shared: int, n_specific: int, widths: tuple[int, int] = (6, 6)) -> Adaptor:
    return Adaptor(widths, n_shared, n_specific, (5, 4), torch.Generator().manual_seed(0))


def rows(n: int, width: int, seed: int = 1) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def perceptron(experts: Any, number: int, row: Tensor) -> Tensor:
    for weight, bias in zip(experts.weights, experts.biases, strict=True):
        row = torch.relu(row @ weight[number] + bias[number])
    return row


def test_one_expert_of_its_own_is_two_networks() -> None:
    model = adaptor(0, 1, (6, 7))
    for side, width in enumerate((6, 7)):
        row = rows(8, width)
        torch.testing.assert_close(model(side, row), perceptron(model.specific[side], 0, row))
    assert not torch.equal(model.specific[0].weights[0][0], model.specific[1].weights[0][0, :6])


def test_gates_sum_to_one_and_mix_shared_experts_with_ones_own() -> None:
    model = adaptor(2, 3)
    for side in (0, 1):
        row = rows(8, 6, side)
        gate = model.gate(side, row)
        assert gate.shape == (8, 5)
        torch.testing.assert_close(gate.sum(dim=1), torch.ones(8))
        experts = [perceptron(model.shared, n, row) for n in range(2)]
        experts += [perceptron(model.specific[side], n, row) for n in range(3)]
        expected = sum(gate[:, n : n + 1] * expert for n, expert in enumerate(experts))
        torch.testing.assert_close(model(side, row), expected)
        with torch.no_grad():
            model.gates[side].zero_()
        torch.testing.assert_close(model(side, row), torch.stack(experts).mean(dim=0))


def test_the_paper_sizes() -> None:
    model = small(Config())
    assert model.adaptor is not None
    assert model.adaptor(0, model._texts[0]).shape == (4, 32)
    assert [tuple(w.shape) for w in model.adaptor.specific[1].weights] == [(5, 7, 128), (5, 128, 32)]
    assert model.adaptor.shared is not None
    assert [tuple(w.shape) for w in model.adaptor.shared.weights] == [(2, 7, 128), (2, 128, 32)]


def test_shared_experts_need_vectors_of_one_length() -> None:
    with pytest.raises(UsageError, match="6 dimensions and items' 7"):
        adaptor(2, 3, (6, 7))
    side = SideData(item_vectors=np.ones((6, 3), np.float32), user_vectors=np.ones((4, 2), np.float32))
    for name in ("moe", "mlp"):
        assert np.isfinite(small(Config(adaptor=name), side).score(np.arange(4))).all()
    with pytest.raises(UsageError, match="adaptor to moe or mlp"):
        small(Config(), side)


TIMES = [40, 30, 20, 10, 10, 50, 5]
HAD = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (2, 0)]


def interactions(*, times: bool = True) -> Interactions:
    """u0 had 3 and 4 at one moment, then 2, 1, 0; u1 and u2 had one item each; u3 nothing."""
    return Interactions.of(
        [f"u{u}" for u, _ in HAD], [f"i{i}" for _, i in HAD], time=TIMES if times else None
    ).over(["u0", "u1", "u2", "u3"], [f"i{i}" for i in range(6)])


def small(config: Config, side: SideData | None = None, train_: Interactions | None = None) -> Kar:
    if side is None:
        side = SideData(item_vectors=rows(6, 7).numpy(), user_vectors=rows(4, 7, 2).numpy())
    data = TrainingData(train_ or interactions(), None, side)
    return Kar(data, config, torch.Generator().manual_seed(0))


def shown(found: tuple[Ints, NDArray[np.bool_]]) -> list[list[int]]:
    return [row[kept].tolist() for row, kept in zip(*found, strict=True)]


def test_a_positive_is_learnt_from_what_came_before_it() -> None:
    samples = small(Config(history=2))._samples
    users = np.zeros(5, np.int64)
    before = samples.before(users, np.arange(5))
    assert shown(before) == [[2, 1], [4, 2], [3, 4], [], []]  # 3 and 4 are of one moment
    assert shown(samples.before(np.asarray([1]), np.asarray([5]))) == [[]]


def test_without_times_all_others_came_before() -> None:
    samples = small(Config(history=3), train_=interactions(times=False))._samples
    before = samples.before(np.zeros(5, np.int64), np.arange(5))
    assert shown(before) == [[2, 3, 4], [2, 3, 4], [1, 3, 4], [1, 2, 4], [1, 2, 3]]


def test_a_candidate_is_scored_with_the_last_others() -> None:
    samples = small(Config(history=2))._samples
    last = samples.last(np.asarray([0, 0, 0, 1, 1, 3]), np.asarray([0, 1, 5, 5, 0, 0]))
    assert shown(last) == [[2, 1], [2, 0], [1, 0], [], [5], []]


def test_what_the_texts_tell_of_is_not_learnt_again() -> None:
    whole = interactions()
    told = whole.select(np.asarray([2, 3, 4]))
    side = SideData(item_vectors=rows(6, 7).numpy(), user_vectors=rows(4, 7).numpy(), user_vectors_from=told)
    user, positive, negative = small(Config(), side)._samples.epoch(np.random.default_rng(0))
    assert sorted(zip(user.tolist(), positive.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 5), (2, 0)]
    had = set(whole.keys.tolist())
    assert not had & set((user * whole.n_items + negative).tolist())  # nor are they negatives


def test_texts_that_tell_of_the_future_are_refused() -> None:
    whole = interactions()
    check_told_first(whole, whole.select(np.asarray([2, 3, 4])))
    with pytest.raises(UsageError, match="the texts of 1 users tell of a time after") as caught:
        check_told_first(whole, whole.select(np.asarray([1, 3, 4])))
    assert caught.value.where == "u0"
    with pytest.raises(UsageError, match="a time after"):  # the same moment is not before
        check_told_first(whole, whole.select(np.asarray([3])))
    later = Interactions.of(["u1"], ["i0"]).over(whole.user_ids, whole.item_ids)
    with pytest.raises(UsageError, match="1 pairs that are not in training"):
        check_told_first(whole, later)
    with pytest.raises(UsageError, match="none is left to learn from"):
        check_told_first(whole, whole)
    unordered = interactions(times=False)
    check_told_first(unordered, unordered.select(np.asarray([0])))


def without_text(model: Kar) -> Kar:
    """The bare backbone with the weights of an augmented one."""
    bare = small(Config(**{**_plain(model.config), "augment": False}))
    state = dict(model.state_dict())
    for name, value in bare.state_dict().items():
        wide = state[name]
        if wide.shape != value.shape:  # the fields of the texts are the last two
            n = 3 * model.config.dim
            wide = wide[:n, :n] if name.startswith("backbone.cross_weights") else wide
            wide = (
                wide[:n]
                if "cross" in name or "joined" not in name
                else torch.cat([wide[:n], wide[n + 2 * model.config.dim :]])
            )
        value.copy_(wide)
    return bare


@pytest.mark.parametrize("name", BACKBONES)
def test_texts_of_zeros_leave_the_bare_backbone(name: BackboneName) -> None:
    side = SideData(item_vectors=np.zeros((6, 7), np.float32), user_vectors=np.zeros((4, 7), np.float32))
    model = small(Config(backbone=name), side)
    users, items = np.repeat(np.arange(4), 6), np.tile(np.arange(6), 4)
    bare = without_text(model)
    np.testing.assert_allclose(model.score_pairs(users, items), bare.score_pairs(users, items), atol=1e-6)
    told = small(Config(backbone=name))
    assert np.abs(told.score_pairs(users, items) - bare.score_pairs(users, items)).max() > 1e-3


@pytest.mark.parametrize("name", BACKBONES)
def test_scores_are_the_same_however_they_are_cut(name: BackboneName, monkeypatch: Any) -> None:
    model = small(Config(backbone=name, history=2))
    users, items = np.repeat(np.arange(4), 6), np.tile(np.arange(6), 4)
    with torch.no_grad():
        logits = model.eval().logits(torch.from_numpy(users), torch.from_numpy(items)).numpy()
    for size in (1 << 13, 4, 1):
        monkeypatch.setattr(Kar, "pairs_per_chunk", size)
        np.testing.assert_allclose(model.score_pairs(users, items), logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.score(np.arange(4)).ravel(), logits, rtol=1e-5, atol=1e-6)
        part = model.score(np.asarray([2, 0]), np.asarray([5, 1]))
        np.testing.assert_allclose(part, logits.reshape(4, 6)[[2, 0]][:, [5, 1]], rtol=1e-5, atol=1e-6)


def test_the_loss_is_of_pairs_that_share_a_history() -> None:
    model = small(Config(backbone="deepfm"))
    user, positive, negative = np.asarray([0, 1]), np.asarray([1, 5]), np.asarray([5, 0])
    history, mask = (torch.from_numpy(part) for part in model._samples.before(user, positive))
    logits = [
        model._logits(
            model._with_text(0, torch.from_numpy(user)),
            model._with_text(1, torch.from_numpy(items)),
            history,
            mask,
        )
        for items in (positive, negative)
    ]
    expected = (torch.nn.functional.softplus(-logits[0]) + torch.nn.functional.softplus(logits[1])).mean() / 2
    torch.testing.assert_close(model.loss(user, positive, negative), expected)


def test_vectors_are_asked_for_unless_left_out() -> None:
    with pytest.raises(UsageError, match="encoded texts"):
        small(Config(), SideData(item_vectors=rows(6, 7).numpy()))
    bare = small(Config(augment=False), SideData())
    assert bare.adaptor is None
    assert isinstance(small(Config(backbone="deepfm")).backbone, DeepFm)
    assert isinstance(small(Config(backbone="dcnv2")).backbone, DcnV2)


def _plain(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__slots__}


Kind = Literal["texts", "shuffled", "none"]


@cache
def planted(backbone: BackboneName, kind: Kind, adaptor_: str = "hea") -> NDArray[np.float64]:
    """Cold AUC of each seed: an item's vector is a noisy code of its attribute, a user's their mean."""
    found = []
    for seed in SEEDS:
        world, rng = planted_world(seed), np.random.default_rng(seed)
        attribute = rng.permutation(world.attribute) if kind == "shuffled" else world.attribute
        codes = rng.normal(size=(N_ATTRIBUTES, 16))
        items = (codes[attribute] + 0.3 * rng.normal(size=(N_ITEMS, 16))).astype(np.float32)
        side = SideData(item_vectors=items, user_vectors=mean_vectors(items, world.split.train))
        options = {"backbone": backbone, "augment": kind != "none", "adaptor": adaptor_, "history": 5}
        run = Options(epochs=4, seed=seed, device="cpu")
        model = train("kar", world.split, side=side, model_options=options, options=run).model
        found.append(pair_auc(model, world.cold.users, world.cold.items, world.cold.labels))
    print(f"kar {backbone} {adaptor_} {kind}: cold {np.round(found, 3)}")
    return np.asarray(found)


@pytest.mark.planted
@pytest.mark.parametrize("backbone", BACKBONES)
def test_texts_reach_cold_items(backbone: BackboneName) -> None:
    cold = planted(backbone, "texts")
    assert cold.mean() > 0.95
    assert cold.min() > 0.9


@pytest.mark.planted
@pytest.mark.parametrize("kind", ["shuffled", "none"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_without_them_or_with_others_it_is_chance(backbone: BackboneName, kind: Kind) -> None:
    cold = planted(backbone, kind)
    assert ((cold > 0.4) & (cold < 0.6)).all()


@pytest.mark.planted
@pytest.mark.parametrize("adaptor_", ["moe", "mlp"])
def test_the_other_adaptors_reach_them_too(adaptor_: str) -> None:
    assert planted("deepfm", "texts", adaptor_).min() > 0.9
