"""Ranking metrics on hit tables, AUC on scores, and the uncertainty of their means.

``hits[u, r]`` says whether the item at rank ``r`` (from 0) of user ``u``'s list is relevant;
``n_relevant[u]`` is how many relevant items there are in all. Every ranking metric returns one value per
user: [n_users].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from recommender.data.interactions import Ints

Values = NDArray[np.float64]
Hits = NDArray[np.bool_]


def recall(hits: Hits, n_relevant: Ints) -> Values:
    """Share of the relevant items that are in the list."""
    return np.asarray(hits.sum(axis=1) / n_relevant)


def precision(hits: Hits, n_relevant: Ints) -> Values:
    """Share of the list that is relevant."""
    return np.asarray(hits.mean(axis=1))


def hit(hits: Hits, n_relevant: Ints) -> Values:
    """1 where at least one item of the list is relevant."""
    return np.asarray(hits.any(axis=1), dtype=np.float64)


def reciprocal_rank(hits: Hits, n_relevant: Ints) -> Values:
    """1 / rank of the first relevant item, 0 where there is none."""
    return np.asarray(np.where(hits.any(axis=1), 1.0 / (np.argmax(hits, axis=1) + 1), 0.0))


def ndcg(hits: Hits, n_relevant: Ints) -> Values:
    """Discounted gain over that of the best possible list, which has ``min(k, n_relevant)`` hits on top.

    KGAT's published figures divide by the best order of the hits that *were* found, which ignores missed
    items and reads higher; the two cannot be compared.
    """
    k = hits.shape[1]
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    best = np.cumsum(discount)[np.minimum(n_relevant, k) - 1]
    return np.asarray((hits * discount).sum(axis=1) / best)


def ndcg_of_found(hits: Hits, n_relevant: Ints) -> Values:
    """The variant in KGAT's published code: divided by the best order of the hits that were found.

    It ignores missed items and so reads higher; here for comparison with figures of that family only.
    """
    k = hits.shape[1]
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    n_found = hits.sum(axis=1)
    best = np.cumsum(discount)[np.maximum(n_found, 1) - 1]
    return np.asarray(np.where(n_found > 0, (hits * discount).sum(axis=1) / best, 0.0))


def average_precision(hits: Hits, n_relevant: Ints) -> Values:
    """Mean over the relevant items of the precision at their rank, over ``min(k, n_relevant)`` of them."""
    k = hits.shape[1]
    at_rank = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    return np.asarray((at_rank * hits).sum(axis=1) / np.minimum(n_relevant, k))


RANKING_METRICS: Mapping[str, Callable[[Hits, Ints], Values]] = {
    "recall": recall,
    "ndcg": ndcg,
    "hit": hit,
    "mrr": reciprocal_rank,
    "precision": precision,
    "map": average_precision,
}


def auc(scores: NDArray[np.number], labels: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counting half, over all pairs at once.

    Averaging it over mini-batches, as some published code does, is another number. NaN without both labels.
    """
    labels = np.asarray(labels, dtype=bool)
    n_positive = int(labels.sum())
    n_negative = len(labels) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    ranks = rankdata(scores)  # average ranks: ties count half
    return float((ranks[labels].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def grouped_auc(users: Ints, scores: NDArray[np.number], labels: NDArray[np.bool_]) -> float:
    """AUC within each user, averaged by how many pairs a user has; users with one label only are left out.

    NaN where no user has both labels. *Shape:* all [n_pairs].
    """
    order = np.argsort(users, kind="stable")
    ends = np.flatnonzero(np.diff(users[order])) + 1
    total, weight = 0.0, 0
    for rows in np.split(order, ends):
        if len(rows) and not np.isnan(value := auc(scores[rows], labels[rows])):
            total, weight = total + len(rows) * value, weight + len(rows)
    return total / weight if weight else float("nan")


def log_loss(scores: NDArray[np.number], labels: NDArray[np.bool_]) -> float:
    """Mean cross entropy of the labels, in nats, where a score is a logit. *Shape:* all [n_pairs]."""
    logits = np.asarray(scores, dtype=np.float64)
    return float(np.mean(np.logaddexp(0.0, np.where(labels, -logits, logits))))


def realistic_rank(scores: NDArray[np.floating], target: Ints) -> Values:
    """Rank (from 1) of each row's target: one more than those above it, plus half of those level with it.

    Counting only those above gives a model that scores everything alike the first rank everywhere.
    *Shape:* ``scores`` [n_rows, n_candidates], ``target`` [n_rows].
    """
    own = scores[np.arange(len(scores)), target][:, None]
    return np.asarray(1.0 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the interval that holds it with 95 % confidence."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    values: Values, rng: np.random.Generator, *, n_resamples: int = 1000, confidence: float = 0.95
) -> Interval:
    """The mean over users and its percentile bootstrap interval; users are what is resampled."""
    n = len(values)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    means = np.concatenate(
        [
            rng.multinomial(n, np.full(n, 1.0 / n), size=min(100, n_resamples - done)) @ values / n
            for done in range(0, n_resamples, 100)
        ]
    )
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(
    ours: Values, theirs: Values, rng: np.random.Generator, *, n_resamples: int = 1000
) -> Interval:
    """How much better ``ours`` is than ``theirs`` on the same users; without 0 inside it is a difference."""
    return bootstrap_interval(ours - theirs, rng, n_resamples=n_resamples)
