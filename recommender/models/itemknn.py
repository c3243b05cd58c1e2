"""Item-based nearest neighbours (Sarwar et al., WWW 2001; Deshpande and Karypis, TOIS 2004).

``sim(i, j) = n_ij / (sqrt(n_i n_j) + shrinkage)`` where ``n_ij`` users had both; an item passes on its weight
to its nearest neighbours only; the score sums the similarities to what the user had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from recommender.models.base import TrainingData
from recommender.models.linear import LinearRecommender, interaction_matrix


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults as common in comparisons of baselines (Ferrari Dacrema et al., RecSys 2019)."""

    neighbours: int = 100
    """How many nearest items each item keeps; they search 5 to 1000."""
    shrinkage: float = 10.0
    """Pulls similarities that rest on few users towards 0; they search 0 to 1000."""


class ItemKnn(LinearRecommender):
    """Cosine similarities of items, the nearest of each."""

    def __init__(self, data: TrainingData, config: Config) -> None:
        super().__init__(data.train, nearest(_cosines(data, config.shrinkage), config.neighbours))


def _cosines(data: TrainingData, shrinkage: float) -> Any:
    matrix = interaction_matrix(data.train)
    both = (matrix.T @ matrix).tocoo()
    length = np.sqrt(data.train.popularity.astype(np.float64))
    values = both.data / (length[both.row] * length[both.col] + shrinkage)
    values[both.row == both.col] = 0
    found = sparse.csr_matrix((values.astype(np.float32), (both.row, both.col)), shape=both.shape)
    found.eliminate_zeros()
    return found


def nearest(similarities: Any, k: int) -> Any:
    """Keep the ``k`` largest entries of each column; of equal ones those with the lower row.

    *Shape:* scipy CSR [n, n] -> the same.
    """
    columns = similarities.tocsc()
    column = np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
    order = np.lexsort((columns.indices, -columns.data, column))
    place = np.arange(len(order)) - columns.indptr[column]
    kept = order[place < k]
    return sparse.csr_matrix((columns.data[kept], (columns.indices[kept], column[kept])), shape=columns.shape)
