"""Popularity: the score of an item is how many users had it in training, the same for everyone.

Not a toy: on many public datasets it explains most of the figures that knowledge-graph models report, so no
figure is worth printing without this row beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommender.data.interactions import Floats, Ints
from recommender.models.base import TrainingData, Vectors


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing to choose."""


class Popularity:
    """Counts."""

    def __init__(self, data: TrainingData, config: Config) -> None:
        self.item_scores: Floats = data.train.popularity.astype(np.float32)

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        scores = self.item_scores if items is None else self.item_scores[items]
        return np.broadcast_to(scores, (len(users), len(scores)))

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        return self.item_scores[items]

    def vectors(self) -> Vectors | None:
        """None: everyone gets the same list."""
        return None

    def edge_weights(self) -> Floats | None:
        """None: it looks at no edge."""
        return None
