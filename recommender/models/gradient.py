"""The shape of a recommender that learns by gradient descent, as the training loop drives it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recommender.data.interactions import Floats, Indices, Ints
from recommender.data.sampling import batches
from recommender.models.base import TrainingData, Vectors


class GradientConfig(Protocol):
    """What the loop reads from a model's config."""

    @property
    def epochs(self) -> int:
        """At most this many passes."""

    @property
    def learning_rate(self) -> float:
        """Adam's step size."""


class GradientRecommender(nn.Module):
    """A model trained by gradient descent in one or more phases per epoch.

    The loop keeps one optimiser per phase, steps after each loss that :meth:`losses` yields, calls
    :meth:`after_step` then, and :meth:`refresh` after every epoch and after loading weights.
    """

    phases: ClassVar[tuple[str, ...]] = ("ranking",)
    pairs_per_chunk: ClassVar[int] = 1 << 16
    """How many pairs are scored at once."""

    def __init__(self, data: TrainingData, config: GradientConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.generator = generator
        self.n_users, self.n_items = data.train.n_users, data.train.n_items

    @abstractmethod
    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """One epoch: yield (phase, loss) one after another; weights have moved when the next one is asked."""

    @abstractmethod
    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """Score pairs, with gradient: [n_pairs] dense ids each -> [n_pairs]."""

    def after_step(self, phase: str) -> None:
        """Put weights back where they may be, a simplex say, after an optimiser's step."""

    def refresh(self) -> None:
        """Recompute what is derived from the weights outside the gradient."""

    def edge_weights(self) -> Floats | None:
        """See :meth:`recommender.models.base.Recommender.edge_weights`."""
        return None

    def vectors(self) -> Vectors | None:
        """See :meth:`recommender.models.base.Recommender.vectors`."""
        return None

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        with evaluating(self):
            parts = [
                self.logits(self.ids(users[rows]), self.ids(items[rows])).cpu().numpy()
                for rows in batches(len(users), self.pairs_per_chunk)
            ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        wanted = np.arange(self.n_items) if items is None else items
        pairs = self.score_pairs(np.repeat(users, len(wanted)), np.tile(wanted, len(users)))
        return pairs.reshape(len(users), len(wanted))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def ids(self, array: Indices) -> Tensor:
        """Dense ids as a tensor on the model's device, in 64 bits."""
        return as_ids(array, self.device)


def as_ids(array: Indices, device: torch.device) -> Tensor:
    """Dense ids as a tensor on a device, in 64 bits, which every kind of indexing takes."""
    return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(device, non_blocking=True)


class VectorRecommender(GradientRecommender):
    """A model whose score is the dot product of a user vector and an item vector."""

    @abstractmethod
    def embed(self) -> tuple[Tensor, Tensor]:
        """User vectors [n_users, dim] and item vectors [n_items, dim]; the score is their dot product."""

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """See :meth:`GradientRecommender.logits`."""
        user, item = self.embed()
        return (functional.embedding(users, user) * functional.embedding(items, item)).sum(dim=1)

    def vectors(self) -> Vectors:
        """The current vectors as arrays, without dropout."""
        with evaluating(self):
            user, item = (part.detach() for part in self.embed())
        return Vectors(user.cpu().numpy().copy(), item.cpu().numpy().copy())

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        return self.vectors().score(users, items)

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        return self.vectors().score_pairs(users, items)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without gradient and dropout; the model's mode comes back afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def ranking_loss(user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking: the mean of -log sigmoid(user · positive - user · negative).

    Computed as one function, which neither overflows nor loses digits. *Shape:* all [batch, dim] -> [].
    """
    difference = (user * (positive - negative)).sum(dim=1)
    return -functional.logsigmoid(difference).mean()


def squared_norm(*rows: Tensor) -> Tensor:
    """Half the squared length of all rows, per row of the batch: the penalty that a strength multiplies."""
    total = torch.stack([part.square().sum() for part in rows]).sum()
    return total / (2 * len(rows[0]))


def drop_out(values: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Dropout whose randomness comes from ``generator``, so that a resumed run repeats it."""
    if probability == 0:
        return values
    kept = torch.empty_like(values, requires_grad=False).bernoulli_(1 - probability, generator=generator)
    return values * kept.div_(1 - probability)


def xavier(generator: torch.Generator, *shape: int) -> nn.Parameter:
    """A parameter drawn from Glorot and Bengio's uniform distribution (AISTATS 2010)."""
    drawn = torch.empty(*shape, device=generator.device)
    for matrix in drawn.reshape(-1, *shape[-2:]):
        nn.init.xavier_uniform_(matrix, generator=generator)
    return nn.Parameter(drawn)
