"""Item-kNN and EASE against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from kg.errors import TrainingError
from recommender.data.interactions import Interactions
from recommender.models import ease, itemknn
from recommender.models.base import TrainingData
from tests.recommender.planting import aucs


def random_interactions(n: int = 300) -> Interactions:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 40, n), rng.integers(0, 15, n)
    return Interactions.of([f"u{u}" for u in users], [f"i{i}" for i in items], catalogue=["never"])


def test_similarity_by_hand() -> None:
    train = Interactions.of(["a", "a", "b", "b", "c"], ["x", "y", "x", "y", "x"])
    model = itemknn.ItemKnn(TrainingData(train), itemknn.Config(shrinkage=1.0))
    weights = model.item_weights.toarray()
    both = 2 / (np.sqrt(6) + 1)
    assert weights == pytest.approx(np.asarray([[0, both], [both, 0]]))
    assert model.score(np.asarray([2]))[0] == pytest.approx([0, both])


def test_nearest_keeps_the_largest_of_each_column() -> None:
    rng = np.random.default_rng(1)
    dense = rng.random((9, 9)) * (rng.random((9, 9)) < 0.7)
    kept = itemknn.nearest(sparse.csr_matrix(dense), 3).toarray()
    for column in range(9):
        largest = np.sort(dense[:, column])[-3:]
        assert np.sort(kept[:, column])[-3:] == pytest.approx(largest)
        assert (kept[:, column] > 0).sum() == (largest > 0).sum()


def test_ease_is_where_its_loss_is_smallest() -> None:
    train, penalty = random_interactions(), 5.0
    model = ease.Ease(TrainingData(train), ease.Config(penalty=penalty))
    matrix, weights = model.history.toarray().astype(np.float64), model.item_weights.astype(np.float64)
    assert (np.diag(weights) == 0).all()
    gradient = -2 * matrix.T @ (matrix - matrix @ weights) + 2 * penalty * weights
    gradient[np.diag_indices_from(gradient)] = 0  # the diagonal is not free
    assert np.abs(gradient).max() < 1e-3
    never = train.item_ids.index("never")
    assert not weights[never].any()
    assert not weights[:, never].any()


def test_ease_refuses_what_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "ITEMS_AT_MOST", 10)
    with pytest.raises(TrainingError, match=r"15 were had.*k-core of at most 10"):
        ease.Ease(TrainingData(random_interactions()), ease.Config())


@pytest.mark.planted
@pytest.mark.parametrize(("name", "option"), [("itemknn", {"neighbours": 50}), ("ease", {"penalty": 50.0})])
def test_warm_items_are_told_and_cold_ones_are_not(name: str, option: dict[str, float]) -> None:
    warm, cold = aucs(name, "PG-1", dim=None, learning_rate=None, **option)
    assert warm.min() > 0.93
    assert (cold == 0.5).all()
