"""What each user had, in the order of time, as rows of one width."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kg.errors import UsageError
from recommender.data.interactions import Interactions, Ints

PAD = -1
"""Stands after a user's last item where the row is longer."""


def in_time(train: Interactions) -> Ints:
    """The items of every user, the earliest first: [n_interactions], to be cut by ``train.by_user()[0]``.

    Items of one moment keep their order in the catalogue, and so do all where no time is known.
    """
    time = np.zeros(len(train), dtype=np.int64) if train.time is None else train.time
    return train.item[np.lexsort((train.item, time, train.user))]


def histories(train: Interactions, length: int) -> tuple[Ints, NDArray[np.bool_]]:
    """The last ``length`` items of each user, the earliest first, and where there is one.

    Rows begin at the left; what is left over holds :data:`PAD`. Order as in :func:`in_time`.

    *Shape:* [n_users, length] both. Raises :class:`~kg.errors.UsageError` for a length below 1.
    """
    if length < 1:
        raise UsageError(f"a history has at least 1 item, not {length}.")
    indptr, _ = train.by_user()
    n_shown = np.minimum(np.diff(indptr), length)
    mask = np.arange(length) < n_shown[:, None]
    items = np.full(mask.shape, PAD, dtype=np.int64)
    first = indptr[1:] - n_shown
    rows, places = np.nonzero(mask)
    items[rows, places] = in_time(train)[first[rows] + places]
    return items, mask
