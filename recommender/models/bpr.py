"""Matrix factorisation with Bayesian personalised ranking (Rendle et al., UAI 2009).

Score ``p_u · q_i``; loss: the mean over drawn (user, positive, negative) of ``softplus(s_un - s_up)`` plus
``penalty / 2 (|p_u|² + |q_p|² + |q_n|²)`` per row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recommender.data.interactions import Ints
from recommender.data.sampling import PairSampler, SampleBy, batches
from recommender.models.base import TrainingData
from recommender.models.gradient import VectorRecommender, ranking_loss, squared_norm, xavier


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults as in the KGAT authors' baseline (KDD 2019), except where said."""

    dim: int = 64
    learning_rate: float = 1e-3
    """Their command lines say 1e-4, with up to 1000 epochs; ten times that converges in a tenth of them."""
    penalty: float = 1e-5
    batch_size: int = 1024
    epochs: int = 200
    sample_by: SampleBy = "user"
    warm_only: bool = False
    """Negatives from all items, as there: without a graph a cold item cannot be recommended anyway."""


class Bpr(VectorRecommender):
    """Two tables of vectors."""

    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        self.users = xavier(generator, data.train.n_users, config.dim)
        self.items = xavier(generator, data.train.n_items, config.dim)
        self._sampler = PairSampler(data.train, sample_by=config.sample_by, warm_only=config.warm_only)

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, positive, negative = self._sampler.epoch(rng)
        for rows in batches(len(user), self.config.batch_size):
            yield "ranking", self.loss(user[rows], positive[rows], negative[rows])

    def loss(self, user: Ints, positive: Ints, negative: Ints) -> Tensor:
        """The loss of one batch: [batch] dense ids each -> []."""
        u = functional.embedding(self.ids(user), self.users)
        both = self.ids(np.concatenate([positive, negative]))  # one gather: one gradient table
        p, n = functional.embedding(both, self.items).chunk(2)
        return ranking_loss(u, p, n) + self.config.penalty * squared_norm(u, p, n)

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        return self.users, self.items
