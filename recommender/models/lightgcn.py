"""LightGCN (He et al., SIGIR 2020): matrix factorisation whose vectors are smoothed over the interactions.

``A = D^-1/2 [[0, R], [R^T, 0]] D^-1/2`` without self-loops; ``X_{k+1} = A X_k``; the vectors are the mean
of ``X_0 .. X_L``; score: dot product. Loss as in :mod:`recommender.models.bpr`, the penalty on the rows of
``X_0``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recommender.data.interactions import Interactions, Ints
from recommender.data.sampling import PairSampler, SampleBy, batches
from recommender.graph.segment import SparseMatrix
from recommender.models.base import TrainingData
from recommender.models.gradient import VectorRecommender, ranking_loss, squared_norm


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of the authors' PyTorch code."""

    dim: int = 64
    n_layers: int = 3
    learning_rate: float = 1e-3
    penalty: float = 1e-4
    batch_size: int = 2048
    epochs: int = 400
    """They run 1000 without early stopping; the loop here stops early."""
    initial_deviation: float = 0.1
    sample_by: SampleBy = "user"
    """As there: one draw per interaction, users evenly. Drawing interactions moves Recall."""
    warm_only: bool = False


class LightGcn(VectorRecommender):
    """One table of vectors, users first, and the normalised adjacency."""

    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        train = data.train
        drawn = torch.empty(train.n_users + train.n_items, config.dim, device=generator.device)
        self.nodes = nn.Parameter(drawn.normal_(0, config.initial_deviation, generator=generator))
        self.adjacency = normalised_adjacency(train, generator.device)
        self._sampler = PairSampler(train, sample_by=config.sample_by, warm_only=config.warm_only)

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, positive, negative = self._sampler.epoch(rng)
        for rows in batches(len(user), self.config.batch_size):
            yield "ranking", self.loss(user[rows], positive[rows], negative[rows])

    def loss(self, user: Ints, positive: Ints, negative: Ints) -> Tensor:
        """The loss of one batch: [batch] dense ids each -> []."""
        nodes = np.concatenate([user, positive + self.n_users, negative + self.n_users])
        rows = self.ids(nodes)  # one gather of each table: one gradient table
        score = ranking_loss(*(functional.embedding(rows, self._layers_added()) / self._n_tables).chunk(3))
        return score + self.config.penalty * squared_norm(*functional.embedding(rows, self.nodes).chunk(3))

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        smoothed = self._layers_added() / self._n_tables
        return smoothed[: self.n_users], smoothed[self.n_users :]

    @property
    def _n_tables(self) -> int:
        return self.config.n_layers + 1

    def _layers_added(self) -> Tensor:
        layer: Tensor = self.nodes
        total = layer
        for _ in range(self.config.n_layers):
            layer = self.adjacency @ layer
            total = total + layer
        return total


def normalised_adjacency(train: Interactions, device: torch.device) -> SparseMatrix:
    """``D^-1/2 [[0, R], [R^T, 0]] D^-1/2`` over users, then items."""
    head = np.concatenate([train.user, train.item + train.n_users])
    tail = np.concatenate([train.item + train.n_users, train.user])
    n_nodes = train.n_users + train.n_items
    order = np.argsort(head * n_nodes + tail, kind="stable")
    head, tail = head[order], tail[order]
    degree = np.bincount(head, minlength=n_nodes)
    indptr = np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)
    matrix = SparseMatrix(indptr, tail, (n_nodes, n_nodes), device)
    values = 1.0 / np.sqrt(degree[head].astype(np.float64) * degree[tail])
    matrix.set_values(torch.from_numpy(values.astype(np.float32)).to(device))
    return matrix
