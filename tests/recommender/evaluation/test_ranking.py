from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recommender.evaluation.ranking import top_k


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.integers(-2, 2)),
    st.integers(0, 14),
)
def test_top_k_equals_a_stable_sort(scores: np.ndarray, k: int) -> None:
    columns, values = top_k(scores, k)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert np.array_equal(columns, order)
    assert np.array_equal(values, np.take_along_axis(scores, order, axis=1))


def test_masked_columns_come_last() -> None:
    scores = np.asarray([[1.0, -np.inf, 2.0, -np.inf]], dtype=np.float32)
    assert top_k(scores, 3)[0].tolist() == [[2, 0, 1]]
