"""SHINE (Wang et al., WSDM 2018): auto-encoders of signed, social and profile links predict signs.

The smallest faithful form, from the equations as they are remembered. A node has a row ``x`` in each of three
networks, and each has its auto-encoder, ``z = W2 tanh(W1 x + b1) + b2`` and back by two layers more:

*sentiment*  a user's row holds the signs it gave to items, an item's the signs that it got, each kind with an
             auto-encoder of its own; a rating of at least ``positive_from`` is +1, at most ``negative_to`` -1
*social*     a user's row holds its friends; left out where there are none
*profile*    an item's row holds the entities that it has an edge with, a user's the mean row of the items
             that it gave +1; one auto-encoder for both; left out without a graph

A node's vector ``e`` is the mean of its ``z`` over the networks in which it has a link, and the sign of
(user, item) is predicted by ``e_u · e_i``. Loss, with ``l = alpha`` where ``x`` is not 0 and 1 elsewhere::

    mean over signed pairs (e_u · e_i - s)² + reconstruction * sum over networks, mean over rows
    |(x - x^) * l|² + penalty * |weights|²

An unobserved pair is no part of the first term. So a score is how much a user would like an item that it
took up. While training, a node that has several networks leaves each out at random: a profile that never has
to answer alone says little of an item without signs.

Exactness at less cost: the last layer is linear, so the squares of all outputs are a quadratic form of the
layer below, and only outputs at the links are computed one by one. No row is ever dense.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Floats, Interactions, Ints
from recommender.data.sampling import batches
from recommender.graph.joint import JointGraph
from recommender.graph.metapaths import highest, row_normalised
from recommender.models.base import TrainingData
from recommender.models.gradient import VectorRecommender, xavier


@dataclass(frozen=True, slots=True)
class Config:
    """alpha and the thresholds as remembered; the rest was chosen here on planted worlds and ML-100K."""

    dim: int = 32
    hidden: int = 64
    learning_rate: float = 5e-3
    batch_size: int = 1024
    epochs: int = 60
    alpha: float = 10.0
    reconstruction: float = 1e-3
    penalty: float = 3e-3
    positive_from: float = 4.0
    negative_to: float = 2.0
    """Ratings between the two carry no sign."""
    network_dropout: float = 0.3
    """Not in the paper; see above."""
    profile_size: int = 50
    """Most frequent entities kept of what a user liked, to bound the work."""
    activation: Literal["tanh", "linear"] = "tanh"
    """Linear is the ablation that a singular value decomposition solves."""


class Shine(VectorRecommender):
    """One auto-encoder per network."""

    phases = ("signs",)
    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        if data.side.rated is None:
            raise UsageError("shine needs ratings, low ones too.", hint="Give them, or train bpr.")
        self.signed = signs(data.side.rated, config)
        matrices = networks(data, self.signed, config)
        self.encoders = nn.ModuleDict(
            {name: AutoEncoder(matrix, config, generator) for name, matrix in matrices.items()}
        )

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        signed = self.signed
        pairs = rng.permutation(len(signed))
        pieces = batches(len(pairs), self.config.batch_size)
        rows = {name: np.array_split(rng.permutation(one.n_rows), len(pieces)) for name, one in self._named()}
        for number, piece in enumerate(pieces):
            chosen = pairs[piece]
            loss = self.sign_loss(signed.user[chosen], signed.item[chosen], signed.weight[chosen])
            for name, encoder in self._named():
                loss = loss + self.config.reconstruction * encoder.reconstruction_loss(rows[name][number])
                loss = loss + self.config.penalty * encoder.squared_weights()
            yield "signs", loss

    def sign_loss(self, user: Ints, item: Ints, sign: Floats) -> Tensor:
        """The mean squared error of one batch's signs: [batch] each -> []."""
        distinct_users, user_row = np.unique(user, return_inverse=True)
        distinct_items, item_row = np.unique(item, return_inverse=True)
        users = functional.embedding(self.ids(user_row), self.represent_users(distinct_users))
        items = functional.embedding(self.ids(item_row), self.represent_items(distinct_items))
        predicted = (users * items).sum(dim=1)
        return (predicted - torch.from_numpy(sign).to(predicted)).square().mean()

    def represent_users(self, users: Ints) -> Tensor:
        """The users' vectors: [n] -> [n, dim]."""
        return self._pooled({"given": users, "social": users, "profile": users})

    def represent_items(self, items: Ints) -> Tensor:
        """The items' vectors: [n] -> [n, dim]."""
        return self._pooled({"received": items, "profile": self.n_users + items})

    def embed(self) -> tuple[Tensor, Tensor]:
        """See :class:`~recommender.models.gradient.VectorRecommender`."""
        return self.represent_users(np.arange(self.n_users)), self.represent_items(np.arange(self.n_items))

    def _named(self) -> Iterator[tuple[str, AutoEncoder]]:
        for name, encoder in self.encoders.items():
            assert isinstance(encoder, AutoEncoder)
            yield name, encoder

    def _pooled(self, rows: dict[str, Ints]) -> Tensor:
        """The mean over the networks in which a node has a link, 0 where there is none."""
        present = [(encoder, rows[name]) for name, encoder in self._named() if name in rows]
        linked = torch.stack([self.ids(encoder.linked[one]).to(encoder.below) for encoder, one in present])
        kept = self._dropped(linked) if self.training else linked
        codes = torch.stack([encoder.encode(one) for encoder, one in present])
        return (codes * kept[:, :, None]).sum(dim=0) / kept.sum(dim=0).clamp_min(1)[:, None]

    def _dropped(self, linked: Tensor) -> Tensor:
        """Leave links out at random, but not all of a node's: [n_networks, n] -> [n_networks, n]."""
        drawn = torch.rand(linked.shape, generator=self.generator, device=linked.device).to(linked)
        kept = linked * (drawn >= self.config.network_dropout)
        return torch.where(kept.sum(dim=0) > 0, kept, linked)


class AutoEncoder(nn.Module):
    """A two-layer encoder of a sparse matrix's rows and its two-layer decoder."""

    def __init__(self, matrix: sparse.csr_array, config: Config, generator: torch.Generator) -> None:
        super().__init__()
        self._matrix = sparse.csr_array(matrix)
        self.n_rows, n_columns = matrix.shape
        self.linked = np.diff(self._matrix.indptr) > 0
        self._alpha, self._linear = config.alpha, config.activation == "linear"
        self.below = xavier(generator, n_columns, config.hidden)
        self.code = xavier(generator, config.hidden, config.dim)
        self.back = xavier(generator, config.dim, config.hidden)
        self.above = xavier(generator, n_columns, config.hidden)
        sizes = {"below": config.hidden, "code": config.dim, "back": config.hidden, "above": n_columns}
        zeros = {name: torch.zeros(size, device=generator.device) for name, size in sizes.items()}
        self.biases = nn.ParameterDict({name: nn.Parameter(zero) for name, zero in zeros.items()})

    def encode(self, rows: Ints) -> Tensor:
        """``z`` of some rows: [n] -> [n, dim]."""
        return self._encoded(*self._links(rows))

    def reconstruction_loss(self, rows: Ints) -> Tensor:
        """The mean over some rows of ``|(x - x^) * l|²``: [n] -> []; 0 for none."""
        if not len(rows):
            return self.below.new_zeros(())
        indptr, columns, values = self._links(rows)
        hidden = self._active(self._encoded(indptr, columns, values) @ self.back + self.biases["back"])
        hidden = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1)
        above = torch.cat([self.above, self.biases["above"][:, None]], dim=1)
        everywhere = ((hidden @ (above.T @ above)) * hidden).sum()
        row = torch.repeat_interleave(torch.arange(len(rows), device=columns.device), torch.diff(indptr))
        output = (functional.embedding(row, hidden) * functional.embedding(columns, above)).sum(dim=1)
        at_links = self._alpha**2 * (values - output).square() - output.square()
        return (everywhere + at_links.sum()) / len(rows)

    def squared_weights(self) -> Tensor:
        """The squared length of all weights but the biases."""
        parts = (self.below, self.code, self.back, self.above)
        return torch.stack([part.square().sum() for part in parts]).sum()

    def _encoded(self, indptr: Tensor, columns: Tensor, values: Tensor) -> Tensor:
        sums = functional.embedding_bag(
            columns, self.below, indptr, mode="sum", per_sample_weights=values, include_last_offset=True
        )
        code: Tensor = self._active(sums + self.biases["below"]) @ self.code + self.biases["code"]
        return code

    def _active(self, values: Tensor) -> Tensor:
        return values if self._linear else torch.tanh(values)

    def _links(self, rows: Ints) -> tuple[Tensor, Tensor, Tensor]:
        """The CSR of some rows: [n + 1], [n_links], [n_links]."""
        chosen = self._matrix[rows]
        device = self.below.device
        indptr, columns = (
            torch.from_numpy(part.astype(np.int64)).to(device) for part in (chosen.indptr, chosen.indices)
        )
        return indptr, columns, torch.from_numpy(chosen.data).to(self.below)


def signs(rated: Interactions, config: Config) -> Interactions:
    """The pairs that carry a sign, with 1 or -1 as weight.

    Raises :class:`~kg.errors.UsageError` where one of the signs does not occur: nothing is then told apart.
    """
    liked, disliked = rated.weight >= config.positive_from, rated.weight <= config.negative_to
    for found, option in ((liked, "positive_from"), (disliked, "negative_to")):
        if not found.any():
            raise UsageError(
                f"no rating passes {option}, {getattr(config, option):g}, so shine has one sign only.",
                hint=f"Set {option} by the scale of the ratings.",
            )
    signed = rated.select(liked | disliked)
    return replace(signed, weight=np.where(signed.weight >= config.positive_from, 1, -1).astype(np.float32))


def networks(data: TrainingData, signed: Interactions, config: Config) -> dict[str, sparse.csr_array]:
    """The rows of each network that the data allows."""
    n_users, n_items = signed.n_users, signed.n_items
    given = sparse.csr_array((signed.weight, (signed.user, signed.item)), shape=(n_users, n_items))
    found = {"given": given, "received": sparse.csr_array(given.T)}
    if data.side.friends is not None and len(data.side.friends):
        one, other = data.side.friends.T
        links = (np.concatenate([one, other]), np.concatenate([other, one]))
        social = sparse.csr_array((np.ones(len(links[0])), links), shape=(n_users, n_users))
        found["social"] = social.minimum(1)
    if data.graph is not None:
        described = attributes(data.graph)
        liked = sparse.csr_array(row_normalised(given > 0) @ described)
        found["profile"] = sparse.vstack([highest(liked, config.profile_size), described], format="csr")
    return found


def attributes(graph: JointGraph) -> sparse.csr_array:
    """Which entities each item has an edge with, those of one item left out: [n_items, n_shared]."""
    found = sparse.csr_array(graph.item_entities())
    shared = np.bincount(found.indices, minlength=graph.n_entities) > 1
    return sparse.csr_array(found[:, np.flatnonzero(shared)])
