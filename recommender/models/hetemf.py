"""Hete-MF (Yu et al., HINA at IJCAI 2013): matrix factorisation in which similar items get similar vectors.

Item similarity ``S_l`` is PathSim over meta-path ``l``, item - entity - item for each relation of the graph.
With ``Y`` the rated pairs and ``L_l = D_l - S_l``::

    |Y (R - U V')|² + l0 (|U|² + |V|²) + l1 / 2 sum_l theta_l sum_ij S_l(i, j) |V_i - V_j|² + l2 |theta|²

where ``theta`` is on the simplex, and ``sum_ij S(i, j) |V_i - V_j|² = 2 tr(V' L V)``. Written from the
equations as they are remembered: the paper has no public code. Everything is divided by the number of rows.

An epoch has two phases. *Factors* steps on ``U, V`` batch by batch, ``theta`` held fixed; *weights* then
steps on ``theta``, each step followed by the projection on the simplex.

``theta`` seeks the paths along which vectors differ least. By the plain sum that is the path with the fewest
links, whatever it means: so each ``S_l`` is scaled to one common sum. ``R`` is centred at its mean.
A cold item has no row in the first term, and its vector becomes the mean of those similar to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Floats, Ints
from recommender.data.sampling import PairSampler, batches
from recommender.graph.metapaths import inverse_of, nearest_by_path, symmetric, symmetric_item_paths
from recommender.graph.segment import SparseMatrix
from recommender.models.base import TrainingData
from recommender.models.gradient import VectorRecommender, xavier


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes of the paper as remembered; the strengths were chosen here, as said."""

    dim: int = 20
    learning_rate: float = 1e-2
    batch_size: int = 1024
    epochs: int = 60
    penalty: float = 10.0
    """l0."""
    smoothness: float = 10.0
    """l1."""
    weight_penalty: float = 100.0
    """l2; near 0 all weight goes to one path."""
    weight_steps: int = 10
    """How many steps on theta end an epoch."""
    unobserved: Literal["none", "sampled"] = "sampled"
    """The paper's is none: predicted ratings, good for RMSE, while a list of the best rated says nothing of
    what a user would take up. Sampled adds, for each rating, an item that the user has not rated as a 0."""
    warm_only: bool = True
    """Draw the zeros from items with a rating: a 0 on a cold item teaches that cold means bad."""
    scaled: bool = True
    """False leaves each path's similarities as they are, as in the paper."""
    max_length: int = 1
    """Steps from an item to the middle of a path."""
    max_paths: int = 6
    max_degree: int = 5000
    """An entity shared by more items is left out, to bound the work."""
    n_nearest: int = 50
    """Most similar items kept per item and path, to bound the work."""


class HeteMf(VectorRecommender):
    """User and item vectors, and one weight per meta-path."""

    phases = ("factors", "weights")
    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        rated, graph = data.side.rated, data.graph
        if rated is None or graph is None:
            raise UsageError("hetemf needs ratings and a knowledge graph.", hint="Give both, or train bpr.")
        self.found = symmetric_item_paths(
            graph, max_length=config.max_length, max_degree=config.max_degree, max_paths=config.max_paths
        )
        if not self.found.paths:
            raise UsageError(
                "no two items share an entity, so hetemf finds no meta-path.",
                hint="Link more items, raise max_degree or max_length, or train bpr.",
            )
        self.graph, self.rated = graph, rated
        self.users = xavier(generator, self.n_users, config.dim)
        self.items = xavier(generator, self.n_items, config.dim)
        n_paths = len(self.found.paths)
        self.path_weights = nn.Parameter(torch.full((n_paths,), 1 / n_paths, device=generator.device))
        self.laplacians = [self._laplacian(path.half) for path in self.found.paths]
        self._matrices = [as_matrix(one, generator.device) for one in self.laplacians]
        zeros = config.unobserved == "sampled"
        self.n_rows = len(rated) * (2 if zeros else 1)
        self._sampler = (
            PairSampler(rated, sample_by="interaction", warm_only=config.warm_only) if zeros else None
        )
        self.offset = float(rated.weight.sum()) / max(self.n_rows, 1)

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        weights = self.path_weights.detach().cpu().numpy()
        weighted = (one * float(w) for one, w in zip(self.laplacians, weights, strict=True))
        laplacian = as_matrix(reduce(add, weighted), self.device)
        user, item, rating = self._epoch(rng)
        for rows in batches(len(user), self.config.batch_size):
            yield "factors", self.factor_loss(user[rows], item[rows], rating[rows], laplacian)
        distances = self.distances()
        for _ in range(self.config.weight_steps):
            yield "weights", self.weight_loss(distances)

    def factor_loss(self, user: Ints, item: Ints, rating: Floats, laplacian: SparseMatrix) -> Tensor:
        """The first phase's loss of one batch: [batch] dense ids and ratings -> []."""
        predicted = (
            functional.embedding(self.ids(user), self.users)
            * functional.embedding(self.ids(item), self.items)
        ).sum(dim=1)
        target = torch.from_numpy(rating).to(predicted) - self.offset
        ridge = self.config.penalty * (self.users.square().sum() + self.items.square().sum())
        rough = self.config.smoothness * roughness(self.items, laplacian)
        return (predicted - target).square().mean() + (ridge + rough) / self.n_rows

    def weight_loss(self, distances: Tensor) -> Tensor:
        """The second phase's loss, by how much vectors differ along each path: [n_paths] -> [].

        The mean is taken off so that the gradient runs along the simplex: Adam would otherwise step as far in
        every coordinate, which the projection undoes.
        """
        config = self.config
        weights = self.path_weights - self.path_weights.mean() + 1 / len(distances)
        along = config.smoothness * (weights * distances).sum()
        return (along + config.weight_penalty * weights.square().sum()) / self.n_rows

    def distances(self) -> Tensor:
        """``sum_ij S_l(i, j) |V_i - V_j|² / 2`` of each path: [n_paths]."""
        with torch.no_grad():
            return torch.stack([roughness(self.items, matrix) for matrix in self._matrices])

    def after_step(self, phase: str) -> None:
        """Put theta back on the simplex."""
        if phase == "weights":
            with torch.no_grad():
                self.path_weights.copy_(on_simplex(self.path_weights))

    def embed(self) -> tuple[Tensor, Tensor]:
        """The factors, and a coordinate that adds the mean rating."""
        one = self.users.new_ones(self.n_users, 1)
        mean = self.items.new_full((self.n_items, 1), self.offset)
        return torch.cat([self.users, one], dim=1), torch.cat([self.items, mean], dim=1)

    def edge_weights(self) -> Floats | None:
        """theta of the path that an edge's relation is on, 1 for interactions: [n_edges]."""
        per_relation = np.zeros(self.graph.n_all_relations, dtype=np.float32)
        for path, weight in zip(self.found.paths, self.path_weights.tolist(), strict=True):
            for relation in path.relations:
                for way in (relation, inverse_of(self.graph, relation)):
                    per_relation[way] = max(per_relation[way], weight)
        per_relation[2 * self.graph.n_relations :] = 1.0
        return per_relation[self.graph.relation]

    def _epoch(self, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
        """Users, items and ratings in random order, the drawn zeros among them."""
        rated, user, item, rating = self.rated, self.rated.user, self.rated.item, self.rated.weight
        if self._sampler is not None:
            drawn_for, _, drawn = self._sampler.epoch(rng)
            user, item = np.concatenate([rated.user, drawn_for]), np.concatenate([rated.item, drawn])
            rating = np.concatenate([rated.weight, np.zeros(len(drawn), np.float32)])
        order = rng.permutation(len(user))
        return user[order], item[order], rating[order]

    def _laplacian(self, half: Any) -> Any:
        similar = symmetric(nearest_by_path([half], self.config.n_nearest))
        total = float(similar.sum())
        if self.config.scaled and total:
            similar = similar * (self.n_items / total)
        return laplacian_of(similar)


class _Roughness(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, vectors: Tensor, laplacian: SparseMatrix) -> Tensor:
        product = laplacian @ vectors
        context.save_for_backward(product)
        return (vectors * product).sum()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (product,) = context.saved_tensors
        return 2 * gradients[0] * product, None


def roughness(vectors: Tensor, laplacian: SparseMatrix) -> Tensor:
    """``tr(V' L V)`` for a symmetric ``L``, whose gradient ``2 L V`` costs nothing more.

    *Shape:* [n, dim], [n, n] -> []
    """
    result: Tensor = _Roughness.apply(vectors, laplacian)  # type: ignore[no-untyped-call]
    return result


def laplacian_of(similar: sparse.csr_array) -> sparse.csr_array:
    """``D - S`` of a symmetric similarity without diagonal: [n, n] -> [n, n]."""
    degree = np.asarray(similar.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(degree) - similar)


def as_matrix(
    matrix: sparse.csr_array, device: torch.device, dtype: torch.dtype = torch.float32
) -> SparseMatrix:
    """A scipy matrix as one that multiplies tensors."""
    made = SparseMatrix(matrix.indptr, matrix.indices, matrix.shape, device)
    made.set_values(torch.from_numpy(matrix.data).to(device, dtype))
    return made


def on_simplex(weights: Tensor) -> Tensor:
    """The nearest point with weights of at least 0 that sum to 1 (Duchi et al., ICML 2008): [n] -> [n]."""
    falling = torch.sort(weights, descending=True).values
    excess = (falling.cumsum(0) - 1) / torch.arange(1, len(weights) + 1, device=weights.device)
    n_positive = int((falling > excess).sum())
    return (weights - excess[n_positive - 1]).clamp_min(0)
