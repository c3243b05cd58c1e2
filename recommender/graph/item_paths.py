"""The short paths between items through the knowledge graph, found for all items at once and kept as a trie.

A path starts at an item, walks at most three edges in either direction, meets no node twice, and ends at
another item. Interactions are no edges here: a path never uses the link between user and candidate that it
is to explain. Of each item's paths the shortest are kept, of equally long ones those that a random walk takes
most often (the product of 1 / degree), of equally likely ones a scattered part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Ints
from recommender.data.sampling import batches
from recommender.graph.joint import JointGraph

_ITEMS_PER_CHUNK = 256
_EDGES_PER_ITEM = 20_000
"""Edges looked at in one step from one item: of more, those of the likeliest walks."""


@dataclass(frozen=True, slots=True, eq=False)
class PathTrie:
    """Paths that begin alike share their first nodes, and with them what is computed along the way.

    Nodes are sorted by depth; those of depth d are ``starts[d]`` to ``starts[d + 1]``. A node stands for the
    path from its root to it.

    *Shape:* ``parent``, ``relation``, ``entity`` [n_nodes]; a root has parent and relation -1.
    """

    parent: Ints
    relation: Ints
    entity: Ints
    starts: Ints

    @classmethod
    def of(cls, entities: Ints, relations: Ints) -> tuple[PathTrie, Ints]:
        """The trie of some paths, and each one's node: equal paths have one node.

        *Shape:* ``entities`` [n_paths, length + 1], ``relations`` [n_paths, length], -1 after a path's end.
        """
        n_entities, n_relations = int(entities.max(initial=0)) + 1, int(relations.max(initial=0)) + 1
        roots, node = np.unique(entities[:, 0], return_inverse=True)
        parts = [(np.full(len(roots), -1), np.full(len(roots), -1), roots)]
        starts = [0, len(roots)]
        ends = node.astype(np.int64)
        for step in range(relations.shape[1]):
            rows = np.flatnonzero(relations[:, step] >= 0)
            edge = relations[rows, step] * n_entities + entities[rows, step + 1]
            keys, place = np.unique(ends[rows] * (n_relations * n_entities) + edge, return_inverse=True)
            parent, edge = np.divmod(keys, n_relations * n_entities)
            parts.append((parent, edge // n_entities, edge % n_entities))
            ends[rows] = starts[-1] + place
            starts.append(starts[-1] + len(keys))
        parent, relation, entity = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(parent, relation, entity, np.asarray(starts)), ends

    def __len__(self) -> int:
        return len(self.parent)

    def depth(self, nodes: Ints) -> Ints:
        """How many edges the path to each node has."""
        return np.searchsorted(self.starts, nodes, side="right").astype(np.int64) - 1

    def levels(self, nodes: Ints) -> list[Ints]:
        """The given nodes and all above them, by depth, each once and sorted."""
        nodes = np.unique(nodes)
        cuts = np.searchsorted(nodes, self.starts)
        found: list[Ints] = []
        above = np.zeros(0, dtype=np.int64)
        for depth in range(len(self.starts) - 2, -1, -1):
            here = np.union1d(nodes[cuts[depth] : cuts[depth + 1]], above)
            found.append(here)
            above = self.parent[here]
        return found[::-1]

    def spell(self, node: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The entities of a path and the relations between them."""
        entities, relations = [int(self.entity[node])], []
        while self.parent[node] >= 0:
            relations.append(int(self.relation[node]))
            node = int(self.parent[node])
            entities.append(int(self.entity[node]))
        return tuple(entities[::-1]), tuple(relations[::-1])

    def kinds(self) -> tuple[Ints, list[tuple[int, ...]]]:
        """Which sequence of relations leads to each node, and those sequences: [n_nodes]."""
        kind = np.zeros(len(self), dtype=np.int64)
        spelled: list[tuple[int, ...]] = [()]
        for first, last in zip(self.starts[1:-1], self.starts[2:], strict=True):
            n_relations = int(self.relation.max(initial=0)) + 1
            keys = kind[self.parent[first:last]] * n_relations + self.relation[first:last]
            unique, place = np.unique(keys, return_inverse=True)
            kind[first:last] = len(spelled) + place
            spelled += [(*spelled[key // n_relations], key % n_relations) for key in unique.tolist()]
        return kind, spelled


@dataclass(frozen=True, slots=True, eq=False)
class PathsOfRows:
    """Some paths for each of several rows: those of row n are ``paths[indptr[n]:indptr[n + 1]]``."""

    indptr: Ints
    paths: Ints

    @classmethod
    def best(cls, rows: Ints, n_rows: int, paths: Ints, rank: Ints, limit: int) -> PathsOfRows:
        """Of every row's paths the ``limit`` of the lowest rank, each path once.

        *Shape:* ``rows``, ``paths`` and ``rank`` [n]; the rank goes with the path.
        """
        order = np.lexsort((paths, rank, rows))
        rows, paths = rows[order], paths[order]
        fresh = np.ones(len(rows), dtype=bool)
        fresh[1:] = (rows[1:] != rows[:-1]) | (paths[1:] != paths[:-1])
        rows, paths = rows[fresh], paths[fresh]
        first = np.searchsorted(rows, np.arange(n_rows + 1))
        kept = np.arange(len(rows)) - first[rows] < limit
        counts = np.minimum(np.diff(first), limit)
        return cls(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), paths[kept])


@dataclass(frozen=True, slots=True, eq=False)
class ItemPaths:
    """All paths that were kept, sorted by (source, target): ``keys`` is ``source * n_items + target``.

    *Shape:* ``keys``, ``path`` (nodes of ``trie``) and ``rank`` (shorter and likelier is lower) [n_paths].
    """

    n_items: int
    trie: PathTrie
    keys: Ints
    path: Ints
    rank: Ints

    @classmethod
    def of(cls, graph: JointGraph, *, max_length: int = 3, per_item: int = 200) -> ItemPaths:
        """Find the paths of all items, ``per_item`` of each at most."""
        search = _Search(graph, max_length, per_item)
        parts = [search.paths_of(rows) for rows in batches(graph.n_items, _ITEMS_PER_CHUNK)]
        entities, relations, likelihood = (np.concatenate(column) for column in zip(*parts, strict=True))
        trie, path = PathTrie.of(entities, relations)
        length = (relations >= 0).sum(axis=1)
        target = entities[np.arange(len(entities)), length]
        keys = entities[:, 0] * graph.n_items + target
        rank = np.empty(len(keys), dtype=np.int64)
        rank[np.lexsort((path, -likelihood, length))] = np.arange(len(keys))
        order = np.lexsort((rank, keys))
        return cls(graph.n_items, trie, keys[order], path[order], rank[order])

    @property
    def target(self) -> Ints:
        """Where each path ends."""
        return self.keys % self.n_items

    def between(self, sources: Ints, targets: Ints, limit: int) -> PathsOfRows:
        """For each row the best paths from any of its sources to its target.

        *Shape:* ``sources`` [n_rows, n_sources], below 0 where there are fewer; ``targets`` [n_rows].
        """
        row, column = np.nonzero(sources >= 0)
        wanted = sources[row, column] * self.n_items + targets[row]
        row, entry = _runs(row, wanted, wanted + 1, self.keys)
        return PathsOfRows.best(row, len(targets), self.path[entry], self.rank[entry], limit)

    def reached(self, sources: Ints, limit: int) -> tuple[Ints, Ints, PathsOfRows]:
        """Every item that each row's sources reach, and the best paths to it.

        *Shape:* ``sources`` [n_rows, n_sources] -> rows and items [n_reached], and their paths.
        """
        row, column = np.nonzero(sources >= 0)
        first = sources[row, column] * self.n_items
        row, entry = _runs(row, first, first + self.n_items, self.keys)
        pair, place = np.unique(row * self.n_items + self.target[entry], return_inverse=True)
        best = PathsOfRows.best(place, len(pair), self.path[entry], self.rank[entry], limit)
        return pair // self.n_items, pair % self.n_items, best


def _runs(row: Ints, low: Ints, high: Ints, keys: Ints) -> tuple[Ints, Ints]:
    """The positions of all keys from ``low`` on and below ``high``, with the row that asked."""
    first = np.searchsorted(keys, low)
    n = np.searchsorted(keys, high) - first
    offset = np.arange(int(n.sum())) - np.repeat(np.cumsum(n) - n, n)
    return np.repeat(row, n), np.repeat(first, n) + offset


class _Search:
    """Grows the walks of a chunk of items edge by edge."""

    def __init__(self, graph: JointGraph, max_length: int, per_item: int) -> None:
        known = graph.knowledge(inverse=True)
        head, self._tail, self._relation = known.head, known.tail, known.relation
        self._indptr = known.indptr
        self._chance = 1.0 / np.maximum(np.diff(self._indptr), 1)
        self._to_items = np.flatnonzero(self._tail < graph.n_items)
        self._to_items_indptr = _indptr(head[self._to_items], graph.n_entities)
        self._every_edge = np.arange(len(head))
        self._max_length, self._per_item, self._n_items = max_length, per_item, graph.n_items
        # Whether an item is within so many edges of a node: walks that cannot end are not grown.
        near = np.diff(self._to_items_indptr) > 0
        self._can_end = [near]
        for _ in range(max_length - 1):
            wider = near.copy()
            wider[head[near[self._tail]]] = True
            near = wider
            self._can_end.append(near)

    def paths_of(self, items: slice) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """Entities [n_paths, max_length + 1], relations [n_paths, max_length] and likelihood [n_paths]."""
        nodes: Ints = np.arange(items.start, items.stop)[:, None]
        relations = np.zeros((len(nodes), 0), dtype=np.int64)
        likelihood: NDArray[np.float64] = np.ones(len(nodes))
        found: list[tuple[Ints, Ints, NDArray[np.float64]]] = []
        for length in range(1, self._max_length + 1):
            found.append(self._step(nodes, relations, likelihood, self._to_items_indptr, self._to_items))
            if length < self._max_length:
                grown = self._step(nodes, relations, likelihood, self._indptr, self._every_edge)
                alive = self._can_end[self._max_length - length - 1][grown[0][:, -1]]
                nodes, relations, likelihood = grown[0][alive], grown[1][alive], grown[2][alive]
        width = self._max_length
        parts = [(_padded(e, width + 1), _padded(r, width), x) for e, r, x in found]
        entities, relations = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
        likelihood = np.concatenate([part[2] for part in parts])
        best = self._best(entities, relations, likelihood)
        return entities[best], relations[best], likelihood[best]

    def _step(
        self, nodes: Ints, relations: Ints, likelihood: NDArray[np.float64], indptr: Ints, edges: Ints
    ) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """Every walk by every edge that leads to a node it has not met."""
        cost = np.diff(indptr)[nodes[:, -1]]
        walk = self._affordable(nodes, likelihood, cost)
        row = np.repeat(walk, cost[walk])
        before = np.repeat(np.cumsum(cost[walk]) - cost[walk], cost[walk])
        edge = edges[np.repeat(indptr[nodes[walk, -1]], cost[walk]) + np.arange(len(row)) - before]
        reached = self._tail[edge]
        fresh = np.ones(len(row), dtype=bool)
        for column in nodes.T:
            fresh &= column[row] != reached
        row, edge, reached = row[fresh], edge[fresh], reached[fresh]
        chance = likelihood[row] * self._chance[nodes[row, -1]]
        return (
            np.column_stack([nodes[row], reached]),
            np.column_stack([relations[row], self._relation[edge]]),
            chance,
        )

    def _affordable(self, nodes: Ints, likelihood: NDArray[np.float64], cost: Ints) -> Ints:
        """The likeliest walks of each item whose edges together are few enough to look at."""
        order = np.lexsort((_scatter(nodes), -likelihood, nodes[:, 0]))
        total = np.cumsum(cost[order])
        source = nodes[order, 0]
        start = np.searchsorted(source, source)
        spent = total - (total[start] - cost[order][start])
        affordable: Ints = order[spent <= _EDGES_PER_ITEM]
        return affordable

    def _best(self, entities: Ints, relations: Ints, likelihood: NDArray[np.float64]) -> Ints:
        length = (relations >= 0).sum(axis=1)
        order = np.lexsort((_scatter(entities), -likelihood, length, entities[:, 0]))
        source = entities[order, 0]
        place = np.arange(len(order)) - np.searchsorted(source, source)
        best: Ints = order[place < self._per_item]
        return best


def _indptr(head: Ints, n: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(head, minlength=n))]).astype(np.int64)


def _padded(values: Ints, width: int) -> Ints:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=-1)


def _scatter(nodes: Ints) -> Ints:
    """A number for each walk that says nothing: it orders equal ones by no id."""
    mixed = np.zeros(len(nodes), dtype=np.uint64)
    for column in nodes.T:
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    number: Ints = (mixed >> np.uint64(1)).astype(np.int64)
    return number
