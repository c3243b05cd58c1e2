from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from kg.errors import InputError, UsageError
from recommender.data.interactions import Interactions
from recommender.data.splits import (
    Split,
    cold_item_split,
    cold_user_split,
    hold_out_items,
    last_split,
    leave_last_split,
    random_split,
    time_split,
)


def interactions(n_users: int = 50, n_items: int = 40, seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 30, n_users)
    users = np.repeat(np.arange(n_users), n)
    items = rng.integers(0, n_items, len(users))
    return Interactions.of(
        [f"u{u:02d}" for u in users],
        [f"i{i:02d}" for i in items],
        time=rng.integers(0, 1000, len(users)),
        catalogue=[f"i{i:02d}" for i in range(n_items)],
    )


SPLITS: dict[str, Callable[[Interactions], Split]] = {
    "random": lambda x: random_split(x, np.random.default_rng(1)),
    "last": last_split,
    "time": time_split,
    "cold": lambda x: cold_item_split(x, np.random.default_rng(1)),
}


@pytest.mark.parametrize("name", SPLITS)
def test_nothing_is_lost_or_doubled(name: str) -> None:
    whole = interactions()
    split = SPLITS[name](whole)
    keys = np.concatenate([part.keys for part in (split.train, split.validation, split.test)])
    assert sorted(keys) == whole.keys.tolist()
    assert len(split.test) > 0


def test_random_keeps_a_pair_of_everyone_and_repeats() -> None:
    whole = interactions()
    split, again = SPLITS["random"](whole), SPLITS["random"](whole)
    assert np.array_equal(np.unique(split.train.user), np.unique(whole.user))
    assert np.array_equal(split.test.keys, again.test.keys)
    n = np.bincount(whole.user)
    tested = np.bincount(split.test.user, minlength=len(n))
    assert (np.abs(tested - 0.1 * n) <= 0.5 + 1e-9).all()


def test_last_holds_out_the_latest_of_each_user() -> None:
    split = SPLITS["last"](interactions())
    for user in range(split.train.n_users):
        times = [
            part.time[part.user == user]
            for part in (split.train, split.validation, split.test)
            if part.time is not None
        ]
        for earlier, later in pairwise(times):
            if len(earlier) and len(later):
                assert earlier.max() <= later.min()


def test_time_cuts_everyone_at_the_same_moments() -> None:
    split = SPLITS["time"](interactions())
    assert split.train.time is not None
    assert split.validation.time is not None
    assert split.test.time is not None
    assert split.train.time.max() < split.validation.time.min()
    assert split.validation.time.max() < split.test.time.min()
    assert 0.7 < len(split.train) / len(interactions()) < 0.9


def test_cold_items_are_tested_and_never_trained() -> None:
    split = SPLITS["cold"](interactions())
    assert not np.isin(split.test.item, split.train.item).any()
    assert np.isin(split.cold_items, split.test.item).any()
    chosen = np.zeros(40, dtype=bool)
    chosen[[3, 5]] = True
    split = hold_out_items(interactions(), chosen, np.random.default_rng(0))
    assert set(split.test.item.tolist()) <= {3, 5}


def test_what_cannot_be_split() -> None:
    timeless = Interactions.of(["a", "b"], ["x", "y"])
    with pytest.raises(UsageError, match="needs times"):
        time_split(timeless)
    with pytest.raises(UsageError, match="add up to 1"):
        random_split(timeless, np.random.default_rng(0), (0.5, 0.1, 0.1))
    with pytest.raises(UsageError, match="no distinct times"):
        time_split(Interactions.of(["a", "b"], ["x", "y"], time=[5, 5]))
    whole = interactions()
    with pytest.raises(InputError, match="also in training"):
        Split(whole, whole.select(np.asarray([0])), whole.select(np.asarray([], dtype=np.int64)))


def test_leave_last_takes_one_of_each_user() -> None:
    rows = Interactions.of(list("aaabbc"), list("xyzxyx"), time=[3, 1, 2, 1, 2, 1])
    split = leave_last_split(rows)
    names = [
        {(part.user_ids[u], part.item_ids[i]) for u, i in zip(part.user, part.item, strict=True)}
        for part in (split.train, split.validation, split.test)
    ]
    assert names == [{("a", "y"), ("b", "x"), ("c", "x")}, {("a", "z")}, {("a", "x"), ("b", "y")}]


def test_cold_users_are_in_no_training_and_give_something() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 50, 600), rng.integers(0, 30, 600)
    rows = Interactions.of([f"u{u}" for u in users], [f"i{i}" for i in items])
    split, given = cold_user_split(rows, rng)
    cold = np.unique(given.user)
    assert 3 < len(cold) < 20
    assert not np.isin(split.train.user, cold).any()
    assert not np.isin(split.validation.user, cold).any()
    assert np.isin(split.test.user, cold).all()
    assert not np.isin(given.keys, split.test.keys).any()
    assert len(split.train) + len(split.validation) + len(split.test) + len(given) == len(rows)
