from __future__ import annotations

import numpy as np
import pytest

from kg.errors import TrainingError
from recommender.data.interactions import Interactions
from recommender.data.sampling import PairSampler, SampleBy, batches
from tests.worlds import planted_world


@pytest.mark.parametrize("sample_by", ["user", "interaction"])
@pytest.mark.parametrize("warm_only", [True, False])
def test_positives_are_had_and_negatives_are_not(sample_by: SampleBy, warm_only: bool) -> None:
    train = planted_world(0).split.train
    user, positive, negative = PairSampler(train, sample_by=sample_by, warm_only=warm_only).epoch(
        np.random.default_rng(0)
    )
    assert len(user) == len(train)
    assert np.isin(user * train.n_items + positive, train.keys).all()
    assert not np.isin(user * train.n_items + negative, train.keys).any()
    drawn_cold = (train.popularity[negative] == 0).any()
    assert drawn_cold != warm_only


def test_by_interaction_visits_each_once_and_by_user_evenly() -> None:
    train = Interactions.of(["a"] * 30 + ["b"] * 2, [f"i{n}" for n in [*range(30), 0, 1]], catalogue=["z"])
    rng = np.random.default_rng(0)
    user, positive, _ = PairSampler(train, sample_by="interaction", warm_only=False).epoch(rng)
    assert sorted(user * train.n_items + positive) == train.keys.tolist()
    sampler = PairSampler(train, sample_by="user", warm_only=False)
    share = np.mean([np.mean(sampler.epoch(rng)[0] == 0) for _ in range(100)])
    assert 0.45 < share < 0.55


def test_same_seed_same_epoch() -> None:
    sampler = PairSampler(planted_world(0).split.train, sample_by="user", warm_only=True)
    first, again = (sampler.epoch(np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_user_who_has_all_but_one_gets_that_one() -> None:
    items = [f"i{n:03d}" for n in range(400)]
    train = Interactions.of(["a"] * 399 + ["b"], [*items[:399], items[0]], catalogue=items)
    user, _, negative = PairSampler(train, sample_by="interaction", warm_only=False).epoch(
        np.random.default_rng(0)
    )
    assert (negative[user == 0] == 399).all()


def test_a_user_who_has_everything_gives_no_row() -> None:
    train = Interactions.of(["a", "a", "b"], ["x", "y", "x"])
    user, _, _ = PairSampler(train, sample_by="user", warm_only=False).epoch(np.random.default_rng(0))
    assert (user == 1).all()
    with pytest.raises(TrainingError, match="every user has every item"):
        PairSampler(Interactions.of(["a"], ["x"]), sample_by="user", warm_only=False)
    with pytest.raises(TrainingError, match="no training interaction"):
        PairSampler(train.select(np.zeros(3, dtype=bool)), sample_by="user", warm_only=False)


def test_batches_cover_every_row_once() -> None:
    pieces = batches(10, 4)
    assert [list(range(10))[piece] for piece in pieces] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches(0, 4) == []


def test_labelled_rows_hold_each_positive_and_as_many_drawn() -> None:
    train = Interactions.of(["a", "a", "b"], ["x", "y", "z"], catalogue=["v", "w"])
    sampler = PairSampler(train, sample_by="interaction", warm_only=False)
    user, item, label = sampler.labelled_epoch(np.random.default_rng(0))
    had = np.isin(user * train.n_items + item, train.keys)
    assert np.array_equal(had, label == 1)
    assert sorted((user * train.n_items + item)[had].tolist()) == train.keys.tolist()
    assert (label == 0).sum() == 3
