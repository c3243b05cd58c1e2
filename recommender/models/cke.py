"""CKE (Zhang et al., KDD 2016): factors of interactions and of a knowledge graph, added up.

An item's vector is ``e_i = q_i + v_i``, its factors beside its entity's vector, and the score ``p_u · e_i``.
Each step adds two losses: pairwise ranking of a batch of interactions, and ``knowledge_weight`` times TransR
(Lin et al., AAAI 2015) of a batch of triples, ``f = |W_r e_h + e_r - W_r e_t|²`` with the projected entities
and the relation at length 1, ``softplus(f(true) - f(false tail))``. Both carry a penalty on their rows.

This is the reduced form that is meant wherever CKE is compared: the structure alone. The paper adds the
bottlenecks of auto-encoders over the item's text and picture. ``text`` adds the text in a form of today:
``e_i = q_i + v_i + A x_i`` with a frozen encoder's vector ``x_i`` in place of the auto-encoder, and a
learned linear map ``A``. Pictures are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Floats, Indices, Ints
from recommender.data.sampling import PairSampler, SampleBy, batches
from recommender.graph.corruption import TripleCorrupter
from recommender.graph.joint import JointGraph
from recommender.graph.rows import RowGather
from recommender.models.base import TrainingData
from recommender.models.gradient import VectorRecommender, ranking_loss, squared_norm, xavier
from recommender.models.translation import transr_loss


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of the KGAT authors' CKE (KDD 2019), there being no code by the paper's, except where said."""

    dim: int = 64
    relation_dim: int = 64
    learning_rate: float = 1e-3
    """Theirs is 1e-4; as for bpr, ten times that converges in a tenth of the epochs."""
    penalty: float = 1e-5
    knowledge_penalty: float = 1e-5
    knowledge_weight: float = 1.0
    inverses: bool = False
    """Whether the triples are learned in the other direction too, as relations of their own."""
    text: bool = False
    """Whether an item's text vector is added; it needs the vectors."""
    batch_size: int = 1024
    knowledge_batch_size: int = 2048
    """Triples beside each batch of interactions: as many as in RecBole, whatever the graph's size. The
    triples are gone through again and again."""
    epochs: int = 200
    sample_by: SampleBy = "user"
    warm_only: bool = True
    """Theirs is false. Cold items drawn as negatives learn to be bad: AUC on cold items of the planted
    graph falls from .86 to .60, while nothing shows on warm ones."""


class Cke(VectorRecommender):
    """Factors of users and items, entities, one matrix and vector per relation; a map of texts if wanted."""

    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        if data.graph is None:
            raise UsageError("cke needs a knowledge graph.", hint="Give a snapshot and links, or train bpr.")
        graph = data.graph
        self.users = xavier(generator, self.n_users, config.dim)
        self.items = xavier(generator, self.n_items, config.dim)
        self.entities = xavier(generator, graph.n_entities, config.dim)
        n_relations = graph.n_all_relations - 2 if config.inverses else graph.n_relations
        self.relations = xavier(generator, max(n_relations, 1), config.relation_dim)
        self.projections = xavier(generator, max(n_relations, 1), config.dim, config.relation_dim)
        self._texts: Tensor | None = None
        if config.text:
            self._texts = _unit_rows(data.side.item_vectors).to(generator.device)
            self.text_map = xavier(generator, self._texts.shape[1], config.dim)
        self._sampler = PairSampler(data.train, sample_by=config.sample_by, warm_only=config.warm_only)
        self._triples = _triples(graph, n_relations)
        self._gather_users, self._gather_items, self._gather_entities = (RowGather() for _ in range(3))

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, positive, negative = self._sampler.epoch(rng)
        pieces = batches(len(user), self.config.batch_size)
        triples, false_tails = self._knowledge_epoch(rng, len(pieces) * self.config.knowledge_batch_size)
        parts = batches(len(triples), self.config.knowledge_batch_size)
        nothing = np.zeros(0, np.int64)
        for number, rows in enumerate(pieces):
            part = (triples[parts[number]], false_tails[parts[number]]) if parts else (nothing, nothing)
            yield "ranking", self.loss(user[rows], positive[rows], negative[rows], *part)

    def loss(self, user: Ints, positive: Ints, negative: Ints, triples: Ints, false_tails: Indices) -> Tensor:
        """Both parts of one batch, each of its own length: []; without triples the ranking part alone.

        Entities are gathered once for both: the gradient of their table is then made once.
        """
        items, nodes = np.concatenate([positive, negative]), self._nodes(triples, false_tails)
        rows = self._entity_rows(np.concatenate([items, nodes]))
        of_items, of_nodes = torch.split(rows, [len(items), len(nodes)])
        loss = self._ranking(user, items, of_items)
        if not len(triples):
            return loss
        return loss + self.config.knowledge_weight * self._knowledge(triples, of_nodes)

    def ranking_loss(self, user: Ints, positive: Ints, negative: Ints) -> Tensor:
        """The ranking part of one batch: [batch] dense ids each -> []."""
        items = np.concatenate([positive, negative])
        return self._ranking(user, items, self._entity_rows(items))

    def knowledge_loss(self, triples: Ints, false_tails: Indices) -> Tensor:
        """The knowledge part: TransR of triples, by position, against the same with ``false_tails``.

        *Shape:* [batch] positions, [batch] entities -> [].
        """
        return self._knowledge(triples, self._entity_rows(self._nodes(triples, false_tails)))

    def _ranking(self, user: Ints, items: Ints, entities: Tensor) -> Tensor:
        """*Shape:* ``user`` [batch], ``items`` [2 * batch], their ``entities`` [2 * batch, dim] -> []."""
        u = self._gather_users(self.ids(user), self.users)
        ids = self.ids(items)
        own = self._gather_items(ids, self.items)
        p, n = self._with_texts(own + entities, ids).view(2, len(user), -1)
        return ranking_loss(u, p, n) + self.config.penalty * squared_norm(u, p, n)

    def _knowledge(self, triples: Ints, rows: Tensor) -> Tensor:
        """*Shape:* ``triples`` [batch], the ``rows`` of their nodes [3 * batch, dim] -> []."""
        head, tail, false_tail = np.arange(len(rows)).reshape(3, -1)
        relations = self._triples.relations[triples]
        terms = transr_loss(
            rows, self.relations, self.projections, head, relations, tail, false_tail, normalised=True
        )
        return terms.loss + self.config.knowledge_penalty * terms.squares

    def _nodes(self, triples: Ints, false_tails: Indices) -> Ints:
        """Heads, tails and false tails: [3 * batch]."""
        known = self._triples
        return np.concatenate([known.heads[triples], known.tails[triples], false_tails]).astype(np.int64)

    def _entity_rows(self, nodes: Ints) -> Tensor:
        return self._gather_entities(self.ids(nodes), self.entities)

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        items = torch.arange(self.n_items, device=self.device)
        return self.users, self._with_texts(self.items + self.entities[: self.n_items], items)

    def _with_texts(self, found: Tensor, items: Tensor) -> Tensor:
        if self._texts is None:
            return found
        return found + functional.embedding(items, self._texts) @ self.text_map

    def _knowledge_epoch(self, rng: np.random.Generator, n_rows: int) -> tuple[Ints, Indices]:
        """As many triples as an epoch takes, each in turn in random order, with a false tail each."""
        if not len(self._triples) or self.config.knowledge_weight == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        rounds = -(-n_rows // len(self._triples))
        chosen: Ints = np.concatenate([rng.permutation(len(self._triples)) for _ in range(rounds)])[:n_rows]
        return chosen, self._triples.false_tails(chosen, rng)


def _triples(graph: JointGraph, n_relations: int) -> TripleCorrupter:
    """The edges of the first ``n_relations`` relations, over entities."""
    known = graph.relation < n_relations
    head, tail = graph.head[known] - graph.n_users, graph.tail[known] - graph.n_users
    return TripleCorrupter(head, graph.relation[known], tail, graph.n_entities, n_relations)


def _unit_rows(vectors: Floats | None) -> Tensor:
    """Text vectors at length 1; an item without a text keeps its row of zeros."""
    if vectors is None:
        raise UsageError(
            "cke needs encoded texts of the items to add their text.", hint="Give them, or leave text out."
        )
    return functional.normalize(torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)))
