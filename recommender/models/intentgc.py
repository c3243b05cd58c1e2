"""IntentGC (Zhao et al., KDD 2019): convolution among users and among items that share auxiliary nodes.

Two items are linked if they share an entity of the graph, two users if the entities of their items do (or if
they are friends: ``user_links``); each row keeps the ``neighbours`` it shares most with. No edge between a
user and an item is used inside the convolution.

Vector-wise convolution, with scalar weights: ``g_f = s(w_f h + v_f mean(h_N))`` for each filter f, and the
next layer is ``sum t_f g_f``. The bit-wise one, their baseline, is ``s(W [h ; mean(h_N)])``. Then a tower of
dense layers per side, ReLU between them; the score is the cosine of both outputs. Loss: the mean of ``max(0,
cos(u, n) - cos(u, p) + margin)`` over drawn (user, positive, negative).

Items that nobody had get their place from the neighbours; those without an entity have only their own vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Ints
from recommender.data.sampling import PairSampler, batches
from recommender.graph.neighbours import SecondOrder
from recommender.models.base import TrainingData
from recommender.models.gradient import VectorRecommender, xavier
from recommender.models.linear import interaction_matrix

Activation = Literal["tanh", "relu", "identity"]


@dataclass(frozen=True, slots=True)
class Config:
    """The form is that of the authors' light version for Amazon; the numbers, which it leaves to a
    configuration, were chosen here."""

    dim: int = 64
    layers: int = 1
    filters: int = 3
    convolution: Literal["vector", "bit"] = "vector"
    activation: Activation = "tanh"
    tower: tuple[int, ...] = (64, 64, 64)
    """Widths of each side's dense layers, the last of them linear; three as there."""
    neighbours: int = 10
    max_degree: int = 200
    """An entity that more items (or users) share links none of them: their number grows with its square."""
    user_links: Literal["entities", "friends"] = "entities"
    """What links users; their graph of search words has no counterpart here."""
    margin: float = 0.5
    """The best of 0.1, 0.2 and 0.5 on the validation part of Last.FM."""
    learning_rate: float = 1e-3
    batch_size: int = 1024
    epochs: int = 100
    warm_only: bool = True
    """Cold items drawn as negatives learn to be bad."""


class IntentGc(VectorRecommender):
    """A vector per user and item, and for each side the layers' weights and a tower."""

    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        if data.graph is None:
            raise UsageError(
                "intentgc needs a knowledge graph.", hint="Give a snapshot and links, or train bpr."
            )
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        rng = np.random.default_rng(seed)
        shared = data.graph.item_entities().astype(np.int64)
        options = {"max_degree": config.max_degree}
        self.item_links = SecondOrder.of(shared, config.neighbours, rng, **options)
        if config.user_links == "friends":
            if data.side.friends is None:
                raise UsageError("intentgc: user_links friends needs friends.", hint="Use entities.")
            self.user_links = SecondOrder.of_pairs(data.side.friends, self.n_users, config.neighbours, rng)
        else:
            seen = interaction_matrix(data.train) @ shared
            self.user_links = SecondOrder.of(seen, config.neighbours, rng, **options)
        self.users = _Side(self.n_users, config, generator, self.user_links)
        self.items = _Side(self.n_items, config, generator, self.item_links)
        self._sampler = PairSampler(data.train, sample_by="interaction", warm_only=config.warm_only)

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, positive, negative = self._sampler.epoch(rng)
        for rows in batches(len(user), self.config.batch_size):
            yield "ranking", self.loss(user[rows], positive[rows], negative[rows])

    def loss(self, user: Ints, positive: Ints, negative: Ints) -> Tensor:
        """The loss of one batch: [batch] dense ids each -> []."""
        users, items = self.users(self.ids(user)), self.items(self.ids(np.concatenate([positive, negative])))
        liked, other = items.split([len(positive), len(negative)])
        difference = (users * (other - liked)).sum(dim=1)
        return torch.relu(difference + self.config.margin).mean()

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.VectorRecommender`."""
        everyone, everything = (torch.arange(n, device=self.device) for n in (self.n_users, self.n_items))
        return self.users(everyone), self.items(everything)


class _Side(nn.Module):
    """Convolution and tower of the users, or of the items."""

    def __init__(self, n: int, config: Config, generator: torch.Generator, links: SecondOrder) -> None:
        super().__init__()
        self._config = config
        self._indptr = torch.from_numpy(links.indptr).to(generator.device)
        self._near = torch.from_numpy(links.near).to(generator.device)
        self.table = xavier(generator, n, config.dim)
        if config.convolution == "bit":
            self.weights = nn.ParameterList(
                xavier(generator, 2 * config.dim, config.dim) for _ in range(config.layers)
            )
        else:
            # Filters that start alike stay alike, so they are drawn: [3, filters] own, near and mix.
            self.weights = nn.ParameterList(
                nn.Parameter(torch.rand(3, config.filters, generator=generator, device=generator.device))
                for _ in range(config.layers)
            )
        widths = list(pairwise((config.dim, *config.tower)))
        self.tower = nn.ParameterList(xavier(generator, below, above) for below, above in widths)
        zeros = [torch.zeros(above, device=generator.device) for above in config.tower]
        self.biases = nn.ParameterList(nn.Parameter(zero) for zero in zeros)

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors of length 1: [n_rows] ids -> [n_rows, width]."""
        return functional.normalize(self.output(rows))

    def output(self, rows: Tensor) -> Tensor:
        """What the tower says: [n_rows] ids -> [n_rows, width]."""
        value = self.convolved(rows, self._config.layers)
        for number, (weight, bias) in enumerate(zip(self.tower, self.biases, strict=True)):
            value = torch.addmm(bias, torch.relu(value) if number else value, weight)
        return value

    def convolved(self, rows: Tensor, n_layers: int) -> Tensor:
        """After so many layers: [n_rows] ids -> [n_rows, dim]; only what these rows see is computed."""
        if n_layers == 0:
            return functional.embedding(rows, self.table)
        flat, starts = self._neighbours(rows)
        below: Tensor = self.table
        if n_layers == 1:
            own, near = rows, flat
        else:
            wanted, place = torch.unique(torch.cat([rows, flat]), return_inverse=True)
            below = self.convolved(wanted, n_layers - 1)
            own, near = place[: len(rows)], place[len(rows) :]
        mean = functional.embedding_bag(near, below, starts, mode="mean")
        return self._layer(n_layers - 1, functional.embedding(own, below), mean)

    def _neighbours(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        first = self._indptr[rows]
        lengths = self._indptr[rows + 1] - first
        starts = lengths.cumsum(0) - lengths
        places = torch.arange(int(lengths.sum()), device=rows.device)
        return self._near[places + torch.repeat_interleave(first - starts, lengths)], starts

    def _layer(self, number: int, own: Tensor, mean: Tensor) -> Tensor:
        if self._config.convolution == "bit":
            return self._activate(torch.cat([own, mean], dim=1) @ self.weights[number])
        filters = (self._activate(w * own + v * mean) * mix for w, v, mix in self.weights[number].T)
        return torch.stack(list(filters)).sum(dim=0)

    def _activate(self, value: Tensor) -> Tensor:
        if self._config.activation == "identity":
            return value
        return torch.tanh(value) if self._config.activation == "tanh" else torch.relu(value)
