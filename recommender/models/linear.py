"""Models whose score is a sum over what the user had: ``s(u, i) = sum of W[j, i] over the j that u had``."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from recommender.data.interactions import Floats, Interactions, Ints
from recommender.models.base import Vectors


def interaction_matrix(train: Interactions) -> Any:
    """1 where a user had an item, as scipy CSR: [n_users, n_items]."""
    indptr, items = train.by_user()
    ones = np.ones(len(items), dtype=np.float32)
    return sparse.csr_matrix((ones, items, indptr), shape=(train.n_users, train.n_items))


class LinearRecommender:
    """Item-to-item weights and everybody's history.

    *Shape:* ``item_weights`` [n_items, n_items], scipy CSR or an array; row ``j`` is what having ``j`` adds
    to each item.
    """

    def __init__(self, train: Interactions, item_weights: Any) -> None:
        self.history = interaction_matrix(train)
        self.item_weights = item_weights

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        scores = self.history[users] @ self.item_weights
        dense: Floats = scores.toarray() if sparse.issparse(scores) else np.asarray(scores)
        return dense if items is None else dense[:, items]

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        unique, row = np.unique(users, return_inverse=True)
        scores = np.zeros(len(users), dtype=np.float32)
        for start in range(0, len(unique), 1024):
            inside = np.flatnonzero((row >= start) & (row < start + 1024))
            table = self.score(unique[start : start + 1024])
            scores[inside] = table[row[inside] - start, items[inside]]
        return scores

    def vectors(self) -> Vectors | None:
        """None: the score is no dot product of few numbers."""
        return None

    def edge_weights(self) -> Floats | None:
        """None: it looks at no edge."""
        return None
