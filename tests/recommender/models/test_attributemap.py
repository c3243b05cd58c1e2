"""The map from an item's surroundings to its factors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from kg.errors import TrainingError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.graph.joint import JointGraph
from recommender.models.attributemap import AttributeMap, Config, fit_ridge, item_features
from recommender.models.base import SideData, TrainingData
from tests.recommender.planting import aucs
from tests.recommender.tiny import tiny
from tests.worlds import Variant, planted_world


def test_ridge_is_where_its_gradient_vanishes() -> None:
    rng = np.random.default_rng(0)
    features, targets = sparse.random(30, 50, 0.2, random_state=0, format="csr"), rng.normal(size=(30, 4))
    weights = fit_ridge(features, targets, 2.0)
    gradient = features.T @ (features @ weights - targets) + 2.0 * weights
    assert np.abs(gradient).max() < 1e-4


def test_warm_items_keep_their_factors_and_their_product_is_the_matrix() -> None:
    split, graph, _ = tiny()
    matrix = np.zeros((split.train.n_users, split.train.n_items))
    matrix[split.train.user, split.train.item] = 1
    model = AttributeMap(TrainingData(split.train, graph), Config(n_factors=100, popularity_power=0.5))
    warm = split.train.popularity > 0
    scale = np.sqrt(matrix[:, warm].sum(axis=0))
    left, values, right = np.linalg.svd(matrix[:, warm] / scale, full_matrices=False)
    k = model.vectors().user.shape[1]
    nearest = (left[:, :k] * values[:k]) @ right[:k] * scale
    assert model.score(np.arange(len(matrix)))[:, warm] == pytest.approx(nearest, abs=1e-4)


def test_features_are_shared_entities_and_texts() -> None:
    split, graph, side = tiny()
    alone = item_features(graph, SideData(), Config())
    both = item_features(graph, side, Config(text_weight=4.0))
    assert both.shape[1] == alone.shape[1] + 8
    lengths = np.square(both.toarray()[:, -8:]).sum(axis=1)
    assert lengths == pytest.approx(np.full(split.train.n_items, 4.0))
    assert not alone[19].toarray().any()  # the item without a link
    farther = item_features(graph, SideData(), Config(hops=2))
    assert farther.nnz > alone.nnz


def test_too_few_to_factorise() -> None:
    one = Interactions.of(["a"], ["x"])
    nothing = one.select(np.zeros(1, dtype=bool))
    world = planted_world(0)
    graph = JointGraph.build(Split(one, nothing, nothing), world.graph, {"x": "item 000"})
    with pytest.raises(TrainingError, match="too few users or items"):
        AttributeMap(TrainingData(one, graph), Config())


CLOSED = {"dim": None, "learning_rate": None, "n_factors": 16, "strength": 3.0}


@pytest.mark.planted
@pytest.mark.parametrize(
    ("variant", "hops", "lowest", "highest"),
    [
        ("PG-1", 1, 0.95, 1.0),
        ("PG-1-shuffled", 1, 0.4, 0.6),
        ("PG-2", 2, 0.9, 1.0),
        ("PG-2u", 1, 0.4, 0.6),
        ("PG-2u", 2, 0.9, 1.0),
    ],
)
def test_cold_items_are_told_by_their_surroundings(
    variant: Variant, hops: int, lowest: float, highest: float
) -> None:
    warm, cold = aucs("attributemap", variant, hops=hops, **CLOSED)
    assert warm.min() > 0.9
    assert lowest <= cold.mean() <= highest
