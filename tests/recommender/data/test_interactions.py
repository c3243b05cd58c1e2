from __future__ import annotations

import numpy as np
import pytest

from kg.errors import InputError, UsageError
from recommender.data.interactions import Interactions, assert_disjoint


def small() -> Interactions:
    return Interactions.of(
        ["b", "a", "a", "b", "a"],
        ["y", "x", "x", "x", "z"],
        weight=[3, 1, 5, 4, 2],
        time=[10, 30, 20, 40, 50],
        catalogue=["w"],
    )


def test_pairs_are_sorted_folded_and_counted() -> None:
    found = small()
    assert found.user_ids == ("a", "b")
    assert found.item_ids == ("w", "x", "y", "z")
    assert list(zip(found.user, found.item, strict=True)) == [(0, 1), (0, 3), (1, 1), (1, 2)]
    assert found.n_duplicates == 1
    assert found.weight.tolist() == [1, 2, 4, 3]  # of the pair (a, x) the later row counts
    assert found.popularity.tolist() == [0, 2, 1, 1]


def test_without_times_the_last_of_equal_rows_counts() -> None:
    found = Interactions.of(["a", "a", "a"], ["x", "x", "x"], weight=[1, 2, 3])
    assert found.weight.tolist() == [3]
    assert found.n_duplicates == 2


def test_threshold_keeps_ids() -> None:
    found = small().at_least(3)
    assert len(found) == 2
    assert found.item_ids == small().item_ids


def test_more_items_move_dense_ids_but_not_pairs() -> None:
    before = small()
    after = before.with_items(["a-first", "x"])
    assert after.item_ids == ("a-first", "w", "x", "y", "z")
    assert [after.item_ids[i] for i in after.item] == [before.item_ids[i] for i in before.item]


def test_core_ends_where_everyone_has_enough() -> None:
    users = ["a", "a", "b", "b", "c", "c", "d"]
    items = ["x", "y", "x", "y", "x", "z", "z"]
    found = Interactions.of(users, items).core(2)
    assert found.user_ids == ("a", "b")  # without d, z falls; without z, c falls
    assert found.item_ids == ("x", "y")
    assert np.bincount(found.user).min() >= 2
    assert np.bincount(found.item).min() >= 2
    with pytest.raises(UsageError, match="3-core"):
        Interactions.of(users, items).core(3)


def test_a_pair_in_two_parts_is_named() -> None:
    found = small()
    with pytest.raises(InputError, match=r"\(a, z\)"):
        assert_disjoint(found, found.select(np.asarray([1])))
