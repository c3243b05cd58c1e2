"""KSR (Huang et al., SIGIR 2018): a recurrent network with a memory whose slots are the graph's relations.

State: ``h_t = GRU(q_1 .. q_t)`` over the user's items in the order of time. Memory: one value ``M_a`` per
relation a, keyed by the relation's TransE vector ``r_a``. Item i writes ``v_a = tanh(W_e e_i + b_e) +
r_a``, TransE's guess of what the item has under a, through the gate ``z_a = sigmoid(M_a · v_a)``: ``M_a <-
(1 - z_a) M_a + z_a v_a``; an item of which the graph says nothing writes nothing. Read: ``m_t = sum_a
softmax_a(sharpness q · r_a) M_a`` with ``q = tanh(W_u h_t + b_u)``. User: ``tanh(W [h_t; m_t])``; item:
``tanh(W' [q_i; e_i])``; score: dot product. Loss: after each item of a history, ``softplus(s_n - s_p)`` of
the next one against drawn ones.

The relations are those that leave an item, in either direction: where the graph says "person ACTED_IN film"
the film's slot is that relation inverted, whose vector is ``-r``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Ints
from recommender.data.sampling import PairSampler, batches
from recommender.data.sequences import PAD, histories
from recommender.graph.joint import JointGraph
from recommender.models.base import TrainingData
from recommender.models.gradient import VectorRecommender, drop_out, xavier
from recommender.models.recurrent import GatedUnit
from recommender.models.translation import train_transe

_USERS_PER_CHUNK = 1024
_TRANSE_BATCH, _TRANSE_STEPS = 512, 32
"""At least so many triples a step, and about so many steps a pass: each step moves all entities."""


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of RecBole's implementation, except where said."""

    dim: int = 64
    """Of item and entity vectors."""
    hidden_dim: int = 128
    output_dim: int = 100
    """Of the authors' code."""
    sharpness: float = 10.0
    """Their code has none, which is 1."""
    dropout: float = 0.1
    length: int = 50
    """Only the last so many items of a history count."""
    negatives: int = 10
    """Of the authors' code, where popular items are drawn more often; here all are alike."""
    learning_rate: float = 1e-3
    """Adam; the authors use Adagrad."""
    batch_size: int = 200
    """Users; of the authors' code."""
    epochs: int = 50
    """Theirs is 10, on data a hundred times larger."""
    transe_epochs: int = 100
    """Passes over the graph before; the default of this package's TransE."""
    knowledge: bool = True
    """False leaves the memory and the entity vectors out: a plain GRU recommender, the ablation."""
    warm_only: bool = True
    """Their negatives come from all items; see the remark on cold items in the sampler."""


class Ksr(VectorRecommender):
    """Item vectors, the recurrent unit and the projections; the graph's vectors are fixed."""

    config: Config
    entities: Tensor
    relations: Tensor

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        if data.graph is None:
            raise UsageError("ksr needs a knowledge graph.", hint="Give a snapshot and links, or train bpr.")
        self._histories, _ = histories(data.train, config.length)
        self._sampler = PairSampler(data.train, sample_by="user", warm_only=config.warm_only)
        entities, relations = _vectors_of(data.graph, config, generator)
        self.register_buffer("entities", entities)
        self.linked = entities.any(dim=1, keepdim=True)
        self.register_buffer("relations", relations)
        dim, hidden, output = config.dim, config.hidden_dim, config.output_dim
        self.items = xavier(generator, self.n_items, dim)
        self.unit = GatedUnit(dim, hidden, generator)
        self.query_weights = xavier(generator, hidden, dim)
        self.query_bias = nn.Parameter(torch.zeros(dim, device=generator.device))
        self.write_weights = xavier(generator, dim, dim)
        self.write_bias = nn.Parameter(torch.zeros(dim, device=generator.device))
        self.user_weights = xavier(generator, hidden + dim, output)
        self.item_weights = xavier(generator, 2 * dim, output)

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        usable = self._sampler.usable_users
        users = rng.permutation(usable[(self._histories[usable] != PAD).sum(axis=1) > 1])
        for rows in batches(len(users), self.config.batch_size):
            chosen = users[rows]
            row, place = np.nonzero(self._histories[chosen, 1:] != PAD)
            drawn = self._sampler.negatives(np.repeat(chosen[row], self.config.negatives), rng)
            yield "ranking", self.loss(chosen, row, place, drawn.reshape(len(row), -1))

    def loss(self, users: Ints, row: Ints, place: Ints, negative: Ints) -> Tensor:
        """The loss after items that have a next one.

        *Shape:* ``users`` [n_users]; ``row``, ``place`` [n_steps]: the item at ``place + 1`` of the history
        of ``users[row]`` is to be told from ``negative`` [n_steps, n_negatives].
        """
        items = self._histories[users]
        width = int((items != PAD).sum(axis=1).max())
        states = self.states(self.ids(items[:, : width - 1]))
        vectors = functional.embedding(
            self.ids(row * (width - 1) + place), states.reshape(-1, states.shape[-1])
        )
        positive = self.item_vectors(self.ids(items[row, place + 1]))
        others = self.item_vectors(self.ids(negative))
        difference = (vectors[:, None] * (positive[:, None] - others)).sum(dim=2)
        return -functional.logsigmoid(difference).mean()

    def states(self, items: Tensor) -> Tensor:
        """User vectors after each item; padding leaves state and memory as they are.

        *Shape:* ``items`` [n_users, length] -> [n_users, length, output_dim].
        """
        n_users, length = items.shape
        safe, real = items.clamp(min=0), (items != PAD)[:, :, None]
        written = real & functional.embedding(safe, self.linked)
        inputs = functional.embedding(safe, self.items)
        if self.training:
            inputs = drop_out(inputs, self.config.dropout, self.generator)
        state, memory = self.unit.start(n_users), self.empty_memory(n_users)
        outputs = []
        for step in range(length):
            state = torch.where(real[:, step], self.unit(inputs[:, step], state), state)
            memory = torch.where(written[:, step, None], self.write(memory, safe[:, step]), memory)
            outputs.append(torch.cat([state, self.read(memory, state)], dim=1))
        return torch.tanh(torch.stack(outputs, dim=1) @ self.user_weights)

    def empty_memory(self, n_users: int) -> Tensor:
        """Zeros: [n_users, n_relations, dim]."""
        return self.items.new_zeros(n_users, *self.relations.shape)

    def write(self, memory: Tensor, items: Tensor) -> Tensor:
        """The memory after ``items``: [n_users, n_relations, dim] and [n_users] -> the first shape."""
        guess = torch.tanh(
            torch.addmm(self.write_bias, functional.embedding(items, self.entities), self.write_weights)
        )
        candidate = guess[:, None] + self.relations
        gate = torch.sigmoid((memory * candidate).sum(dim=2, keepdim=True))
        return memory + gate * (candidate - memory)

    def read_weights(self, state: Tensor) -> Tensor:
        """How much each relation counts to a state: [n_users, hidden_dim] -> [n_users, n_relations]."""
        query = torch.tanh(torch.addmm(self.query_bias, state, self.query_weights))
        return torch.softmax(self.config.sharpness * query @ self.relations.T, dim=1)

    def read(self, memory: Tensor, state: Tensor) -> Tensor:
        """What the memory says to a state: [n_users, dim]."""
        return torch.einsum("na,nad->nd", self.read_weights(state), memory)

    def item_vectors(self, items: Tensor) -> Tensor:
        """``tanh(W' [q_i; e_i])``: [...] -> [..., output_dim]."""
        both = [functional.embedding(items, self.items), functional.embedding(items, self.entities)]
        return torch.tanh(torch.cat(both, dim=-1) @ self.item_weights)

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.VectorRecommender`."""
        users = torch.cat([self._last_states(rows) for rows in batches(self.n_users, _USERS_PER_CHUNK)])
        return users, self.item_vectors(torch.arange(self.n_items, device=self.device))

    def _last_states(self, users: slice) -> Tensor:
        items = self._histories[users]
        n_had = (items != PAD).sum(axis=1)
        width = max(1, int(n_had.max()))
        states = self.states(self.ids(items[:, :width]))
        rows = self.ids(np.arange(len(items)) * width + np.maximum(n_had - 1, 0))
        return functional.embedding(rows, states.reshape(-1, states.shape[-1]))


def _vectors_of(graph: JointGraph, config: Config, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """TransE's vectors of the items, zero where the graph says nothing, and of the relations that leave one.

    *Shape:* [n_items, dim] and [n_slots, dim].
    """
    first, last = graph.indptr[graph.n_users], graph.indptr[graph.n_users + graph.n_items]
    of_items = graph.relation[first:last]
    slots = np.unique(of_items[of_items < 2 * graph.n_relations])
    entities = torch.zeros(graph.n_items, config.dim, device=generator.device)
    if not config.knowledge or not len(slots):
        return entities, torch.zeros(0, config.dim, device=generator.device)
    triples = graph.knowledge(inverse=False).triples
    seed = int(torch.randint(1 << 31, (1,), generator=generator, device=generator.device))
    found = train_transe(
        triples,
        graph.n_entities,
        graph.n_relations,
        np.random.default_rng(seed),
        generator,
        dim=config.dim,
        epochs=config.transe_epochs,
        batch_size=max(_TRANSE_BATCH, len(triples) // _TRANSE_STEPS),
    )
    linked = np.unique(triples[:, [0, 2]])
    linked = linked[linked < graph.n_items]
    entities[torch.from_numpy(linked).to(entities.device)] = torch.from_numpy(found.entities[linked]).to(
        entities.device
    )
    vectors = found.relations[slots % graph.n_relations] * np.where(slots < graph.n_relations, 1, -1)[:, None]
    return entities, torch.from_numpy(vectors.astype(np.float32)).to(entities.device)
