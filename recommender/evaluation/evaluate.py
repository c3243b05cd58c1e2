"""Full-ranking evaluation: every item is ranked for every user, in chunks; what a user had is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kg.errors import UsageError
from recommender.data.interactions import Floats, Interactions, Ints
from recommender.evaluation.metrics import (
    RANKING_METRICS,
    Interval,
    Values,
    auc,
    bootstrap_interval,
    paired_difference,
)
from recommender.evaluation.ranking import top_k
from recommender.models.base import Recommender, Vectors

K = 20
"""The list length of the literature."""
_CHUNK_CELLS = 1 << 24
_CACHED_CELLS = 1 << 20
"""For scores from vectors: what is made, masked and searched in turn stays in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What an evaluation found, user by user.

    ``users`` are those with something relevant among the candidates: [n_evaluated]. ``values`` holds one
    array of that length per metric. ``coverage`` is the share of the candidates that stood in some list.
    ``lists`` and ``hits`` are [n_evaluated, k]: the items shown, -1 where there were fewer, and which of them
    are relevant.
    """

    k: int
    users: Ints
    values: Mapping[str, Values]
    coverage: float
    lists: Ints
    hits: NDArray[np.bool_]

    def figures(self) -> dict[str, float]:
        """The mean of each metric, named ``metric@k``."""
        means = {f"{name}@{self.k}": float(found.mean()) for name, found in self.values.items()}
        return {**means, f"coverage@{self.k}": self.coverage}

    def interval(self, metric: str, rng: np.random.Generator) -> Interval:
        """The mean of a metric with its 95 % bootstrap interval over users."""
        return bootstrap_interval(self.values[metric], rng)

    def part(self, chosen: NDArray[np.bool_]) -> Ranking:
        """The ranking of some of the users only, ``chosen`` [n_evaluated]; the coverage stays that of all."""
        values = {name: found[chosen] for name, found in self.values.items()}
        return replace(
            self, users=self.users[chosen], values=values, lists=self.lists[chosen], hits=self.hits[chosen]
        )

    def gain_over(self, other: Ranking, metric: str, rng: np.random.Generator) -> Interval:
        """The paired difference to another model's ranking of the same users."""
        if not np.array_equal(self.users, other.users):
            raise UsageError(
                "the two rankings are of different users.", hint="Evaluate both on one split and one test."
            )
        return paired_difference(self.values[metric], other.values[metric], rng)


def evaluate(
    model: Recommender,
    relevant: Interactions,
    *,
    seen: Sequence[Interactions] = (),
    candidates: Ints | None = None,
    k: int = K,
    seed: int = 0,
) -> Ranking:
    """Rank all items (or ``candidates`` only) for every user with something relevant among them.

    Pairs in ``seen`` (training, and validation when testing) are left out of the lists. Equal scores are
    put in one random order that ``seed`` fixes: the order of the ids often tells what is popular, and a
    model that says nothing must not profit from it. Raises :class:`~kg.errors.UsageError` where nothing is
    to be found.
    """
    rng = np.random.default_rng(seed)
    everything = np.arange(relevant.n_items) if candidates is None else np.unique(candidates)
    items = rng.permutation(everything)
    tested = np.isin(relevant.item, items)
    users = np.unique(relevant.user[tested])
    if not len(users):
        raise UsageError(
            "no user has a relevant item among the candidates.", hint="Check the split and the candidates."
        )
    place = np.full(relevant.n_items, -1, dtype=np.int64)
    place[items] = np.arange(len(items))
    score, cells = _scorer(model, items)
    hits, lists = [], []
    chunk = max(1, cells // len(items))
    for start in range(0, len(users), chunk):
        part = users[start : start + chunk]
        scores = np.array(score(part), dtype=np.float32)
        _check_finite(scores)
        for pairs in seen:
            scores[_cells(pairs, part, place)] = -np.inf
        columns, values = top_k(scores, k)
        truth = np.zeros(scores.shape, dtype=bool)
        truth[_cells(relevant, part, place)] = True
        hits.append(np.take_along_axis(truth, columns, axis=1) & np.isfinite(values))
        lists.append(np.where(np.isfinite(values), items[columns], -1))
    n_relevant = np.bincount(relevant.user[tested], minlength=relevant.n_users)[users]
    table = _padded(np.concatenate(hits), k, False)
    found = {name: metric(table, n_relevant) for name, metric in RANKING_METRICS.items()}
    shown = _padded(np.concatenate(lists), k, -1)
    coverage = len(np.unique(shown[shown >= 0])) / len(items)
    return Ranking(k, users, found, coverage, shown, table)


def pair_auc(model: Recommender, users: Ints, items: Ints, labels: NDArray[np.bool_]) -> float:
    """AUC over labelled (user, item) pairs, all at once."""
    return auc(model.score_pairs(users, items), labels)


def held_out_auc(
    model: Recommender, relevant: Interactions, *, seen: Sequence[Interactions], seed: int = 0
) -> float:
    """AUC of the relevant pairs against as many drawn (user, item) pairs of items that the user never had."""
    return pair_auc(model, *held_out_pairs(relevant, seen=seen, seed=seed))


def held_out_pairs(
    relevant: Interactions, *, seen: Sequence[Interactions], seed: int = 0
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """The relevant pairs and a drawn one beside each that its user never had: users, items and labels.

    Where the draw hit something that the user had, the relevant pair stays alone.
    """
    rng = np.random.default_rng(seed)
    known = np.unique(np.concatenate([relevant.keys, *(pairs.keys for pairs in seen)]))
    items = rng.integers(0, relevant.n_items, len(relevant))
    fresh = ~np.isin(relevant.user * relevant.n_items + items, known)
    return (
        np.concatenate([relevant.user, relevant.user[fresh]]),
        np.concatenate([relevant.item, items[fresh]]),
        np.repeat([True, False], [len(relevant), int(fresh.sum())]),
    )


def _scorer(model: Recommender, items: Ints) -> tuple[Callable[[Ints], Floats], int]:
    """What scores ``items`` for some users, and how many scores to ask of it at once."""
    vectors = model.vectors()
    if vectors is None:
        return lambda users: model.score(users, items), _CHUNK_CELLS
    return Vectors(vectors.user, vectors.item[items]).score, _CACHED_CELLS


def _cells(pairs: Interactions, users: Ints, place: Ints) -> tuple[Ints, Ints]:
    """Rows and columns of the pairs inside a chunk of (ascending) users and placed items."""
    first, last = np.searchsorted(pairs.user, (users[0], users[-1] + 1))
    user, item = pairs.user[first:last], pairs.item[first:last]
    row = np.searchsorted(users, user)
    inside = (users[row] == user) & (place[item] >= 0)
    return row[inside], place[item[inside]]


def _padded(table: NDArray[Any], k: int, with_what: int | bool) -> NDArray[Any]:
    missing = max(0, k - table.shape[1])
    return np.pad(table, ((0, 0), (0, missing)), constant_values=with_what)


def _check_finite(scores: Floats) -> None:
    if not np.isfinite(scores).all():
        raise UsageError("the model's scores are not finite.", hint="Train again with a lower learning rate.")
