"""KGIN (Huang et al., WWW 2021): users reach items through intents, entities mean what their relations say.

Intent p is a mixture of relation vectors, ``c_p = sum_r softmax(w_p)_r e_r``; how much of it user u has is
``beta(u, p) = softmax_p(e_u · z_p)``. Layer: ``e_h' = mean over the edges (r, t) of h of e_r * e_t`` for
entities, items among them, over triples and, with ``inverse``, over their inverses; ``e_u' = (mean over u's
items of e_i) * (1 + sum_p beta(u, p) c_p)`` for users. Every layer's vectors are brought to length 1; the
vectors are the sum of layers 0 to L; score: dot product.

Loss: pairwise ranking, ``penalty`` on the batch's final vectors, and ``independence_weight`` times how much
the intents' weights ``w`` depend on each other: the sum over pairs of intents of their distance correlation
(Székely et al., Annals of Statistics 2007) or squared cosine, or the mutual information that the paper's
contrastive estimate gives.

Exactness at less cost: ``e_r * e_t`` is computed once for each pair (r, t) that occurs, not once per edge,
and the mean is then one sparse product; a layer holds only the entities from which the layers above it
reach an item; edges that are dropped cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Interactions, Ints
from recommender.data.sampling import PairSampler, SampleBy, batches
from recommender.graph.joint import JointGraph, KnowledgeView
from recommender.graph.segment import SparseMatrix
from recommender.models.base import TrainingData
from recommender.models.gradient import VectorRecommender, drop_out, ranking_loss, squared_norm, xavier

Independence = Literal["distance", "mutual", "cosine"]
_TEMPERATURE = 0.2  # of the contrastive estimate, as in the authors' code
_SMALLEST = 1e-12
_PAIRS_PER_PIECE = 1 << 13


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of the authors' code, except where said."""

    dim: int = 64
    n_intents: int = 4
    n_layers: int = 3
    learning_rate: float = 5e-3
    """Theirs is 1e-4, for up to 600 epochs of much larger data. The better of 1e-3 and 5e-3 on the validation
    part of Last.FM as KGCN has it: NDCG@20 of .148 and .170 within 60 epochs."""
    penalty: float = 1e-5
    independence: Independence = "distance"
    independence_weight: float = 1e-4
    batch_size: int = 1024
    epochs: int = 200
    inverse: bool = True
    """Whether a triple tells its tail of its head too. True, as theirs, is better for cold items: AUC of .976
    against .924 in planted worlds. False, as in RecBole, is better for the warm ones of Last.FM as KGCN has
    it: NDCG@20 on validation of .178 against .163 within 40 epochs, at two layers."""
    edge_dropout: float = 0.5
    """Share of the triples left out of each step."""
    interaction_dropout: float = 0.5
    """Share of the interactions left out of each step; the authors' code has one setting for both."""
    message_dropout: float = 0.1
    sample_by: SampleBy = "interaction"
    warm_only: bool = True
    """Theirs is false; see :mod:`recommender.data.sampling`."""


class Kgin(VectorRecommender):
    """Vectors of users, entities, relations and intents, and the intents' weights over relations."""

    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        graph = data.graph
        if graph is None or graph.n_relations == 0:
            raise UsageError("kgin needs a knowledge graph.", hint="Give a snapshot and links, or train bpr.")
        self.users = xavier(generator, graph.n_users, config.dim)
        self.entities = xavier(generator, graph.n_entities, config.dim)
        known = graph.knowledge(inverse=config.inverse)
        self.relations = xavier(generator, known.n_relations, config.dim)
        self.intents = xavier(generator, config.n_intents, config.dim)
        self.intent_weights = xavier(generator, config.n_intents, known.n_relations)
        self._sampler = PairSampler(data.train, sample_by=config.sample_by, warm_only=config.warm_only)
        self._layers = _layers(graph, known, config.n_layers, generator.device)
        self._taste = _Mean.of_interactions(data.train, generator.device)

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, positive, negative = self._sampler.epoch(rng)
        for rows in batches(len(user), self.config.batch_size):
            yield "ranking", self.loss(user[rows], positive[rows], negative[rows])

    def loss(self, user: Ints, positive: Ints, negative: Ints) -> Tensor:
        """The loss of one batch: [batch] dense ids each -> []."""
        users, items = self.embed()
        u = functional.embedding(self.ids(user), users)
        p, n = functional.embedding(self.ids(np.stack([positive, negative])), items)
        ranking = ranking_loss(u, p, n) + self.config.penalty * squared_norm(u, p, n)
        return ranking + self.config.independence_weight * dependence(
            self.intent_weights, self.config.independence
        )

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user: Tensor = self.users
        entity: Tensor = self.entities
        mixed = torch.softmax(self.intent_weights, dim=1) @ self.relations
        users, items = user, entity[: self.n_items]
        taste, layers = self._taste.matrix, [layer.means.matrix for layer in self._layers]
        if self.training and self.config.interaction_dropout:
            taste = taste.drop_out(self.config.interaction_dropout, self.generator)
        if self.training and self.config.edge_dropout:
            layers = self._thinned_layers()
        for layer, matrix in zip(self._layers, layers, strict=True):
            liked = taste @ entity[: self.n_items]
            share = torch.softmax(user @ self.intents.T, dim=1)
            user = self._message(torch.addcmul(liked, liked, share @ mixed))
            entity = self._message(matrix @ layer.scaled(entity, self.relations))
            users, items = users + user, items + entity[: self.n_items]
        return users, items

    def intent_shares(self) -> Tensor:
        """How much of each intent each user has, ``beta`` of the first layer: [n_users, n_intents]."""
        return torch.softmax(self.users @ self.intents.T, dim=1)

    def _thinned_layers(self) -> list[SparseMatrix]:
        """The layers' matrices over one draw of edges: a layer's edges are the first of the layer below's."""
        kept = 1 - self.config.edge_dropout
        drawn = torch.empty(self._layers[0].n_edges, dtype=torch.bool, device=self.device)
        drawn.bernoulli_(kept, generator=self.generator)
        thinned = {layer: layer.means.of(drawn[: layer.n_edges]) for layer in set(self._layers)}
        return [thinned[layer] for layer in self._layers]

    def _message(self, values: Tensor) -> Tensor:
        if self.training:
            values = drop_out(values, self.config.message_dropout, self.generator)
        return functional.normalize(values)


class _Mean:
    """A matrix whose rows average, over all places or over those that were drawn."""

    def __init__(self, indptr: Ints, columns: Ints, shape: tuple[int, int], device: torch.device) -> None:
        self.matrix = SparseMatrix(indptr, columns, shape, device)
        self.matrix.set_values(_one_over_degree(self.matrix.indptr))

    @classmethod
    def of_interactions(cls, train: Interactions, device: torch.device) -> _Mean:
        """Over the items of each user."""
        indptr, items = train.by_user()
        return cls(indptr, items, (train.n_users, train.n_items), device)

    def of(self, kept: Tensor) -> SparseMatrix:
        """Over the ``kept`` [n_values] places: the mean of what is left."""
        thin = self.matrix.thinned(kept)
        thin.set_values(_one_over_degree(thin.indptr))
        return thin


class _Layer:
    """The edges out of some entities, and the distinct (relation, tail) pairs that they lead to."""

    def __init__(self, known: KnowledgeView, n_rows: int, device: torch.device) -> None:
        indptr = known.indptr[: n_rows + 1]
        of_rows, n_kinds = slice(int(indptr[-1])), known.n_relations
        self.n_edges = of_rows.stop
        key = known.tail[of_rows] * n_kinds + known.relation[of_rows]
        pairs, column = np.unique(key, return_inverse=True)
        self.means = _Mean(indptr, column, (n_rows, len(pairs)), device)
        self._tail = torch.from_numpy(pairs // n_kinds).to(device)
        self._relation = torch.from_numpy(pairs % n_kinds).to(device)

    def scaled(self, entities: Tensor, relations: Tensor) -> Tensor:
        """``e_r * e_t`` of each pair: [n_pairs, dim]."""
        result: Tensor = _Scale.apply(entities, relations, self._tail, self._relation)  # type: ignore[no-untyped-call]
        return result


class _Scale(torch.autograd.Function):
    """Rows of one table times rows of another, a piece at a time that stays in the processor's cache."""

    @staticmethod
    def forward(context: Any, entities: Tensor, relations: Tensor, tail: Tensor, relation: Tensor) -> Tensor:
        context.save_for_backward(entities, relations, tail, relation)
        scaled = entities.new_empty(len(tail), entities.shape[1])
        for rows in batches(len(tail), _PAIRS_PER_PIECE):
            torch.mul(entities[tail[rows]], relations[relation[rows]], out=scaled[rows])
        return scaled

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        entities, relations, tail, relation = context.saved_tensors
        of_entities, of_relations = torch.zeros_like(entities), torch.zeros_like(relations)
        for rows in batches(len(tail), _PAIRS_PER_PIECE):
            tails, kinds, piece = tail[rows], relation[rows], gradients[0][rows]
            of_entities.index_add_(0, tails, piece * relations[kinds])
            of_relations.index_add_(0, kinds, piece * entities[tails])
        return of_entities, of_relations, None, None


def _layers(graph: JointGraph, known: KnowledgeView, n_layers: int, device: torch.device) -> list[_Layer]:
    """One per layer, lowest first: rows are the entities that the layers above it need."""
    farthest = len(graph.n_within) - 1
    sizes = [graph.n_within[min(hop, farthest)] - graph.n_users for hop in reversed(range(n_layers))]
    made = {n_rows: _Layer(known, n_rows, device) for n_rows in set(sizes)}
    return [made[n_rows] for n_rows in sizes]


def _one_over_degree(indptr: Tensor) -> Tensor:
    degree = torch.diff(indptr)
    return torch.repeat_interleave(1 / degree.to(torch.get_default_dtype()), degree)


def dependence(weights: Tensor, how: Independence) -> Tensor:
    """How much the rows depend on each other, 0 for one row: [n_intents, n_relations] -> []."""
    if how == "mutual":
        alike = _cosines(weights) / _TEMPERATURE
        return (torch.logsumexp(alike, dim=1) - alike.diagonal()).sum()
    alike = _cosines(weights).square() if how == "cosine" else _distance_correlations(weights)
    return alike.triu(1).sum()


def distance_correlation(first: Tensor, second: Tensor) -> Tensor:
    """0 for independent samples, 1 for equal ones; 0 where one is constant. *Shape:* [n], [n] -> []."""
    return _distance_correlations(torch.stack([first, second]))[0, 1]


def _distance_correlations(samples: Tensor) -> Tensor:
    """Of every two rows: [n_samples, n] -> [n_samples, n_samples]."""
    distances = (samples[:, :, None] - samples[:, None]).abs()
    distances = distances / distances.mean(dim=(1, 2), keepdim=True).clamp_min(_SMALLEST)
    mean = distances.mean(dim=1, keepdim=True)
    centred = distances - mean - mean.transpose(1, 2) + mean.mean(dim=2, keepdim=True)
    flat = centred.flatten(1)
    common = flat @ flat.T / flat.shape[1]
    spread = common.diagonal().clamp_min(_SMALLEST).sqrt()
    return (common / (spread * spread[:, None])).clamp_min(_SMALLEST).sqrt()


def _cosines(rows: Tensor) -> Tensor:
    unit = functional.normalize(rows)
    return unit @ unit.T
