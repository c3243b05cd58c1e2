"""KGCL (Yang et al., SIGIR 2022): the graph tells which interactions to trust, by contrast.

*Items.* An item has up to ``max_edges`` edges (relation, entity). Its vector is its factors plus its entities
weighed by attention, ``v_i = q_i + sum a e``, ``a = softmax(LeakyReLU((W [q_i; e] + b) · e_r))``; LightGCN
(:mod:`recommender.models.lightgcn`) then smooths users and items over the interactions; score: dot product.

*Views.* Every epoch drops each of these edges with ``edge_dropout``, twice. How alike an item's vector is in
both views, ``c_i``, says how much the graph is to be trusted about it. Two views of the interactions keep an
item's interactions the more likely the higher ``exp(c_i)`` is: brought to 0 to 1, at least ``.3``, and scaled
so that the expected share kept is ``1 - interaction_dropout``, none above ``.95``.

*Loss.* Pairwise ranking on the whole graph; ``contrast_weight`` times InfoNCE between the two views, a
node's other view against all nodes of its kind, ``-log exp(cos(x, x')/τ) / sum exp(cos(x, y')/τ)``, over
the users and items of the batch; a penalty on the rows of the batch. Beside it a *knowledge* phase learns the
edges by TransE, ``f = |q_h + e_r - e_t|²``, ``softplus(f(true) - f(false tail))``.

The authors add losses up over the batch, here they are averaged; only the penalty weighs differently then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Indices, Interactions, Ints
from recommender.data.sampling import PairSampler, SampleBy, batches
from recommender.graph.corruption import TripleCorrupter
from recommender.graph.joint import JointGraph
from recommender.graph.segment import SparseMatrix, segment_softmax, segment_sum
from recommender.models.base import TrainingData
from recommender.models.gradient import VectorRecommender, ranking_loss, squared_norm, xavier
from recommender.models.lightgcn import normalised_adjacency

_LEAST_TRUST, _SUREST = 0.3, 0.95  # as in the authors' code
_COLUMNS_PER_PIECE = 1 << 12


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of the authors' code, except where said."""

    dim: int = 64
    n_layers: int = 3
    max_edges: int = 10
    """More edges of an item are left out: drawn once, where theirs takes the first in the file."""
    learning_rate: float = 5e-3
    """Theirs is 1e-3, for data thirty times as large."""
    penalty: float = 1e-4
    """As LightGCN's, whose loss is averaged too."""
    knowledge: bool = True
    """Whether the graph is used at all: False leaves LightGCN with its interactions contrasted."""
    knowledge_penalty: float = 1e-3
    contrast_weight: float = 0.01
    """Theirs is .1, which costs accuracy here: NDCG@20 of .185 against .192 on the validation part of Last.FM
    as KGCN has it (none: .189), and on the planted graph items that are alike are pushed apart: warm AUC
    is .84. At .01 a noisy graph does less harm than without contrast."""
    temperature: float = 0.2
    edge_dropout: float = 0.5
    interaction_dropout: float = 0.1
    """Theirs: .05 for Amazon-book, .1 for Yelp, .4 for MIND."""
    slope: float = 0.2
    """Of LeakyReLU below 0."""
    initial_deviation: float = 0.1
    batch_size: int = 2048
    epochs: int = 200
    sample_by: SampleBy = "interaction"
    warm_only: bool = True
    """Theirs is false; see :mod:`recommender.data.sampling`. It holds for the contrast as well: a cold item
    is in no batch, so it would only ever be pushed away (AUC on cold items of the planted graph: .43 in place
    of .80, at 256 pairs a batch)."""


class View(NamedTuple):
    """A draw of the graph's edges and of the interactions."""

    edges: Tensor | None
    """Which edges are kept: [n_edges]; ``None`` for all."""
    adjacency: SparseMatrix


class Kgcl(VectorRecommender):
    """One table of users, items and other entities, relations, and the attention's weights."""

    phases = ("ranking", "knowledge")
    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        if data.graph is None:
            raise UsageError(
                "kgcl needs a knowledge graph.", hint="Give a snapshot and links, or train lightgcn."
            )
        graph, device = data.graph, generator.device
        core = self.n_users + self.n_items
        tables = [(core, config.dim), (graph.n_nodes - core, config.dim), (2 * graph.n_relations, config.dim)]
        nodes, entities, relations = (
            torch.empty(shape, device=device).normal_(0, config.initial_deviation, generator=generator)
            for shape in tables
        )
        self.nodes, self.relations = nn.Parameter(torch.cat([nodes, entities])), nn.Parameter(relations)
        self.attention_weights = xavier(generator, 2 * config.dim, config.dim)
        self.attention_bias = nn.Parameter(torch.zeros(config.dim, device=device))
        self._edges = ItemEdges(graph, config.max_edges, generator)
        self._whole = View(None, normalised_adjacency(data.train, device))
        self._train = data.train
        warm = np.flatnonzero(data.train.popularity)
        self._contrasted = warm if config.warm_only else np.arange(self.n_items)
        self._sampler = PairSampler(data.train, sample_by=config.sample_by, warm_only=config.warm_only)

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, positive, negative = self._sampler.epoch(rng)
        views = self.views() if self.config.contrast_weight else None
        for rows in batches(len(user), self.config.batch_size):
            loss = self.ranking_loss(user[rows], positive[rows], negative[rows])
            if views is not None:
                loss = loss + self.config.contrast_weight * self.contrast_loss(
                    user[rows], positive[rows], views
                )
            yield "ranking", loss
        if self.config.knowledge and len(self._edges):
            edges, false_tails = self._edges.corrupter.epoch(rng)
            for rows in batches(len(edges), self.config.batch_size):
                yield "knowledge", self.knowledge_loss(edges[rows], false_tails[rows])

    def ranking_loss(self, user: Ints, positive: Ints, negative: Ints) -> Tensor:
        """The ranking part of one batch: [batch] dense ids each -> []."""
        nodes = self.ids(np.stack([user, positive + self.n_users, negative + self.n_users]))
        u, p, n = functional.embedding(nodes, self._smoothed(self._whole))
        return ranking_loss(u, p, n) + self.config.penalty * squared_norm(
            *functional.embedding(nodes, self.nodes)
        )

    def contrast_loss(self, user: Ints, item: Ints, views: tuple[View, View]) -> Tensor:
        """InfoNCE between the views, the mean over the batch's users plus that over its items: []."""
        one, other = (functional.normalize(self._smoothed(view)) for view in views)
        first_item, temperature = self.n_users, self.config.temperature
        users, items = self.ids(np.unique(user)), np.unique(item)
        others = other[self.ids(self._contrasted + first_item)]
        same = self.ids(np.searchsorted(self._contrasted, items))
        of_users = info_nce(one[users], other[:first_item], users, temperature)
        return of_users + info_nce(one[self.ids(items + first_item)], others, same, temperature)

    def knowledge_loss(self, edges: Indices, false_tails: Indices) -> Tensor:
        """The second phase's loss, TransE of item edges against the same with ``false_tails``.

        *Shape:* [batch] positions, [batch] entities -> [].
        """
        known = self._edges.corrupter
        entities = np.stack([known.heads[edges], known.tails[edges], false_tails])
        head, tail, false_tail = functional.embedding(self.ids(entities + self.n_users), self.nodes)
        relation = functional.embedding(self.ids(known.relations[edges]), self.relations)
        moved = head + relation
        true, false = (moved - tail).square().sum(dim=1), (moved - false_tail).square().sum(dim=1)
        penalty = squared_norm(head, relation, tail, false_tail)
        return -functional.logsigmoid(false - true).mean() + self.config.knowledge_penalty * penalty

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        smoothed = self._smoothed(self._whole)
        return smoothed[: self.n_users], smoothed[self.n_users :]

    def views(self) -> tuple[View, View]:
        """Two draws of the edges, and of the interactions by how far the items agree between the former."""
        config = self.config
        draws = [self._drawn(torch.full((len(self._edges),), 1 - config.edge_dropout)) for _ in range(2)]
        with torch.no_grad():
            first, second = (self._item_vectors(edges) for edges in draws)
            agreement = functional.cosine_similarity(first, second)
        trust = keep_probabilities(agreement.double().cpu().numpy(), self._train, config.interaction_dropout)
        chance = torch.from_numpy(trust[self._train.item]).float()
        one, other = (View(edges, self._thinned(self._drawn(chance))) for edges in draws)
        return one, other

    def _drawn(self, chance: Tensor) -> Tensor:
        return torch.bernoulli(chance.to(self.device), generator=self.generator).bool()

    def _thinned(self, kept: Tensor) -> SparseMatrix:
        return normalised_adjacency(self._train.select(kept.cpu().numpy()), self.device)

    def _smoothed(self, view: View) -> Tensor:
        """Users and items of a view after all layers: [n_users + n_items, dim]."""
        layer = torch.cat([self.nodes[: self.n_users], self._item_vectors(view.edges)])
        total = layer
        for _ in range(self.config.n_layers):
            layer = view.adjacency @ layer
            total = total + layer
        return total / (self.config.n_layers + 1)

    def _item_vectors(self, kept: Tensor | None) -> Tensor:
        """Factors and weighed entities, over all edges or the kept ones: [n_items, dim]."""
        factors = self.nodes[self.n_users : self.n_users + self.n_items]
        if not self.config.knowledge or not len(self._edges):
            return factors
        item, relation, entity, indptr = self._edges.of(kept)
        near = functional.embedding(entity + self.n_users, self.nodes)
        # (W [q; e] + b) · e_r with W taken to the few relations, not to the many edges.
        asked = self.relations @ self.attention_weights.T
        of_item, of_entity = asked[:, : self.config.dim], asked[:, self.config.dim :]
        logit = (functional.embedding(item, factors) * functional.embedding(relation, of_item)).sum(dim=1)
        logit = logit + (near * functional.embedding(relation, of_entity)).sum(dim=1)
        logit = logit + (self.relations @ self.attention_bias)[relation]
        attention = segment_softmax(functional.leaky_relu(logit, self.config.slope), indptr)
        return factors + segment_sum(attention[:, None] * near, indptr)


class ItemEdges:
    """Up to so many edges of each item, interactions aside, sorted by item."""

    def __init__(self, graph: JointGraph, max_edges: int, generator: torch.Generator) -> None:
        known = graph.knowledge(inverse=True)
        of_items = slice(int(known.indptr[graph.n_items]))
        head, relation, tail = (part[of_items] for part in (known.head, known.relation, known.tail))
        order = torch.rand(len(head), generator=generator, device=generator.device).cpu().numpy()
        chosen = np.lexsort((order, head))
        place = np.arange(len(head)) - np.searchsorted(head, head)
        chosen = np.sort(chosen[place < max_edges])
        head, relation, tail = head[chosen], relation[chosen], tail[chosen]
        self.corrupter = TripleCorrupter(head, relation, tail, graph.n_entities, known.n_relations)
        device = generator.device
        self._item, self._relation, self._entity = (
            torch.from_numpy(part).to(device) for part in (head, relation, tail)
        )
        counts = np.bincount(head, minlength=graph.n_items)
        self._indptr = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])).to(device)

    def __len__(self) -> int:
        return len(self._item)

    def of(self, kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Item, relation and entity of each edge, and where each item's begin; of the ``kept`` alone."""
        if kept is None:
            return self._item, self._relation, self._entity, self._indptr
        before = functional.pad(torch.cumsum(kept, 0), (1, 0))
        return self._item[kept], self._relation[kept], self._entity[kept], before[self._indptr]


def keep_probabilities(
    agreement: NDArray[np.float64], train: Interactions, dropout: float
) -> NDArray[np.float64]:
    """How likely each item's interactions are kept: [n_items] -> [n_items].

    Rising with the agreement; over all interactions the mean is ``1 - dropout``, or the highest there may be.
    """
    grown = np.exp(agreement)
    span = grown.max() - grown.min()
    weight = np.maximum((grown - grown.min()) / span if span > 0 else np.ones_like(grown), _LEAST_TRUST)
    wanted = 1 - dropout
    if wanted >= _SUREST:
        return np.full_like(weight, _SUREST)
    of_interactions = np.sort(weight[train.item])[::-1]
    # With the k largest at the cap, the rest share what is left; take the first k for which none passes it.
    rest = np.cumsum(of_interactions[::-1])[::-1]
    n = len(of_interactions)
    scale = (wanted * n - _SUREST * np.arange(n)) / rest
    first = int(np.argmax(scale * of_interactions <= _SUREST))
    chance: NDArray[np.float64] = np.minimum(weight * scale[first], _SUREST)
    return chance


def info_nce(rows: Tensor, table: Tensor, same: Tensor, temperature: float) -> Tensor:
    """The mean of ``-log softmax(rows · table / temperature)`` at ``same``, a piece of the table at a time.

    *Shape:* ``rows`` [n, dim] and ``table`` [n_nodes, dim] of length 1, ``same`` [n] -> [].
    """
    positive = (rows * functional.embedding(same, table)).sum(dim=1) / temperature
    everything: Tensor = _LogSumExp.apply(rows / temperature, table)  # type: ignore[no-untyped-call]
    return (everything - positive).mean()


class _LogSumExp(torch.autograd.Function):
    """``log sum_j exp(a_i · b_j)`` without the whole matrix of products: [n, dim], [m, dim] -> [n]."""

    @staticmethod
    def forward(context: Any, rows: Tensor, table: Tensor) -> Tensor:
        total = rows.new_full((len(rows),), float("-inf"))
        for piece in batches(len(table), _COLUMNS_PER_PIECE):
            total = torch.logaddexp(total, torch.logsumexp(rows @ table[piece].T, dim=1))
        context.save_for_backward(rows, table, total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        rows, table, total = context.saved_tensors
        of_rows, of_table = torch.zeros_like(rows), torch.empty_like(table)
        for piece in batches(len(table), _COLUMNS_PER_PIECE):
            share = torch.exp(rows @ table[piece].T - total[:, None]) * gradients[0][:, None]
            of_rows.addmm_(share, table[piece])
            of_table[piece] = share.T @ rows
        return of_rows, of_table
