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

Exactness at less cost: a layer is computed only for the nodes that reach a user or an item through the layers
above it, which are a prefix of the graph's nodes; the result is the same number for number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.corruption import TripleCorrupter
from recommender.data import Floats, Ints
from recommender.graph import JointGraph
from recommender.models.base import TrainingData, Vectors
from recommender.models.gradient import VectorRecommender, drop_out, ranking_loss, squared_norm, xavier
from recommender.models.translation import transr_loss
from recommender.sampling import PairSampler, SampleBy, batches
from recommender.segment import SparseMatrix, segment_softmax

_EDGES_PER_CHUNK = 1 << 18


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
    knowledge_share: float = 1.0
    """Share of all edges that the knowledge phase visits in an epoch; theirs visits about all."""
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
        self._edges = _Edges(graph, generator.device)
        self._matrices = _layer_matrices(graph, len(config.layers), generator.device)
        self._set_attention(self._edges.uniform())

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, positive, negative = self._sampler.epoch(rng)
        pieces = batches(len(user), self.config.batch_size)
        for rows in pieces:
            yield "ranking", self.ranking_loss(user[rows], positive[rows], negative[rows])
        edges, tails = self._edges.corrupter.epoch(rng, self.config.knowledge_share)
        for rows in batches(len(edges), -(-len(edges) // len(pieces))):
            yield "knowledge", self.knowledge_loss(edges[rows], tails[rows])

    def ranking_loss(self, user: Ints, positive: Ints, negative: Ints) -> Tensor:
        """The first phase's loss of one batch: [batch] dense ids each -> []."""
        users, items = self.embed()
        u = functional.embedding(self.ids(user), users)
        p = functional.embedding(self.ids(positive), items)
        n = functional.embedding(self.ids(negative), items)
        return ranking_loss(u, p, n) + self.config.penalty * squared_norm(u, p, n)

    def knowledge_loss(self, edges: Ints, corrupted: Ints) -> Tensor:
        """The second phase's loss: TransR of ``edges`` against the same with tails ``corrupted``.

        *Shape:* [batch] edge positions, [batch] nodes -> [].
        """
        known = self._edges.corrupter
        terms = transr_loss(
            self.nodes,
            self.relations,
            self.projections,
            known.heads[edges],
            known.relations[edges],
            known.tails[edges],
            corrupted,
        )
        return terms.loss + self.config.penalty * terms.squares

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        layer: Tensor = self.nodes
        outputs = [layer[: self.n_core]]
        for number, matrix in enumerate(self._matrices):
            neighbours = matrix @ layer[: matrix.shape[1]]
            own = layer[: matrix.shape[0]]
            by_sum = torch.addmm(self.sum_biases[number], own + neighbours, self.sum_weights[number])
            by_product = torch.addmm(
                self.product_biases[number], own * neighbours, self.product_weights[number]
            )
            layer = functional.leaky_relu_(by_sum) + functional.leaky_relu_(by_product)
            if self.training:
                layer = drop_out(layer, self.config.message_dropout, self.generator)
            outputs.append(functional.normalize(layer[: self.n_core]))
        joined = torch.cat(outputs, dim=1)
        return joined[: self.graph.n_users], joined[self.graph.n_users :]

    def refresh(self) -> None:
        """Recompute the attention from the weights, outside the gradient."""
        if self.config.attention:
            with torch.no_grad():
                self._set_attention(self._edges.attention(self.nodes, self.projections, self.relations))

    def edge_weights(self) -> Floats | None:
        """The attention of every edge of the joint graph: [n_edges]; over the edges out of a node it is 1."""
        weights: Floats = self._attention.cpu().numpy()
        return weights

    def _set_attention(self, attention: Tensor) -> None:
        self._attention = attention
        for matrix in self._matrices:
            matrix.set_values(attention[: matrix.n_values])

    def _start_from(self, initial: Vectors) -> None:
        if initial.user.shape[1] != self.config.dim:
            raise UsageError(
                f"the initial vectors have {initial.user.shape[1]} dimensions, not {self.config.dim}.",
                hint="Train both with the same dim.",
            )
        core = np.concatenate([initial.user, initial.item])
        with torch.no_grad():
            self.nodes[: self.n_core] = torch.from_numpy(core).to(self.nodes.device)


def _layer_matrices(graph: JointGraph, n_layers: int, device: torch.device) -> list[SparseMatrix]:
    """One matrix per layer, lowest first: rows are the nodes that the layers above it need."""
    sizes = [graph.n_within[min(hop, len(graph.n_within) - 1)] for hop in range(n_layers, -1, -1)]
    return [
        SparseMatrix(
            graph.indptr[: n_rows + 1], graph.tail[: graph.indptr[n_rows]], (n_rows, n_columns), device
        )
        for n_columns, n_rows in pairwise(sizes)
    ]


class _Edges:
    """All edges, grouped by relation for what is done relation by relation."""

    def __init__(self, graph: JointGraph, device: torch.device) -> None:
        self.graph = graph
        self.heads = graph.head
        self._device = device
        self._indptr = torch.from_numpy(graph.indptr).to(device)
        self.corrupter = TripleCorrupter(
            self.heads, graph.relation, graph.tail, graph.n_nodes, graph.n_all_relations
        )
        self._by_relation = np.argsort(graph.relation, kind="stable")
        counts = np.bincount(graph.relation, minlength=graph.n_all_relations)
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def uniform(self) -> Tensor:
        """1 / degree for every edge."""
        degree = np.diff(self.graph.indptr)
        values = 1.0 / np.repeat(degree, degree)
        return torch.from_numpy(values.astype(np.float32)).to(self._device)

    def attention(self, nodes: Tensor, projections: Tensor, relations: Tensor) -> Tensor:
        """``softmax over the edges of h of (W_r e_t) · tanh(W_r e_h + e_r)``: [n_edges]."""
        logits = torch.empty(self.graph.n_edges, device=self._device)
        for relation in range(self.graph.n_all_relations):
            members = self._by_relation[self._starts[relation] : self._starts[relation + 1]]
            for rows in batches(len(members), _EDGES_PER_CHUNK):
                chunk = members[rows]
                head = self._project(self.heads[chunk], nodes, projections[relation])
                tail = self._project(self.graph.tail[chunk], nodes, projections[relation])
                value = (tail * torch.tanh(head + relations[relation])).sum(dim=1)
                logits[torch.from_numpy(chunk).to(self._device)] = value
        return segment_softmax(logits, self._indptr)

    def _project(self, wanted: Ints, nodes: Tensor, projection: Tensor) -> Tensor:
        unique, place = np.unique(wanted, return_inverse=True)
        rows = nodes[torch.from_numpy(unique).to(self._device)] @ projection
        return functional.embedding(torch.from_numpy(place).to(self._device), rows)
