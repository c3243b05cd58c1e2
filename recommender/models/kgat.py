"""KGAT (Wang et al., KDD 2019): attention over the joint graph of interactions and knowledge.

Attention of edge (h, r, t): ``(W_r e_t) · tanh(W_r e_h + e_r)``, softmax over the edges out of h. Layer:
``N_h = sum a e_t``; ``LeakyReLU(W1 (e_h + N_h) + b1) + LeakyReLU(W2 (e_h * N_h) + b2)``. The vectors are
layer 0 beside every layer at length 1; score: dot product.

Each epoch has two phases, as in the authors' code. *Ranking* learns from interactions with the attention
held fixed: no gradient reaches it. *Knowledge* learns every edge by TransR (Lin et al., AAAI 2015), ``f =
|W_r e_h + e_r - W_r e_t|²``, ``softplus(f(true) - f(corrupted tail))``. Then the attention is recomputed
from the weights. Until the first time it is 1 / degree.

The authors start from vectors trained by BPR, which ``initial`` allows. It helps on items with interactions
and costs those without: a cold item's vector stays small and random beside trained ones, and AUC on cold
items of the planted graph falls from .93 to .65 after 30 epochs of BPR. So the default starts from nothing.

Exactness at less cost: a layer is computed only for the rows that a batch reads through the layers above it
(:mod:`recommender.graph.propagation`); the result is the same number for number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Floats, Indices, Ints
from recommender.data.sampling import PairSampler, SampleBy, batches
from recommender.graph.attention import TranslationAttention
from recommender.graph.corruption import TripleCorrupter
from recommender.graph.joint import JointGraph
from recommender.graph.neighbour_batches import SampledPropagation
from recommender.graph.propagation import Layer, Propagation, put_back, take
from recommender.graph.rows import RowGather
from recommender.models.base import TrainingData, Vectors
from recommender.models.gradient import VectorRecommender, drop_out, ranking_loss, squared_norm, xavier
from recommender.models.translation import transr_loss

KnowledgeEdges = Literal["all", "forward"]


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of the authors' code, except where said."""

    dim: int = 64
    relation_dim: int = 64
    layers: tuple[int, ...] = (64, 32, 16)
    learning_rate: float = 5e-3
    """Theirs is 1e-4 from vectors trained by BPR, for hundreds of epochs; this starts from nothing. Chosen
    among 1e-3, 5e-3 and 1e-2 on the validation part of the demo's interactions."""
    penalty: float = 1e-5
    batch_size: int = 1024
    epochs: int = 200
    message_dropout: float = 0.1
    node_dropout: float = 0.0
    """Share of the edges left out of each layer of each batch. Theirs reads .1 and does not apply it."""
    fan_out: int = 0
    """Neighbours that a row of a layer reads in the ranking phase, drawn anew for each batch; 0 reads all, as
    theirs does. For graphs whose layers do not fit in memory."""
    knowledge_share: float = 1.0
    """Share of all edges that the knowledge phase visits in an epoch; theirs visits about all."""
    knowledge_edges: KnowledgeEdges = "all"
    """"forward" leaves inverses and interactions to the ranking phase, as RecBole does."""
    knowledge_batch_size: int = 0
    """0 cuts the edges into as many batches as the interactions, as theirs does."""
    attention: bool = True
    """False keeps 1 / degree for good: the ablation."""
    sample_by: SampleBy = "user"
    warm_only: bool = True
    """Theirs is false. Cold items drawn as negatives learn to be bad: AUC on cold items of the planted
    graph falls from .93 to .65, while nothing shows on warm ones."""


class Kgat(VectorRecommender):
    """Node vectors, one matrix and vector per relation, and the layers' weights."""

    phases = ("ranking", "knowledge")
    config: Config

    def __init__(
        self,
        data: TrainingData,
        config: Config,
        generator: torch.Generator,
        initial: Vectors | None = None,
    ) -> None:
        super().__init__(data, config, generator)
        if data.graph is None:
            raise UsageError("kgat needs a knowledge graph.", hint="Give a snapshot and links, or train bpr.")
        graph = self.graph = data.graph
        self.n_core = graph.n_users + graph.n_items
        self.nodes = xavier(generator, graph.n_nodes, config.dim)
        if initial is not None:
            self._start_from(initial)
        self.relations = xavier(generator, graph.n_all_relations, config.relation_dim)
        self.projections = xavier(generator, graph.n_all_relations, config.dim, config.relation_dim)
        widths = (config.dim, *config.layers)
        pairs = list(pairwise(widths))
        self.sum_weights = nn.ParameterList(xavier(generator, below, above) for below, above in pairs)
        self.product_weights = nn.ParameterList(xavier(generator, below, above) for below, above in pairs)
        zeros = [torch.zeros(above, device=generator.device) for above in config.layers]
        self.sum_biases = nn.ParameterList(nn.Parameter(zero.clone()) for zero in zeros)
        self.product_biases = nn.ParameterList(nn.Parameter(zero.clone()) for zero in zeros)
        self._sampler = PairSampler(data.train, sample_by=config.sample_by, warm_only=config.warm_only)
        heads = graph.head.astype(np.int32)
        self._triples = TripleCorrupter(
            heads,
            graph.relation,
            graph.tail,
            graph.n_nodes,
            graph.n_all_relations,
            among=_visited_edges(graph, config.knowledge_edges),
        )
        self._gather = RowGather()
        self._attention_of = TranslationAttention(graph, heads, generator.device)
        self._propagation = (
            SampledPropagation(graph, len(config.layers), config.fan_out, generator)
            if config.fan_out
            else Propagation(graph, len(config.layers), generator.device)
        )
        self._set_attention(self._attention_of.uniform())

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, positive, negative = self._sampler.epoch(rng)
        pieces = batches(len(user), self.config.batch_size)
        for rows in pieces:
            yield "ranking", self.ranking_loss(user[rows], positive[rows], negative[rows])
        del user, positive, negative
        edges, tails = self._triples.epoch(rng, self.config.knowledge_share)
        for rows in batches(len(edges), self.config.knowledge_batch_size or -(-len(edges) // len(pieces))):
            yield "knowledge", self.knowledge_loss(edges[rows], tails[rows])

    def ranking_loss(self, user: Ints, positive: Ints, negative: Ints) -> Tensor:
        """The first phase's loss of one batch: [batch] dense ids each -> []."""
        drawn = np.concatenate([user, positive + self.n_users, negative + self.n_users])
        nodes, places = np.unique(drawn, return_inverse=True)
        layers = self._propagation.towards(self.ids(nodes))
        if layers is None:
            layers, places = self._propagation.everywhere(), drawn
        rows = functional.embedding(self.ids(places), self._encode(layers))
        u, p, n = rows.view(3, len(user), -1)
        return ranking_loss(u, p, n) + self.config.penalty * squared_norm(u, p, n)

    def knowledge_loss(self, edges: Indices, corrupted: Indices) -> Tensor:
        """The second phase's loss: TransR of ``edges`` against the same with tails ``corrupted``.

        *Shape:* [batch] edge positions, [batch] nodes -> [].
        """
        known = self._triples
        terms = transr_loss(
            self.nodes,
            self.relations,
            self.projections,
            known.heads[edges],
            known.relations[edges],
            known.tails[edges],
            corrupted,
            gather=self._gather,
        )
        return terms.loss + self.config.penalty * terms.squares

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        joined = self._encode(self._propagation.everywhere())
        return joined[: self.graph.n_users], joined[self.graph.n_users :]

    def _encode(self, layers: list[Layer]) -> Tensor:
        """The vectors of the rows that the layers were made for, all layers side by side."""
        table: Tensor = self.nodes
        outputs = []
        for number, layer in enumerate(layers):
            if self.training and self.config.node_dropout:
                thin = layer.matrix.drop_out(self.config.node_dropout, self.generator)
                layer = replace(layer, matrix=thin)
            memory = self._gather if number == 0 else None
            added, multiplied, wanted = _Messages.apply(table, layer, memory)  # type: ignore[no-untyped-call]
            outputs.append(wanted if number == 0 else functional.normalize(wanted))
            by_sum = torch.addmm(self.sum_biases[number], added, self.sum_weights[number])
            by_product = torch.addmm(self.product_biases[number], multiplied, self.product_weights[number])
            table = functional.leaky_relu_(by_sum) + functional.leaky_relu_(by_product)
            if self.training:
                table = drop_out(table, self.config.message_dropout, self.generator)
        return torch.cat([*outputs, functional.normalize(table)], dim=1)

    def refresh(self) -> None:
        """Recompute the attention from the weights, outside the gradient."""
        if self.config.attention:
            with torch.no_grad():
                weights = self._attention_of.weights(self.nodes, self.projections, self.relations)
                self._set_attention(weights)

    def edge_weights(self) -> Floats | None:
        """The attention of every edge of the joint graph: [n_edges]; over the edges out of a node it is 1."""
        weights: Floats = self._attention.cpu().numpy()
        return weights

    def _set_attention(self, attention: Tensor) -> None:
        self._attention = attention
        self._propagation.set_values(attention)

    def _start_from(self, initial: Vectors) -> None:
        if initial.user.shape[1] != self.config.dim:
            raise UsageError(
                f"the initial vectors have {initial.user.shape[1]} dimensions, not {self.config.dim}.",
                hint="Train both with the same dim.",
            )
        core = np.concatenate([initial.user, initial.item])
        with torch.no_grad():
            self.nodes[: self.n_core] = torch.from_numpy(core).to(self.nodes.device)


class _Messages(torch.autograd.Function):
    """``own + near`` and ``own * near`` of a layer's rows, and the rows that were asked for.

    As one function, since the gradient of the table below is then one table, where each of four uses would
    make its own.
    """

    @staticmethod
    def forward(
        context: Any, below: Tensor, layer: Layer, memory: RowGather | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        own, near = take(below, layer.own), layer.matrix.multiply(below)
        context.layer, context.memory = layer, memory
        context.save_for_backward(own, near)
        wanted = take(below, layer.wanted)
        return own + near, own * near, wanted.clone() if isinstance(layer.wanted, int) else wanted

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        own, near = context.saved_tensors
        of_sum, of_product, of_wanted = gradients
        layer: Layer = context.layer
        of_near = torch.addcmul(of_sum, of_product, own)
        shape = (layer.matrix.shape[1], of_near.shape[1])
        memory = None if context.memory is None else context.memory.borrow(shape, of_near)
        table = layer.matrix.multiply_transposed(of_near, memory)
        of_own = torch.addcmul(of_sum, of_product, near)
        if layer.own is layer.wanted:
            put_back(table, layer.own, of_own.add_(of_wanted))
        else:
            put_back(table, layer.own, of_own)
            put_back(table, layer.wanted, of_wanted)
        return table, None, None


def _visited_edges(graph: JointGraph, which: KnowledgeEdges) -> NDArray[np.int32] | None:
    """The edges that the knowledge phase visits; ``None`` for all."""
    return None if which == "all" else np.flatnonzero(graph.relation < graph.n_relations).astype(np.int32)
