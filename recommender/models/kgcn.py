"""KGCN (Wang et al., WWW 2019): a graph convolution over an item's neighbours, weighed by the user's tastes.

User u looks at entity v through a fixed number of sampled neighbours: ``a_k = softmax over k of u · r_k`` and
``n = sum a_k e_k``. One iteration, by ``aggregator``: sum ``s(W (e + n) + b)``, concat ``s(W [e; n] + b)``,
neighbor ``s(W n + b)``. ``hops`` iterations go from the outermost neighbours inward, s being ReLU and tanh in
the last; the score is ``u · e``. Loss: binary cross entropy of as many drawn negatives as positives, plus
``penalty / 2`` times the squares of all tables and matrices.

The authors' code departs from their paper: u · r is a mean over the dimensions, and the weighted neighbours
are averaged. ``reduce`` mean does the same. Padding is masked here, so that an entity with few edges does not
count some of them double; ``with_replacement`` is what they do.

Exactness at less cost, when many items are ranked: an entity's vector depends on the user and the iteration
only, so each is computed once however many items see it. The first iteration's matrix is applied to all
entities before the neighbours are summed, as both are linear. Attention is computed once per distinct row of
relations. Where all neighbours come by one relation, every user weighs them alike, and such items are ranked
by one matrix product. ``tanh z = 2 sigmoid(2z) - 1``, of which the right side is far quicker to compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Floats, Ints
from recommender.data.sampling import PairSampler, batches
from recommender.graph.neighbours import Field, Flags, Hop, NeighbourTable
from recommender.models.base import TrainingData
from recommender.models.gradient import GradientRecommender, evaluating, xavier

Aggregator = Literal["sum", "concat", "neighbor"]
_NUMBERS_PER_BLOCK = 1 << 18  # what is computed at once while ranking stays in the cache
_NUMBERS_PER_LEVEL = 1 << 23
_USERS_PER_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of the authors' code for Last.FM, except where said."""

    dim: int = 16
    neighbours: int = 8
    hops: int = 1
    """How many iterations; 0 is matrix factorisation."""
    aggregator: Aggregator = "sum"
    reduce: Literal["sum", "mean"] = "sum"
    """As in the paper; their code is mean."""
    with_replacement: bool = False
    """Theirs is true."""
    resample: bool = False
    """Draw other neighbours every epoch."""
    learning_rate: float = 5e-4
    penalty: float = 1e-5
    """Theirs is 1e-4, chosen for telling pairs apart; it flattens a full ranking (validation NDCG@20 of
    Last.FM .077 against .104)."""
    batch_size: int = 128
    """Rows, half of them negatives."""
    epochs: int = 50
    """Theirs is 10; validation stops earlier where that is enough."""
    warm_only: bool = True
    """Theirs is false. Cold items drawn as negatives learn to be bad."""


class Kgcn(GradientRecommender):
    """Vectors of users, entities and relations, and a matrix per iteration."""

    config: Config
    near: Tensor
    relation: Tensor
    mask: Tensor

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        if data.graph is None:
            raise UsageError("kgcn needs a knowledge graph.", hint="Give a snapshot and links, or train bpr.")
        self._graph = data.graph
        table = self._draw(np.random.default_rng(_seed(generator)))
        self.register_buffer("near", torch.from_numpy(table.near).to(generator.device))
        self.register_buffer("relation", torch.from_numpy(table.relation).to(generator.device))
        self.register_buffer("mask", torch.from_numpy(table.mask).to(generator.device))
        self._n_relations = table.n_relations
        dim, below = config.dim, (2 if config.aggregator == "concat" else 1) * config.dim
        self.users = xavier(generator, self.n_users, dim)
        self.entities = xavier(generator, self._graph.n_entities, dim)
        self.relations = xavier(generator, self._n_relations, dim)
        self.weights = nn.ParameterList(xavier(generator, below, dim) for _ in range(config.hops))
        zero = torch.zeros(dim, device=generator.device)
        self.biases = nn.ParameterList(nn.Parameter(zero.clone()) for _ in range(config.hops))
        self._sampler = PairSampler(data.train, sample_by="interaction", warm_only=config.warm_only)
        self._fields: _Fields | None = None

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        if self.config.resample:
            table = self._draw(rng)
            for buffer, drawn in ((self.near, table.near), (self.relation, table.relation)):
                buffer.copy_(torch.from_numpy(drawn))
            self.mask.copy_(torch.from_numpy(table.mask))
        user, item, label = self._sampler.labelled_epoch(rng)
        for rows in batches(len(user), self.config.batch_size):
            yield "ranking", self.loss(user[rows], item[rows], label[rows])

    def loss(self, user: Ints, item: Ints, label: Floats) -> Tensor:
        """The loss of one batch: [batch] dense ids and labels -> []."""
        logits = self.logits(self.ids(user), self.ids(item))
        target = torch.from_numpy(label).to(logits)
        entropy = functional.binary_cross_entropy_with_logits(logits, target)
        tables = (self.users, self.entities, self.relations, *self.weights)
        return entropy + self.config.penalty / 2 * torch.stack([t.square().sum() for t in tables]).sum()

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """See :meth:`GradientRecommender.logits`."""
        taste = functional.embedding(users, self.users)
        if self.config.hops == 0:
            return (taste * functional.embedding(items, self.entities)).sum(dim=1)
        levels = [items[:, None]]
        for _ in range(1, self.config.hops):
            levels.append(self.near[levels[-1]].flatten(1))
        nodes = torch.cat(levels, dim=1)
        attention = self._attention(self._liked(taste), nodes)
        value = self._iterate(0, functional.embedding(nodes, self.entities), self._summed(nodes, attention))
        sizes = [level.shape[1] for level in levels]
        vectors, weights = torch.split(value, sizes, dim=1), torch.split(attention, sizes, dim=1)
        for number in range(1, self.config.hops):
            inner = zip(vectors, vectors[1:], weights, strict=False)
            vectors = tuple(
                self._iterate(number, own, (weight[..., None] * near.view(*weight.shape, -1)).sum(dim=2))
                for own, near, weight in inner
            )
        return (taste * vectors[0][:, 0]).sum(dim=1)

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        numbers = self.config.dim * sum(self.config.neighbours**hop for hop in range(self.config.hops + 1))
        with evaluating(self):
            parts = [
                self.logits(self.ids(users[rows]), self.ids(items[rows])).cpu().numpy()
                for rows in batches(len(users), max(1, _NUMBERS_PER_LEVEL // numbers))
            ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        wanted = np.arange(self.n_items) if items is None else items
        if self._fields is None or not np.array_equal(self._fields.items, wanted):
            self._fields = _Fields.of(self._table(), wanted, self.config.hops)
        fields = self._fields
        if not len(users):
            return np.zeros((0, len(wanted)), dtype=np.float32)
        with evaluating(self):
            tastes = functional.embedding(self.ids(users), self.users)
            scores = tastes.new_empty(len(users), len(wanted))
            alike, personal = _Ranking(self, fields.alike), _Ranking(self, fields.personal)
            alike_at, personal_at = self.ids(fields.alike_at), self.ids(fields.personal_at)
            vectors = alike.vectors(tastes[:1])
            for rows in batches(len(users), personal.users_at_once):
                chunk = tastes[rows]
                by_item = tastes.new_empty(len(wanted), len(chunk))
                by_item[alike_at] = vectors @ chunk.T
                by_item[personal_at] = personal.scores(chunk)
                scores[rows] = by_item.T
        array: Floats = scores.cpu().numpy()
        return array

    def refresh(self) -> None:
        """Forget what was derived from the table of neighbours."""
        self._fields = None

    def _draw(self, rng: np.random.Generator) -> NeighbourTable:
        repeat = self.config.with_replacement
        return NeighbourTable.draw(self._graph, self.config.neighbours, rng, with_replacement=repeat)

    def _table(self) -> NeighbourTable:
        near, relation, mask = (part.cpu().numpy() for part in (self.near, self.relation, self.mask))
        return NeighbourTable(near, relation, mask, self._n_relations)

    def _liked(self, taste: Tensor) -> Tensor:
        """How much each user likes each relation: [n, dim] -> [n, n_relations]."""
        scale = self.config.dim if self.config.reduce == "mean" else 1
        return taste @ self.relations.T / scale

    def _attention(self, liked: Tensor, nodes: Tensor) -> Tensor:
        """Weights of the neighbours: [n, n_relations] and [n, n_nodes] -> [n, n_nodes, k]."""
        # In the table's precision, which autocast does not change, as a weighted sum must have it.
        liked = liked.to(self.entities.dtype)
        by_node = liked.gather(1, self.relation[nodes].flatten(1)).view(*nodes.shape, -1)
        return self._softmax(by_node, self.mask[nodes], 2)

    def _summed(self, nodes: Tensor, attention: Tensor) -> Tensor:
        """The weighted sum of the neighbours' own vectors: [n, n_nodes] -> [n, n_nodes, dim]."""
        summed = functional.embedding_bag(
            self.near[nodes].flatten(0, 1),
            self.entities,
            mode="sum",
            per_sample_weights=attention.flatten(0, 1),
        )
        return summed.view(*nodes.shape, -1)

    def _softmax(self, values: Tensor, mask: Tensor, dim: int) -> Tensor:
        """Softmax over what is not masked; where all is, 0."""
        kept = mask.to(values.dtype)
        weights = torch.softmax(values.masked_fill(~mask, -1e30), dim=dim) * kept
        if self.config.reduce == "mean":
            weights = weights / kept.sum(dim=dim, keepdim=True).clamp_(min=1)
        return weights

    def _iterate(self, number: int, own: Tensor, near: Tensor) -> Tensor:
        """One iteration: an entity's vector and its neighbours' weighted sum -> its next vector."""
        value = self._linear(number, own, near)
        return torch.tanh(value) if number == self.config.hops - 1 else torch.relu(value)

    def _linear(self, number: int, own: Tensor, near: Tensor) -> Tensor:
        if self.config.aggregator == "sum":
            joined = own + near
        elif self.config.aggregator == "concat":
            joined = torch.cat([own, near], dim=-1)
        else:
            joined = near
        return functional.linear(joined, self.weights[number].T, self.biases[number])


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (1,), generator=generator, device=generator.device))


@dataclass(frozen=True, slots=True, eq=False)
class _Fields:
    """The fields of ``items``: of those that all users see alike, and of the others, with their places."""

    items: Ints
    alike_at: Ints
    alike: Field
    personal_at: Ints
    personal: Field

    @classmethod
    def of(cls, table: NeighbourTable, items: Ints, n_hops: int) -> _Fields:
        whole = Field.of(table, items, n_hops)
        alike: Flags = np.ones(len(whole.farthest), dtype=bool)
        for hop in whole.hops:
            alike = _by_one_relation(hop)[hop.pattern] & alike[hop.own] & alike[hop.near].all(axis=1)
        at, others = np.flatnonzero(alike), np.flatnonzero(~alike)
        parts = [Field.of(table, items[chosen], n_hops) for chosen in (at, others)]
        return cls(items.copy(), at, parts[0], others, parts[1])


def _by_one_relation(hop: Hop) -> Flags:
    """Whether all unmasked columns of a pattern are one relation: [n_patterns]."""
    first = hop.relation[:, :1]  # unmasked columns come first
    return np.asarray(((hop.relation == first) | ~hop.mask).all(axis=1))


class _Ranking:
    """The vectors of a field's last nodes for some users at once."""

    def __init__(self, model: Kgcn, field: Field) -> None:
        self._model, self._field = model, field
        self._hops = [(model.ids(hop.own), model.ids(hop.near), model.ids(hop.pattern)) for hop in field.hops]
        dim = model.config.dim
        self._start = functional.embedding(model.ids(field.farthest), model.entities)
        stored = [2 * dim * len(hop.own) for hop in field.hops[:-1]]
        stored += [hop.relation.size for hop in field.hops]  # a weight each
        most = _NUMBERS_PER_LEVEL // max([*stored, 1])
        self.users_at_once = max(1, min(_USERS_PER_CHUNK, most))
        if field.hops:
            weight, width = model.weights[0], dim if model.config.aggregator == "concat" else 0
            scale = 2 if len(field.hops) == 1 else 1  # what the last iteration doubles is doubled here
            own = self._start if model.config.aggregator != "neighbor" else torch.zeros_like(self._start)
            self._near = self._start @ weight[width:] * scale
            self._own = (own @ weight[:dim] + model.biases[0]) * scale

    def vectors(self, tastes: Tensor) -> Tensor:
        """For one user, or where all users see alike: [1, dim] -> [n_nodes, dim]."""
        if not self._hops:
            return self._start
        vectors = self._start.new_empty(len(self._hops[-1][0]), tastes.shape[1])
        for rows, block in self._last(tastes):
            vectors[rows] = torch.sigmoid(block[:, 0]) * 2 - 1
        return vectors

    def scores(self, tastes: Tensor) -> Tensor:
        """For several users: [n_users, dim] -> [n_nodes, n_users]."""
        if not self._hops:
            return self._start @ tastes.T
        scores = tastes.new_empty(len(self._hops[-1][0]), len(tastes))
        total = tastes.sum(dim=1)
        for rows, block in self._last(tastes):
            scores[rows] = block.sigmoid_().mul_(tastes).sum(dim=2).mul_(2).sub_(total)
        return scores

    def _last(self, tastes: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Twice the vectors before the last tanh: [n_rows, n_users, dim], block by block."""
        liked = self._model._liked(tastes).T.contiguous()
        level: Tensor | None = None
        for number in range(len(self._hops) - 1):
            above = liked.new_empty(len(self._hops[number][0]), *tastes.shape)
            for rows, block in self._blocks(number, liked, level):
                above[rows] = block.relu_()
            level = above
        for rows, block in self._blocks(len(self._hops) - 1, liked, level):
            yield rows, block if level is None else block.mul_(2)

    def _blocks(self, number: int, liked: Tensor, level: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
        """One iteration before its activation; ``level`` is the one below, or nothing for the first."""
        own, near, pattern = self._hops[number]
        attention = self._attention(number, liked)  # [n_patterns, k, n_users]
        size = max(1, _NUMBERS_PER_BLOCK // (liked.shape[1] * self._model.config.dim))
        for rows in batches(len(own), size):
            weight = attention[pattern[rows]]
            if level is None:
                base = self._own[own[rows]][:, None].expand(-1, liked.shape[1], -1)
                yield rows, torch.baddbmm(base, weight.transpose(1, 2), self._near[near[rows]])
            else:
                summed = level[near[rows, 0]].mul_(weight[:, 0, :, None])
                for column in range(1, near.shape[1]):
                    summed.addcmul_(level[near[rows, column]], weight[:, column, :, None])
                yield rows, self._model._linear(number, level[own[rows]], summed)

    def _attention(self, number: int, liked: Tensor) -> Tensor:
        hop, model = self._field.hops[number], self._model
        values = liked[model.ids(hop.relation)]
        mask = torch.from_numpy(hop.mask).to(values.device)[:, :, None]
        return model._softmax(values, mask, 1)
