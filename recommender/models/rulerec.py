"""RuleRec (Ma et al., WWW 2019): rules between items, learned with the recommender that uses them.

A rule is a sequence of at most three relations that leads from item to item (:mod:`recommender.graph.rules`);
``x(k, i)`` holds the probability of each rule from item k to item i. For a user, ``F(u, i) = sum of x(k, i)``
over the items k that u had, i itself left out. Score: ``p_u · q_i + w · F(u, i)``. Loss: ``softplus(s_n -
s_p)`` plus ``rule_rate`` times the loss of telling, by the same ``w``, pairs of items that belong together
from pairs that do not: *sigmoid* ``BCE(w · x + b, y)``; *linear* ``(w · x + b - y)²``; *chi-square* the mean
of ``(w - chi² / max chi²)²``, which pulls the weights towards what chi-square says of each rule.

Which items belong together is what the authors call associations (also bought, bought together). Where the
data does not give any, they are the items that the same users had, for each the ones it goes with most.

Rules are found on the short paths between associated items, then kept by chi-square (*hard*) or all of them
left to the weights (*soft*); of several that say the same about every pair, one. Each feature is scaled
to a mean of 1 over the pairs that it connects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Floats, Ints
from recommender.data.sampling import PairSampler, batches
from recommender.graph.item_paths import ItemPaths
from recommender.graph.rules import (
    Rule,
    RuleWalks,
    chi_square,
    connecting_rules,
    had_together,
    pair_features,
    spell_rule,
    user_features,
    with_unrelated,
)
from recommender.models.base import TrainingData
from recommender.models.gradient import GradientRecommender, evaluating, squared_norm, xavier

RuleLoss = Literal["none", "sigmoid", "linear", "chi-square"]
_USERS_PER_BLOCK = 256
_PAIRS_PER_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of the authors, except where said."""

    dim: int = 64
    """This package's BPR."""
    learning_rate: float = 1e-3
    """This package's BPR; theirs is .1 by plain gradient descent."""
    penalty: float = 1e-5
    """This package's BPR."""
    batch_size: int = 1024
    """This package's BPR."""
    epochs: int = 100
    """Theirs is 30, at a hundred times the step size."""
    max_length: int = 3
    rules: int = 50
    """Rules kept by chi-square; theirs is 50 for each of four kinds of association."""
    candidates: int = 500
    """Rules looked at: those that connect the most associated pairs."""
    selection: Literal["hard", "soft"] = "hard"
    """Soft keeps all candidates and leaves it to the weights."""
    rule_loss: RuleLoss = "sigmoid"
    rule_rate: float = 0.2
    """Their best on one of two data sets; .005 on the other."""
    associations: int = 20
    """Items that go with each item, where the data gives no associations."""
    least: float = 1e-3
    """Walks less likely than this do not count, which bounds what is kept of a hub."""
    negatives: int = 10
    """Negatives drawn for each interaction, once; theirs come from fixed lists of 99 for each user."""
    warm_only: bool = True
    """See the remark on cold items in the sampler."""


@dataclass(frozen=True, slots=True)
class WeighedRule:
    """A rule in names, what it weighs in the score, and the chi-square that it was chosen by."""

    rule: str
    weight: float
    chi_square: float


class RuleRec(GradientRecommender):
    """Vectors of users and items, and one weight per rule."""

    config: Config

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        if data.graph is None:
            raise UsageError(
                "rulerec needs a knowledge graph.", hint="Give a snapshot and links, or train bpr."
            )
        seed = int(torch.randint(1 << 31, (1,), generator=generator, device=generator.device))
        rng = np.random.default_rng(seed)
        train = data.train
        ones = np.ones(len(train), dtype=np.float32)
        self._history = sparse.csr_array((ones, (train.user, train.item)), shape=(self.n_users, self.n_items))
        self._find_rules(data, rng)
        self.users = xavier(generator, self.n_users, config.dim)
        self.items = xavier(generator, self.n_items, config.dim)
        self.weights = nn.Parameter(torch.zeros(len(self.rules), device=generator.device))
        self.bias = nn.Parameter(torch.zeros((), device=generator.device))
        self._draw(PairSampler(train, sample_by="interaction", warm_only=config.warm_only), rng)
        self.refresh()

    def _find_rules(self, data: TrainingData, rng: np.random.Generator) -> None:
        """Choose the rules; keep their matrices, and the features and labels of the associations."""
        assert data.graph is not None
        config = self.config
        pairs = data.side.associations
        if pairs is None:
            pairs = had_together(data.train, config.associations)
        pool = np.flatnonzero(data.train.popularity > 0)
        every, labels = with_unrelated(pairs, pool, self.n_items, rng)
        paths = ItemPaths.of(data.graph, max_length=config.max_length)
        rules = connecting_rules(paths, pairs, config.candidates)
        walks = RuleWalks(data.graph, least=config.least)
        matrices = [walks.between_items(rule) for rule in rules]
        features = pair_features(matrices, every[:, 0], every[:, 1])
        # A rule through hubs says little at a time: all count on one scale, as connections.
        mean = features.sum(axis=0) / np.maximum((features > 0).sum(axis=0), 1)
        scale = np.where(mean > 0, 1 / np.where(mean > 0, mean, 1), 0).astype(np.float32)
        features *= scale
        scores = chi_square(features, labels)
        order = _unlike(features, np.argsort(-scores, kind="stable"))
        chosen = order if config.selection == "soft" else order[: config.rules]
        chosen = chosen[scores[chosen] > 0]
        self.rules: list[Rule] = [rules[place] for place in chosen]
        self.chi_squares = scores[chosen]
        self._matrices = [matrices[place] * scale[place] for place in chosen]
        self._pairs, self._labels = features[:, chosen], labels

    def _draw(self, sampler: PairSampler, rng: np.random.Generator) -> None:
        """Draw the pairs to rank, once, with the difference of their features, which is mostly 0."""
        drawn = [sampler.epoch(rng) for _ in range(self.config.negatives)]
        rows = [np.concatenate(part) for part in zip(*drawn, strict=True)]
        order = np.argsort(rows[0], kind="stable")  # users together: their histories are walked once
        self._user, self._positive, self._negative = (part[order] for part in rows)
        parts = [
            sparse.csr_array(
                self.features(self._user[chunk], self._positive[chunk])
                - self.features(self._user[chunk], self._negative[chunk])
            )
            for chunk in batches(len(order), _PAIRS_PER_CHUNK)
        ]
        self._difference = sparse.vstack(parts, format="csr")

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        order = rng.permutation(len(self._user))[: len(self._user) // self.config.negatives]
        for rows in batches(len(order), self.config.batch_size):
            chosen = order[rows]
            loss = self.ranking_loss(
                self._user[chosen],
                self._positive[chosen],
                self._negative[chosen],
                self._difference[chosen].toarray(),
            )
            if self.config.rule_loss != "none" and len(self.rules):
                pairs = rng.integers(0, len(self._pairs), self.config.batch_size)
                loss = loss + self.config.rule_rate * self.rule_loss(pairs)
            yield "ranking", loss

    def ranking_loss(self, user: Ints, positive: Ints, negative: Ints, difference: Floats) -> Tensor:
        """The ranking loss of one batch; ``difference`` is that of the features: [batch, n_rules]."""
        u = functional.embedding(self.ids(user), self.users)
        p = functional.embedding(self.ids(positive), self.items)
        n = functional.embedding(self.ids(negative), self.items)
        gap = (u * (p - n)).sum(dim=1) + torch.from_numpy(difference).to(self.device) @ self.weights
        return -functional.logsigmoid(gap).mean() + self.config.penalty * squared_norm(u, p, n)

    def rule_loss(self, pairs: Ints) -> Tensor:
        """The loss of telling associated items from others, of some rows of the pairs."""
        features = torch.from_numpy(self._pairs[pairs]).to(self.device)
        labels = torch.from_numpy(self._labels[pairs]).to(self.device)
        scores = torch.from_numpy(self.chi_squares.astype(np.float32)).to(self.device)
        return association_loss(self.config.rule_loss, self.weights, self.bias, features, labels, scores)

    def features(self, users: Ints, items: Ints) -> Floats:
        """``F(u, i)``: [n_pairs, n_rules]."""
        return user_features(self._history, self._matrices, users, items)

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        base = (functional.embedding(users, self.users) * functional.embedding(items, self.items)).sum(dim=1)
        found = self.features(users.cpu().numpy(), items.cpu().numpy())
        return base + torch.from_numpy(found).to(self.device) @ self.weights

    def refresh(self) -> None:
        """Weigh the rules' matrices together: one matrix from items to items."""
        whole = sparse.csr_array((self.n_items, self.n_items), dtype=np.float32)
        for weight, matrix in zip(self.weights.tolist(), self._matrices, strict=True):
            whole = whole + matrix * np.float32(weight)
        self._weighed = whole

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        with evaluating(self):
            base = (self.users[self.ids(users)] @ self.items.T).cpu().numpy()
        scores: Floats = base + (self._history[users] @ self._weighed).toarray()
        return scores if items is None else scores[:, items]

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        found = np.zeros(len(users), dtype=np.float32)
        chosen, place = np.unique(users, return_inverse=True)
        order = np.argsort(place, kind="stable")
        for rows in batches(len(chosen), _USERS_PER_BLOCK):
            first, last = np.searchsorted(place[order], [rows.start, rows.stop])
            pairs = order[first:last]
            found[pairs] = self.score(chosen[rows])[place[pairs] - rows.start, items[pairs]]
        return found

    def rule_weights(self, relation_names: Sequence[str]) -> list[WeighedRule]:
        """The rules in names, the heaviest first: what the model learned, for people to read."""
        weights = self.weights.detach().cpu().numpy()
        return [
            WeighedRule(
                spell_rule(self.rules[place], relation_names),
                float(weights[place]),
                float(self.chi_squares[place]),
            )
            for place in np.argsort(-weights, kind="stable").tolist()
        ]


def _unlike(features: Floats, order: Ints) -> Ints:
    """The columns in this order, without those that equal an earlier one: graphs hold relations twice."""
    columns = np.round(features.T[order], 4)
    _, first = np.unique(columns, axis=0, return_index=True)
    return order[np.sort(first)]


def association_loss(
    kind: RuleLoss, weights: Tensor, bias: Tensor, features: Tensor, labels: Tensor, chi_squares: Tensor
) -> Tensor:
    """The loss of telling pairs of items that belong together from others, by the rules' weights.

    *Shape:* ``weights`` and ``chi_squares`` [n_rules], ``bias`` [], ``features`` [n_pairs, n_rules],
    ``labels`` [n_pairs] -> [].
    """
    if kind == "none":
        return weights.sum() * 0
    if kind == "chi-square":
        return functional.mse_loss(weights, chi_squares / chi_squares.max())
    guess = features @ weights + bias
    if kind == "linear":
        return functional.mse_loss(guess, labels)
    return functional.binary_cross_entropy_with_logits(guess, labels)
