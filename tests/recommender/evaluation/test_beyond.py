"""Figures beyond accuracy, on cases whose value is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from recommender.evaluation import beyond

LISTS = np.asarray([[0, 1], [2, 3]])


def test_novelty_of_equally_popular_items_is_their_information() -> None:
    assert beyond.novelty(LISTS, np.full(4, 25), 100) == pytest.approx([2.0, 2.0])
    assert beyond.novelty(LISTS, np.asarray([50, 50, 0, 1]), 64)[1] == pytest.approx(6.0)
    assert beyond.novelty(np.asarray([[0, -1]]), np.full(4, 25), 100) == pytest.approx([2.0])


def test_the_long_tail_is_all_but_the_popular_fifth() -> None:
    popularity = np.asarray([9, 1, 1, 1, 1])
    assert beyond.long_tail_share(np.asarray([[0, 1], [1, 2], [0, -1]]), popularity) == pytest.approx(
        [0.5, 1, 0]
    )


def test_distance_is_0_for_alike_and_1_for_orthogonal() -> None:
    vectors = np.asarray([[2, 0], [5, 0], [0, 1], [1, 0]], dtype=np.float32)
    found = beyond.intra_list_distance(np.asarray([[0, 1, -1], [0, 2, -1], [0, 2, 3], [0, -1, -1]]), vectors)
    assert found == pytest.approx([0, 1, 2 / 3, 0], abs=1e-7)


def test_attributes_of_a_list() -> None:
    attributes = sparse.csr_matrix(np.asarray([[1, 0], [1, 0], [1, 0], [0, 1]]))
    distinct, entropy = beyond.attribute_counts(LISTS, attributes)
    assert distinct.tolist() == [1, 2]
    assert entropy == pytest.approx([0, 1])
    assert beyond.exposure_divergence(LISTS, np.asarray([0, 1, 1, 3]), attributes) == pytest.approx(0)
    assert beyond.exposure_divergence(LISTS, np.asarray([3, 3]), attributes) == pytest.approx(2)


def test_serendipity_leaves_out_what_was_expected() -> None:
    hits = np.asarray([[True, True], [True, False]])
    assert beyond.serendipity(LISTS, hits, np.asarray([[1, 0], [0, 1]])).tolist() == [0, 0.5]


def test_gini_of_even_and_of_one_sided_exposure() -> None:
    assert beyond.exposure_gini(LISTS, 4) == pytest.approx(0)
    assert beyond.exposure_gini(np.asarray([[0, -1], [0, -1]]), 4) == pytest.approx(1 - 1 / 4)
    assert np.isnan(beyond.exposure_gini(np.asarray([[-1]]), 4))


def test_gap_between_groups() -> None:
    groups = np.asarray([0, 0, 1, 1])
    assert beyond.group_gap(np.asarray([1.0, 0.0, 0.0, 0.2]), groups) == pytest.approx((0.4, 0.1))
    assert beyond.group_gap(np.full(4, 0.3), groups) == pytest.approx((0, 0.3))
