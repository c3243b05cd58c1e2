"""EASE (Steck, WWW 2019): the linear item-to-item model without self-weights, in closed form.

``P = (XᵀX + penalty I)^-1``; ``W[i, j] = -P[i, j] / P[j, j]``, 0 on the diagonal; score ``X W``. It minimises
``|X - X W|² + penalty |W|²`` under ``diag W = 0``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kg.errors import TrainingError
from recommender.models.base import TrainingData
from recommender.models.linear import LinearRecommender, interaction_matrix

ITEMS_AT_MOST = 25_000
"""The inverse takes 8 bytes times the square of the items, three times over: 15 GB here."""


@dataclass(frozen=True, slots=True)
class Config:
    """One number to choose."""

    penalty: float = 200.0
    """The paper finds the best between 200 and 1000, by validation; small data wants the small end."""


class Ease(LinearRecommender):
    """Weights between all pairs of items that were had."""

    def __init__(self, data: TrainingData, config: Config) -> None:
        train = data.train
        warm = np.flatnonzero(train.popularity)
        if len(warm) > ITEMS_AT_MOST:
            raise TrainingError(
                f"ease needs memory for the square of the items, and {len(warm)} were had.",
                hint=f"Take a k-core of at most {ITEMS_AT_MOST} items, or train itemknn.",
            )
        matrix = interaction_matrix(train)[:, warm]
        gram = (matrix.T @ matrix).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += config.penalty
        inverse = np.linalg.inv(gram)
        inverse /= -np.diag(inverse)[None, :]
        inverse[np.diag_indices_from(inverse)] = 0
        weights = np.zeros((train.n_items, train.n_items), dtype=np.float32)
        weights[np.ix_(warm, warm)] = inverse
        super().__init__(train, weights)
