"""Item factors mapped from what is known of an item (Gantner et al., ICDM 2010), in closed form.

The factors are those of PureSVD (Cremonesi et al., RecSys 2010) with the columns of the training matrix
scaled (EigenRec, Nikolakopoulos et al., KAIS 2019): ``X diag(n_i^-popularity_power) ≈ U Vᵀ``, where ``n_i``
users had item ``i``, with the ``n_factors`` largest singular values inside ``U``. A ridge regression over the
items that were had maps the features ``F`` of an item to its factors, ``argmin |F W - V|² + strength |W|²``.
An item that was had keeps its own factors, scaled back; any other gets ``F W`` at the scale of a median item:
so graph and text recommend what nobody had.

Features of the graph are the entities around an item, each weighted by ``sqrt(log(n_items / n))`` where ``n``
items are beside it; one that is beside a single item joins nothing and is left out. Entities ``k`` hops away
count ``decay^(k - 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg, svds

from kg.errors import TrainingError, UsageError
from recommender.data.interactions import Floats, Ints
from recommender.graph.joint import JointGraph
from recommender.models.base import SideData, TrainingData, Vectors
from recommender.models.linear import interaction_matrix


@dataclass(frozen=True, slots=True)
class Config:
    """Chosen on films held out of the warm ones as if cold (MovieLens 100K, a graph from their articles)."""

    n_factors: int = 40
    popularity_power: float = 0.3
    """Without it the factors are those of popular items, which says little of an unknown one: .264 against
    .277 NDCG@20 on the held-out warm films."""
    strength: float = 10.0
    """Of the ridge."""
    text_weight: float = 1.0
    """Of the texts' kernel, where there are texts, beside the graph's."""
    hops: int = 1
    """How far from an item an entity may be."""
    decay: float = 0.5
    """What a hop more costs."""
    warm_keeps_own: bool = True
    """False maps every item, so that warm and cold ones are scored alike."""


class AttributeMap:
    """User vectors, and item vectors of which the cold ones are mapped."""

    def __init__(self, data: TrainingData, config: Config) -> None:
        if data.graph is None:
            raise UsageError("attributemap needs a knowledge graph.", hint="Give a snapshot and links.")
        train = data.train
        warm = np.flatnonzero(train.popularity)
        scale = train.popularity[warm].astype(np.float64) ** config.popularity_power
        matrix = (interaction_matrix(train)[:, warm] @ sparse.diags(1.0 / scale)).tocsr()
        n_factors = min(config.n_factors, min(matrix.shape) - 1)
        if n_factors < 1:
            raise TrainingError("there are too few users or items for factors.", hint="Give more of both.")
        left, values, right = svds(matrix, k=n_factors, random_state=0)
        self.features = item_features(data.graph, data.side, config)
        self.weights = fit_ridge(self.features[warm], right.T, config.strength)
        self._user: Floats = (left * values).astype(np.float32)
        self._item: Floats = np.asarray(self.features @ self.weights * np.median(scale), dtype=np.float32)
        if config.warm_keeps_own:
            self._item[warm] = right.T * scale[:, None]

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        return self.vectors().score(users, items)

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        return self.vectors().score_pairs(users, items)

    def vectors(self) -> Vectors:
        """See :meth:`recommender.models.base.Recommender.vectors`."""
        return Vectors(self._user, self._item)

    def edge_weights(self) -> Floats | None:
        """None: a weight belongs to an entity, not to an edge."""
        return None


def item_features(graph: JointGraph, side: SideData, config: Config) -> Any:
    """Graph and text features beside each other, scipy CSR: [n_items, n_features].

    Each kind is scaled so that the mean squared length of its non-empty rows is 1.
    """
    parts = [_scaled(_entity_features(graph, config))]
    if side.item_vectors is not None and config.text_weight > 0:
        length = np.maximum(np.linalg.norm(side.item_vectors, axis=1, keepdims=True), 1e-12)
        texts = np.asarray(side.item_vectors / length, dtype=np.float64)
        parts.append(np.sqrt(config.text_weight) * _scaled(sparse.csr_matrix(texts)))
    return sparse.hstack(parts).tocsr()


def fit_ridge(features: Any, targets: Any, strength: float) -> Any:
    """``argmin |F W - T|² + strength |W|²`` by its dual, so that any number of features costs the same.

    *Shape:* ``features`` [n, n_features] scipy CSR, ``targets`` [n, k] -> [n_features, k].
    """
    n = features.shape[0]
    kernel = LinearOperator((n, n), matvec=lambda x: features @ (features.T @ x) + strength * x)
    dual = np.stack([cg(kernel, column, rtol=1e-6)[0] for column in targets.T], axis=1)
    return features.T @ dual


def _entity_features(graph: JointGraph, config: Config) -> Any:
    """Which entities are around each item: [n_items, n_entities]."""
    reached = total = graph.item_entities()
    if config.hops > 1:
        known = graph.knowledge(inverse=True)
        cells = (known.head, known.tail)
        beside = sparse.csr_matrix((np.ones(len(known.head)), cells), (graph.n_entities, graph.n_entities))
    for hop in range(1, config.hops):
        reached = (reached @ beside > 0).astype(np.float64)
        total = total + config.decay**hop * (reached - reached.multiply(total > 0))
    frequency = np.asarray((total > 0).sum(axis=0)).ravel()
    shared = np.log(graph.n_items / np.maximum(frequency, 1))
    weight = np.where(frequency > 1, np.sqrt(np.maximum(shared, 0.0)), 0.0)
    return (total @ sparse.diags(weight)).tocsr()


def _scaled(rows: Any) -> Any:
    squared = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
    mean = squared[squared > 0].mean() if (squared > 0).any() else 1.0
    return rows / np.sqrt(mean)
