"""EIUM (Huang et al., ACM Multimedia 2019): paths through the graph tell why each item follows.

The interaction vector of a user and an item is what the item is and how the graph leads there from what the
user had before: ``x(u, i) = q_i + c(u, i)``, where ``c`` pools at most ``paths`` short paths from the last
items of the history to i (:mod:`recommender.models.path_attention`). Item vector: ``q_i = e_i + W_m v_i``,
the entity's vector and, where there are any, the item's encoded text or picture. State after t items: causal
self-attention over the interaction vectors with a position each, ``s_t = softmax(Q_t K' / sqrt(dim)) V + U
x_t + b``. Score of a candidate: ``s_t · x(u, i)``, whose paths start from the history up to t.

Loss: at every step ``softplus(s_n - s_p)`` of the next item against a drawn one, plus ``structure`` times the
mean of ``|q_h + r - q_t|`` over triples of the graph, plus a penalty.

No public code is known; this is the smallest form that has all parts of the paper. A path has no edge between
the user and the candidate, and one to an item that the user had does not start there. To rank everything,
the search runs from the user to whatever is reached; an item without a path has the score ``s · q_i``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Floats, Ints
from recommender.data.sampling import PairSampler, batches
from recommender.data.sequences import PAD, histories
from recommender.graph.item_paths import ItemPaths
from recommender.models.base import TrainingData
from recommender.models.gradient import GradientRecommender, drop_out, evaluating, squared_norm, xavier
from recommender.models.path_attention import PathAttention, ReadPaths

_USERS_PER_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Config:
    """No code of the authors is known: the defaults are this package's, chosen for what they cost."""

    dim: int = 64
    learning_rate: float = 1e-3
    penalty: float = 1e-5
    batch_size: int = 64
    """Users."""
    epochs: int = 50
    length: int = 50
    """Only the last so many items of a history count."""
    sources: int = 20
    """Paths start from the last so many items."""
    paths: int = 20
    """Paths pooled for a user and a candidate."""
    max_length: int = 3
    paths_per_item: int = 200
    """Paths kept from each item of the catalogue: the shortest, of them the likeliest."""
    structure: float = 0.01
    dropout: float = 0.1
    """Of interaction vectors."""
    warm_only: bool = True
    """See the remark on cold items in the sampler."""


@dataclass(frozen=True, slots=True)
class WeighedPath:
    """A path from an item of the history, in the joint graph's entities and relations, and its alpha."""

    entities: tuple[int, ...]
    relations: tuple[int, ...]
    weight: float


class Eium(GradientRecommender):
    """Vectors of entities and relations, the path attention and the self-attention."""

    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        graph = data.graph
        if graph is None:
            raise UsageError("eium needs a knowledge graph.", hint="Give a snapshot and links, or train bpr.")
        self._histories, _ = histories(data.train, config.length)
        self._n_had = (self._histories != PAD).sum(axis=1)
        self._sampler = PairSampler(data.train, sample_by="user", warm_only=config.warm_only)
        self.paths = ItemPaths.of(graph, max_length=config.max_length, per_item=config.paths_per_item)
        self._triples = graph.knowledge(inverse=False).triples
        dim = config.dim
        self.entities = xavier(generator, graph.n_entities, dim)
        self.reader = PathAttention(2 * graph.n_relations, dim, generator)
        self.positions = xavier(generator, config.length, dim)
        self.attention = xavier(generator, 3, dim, dim)
        self.state_weights = xavier(generator, dim, dim)
        self.state_bias = nn.Parameter(torch.zeros(dim, device=generator.device))
        given = data.side.item_vectors
        width = 0 if given is None else given.shape[1]
        content = np.zeros((self.n_items, 0), np.float32) if given is None else given.astype(np.float32)
        self.content = torch.from_numpy(content).to(generator.device)
        self.content_weights = nn.Parameter(torch.zeros(0, dim, device=generator.device))
        if width:
            self.content_weights = xavier(generator, width, dim)
        self._read_all: ReadPaths | None = None

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        usable = self._sampler.usable_users
        users = rng.permutation(usable[self._n_had[usable] > 1])
        for rows in batches(len(users), self.config.batch_size):
            chosen = users[rows]
            negative = self._sampler.negatives(np.repeat(chosen, self._n_had[chosen] - 1), rng)
            loss = self.ranking_loss(chosen, negative)
            if self.config.structure and len(self._triples):
                triples = self._triples[rng.integers(0, len(self._triples), len(negative))]
                loss = loss + self.config.structure * self.structural_loss(triples)
            yield "ranking", loss

    def ranking_loss(self, users: Ints, negative: Ints) -> Tensor:
        """The loss of every step that has a next item: [n_users], one ``negative`` per step, by user."""
        items = self._histories[users]
        row, place = np.nonzero(items != PAD)
        later = np.flatnonzero(place > 0)
        target = np.concatenate([items[row, place], negative])
        row_of = np.concatenate([row, row[later]])
        place_of = np.concatenate([place, place[later]])
        vectors, own = self.interactions(_before(items[row_of], place_of, self.config.sources), target)
        positive, other = vectors[: len(row)], vectors[len(row) :]
        states = self.states(positive, row, place, len(users))
        before = functional.embedding(self.ids(later - 1), states)
        gap = (before * (functional.embedding(self.ids(later), positive) - other)).sum(dim=1)
        penalty = self.config.penalty * squared_norm(own)
        return -functional.logsigmoid(gap).mean() + penalty

    def structural_loss(self, triples: Ints) -> Tensor:
        """The mean of ``|q_h + r - q_t|``: [n, 3] -> []."""
        relation = functional.embedding(self.ids(triples[:, 1]), self.reader.relations)
        apart = self.features(triples[:, 0]) + relation - self.features(triples[:, 2])
        distance: Tensor = torch.linalg.vector_norm(apart, dim=1)
        return distance.mean()

    def features(self, entities: Ints) -> Tensor:
        """``q``: the entity's vector and, of an item, what its content adds: [n] -> [n, dim]."""
        found = functional.embedding(self.ids(entities), self.entities)
        if not self.content.shape[1]:
            return found
        is_item = self.ids((entities < self.n_items).astype(np.int64))[:, None]
        content = functional.embedding(self.ids(np.minimum(entities, self.n_items - 1)), self.content)
        return found + is_item * (content @ self.content_weights)

    def interactions(
        self, sources: Ints, items: Ints, read: ReadPaths | None = None
    ) -> tuple[Tensor, Tensor]:
        """``x`` and ``q`` of rows: sources [n, n_sources] and items [n] -> [n, dim] each.

        ``read`` holds the paths where they have been read before.
        """
        rows = self.paths.between(sources, items, self.config.paths)
        read = read or self.reader.read(self.paths.trie, rows.paths, self.features)
        led, _ = self.reader.pool(read, rows)
        own = self.features(items)
        whole = own + led
        if self.training:
            whole = drop_out(whole, self.config.dropout, self.generator)
        return whole, own

    def states(self, vectors: Tensor, row: Ints, place: Ints, n_rows: int) -> Tensor:
        """The state after each interaction.

        *Shape:* ``vectors`` [n, dim], the interactions of ``n_rows`` users: which user's and at which place,
        sorted by both -> [n, dim].
        """
        width = int(place.max(initial=0)) + 1
        cells = self.ids(row * width + place)
        placed = vectors + functional.embedding(self.ids(place), self.positions)
        table = placed.new_zeros(n_rows * width, placed.shape[1]).index_copy(0, cells, placed)
        table = table.view(n_rows, width, -1)
        query, key, value = (table @ weights for weights in self.attention)
        logits = query @ key.transpose(1, 2) / self.config.dim**0.5
        # What comes later is masked, and padding comes after everything.
        later = torch.ones(width, width, dtype=torch.bool, device=self.device).triu(1)
        attended = torch.softmax(logits.masked_fill(later, float("-inf")), dim=2) @ value
        states = attended + torch.matmul(table, self.state_weights) + self.state_bias
        return functional.embedding(cells, states.view(n_rows * width, -1))

    def last_states(self, users: Ints, read: ReadPaths | None = None) -> Tensor:
        """The state of users after all they had, the bias alone for who had nothing: [n_users, dim]."""
        items = self._histories[users]
        row, place = np.nonzero(items != PAD)
        sources = _before(items[row], place, self.config.sources)
        vectors, _ = self.interactions(sources, items[row, place], read)
        states = self.states(vectors, row, place, len(users))
        last = np.flatnonzero(np.diff(row, append=len(users)))
        found = self.state_bias.expand(len(users), -1)
        return found.index_copy(0, self.ids(row[last]), functional.embedding(self.ids(last), states))

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, item = users.cpu().numpy(), items.cpu().numpy()
        chosen, place = np.unique(user, return_inverse=True)
        states = functional.embedding(self.ids(place), self.last_states(chosen))
        vectors, _ = self.interactions(self._sources(user), item)
        return (states * vectors).sum(dim=1)

    def refresh(self) -> None:
        """Forget what was read with other weights."""
        self._read_all = None

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        with evaluating(self):
            parts = [self._score(users[rows]) for rows in batches(len(users), _USERS_PER_BLOCK)]
        scores = np.concatenate(parts) if parts else np.zeros((0, self.n_items), np.float32)
        return scores if items is None else scores[:, items]

    def _score(self, users: Ints) -> Floats:
        if self._read_all is None:
            self._read_all = self.reader.read(self.paths.trie, self.paths.path, self.features)
        states = self.last_states(users, self._read_all)
        scores = states @ self.features(np.arange(self.n_items)).T
        row, item, rows = self.paths.reached(self._sources(users), self.config.paths)
        led, _ = self.reader.pool(self._read_all, rows)
        gain = (functional.embedding(self.ids(row), states) * led).sum(dim=1)
        scores.view(-1).index_add_(0, self.ids(row * self.n_items + item), gain)
        found: Floats = scores.cpu().numpy()
        return found

    def explain(self, user: int, item: int) -> list[WeighedPath]:
        """The paths that lead the user to an item, the heaviest first."""
        rows = self.paths.between(self._sources(np.asarray([user])), np.asarray([item]), self.config.paths)
        with evaluating(self):
            read = self.reader.read(self.paths.trie, rows.paths, self.features)
            _, alphas = self.reader.pool(read, rows)
        told = [
            WeighedPath(*self.paths.trie.spell(path), weight)
            for path, weight in zip(rows.paths.tolist(), alphas.tolist(), strict=True)
        ]
        return sorted(told, key=lambda path: -path.weight)

    def _sources(self, users: Ints) -> Ints:
        return _before(self._histories[users], self._n_had[users], self.config.sources)


def _before(items: Ints, place: Ints, n: int) -> Ints:
    """The last ``n`` items before a place in each history: [n_rows, n], -1 where there are fewer.

    *Shape:* ``items`` [n_rows, length], ``place`` [n_rows].
    """
    columns = place[:, None] - 1 - np.arange(n)
    found = np.take_along_axis(items, np.maximum(columns, 0), axis=1)
    return np.where(columns >= 0, found, PAD)
