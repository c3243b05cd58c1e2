"""RippleNet (Wang et al., CIKM 2018): a candidate item asks what the user's items led to in the graph.

Hop k of a user's ripple sets holds triples (h_m, r_m, t_m). With ``v_0`` the item's vector::

    p_m = softmax over m of v_k · R_m h_m        o_k = sum p_m t_m        v_{k+1} = (v_k + o_k) W

The score is ``v_H · sum o_k``. Loss: binary cross entropy, plus ``knowledge_weight`` times one of two terms
that make ``h · R t`` tell true triples, plus ``penalty`` times the mean over all slots of |h|² + |R|² + |t|².
*observed*: minus the mean of ``sigmoid(h · R t)`` over all slots, as in the authors' code. *reconstruction*:
``sum over r of |I_r - E R E'|²``, over all entities, per triple, as in the paper. Their transform W carries
no penalty, here as there.

Items are entities, so an item that nobody had is still trained where it is in someone's ripple sets. With the
triples as given alone (``inverse`` false), or one hop, it never is, and its score is noise: AUC on cold items
of the planted graph is .50 then, and above .8 with two hops over both directions.

The same numbers at less cost: ``R h`` is computed once for each distinct pair of relation and head in a
batch, one matrix product per relation, the knowledge term once for each distinct triple; ``E R E'`` is never
formed (``|E R E'|² = <G R, R G>`` with ``G = E'E``); and all items are ranked for a user by carrying the
weights p rather than the items' vectors from hop to hop, since a hop is linear in them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kg.errors import TrainingError, UsageError
from recommender.data.interactions import Floats, Ints
from recommender.data.sampling import PairSampler, SampleBy, batches
from recommender.graph.ripple import draw_ripple_sets
from recommender.models.base import TrainingData
from recommender.models.gradient import GradientRecommender, evaluating, xavier
from recommender.models.memories import (
    DistinctTriples,
    Memory,
    RelatedNodes,
    Triples,
    attend,
    masked_softmax,
)

_SCORES_PER_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class RippleConfig:
    """What models over ripple sets share. Defaults of RippleNet's code (MovieLens-1M), except where said."""

    dim: int = 16
    hops: int = 2
    memories: int = 16
    """Triples in a hop. RecBole's; theirs is 32. On the planted graph 16 are better, .86 against .75."""
    inverse: bool = True
    """Theirs is false: triples in the direction given. Then no item that nobody had is ever trained."""
    mask_target: bool = True
    """Hide what a candidate itself led to. Theirs does not, so a training pair sees its own item as a seed,
    which a pair to be scored never does: AUC on cold items of the planted graph .82 against .86."""
    knowledge_weight: float = 0.01
    penalty: float = 3e-3
    """Theirs, 1e-7, multiplies sums over a batch of 1024 times 32 slots, which is 3e-3 per slot."""
    learning_rate: float = 5e-3
    """Theirs is 0.02, which is best after 3 epochs and then falls. Chosen on the validation part of the
    authors' Last.FM data: ndcg@20 .094 against .084."""
    batch_size: int = 1024
    epochs: int = 30
    """Theirs is 10, at the higher rate."""
    sample_by: SampleBy = "interaction"
    warm_only: bool = True
    """Theirs is false, with negatives drawn once. Cold items drawn as negatives learn to be bad."""


class RippleRecommender(GradientRecommender):
    """A candidate item attends to a user's memories, hop by hop; what they hold is the subclass's."""

    config: RippleConfig
    pairs_per_chunk = 1 << 13
    transform: Tensor | None
    """What item plus answer is multiplied with before the next hop, if with anything."""
    updates_item = False

    def __init__(self, data: TrainingData, config: RippleConfig, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        if data.graph is None:
            raise UsageError(
                "models over ripple sets need a knowledge graph.",
                hint="Give a snapshot and links, or train bpr.",
            )
        self.graph, self._train = data.graph, data.train
        seed = torch.randint(1 << 62, (), generator=generator, device=generator.device)
        self.numbers = np.random.default_rng(int(seed))
        self.view = data.graph.knowledge(inverse=config.inverse)
        sets = draw_ripple_sets(self.view, data.train, config.hops, config.memories, self.numbers)
        self.has_triples = torch.from_numpy(sets.known).to(generator.device)
        self.has_memory = self.has_triples
        self.sets = torch.from_numpy(sets.triple).to(generator.device)
        self.triples = Triples(self.view, generator.device)
        self.entities = xavier(generator, self.view.n_entities, config.dim)
        self.relations = xavier(generator, max(self.view.n_relations, 1), config.dim, config.dim)
        self.register_parameter("transform", None)
        self._sampler = PairSampler(data.train, sample_by=config.sample_by, warm_only=config.warm_only)

    @abstractmethod
    def recall(self, users: Tensor) -> tuple[list[Memory], DistinctTriples]:
        """The memories of users who have some, hop by hop, and the triples in them: [batch] -> ..."""

    @abstractmethod
    def knowledge_loss(self, triples: DistinctTriples) -> Tensor:
        """What makes the vectors of entities and relations tell true triples, before its weight: []."""

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`.

        Rows of users without memories, whose score is 0 whatever the weights, are left out.
        """
        user, item, label = self._sampler.labelled_epoch(rng)
        kept = self.has_memory.cpu().numpy()[user]
        user, item, label = user[kept], item[kept], label[kept]
        if not len(user):
            raise TrainingError(
                "no user's items have a triple in the graph.", hint="Check the links of items to entities."
            )
        for rows in batches(len(user), self.config.batch_size):
            yield "ranking", self.loss(user[rows], item[rows], label[rows])

    def loss(self, user: Ints, item: Ints, label: Floats) -> Tensor:
        """The loss of one batch of users with memories: [batch] each -> []."""
        memories, triples = self.recall(self.ids(user))
        logit, _ = self.answer(self.ids(item), memories)
        truth = torch.from_numpy(label).to(logit)
        loss = functional.binary_cross_entropy_with_logits(logit, truth)
        if self.config.knowledge_weight:
            loss = loss + self.config.knowledge_weight * self.knowledge_loss(triples)
        if self.config.penalty:
            loss = loss + self.config.penalty * self.size(triples)
        return loss

    def answer(self, items: Tensor, memories: list[Memory]) -> tuple[Tensor, list[Tensor]]:
        """The score of each row's item, and the weights of each hop's slots: [batch], [batch, size]s."""
        candidate = functional.embedding(items, self.entities)
        targets = self._targets(items.unsqueeze(1))
        user, weights = torch.zeros_like(candidate), []
        for memory in memories:
            found, weight = attend(candidate, memory, memory.hidden_from(targets))
            user, candidate = user + found, self.updated(candidate, found)
            weights.append(weight)
        return (candidate * user).sum(dim=1), weights

    def _targets(self, items: Tensor) -> Tensor | None:
        return items if self.config.mask_target else None

    def updated(self, candidate: Tensor, found: Tensor) -> Tensor:
        """The item as the next hop sees it."""
        if not self.updates_item:
            return candidate
        return self.transformed(candidate + found)

    def transformed(self, rows: Tensor) -> Tensor:
        """Rows times the transform, where there is one: [..., dim]."""
        return rows if self.transform is None else rows @ self.transform

    def size(self, triples: DistinctTriples) -> Tensor:
        """The mean of |h|² + |R|² + |t|² over the slots of a hop, summed over hops: []."""
        counts = triples.count.to(self.entities.dtype)
        of_entity = counts.new_zeros(len(self.entities))
        of_entity = of_entity.index_add(0, triples.head, counts).index_add(0, triples.tail, counts)
        of_relation = counts.new_zeros(len(self.relations)).index_add(0, triples.relation, counts)
        total = of_entity @ self.entities.square().sum(dim=1)
        total = total + of_relation @ self.relations.square().sum(dim=(1, 2))
        return total / self.per_hop(triples)

    def per_hop(self, triples: DistinctTriples) -> int:
        """How many slots one hop has in the batch; 1 where there are none, to divide by."""
        return max(triples.slot.numel() // self.config.hops, 1)

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """See :class:`~recommender.models.gradient.GradientRecommender`; 0 for users without memories."""
        known = self.has_memory[users]
        memories, _ = self.recall(users[known])
        logit, _ = self.answer(items[known], memories)
        return logit.new_zeros(len(users)).masked_scatter(known, logit)

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        wanted = self.ids(np.arange(self.n_items) if items is None else items)
        scores = self.entities.new_zeros(len(users), len(wanted), requires_grad=False)
        with evaluating(self):
            asked = self.ids(users)
            rows = self.has_memory[asked].nonzero().squeeze(1)
            carried = [self.entities[wanted]]
            for _ in range(self.config.hops if self.updates_item else 0):
                carried.append(self.transformed(carried[-1]))
            slots = (self.config.hops + 1) * self.config.memories * max(len(wanted), 1)
            for chunk in torch.split(rows, max(1, _SCORES_PER_CHUNK // slots)):
                scores[chunk] = self._rank(asked[chunk], wanted, carried)
        found: Floats = scores.cpu().numpy()
        return found

    def _rank(self, users: Tensor, wanted: Tensor, carried: list[Tensor]) -> Tensor:
        """Scores of ``wanted`` items, whose vectors times W, hop by hop, are ``carried``: [users, items].

        The item after hops is ``v W^k + sum_j (p_j values_j) W^(k - j)``, so only the p are kept per item.
        """
        memories, _ = self.recall(users)
        targets = self._targets(wanted.unsqueeze(0))
        told: list[Tensor] = []  # each hop's values, times W once more with each hop after it
        values: list[Tensor] = []
        weights: list[Tensor] = []
        for hop, memory in enumerate(memories):
            keys, value = memory.keys[memory.key], memory.values[memory.value]
            logits = keys @ carried[hop if self.updates_item else 0].T
            for one, weight in zip(told, weights, strict=False):
                logits.baddbmm_(keys @ one.transpose(1, 2), weight)
            weights.append(masked_softmax(logits, memory.hidden_from(targets), dim=1))
            values.append(value)
            if self.updates_item:
                told = [self.transformed(one) for one in (*told, value)]
        weight, value = torch.cat(weights, dim=1), torch.cat(values, dim=1)
        products = value @ carried[-1].T
        if told:
            products.baddbmm_(value @ torch.cat(told, dim=1).transpose(1, 2), weight)
        return products.mul_(weight).sum(dim=1)

    def edge_weights(self) -> Floats | None:
        """How much more than an even share the training pairs' items attend to an edge, on average.

        Edges that were not drawn, and interactions, count as even. Over the edges out of a node it is 1.
        """
        totals, times = self.entities.new_zeros(2, len(self.view.edge))
        with evaluating(self):
            for rows in batches(len(self._train), self.pairs_per_chunk):
                user, item = self.ids(self._train.user[rows]), self.ids(self._train.item[rows])
                known = self.has_memory[user]
                memories, _ = self.recall(user[known])
                for memory, weight in zip(memories, self.answer(item[known], memories)[1], strict=True):
                    if memory.triple is not None:
                        hidden = memory.hidden_from(self._targets(item[known].unsqueeze(1)))
                        shown = torch.ones_like(weight)
                        if hidden is not None:
                            shown = shown.masked_fill(hidden.squeeze(2), 0.0)
                        relative = weight * shown.sum(dim=1, keepdim=True)
                        totals.index_add_(0, memory.triple.reshape(-1), relative.reshape(-1))
                        times.index_add_(0, memory.triple.reshape(-1), shown.reshape(-1))
        strength = np.ones(self.graph.n_edges)
        strength[self.view.edge] = torch.where(times > 0, totals / times.clamp(min=1), 1.0).cpu().numpy()
        sums = np.bincount(self.graph.head, strength, minlength=self.graph.n_nodes)
        return np.asarray(strength / np.maximum(sums, 1e-30)[self.graph.head], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Config(RippleConfig):
    """Defaults of the authors' code for MovieLens-1M, except where said here or at what is shared."""

    item_update: Literal["plus_transform", "plus", "none"] = "plus_transform"
    """How the item changes from hop to hop: ``(v + o) W``, ``v + o``, or not."""
    knowledge_form: Literal["observed", "reconstruction"] = "observed"


class RippleNet(RippleRecommender):
    """Entity vectors, one matrix per relation, and the transform."""

    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        self.updates_item = config.item_update != "none"
        if config.item_update == "plus_transform":
            self.transform = xavier(generator, config.dim, config.dim)

    def recall(self, users: Tensor) -> tuple[list[Memory], DistinctTriples]:
        """See :class:`RippleRecommender`."""
        positions = self.sets[users].long()
        triples = self.triples.distinct(positions)
        heads = RelatedNodes.of(triples.relation, triples.head, len(self.relations), len(self.entities))
        keys = heads.project(self.entities, self.relations.transpose(1, 2))
        key, value, source = heads.row[triples.slot], triples.tail[triples.slot], triples.head[triples.slot]
        memories = [
            Memory(keys, key[:, hop], self.entities, value[:, hop], source[:, hop], positions[:, hop])
            for hop in range(self.config.hops)
        ]
        return memories, triples

    def knowledge_loss(self, triples: DistinctTriples) -> Tensor:
        """See :class:`RippleRecommender`."""
        if self.config.knowledge_form == "observed":
            told = torch.sigmoid(self._plausible(triples.head, triples.relation, triples.tail))
            return -(triples.count * told).sum() / self.per_hop(triples)
        all_triples = self.triples
        observed = self._plausible(all_triples.head, all_triples.relation, all_triples.tail)
        gram = self.entities.T @ self.entities
        everything = ((gram @ self.relations) * (self.relations @ gram)).sum()
        return 1 + (everything - 2 * observed.sum()) / len(observed)

    def _plausible(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """``h · R t`` of triples: [n_triples] each -> [n_triples]."""
        heads = RelatedNodes.of(relation, head, len(self.relations), len(self.entities))
        left = heads.project(self.entities, self.relations).index_select(0, heads.row)
        return (left * self.entities.index_select(0, tail)).sum(dim=1)
