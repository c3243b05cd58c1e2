from __future__ import annotations

import numpy as np
import pytest

from recommender.data.interactions import Interactions
from recommender.data.report import describe, describe_split, gini
from recommender.data.splits import last_split


def test_sizes_skew_and_duplicates() -> None:
    rows = Interactions.of(
        ["a", "a", "a", "b"], ["x", "y", "x", "x"], time=[0, 86400, 10, 20], catalogue=["never"]
    )
    found = describe(rows)
    assert (found["users"], found["items"], found["interactions"]) == (2, 3, 3)
    assert found["density"] == pytest.approx(0.5)
    assert (found["duplicate_rows"], found["users_with_one"], found["items_nobody_had"]) == (1, 1, 1)
    assert (found["first"], found["last"]) == ("1970-01-01", "1970-01-02")
    assert found["popularity_gini"] == pytest.approx(gini([2, 1, 0]))


def test_gini_at_its_ends() -> None:
    assert gini([3, 3, 3, 3]) == pytest.approx(0)
    assert gini([0, 0, 0, 9]) == pytest.approx(1 - 1 / 4)
    assert np.isnan(gini([0, 0]))


def test_what_is_cold_and_what_lies_in_the_past() -> None:
    rows = Interactions.of(["a"] * 4 + ["b"] * 4, list("wxyzwxyq"), time=[1, 2, 3, 9, 1, 2, 3, 2])
    found = describe_split(last_split(rows, (0.5, 0.25, 0.25)))
    assert (found["train"], found["validation"], found["test"]) == (4, 2, 2)
    assert found["cold_test_items"] >= 1
    assert found["cold_test_users"] == 0
    assert 0 <= found["test_pairs_before_last_train"] <= 1
