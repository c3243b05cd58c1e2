"""Holding interactions out: at random per user, by time, or whole items.

Every split keeps the id lists, loses no pair and doubles none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kg.errors import UsageError
from recommender.data.interactions import Interactions, Ints, assert_disjoint

SHARES = (0.8, 0.1, 0.1)
"""Train, validation, test: the usual 80/20 of the literature with a validation part taken from the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Three disjoint parts over the same users and items; only ``train`` may reach a model or a graph."""

    train: Interactions
    validation: Interactions
    test: Interactions

    def __post_init__(self) -> None:
        assert_disjoint(self.train, self.validation, self.test)
        assert_disjoint(self.validation, self.test)

    @property
    def cold_items(self) -> Ints:
        """Items that are tested and have no training interaction, by dense id."""
        tested = np.union1d(self.test.item, self.validation.item)
        return np.setdiff1d(tested, self.train.item)


def random_split(
    interactions: Interactions,
    rng: np.random.Generator,
    shares: tuple[float, float, float] = SHARES,
) -> Split:
    """Hold out a random share of each user's pairs; a user keeps at least one for training."""
    place = _place_in_user(interactions, rng.random(len(interactions)))
    return _split_by_place(interactions, place, shares)


def last_split(interactions: Interactions, shares: tuple[float, float, float] = SHARES) -> Split:
    """Hold out the last pairs of each user in time: validation comes before test.

    Raises :class:`~kg.errors.UsageError` where the interactions carry no time.
    """
    return _split_by_place(interactions, _place_in_user(interactions, _times(interactions)), shares)


def leave_last_split(interactions: Interactions) -> Split:
    """Hold out the last pair of each user for the test and the one before it for validation.

    A user with one pair keeps it for training, one with two gives none to validation. Raises
    :class:`~kg.errors.UsageError` where the interactions carry no time.
    """
    place = _place_in_user(interactions, _times(interactions))
    from_end = np.bincount(interactions.user, minlength=interactions.n_users)[interactions.user] - 1 - place
    test = (from_end == 0) & (place > 0)
    validation = (from_end == 1) & (place > 0)
    return Split(
        interactions.select(~test & ~validation), interactions.select(validation), interactions.select(test)
    )


def time_split(interactions: Interactions, shares: tuple[float, float, float] = SHARES) -> Split:
    """Cut all interactions at two moments, the same for everyone: nothing trains on what came later.

    Pairs of one moment stay together. Raises :class:`~kg.errors.UsageError` without times.
    """
    times = _times(interactions)
    ordered = np.sort(times)
    n = len(ordered)
    if n == 0:
        raise UsageError("there are no interactions to split.")
    first = ordered[min(n - 1, round(n * shares[0]))]
    second = ordered[min(n - 1, round(n * (shares[0] + shares[1])))]
    later, latest = times >= first, times >= second
    if later.all():
        raise UsageError(
            "nothing is earlier than the cut: the interactions carry almost no distinct times.",
            hint="Split at random.",
        )
    return Split(
        interactions.select(~later), interactions.select(later & ~latest), interactions.select(latest)
    )


def cold_item_split(
    interactions: Interactions,
    rng: np.random.Generator,
    *,
    cold_share: float = 0.2,
    validation_share: float = 0.1,
) -> Split:
    """Hold out every pair of a random share of the items for the test; validation is of warm items."""
    return hold_out_items(
        interactions, rng.random(interactions.n_items) < cold_share, rng, validation_share=validation_share
    )


def hold_out_items(
    interactions: Interactions,
    cold: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    validation_share: float = 0.1,
) -> Split:
    """Hold out every pair of the ``cold`` items ([n_items], true where cold) for the test."""
    tested = cold[interactions.item]
    warm = interactions.select(~tested)
    inner = random_split(warm, rng, (1.0 - validation_share, validation_share, 0.0))
    return Split(inner.train, inner.validation, interactions.select(tested))


def cold_user_split(
    interactions: Interactions,
    rng: np.random.Generator,
    *,
    cold_share: float = 0.2,
    given_share: float = 0.5,
) -> tuple[Split, Interactions]:
    """Hold out a random share of the users altogether; validation is of the others.

    Of each cold user a share of the pairs, at least one, is *given*: what is known of them when they come
    (see :func:`recommender.serving.growth.fold_in`). The rest is the test. Returns the split and the given
    pairs.
    """
    cold = rng.random(interactions.n_users) < cold_share
    of_cold = cold[interactions.user]
    warm = random_split(interactions.select(~of_cold), rng, (0.9, 0.1, 0.0))
    place = _place_in_user(interactions, rng.random(len(interactions)))
    n_of_user = np.bincount(interactions.user, minlength=interactions.n_users)[interactions.user]
    given = of_cold & (place < np.maximum(1, np.floor(n_of_user * given_share)))
    return (
        Split(warm.train, warm.validation, interactions.select(of_cold & ~given)),
        interactions.select(given),
    )


def _times(interactions: Interactions) -> Ints:
    if interactions.time is None:
        raise UsageError(
            "a split by time needs times, and these interactions have none.",
            hint="Give a timestamp column, or split at random.",
        )
    return interactions.time


def _place_in_user(interactions: Interactions, key: NDArray[np.float64] | Ints) -> Ints:
    """The place (from 0) of each pair in its user's list when sorted by ``key``; ties by item."""
    order = np.lexsort((interactions.item, key, interactions.user))
    indptr, _ = interactions.by_user()
    place = np.empty(len(interactions), dtype=np.int64)
    place[order] = np.arange(len(interactions)) - indptr[interactions.user[order]]
    return place


def _split_by_place(interactions: Interactions, place: Ints, shares: tuple[float, float, float]) -> Split:
    if min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-9 or shares[0] == 0:
        raise UsageError(f"shares must be positive and add up to 1, not {shares}.")
    n_of_user = np.bincount(interactions.user, minlength=interactions.n_users)[interactions.user]
    n_test = np.floor(n_of_user * shares[2] + 0.5).astype(np.int64)
    n_validation = np.floor(n_of_user * shares[1] + 0.5).astype(np.int64)
    n_test = np.minimum(n_test, n_of_user - 1)
    n_validation = np.minimum(n_validation, n_of_user - 1 - n_test)
    test = place >= n_of_user - n_test
    validation = ~test & (place >= n_of_user - n_test - n_validation)
    return Split(
        interactions.select(~test & ~validation), interactions.select(validation), interactions.select(test)
    )
