from __future__ import annotations

import numpy as np
import pytest

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.data.sequences import PAD, histories, in_time


def some(time: list[int] | None) -> Interactions:
    """User a: w, x, y, z; user b: y; user c is left without any."""
    whole = Interactions.of(list("aaaabc"), list("wxyzyz"), time=time)
    return whole.select(np.arange(5))


def test_items_are_in_the_order_of_time() -> None:
    assert in_time(some([40, 10, 30, 10, 5, 0])).tolist() == [1, 3, 2, 0, 2]  # one moment: by item


def test_the_latest_items_stay_and_rows_begin_at_the_left() -> None:
    items, mask = histories(some([40, 10, 30, 10, 5, 0]), 3)
    assert items.tolist() == [[3, 2, 0], [2, PAD, PAD], [PAD, PAD, PAD]]
    assert mask.tolist() == [[True] * 3, [True, False, False], [False] * 3]


def test_without_times_items_keep_their_order() -> None:
    items, mask = histories(some(None), 5)
    assert items[0].tolist() == [0, 1, 2, 3, PAD]
    assert np.array_equal(mask, items >= 0)


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        histories(some(None), 0)
