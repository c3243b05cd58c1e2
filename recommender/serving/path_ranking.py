"""Which of many paths explains best: what the model weighs, times how much the user's history insists on it.

One rare actor in common is weaker evidence than seven films of one director, and a genre that everybody
watches is none. So a path counts by its *support*, the number ``n`` of items in the history that reach the
same place the same way, against ``e``, how many would by chance: ``n log(n / e) - n + e`` (the
log-likelihood ratio of two Poisson rates, 0 where n is no more than e) plus ``n / (n + e)``, which orders
what does not surprise; and by the rarity of the places next to both items, ``log(n_items / n_items there) /
log(n_items)``, the lower of the two: what most items share says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Ints
from recommender.serving.bundle import ExplanationGraph
from recommender.serving.walks import Walks

LENGTH_DISCOUNT = 0.5
"""What a step more costs: a longer chain convinces less."""


@dataclass(frozen=True, slots=True)
class RankedPath:
    """Nodes from the history's item to the target, the edges (positions) between them, score and support."""

    nodes: tuple[int, ...]
    edges: tuple[int, ...]
    score: float
    support: int


class PathRanker:
    """Ranks walks on one graph."""

    def __init__(self, graph: ExplanationGraph, n_items: int) -> None:
        self._graph = graph
        self._n_items = n_items
        self._n_relations = len(graph.relation_names)
        degree = np.diff(graph.indptr)
        head = np.repeat(np.arange(len(degree)), degree)
        # The model's weights fall with the degree; times it, 1 is what an even hand would give.
        self._relative = graph.weight * np.sqrt(degree[head] * degree[graph.tail])
        self._keys = (head * (2 * self._n_relations) + graph.relation)[graph.tail < n_items]

    def best_by_kind(self, walks: Walks, n_history: int, k: int) -> list[RankedPath]:
        """The best walk of each kind (the relations it walks), at most ``k`` of them, best first."""
        if not len(walks.nodes):
            return []
        support = self._support(walks)
        score = self._score(walks, support, n_history)
        order = np.lexsort((*walks.edges.T[::-1], *walks.nodes.T[::-1], -score))
        relations = self._graph.relation[walks.edges]
        kinds: dict[bytes, int] = {}
        for row in order.tolist():
            if kinds.setdefault(relations[row].tobytes(), row) == row and len(kinds) == k:
                break
        return [
            RankedPath(
                tuple(walks.nodes[row].tolist()),
                tuple(walks.edges[row].tolist()),
                float(score[row]),
                int(support[row]),
            )
            for row in kinds.values()
        ]

    def _score(self, walks: Walks, support: Ints, n_history: int) -> NDArray[np.float64]:
        share = self._share_alike(walks.nodes[:, 1], walks.edges[:, 0])
        expected = n_history * share
        surprise = np.maximum(support * np.log(support / expected) - support + expected, 0.0)
        surprise[support <= expected] = 0.0
        insistence = surprise + support / (support + expected)
        if walks.edges.shape[1] > 1:
            share = np.maximum(share, self._share_alike(walks.nodes[:, -2], walks.edges[:, -1]))
        rarity = -np.log(share) / np.log(max(self._n_items, 2))
        weight = self._relative[walks.edges].prod(axis=1)
        return np.asarray(insistence * rarity * weight * LENGTH_DISCOUNT ** walks.edges.shape[1])

    def _share_alike(self, place: Ints, edge: Ints) -> NDArray[np.float64]:
        """Share of all items that reach ``place`` over the relation of ``edge``, an edge into it."""
        relation, n = self._graph.relation[edge], self._n_relations
        key = place * (2 * n) + np.where(relation < n, relation + n, relation - n)
        n_alike = np.searchsorted(self._keys, key, side="right") - np.searchsorted(self._keys, key)
        return np.asarray(np.maximum(n_alike, 1) / self._n_items)

    def _support(self, walks: Walks) -> Ints:
        """How many sources share each walk's way: the relation of the first step and all after it."""
        columns: Sequence[Ints] = (walks.nodes[:, 1], *walks.edges[:, 1:].T)
        group = self._graph.relation[walks.edges[:, 0]].astype(np.int64)
        for column in columns:
            size = int(column.max()) + 1
            _, group = np.unique(group * size + column, return_inverse=True)
        pairs = np.unique(np.stack([group, walks.nodes[:, 0]], axis=1), axis=0)
        counts: Ints = np.bincount(pairs[:, 0])[group]
        return counts
