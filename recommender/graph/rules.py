"""Rules between items: sequences of relations, and how likely each leads from one item to another.

The probability of a rule ``r1 .. rk`` from item a to item b is that of a random walk which takes, at each
step, one of the node's edges of that relation: the sum over entities e of ``P(e | a, r1 .. r(k-1)) [e -rk->
b] / n_edges(e, rk)`` (Ma et al., WWW 2019). An item never counts for itself: the diagonal is 0, so what a
rule says about a user and an item that she had is what it says without that item.

Whether a rule explains that two items belong together is measured by chi-square: how far the sums of its
probabilities, over pairs that do and over pairs that do not, are from their shares of all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kg.errors import UsageError
from recommender.data.interactions import Floats, Interactions, Ints
from recommender.data.sampling import batches, contains
from recommender.graph.item_paths import ItemPaths
from recommender.graph.joint import JointGraph
from recommender.graph.metapaths import relation_matrix, row_normalised

Rule = tuple[int, ...]
Scores = NDArray[np.float64]
_CELLS_PER_BLOCK = 1 << 22


class RuleWalks:
    """Walks the rules of one graph; relations are the joint graph's, ``0..2R-1``."""

    def __init__(self, graph: JointGraph, *, least: float = 0.0) -> None:
        """``least`` drops what is less likely, at every step: no row then holds more than 1 / least."""
        self._graph, self._least = graph, least
        self._steps: dict[int, sparse.csr_array] = {}

    def endpoints(self, rule: Rule) -> sparse.csr_array:
        """The probability of every end of a rule from every item: [n_items, n_entities].

        A row sums to 1 where no walk comes to a dead end. Raises :class:`~kg.errors.UsageError` for a rule
        without relations or with one that the graph has not.
        """
        return self._walk(rule, self._graph.n_entities)

    def between_items(self, rule: Rule) -> sparse.csr_array:
        """The probability of a rule from every item to every other one: [n_items, n_items], diagonal 0."""
        found = self._walk(rule, self._graph.n_items).tocoo()
        row, column = found.coords
        kept = row != column
        n = self._graph.n_items
        return sparse.csr_array(
            (found.data[kept].astype(np.float32), (row[kept], column[kept])), shape=(n, n)
        )

    def _walk(self, rule: Rule, n_ends: int) -> sparse.csr_array:
        if not rule or not all(0 <= relation < 2 * self._graph.n_relations for relation in rule):
            raise UsageError(
                f"{rule} is no rule of this graph.",
                hint=f"Give relations from 0 to {2 * self._graph.n_relations - 1}.",
            )
        reached = self._step(rule[0])[: self._graph.n_items]
        for relation in rule[1:-1]:
            reached = _without_unlikely(reached @ self._step(relation), self._least)
        if len(rule) == 1:
            return reached[:, :n_ends]
        return _without_unlikely(reached @ self._step(rule[-1])[:, :n_ends], self._least)

    def _step(self, relation: int) -> sparse.csr_array:
        if relation not in self._steps:
            first = self._graph.n_users
            whole = relation_matrix(self._graph, relation)[first:, first:]
            self._steps[relation] = _without_unlikely(row_normalised(whole), self._least)
        return self._steps[relation]


def _without_unlikely(matrix: sparse.csr_array, least: float) -> sparse.csr_array:
    if least > 0:
        matrix.data[matrix.data < least] = 0
        matrix.eliminate_zeros()
    return matrix


def had_together(train: Interactions, per_item: int, *, least: int = 2) -> Ints:
    """Pairs of items that the same users had: for each item the ``per_item`` others it goes with most.

    Alike is the cosine of who had them; pairs that fewer than ``least`` users share do not count. Equally
    alike ones are taken by id.

    *Shape:* [n_pairs, 2].
    """
    shape = (train.n_users, train.n_items)
    had = sparse.csr_array((np.ones(len(train), np.float32), (train.user, train.item)), shape=shape)
    popularity = train.popularity
    pairs = []
    for rows in batches(train.n_items, max(1, _CELLS_PER_BLOCK // max(train.n_items, 1))):
        shared = (had[:, rows].T @ had).tocoo()
        item, other = shared.coords
        item = item + rows.start
        kept = (item != other) & (shared.data >= least)
        item, other, count = item[kept], other[kept], shared.data[kept]
        alike = count / np.sqrt(popularity[item] * popularity[other])
        order = np.lexsort((other, -alike, item))
        item, other = item[order], other[order]
        place = np.arange(len(item)) - np.searchsorted(item, item)
        pairs.append(np.stack([item, other], axis=1)[place < per_item].astype(np.int64))
    return np.concatenate(pairs)


def with_unrelated(pairs: Ints, pool: Ints, n_items: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """The pairs, and as many of the same first items with another drawn from ``pool``; 1 or 0 for each.

    *Shape:* ``pairs`` [n_pairs, 2], ``pool`` items -> [at most 2 n_pairs, 2] and their labels.
    """
    keys = np.unique(pairs[:, 0] * n_items + pairs[:, 1])
    drawn = np.stack([pairs[:, 0], rng.choice(pool, len(pairs))], axis=1)
    fine = (drawn[:, 0] != drawn[:, 1]) & ~contains(keys, drawn[:, 0] * n_items + drawn[:, 1])
    drawn = drawn[fine]
    labels = np.repeat(np.asarray([1, 0], dtype=np.float32), [len(pairs), len(drawn)])
    return np.concatenate([pairs, drawn]), labels


def connecting_rules(paths: ItemPaths, pairs: Ints, limit: int) -> list[Rule]:
    """The sequences of relations that connect the most pairs, the most frequent first."""
    kind, spelled = paths.trie.kinds()
    wanted = np.unique(pairs[:, 0] * paths.n_items + pairs[:, 1])
    chosen = contains(wanted, paths.keys)
    joined = np.unique(kind[paths.path[chosen]] * paths.n_items**2 + paths.keys[chosen])
    counts = np.bincount(joined // paths.n_items**2, minlength=len(spelled))
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return [spelled[place] for place in order[:limit].tolist()]


def pair_features(matrices: Sequence[sparse.csr_array], first: Ints, second: Ints) -> Floats:
    """What each rule says about pairs of items: [n_pairs, n_rules]."""
    found = np.zeros((len(first), len(matrices)), dtype=np.float32)
    for number, matrix in enumerate(matrices):
        found[:, number] = _at(matrix, first, second)
    return found


def user_features(
    history: sparse.csr_array, matrices: Sequence[sparse.csr_array], users: Ints, items: Ints
) -> Floats:
    """What each rule says about users and items, ``F(u, i) = sum of x(k, i)`` over the items k that u had.

    *Shape:* ``history`` [n_users, n_items] of ones; ``users`` and ``items`` [n_pairs] -> [n_pairs, n_rules].
    """
    found = np.zeros((len(users), len(matrices)), dtype=np.float32)
    chosen, place = np.unique(users, return_inverse=True)
    order = np.argsort(place, kind="stable")
    for rows in batches(len(chosen), max(1, _CELLS_PER_BLOCK // history.shape[1])):
        first, last = np.searchsorted(place[order], [rows.start, rows.stop])
        pairs = order[first:last]
        row = place[pairs] - rows.start
        had = history[chosen[rows]]
        for number, matrix in enumerate(matrices):
            found[pairs, number] = (had @ matrix).toarray()[row, items[pairs]]
    return found


def _at(matrix: sparse.csr_array, row: Ints, column: Ints) -> Floats:
    """Single values of a sparse matrix: [n]."""
    matrix.sort_indices()
    stored = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * matrix.shape[1] + matrix.indices
    wanted = row * matrix.shape[1] + column
    if not len(stored):
        return np.zeros(len(wanted), dtype=np.float32)
    place = np.minimum(np.searchsorted(stored, wanted), len(stored) - 1)
    return np.where(stored[place] == wanted, matrix.data[place], 0).astype(np.float32)


def chi_square(features: Floats, labels: Floats) -> Scores:
    """How far each feature's sums over the two classes are from the classes' shares: [n_features].

    ``sum over classes of (observed - expected)² / expected``; 0 for a feature that is nowhere above 0.

    *Shape:* ``features`` [n, n_features], not negative; ``labels`` [n], 0 or 1.
    """
    total = features.sum(axis=0, dtype=np.float64)
    observed = features[labels > 0].sum(axis=0, dtype=np.float64)
    share = float((labels > 0).mean()) if len(labels) else 0.0
    if share in (0.0, 1.0):
        return np.zeros(features.shape[1])
    off = (observed - share * total) ** 2
    safe = np.where(total > 0, total, 1.0)
    scores: Scores = off / (share * safe) + off / ((1 - share) * safe)
    return scores


def spell_rule(rule: Rule, relation_names: Sequence[str]) -> str:
    """A rule in names, against their direction where it walks so: ``-DIRECTED_BY-> <-DIRECTED_BY-``."""
    n = len(relation_names)
    return " ".join(
        f"-{relation_names[relation]}->" if relation < n else f"<-{relation_names[relation - n]}-"
        for relation in rule
    )
