"""Drawing the pairs and negatives of a whole epoch at once.

A negative is an item that the user has not in training. From which items it is drawn matters: an item without
any training interaction, drawn as a negative again and again, teaches the model that cold means bad, and a
knowledge graph can then no longer recommend it. ``warm_only`` draws from items with an interaction.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kg.errors import TrainingError
from recommender.data.interactions import Floats, Interactions, Ints

SampleBy = Literal["interaction", "user"]
_MAX_ROUNDS = 100


def contains(sorted_keys: Ints, wanted: Ints) -> NDArray[np.bool_]:
    """Whether each wanted key is among the sorted ones."""
    if not len(sorted_keys):
        return np.zeros(len(wanted), dtype=bool)
    place = np.searchsorted(sorted_keys, wanted)
    place[place == len(sorted_keys)] = 0
    return np.asarray(sorted_keys[place] == wanted)


class PairSampler:
    """Draws (user, positive, negative) rows: as many an epoch as there are training interactions.

    ``sample_by`` interaction visits each interaction once, so heavy users count more; user draws users evenly
    and one of each one's items. A user who has every candidate gives no row.
    """

    def __init__(self, train: Interactions, *, sample_by: SampleBy, warm_only: bool) -> None:
        if not len(train):
            raise TrainingError("there is no training interaction.", hint="Check the split.")
        self._train = train
        self._keys = train.keys
        self._indptr, self._items = train.by_user()
        self._sample_by = sample_by
        warm = np.flatnonzero(train.popularity > 0)
        self._pool = warm if warm_only else np.arange(train.n_items)
        n_had = np.diff(self._indptr)
        self._usable = (n_had > 0) & (n_had < len(self._pool))
        if not self._usable.any():
            raise TrainingError(
                "every user has every item, so there is nothing to tell apart.", hint="Add items or users."
            )

    @property
    def usable_users(self) -> Ints:
        """Users who have something, and not every candidate: [n_usable]."""
        return np.flatnonzero(self._usable)

    def epoch(self, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
        """One epoch's users, positives and negatives in random order: [n_rows] each."""
        if self._sample_by == "interaction":
            order = rng.permutation(np.flatnonzero(self._usable[self._train.user]))
            user, positive = self._train.user[order], self._train.item[order]
        else:
            user = rng.choice(np.flatnonzero(self._usable), size=len(self._train))
            first, n_had = self._indptr[user], self._indptr[user + 1] - self._indptr[user]
            positive = self._items[first + (rng.random(len(user)) * n_had).astype(np.int64)]
        return user, positive, self.negatives(user, rng)

    def labelled_epoch(self, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
        """One epoch for pointwise losses: users, items and labels (1 had, 0 drawn) in random order.

        *Shape:* [2 n_rows] each.
        """
        user, positive, negative = self.epoch(rng)
        order = rng.permutation(2 * len(user))
        labels = np.repeat(np.asarray([1.0, 0.0], dtype=np.float32), len(user))
        return np.tile(user, 2)[order], np.concatenate([positive, negative])[order], labels[order]

    def negatives(self, user: Ints, rng: np.random.Generator) -> Ints:
        """One item per row that its user has not: redrawn where it was hit."""
        drawn = self._pool[rng.integers(0, len(self._pool), len(user))]
        open_rows = np.arange(len(user))
        for _ in range(_MAX_ROUNDS):
            hit = contains(self._keys, user[open_rows] * self._train.n_items + drawn[open_rows])
            open_rows = open_rows[hit]
            if not len(open_rows):
                return drawn
            drawn[open_rows] = self._pool[rng.integers(0, len(self._pool), len(open_rows))]
        for row in open_rows:
            had = self._items[self._indptr[user[row]] : self._indptr[user[row] + 1]]
            drawn[row] = rng.choice(np.setdiff1d(self._pool, had))
        return drawn


def batches(n_rows: int, size: int) -> list[slice]:
    """Cut ``n_rows`` into consecutive slices of at most ``size``."""
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]
