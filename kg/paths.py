"""Paths in a snapshot: the bounded simple paths from some entities to one, and a shortest path.

A path is worth the product of the confidences of its edges, times ``1 / log2(2 + degree)`` for every entity
it passes through: a genre that thousands of films share says little. The discount is that of Adamic and Adar
("Friends and neighbors on the Web", 2003); the shift by 2 makes every inner entity cost at least one half, so
that shorter paths come first. The two ends cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kg.errors import UsageError
from kg.snapshot import Ints, Snapshot

Scores = NDArray[np.float64]
LONGEST = 4
"""The most edges a path may have: beyond, nearly everything is connected to everything."""

MAX_WALKS = 100_000
"""Half walks, or pairs of them, looked at in one step of a search; of more, the weakest are dropped."""


@dataclass(frozen=True, slots=True)
class Path:
    """A simple path from a source to a target, in the snapshot's dense ids.

    ``entities`` has one more element than ``relations`` and ``triples``. A relation is ``r``, or
    ``r + n_relations`` where the edge is walked against its direction; ``triples`` are rows of the snapshot.
    """

    entities: tuple[int, ...]
    relations: tuple[int, ...]
    triples: tuple[int, ...]
    score: float


@dataclass(frozen=True, slots=True)
class PathSearch:
    """What a search found, best first; ``complete`` says that no walk was dropped on the way."""

    paths: tuple[Path, ...]
    complete: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Walks:
    """Walks of one length. *Shape:* ``nodes`` [n, length + 1], ``edges`` [n, length], ``strength`` [n]."""

    nodes: Ints
    edges: Ints
    strength: Scores

    def __len__(self) -> int:
        return len(self.nodes)

    def take(self, rows: Ints | NDArray[np.bool_]) -> _Walks:
        return _Walks(self.nodes[rows], self.edges[rows], self.strength[rows])


class PathFinder:
    """Finds paths in one snapshot. Making it costs one sort of the edges; keep it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        view = snapshot.adjacency(inverse=True)
        self._indptr, self._neighbour = view.indptr, view.neighbour
        self._relation, self._triple = view.relation, view.triple
        self._discount = 1.0 / np.log2(2.0 + np.diff(view.indptr))
        self._confidence = snapshot.confidence.astype(np.float64)[view.triple]

    def between(
        self,
        sources: Collection[int],
        target: int,
        *,
        max_length: int = 3,
        limit: int = 100,
        one_per_signature: bool = False,
        without: Collection[int] = (),
        max_walks: int = MAX_WALKS,
    ) -> PathSearch:
        """The ``limit`` best simple paths of at most ``max_length`` edges from a source to ``target``.

        Edges are walked in both directions. No path passes through another source: its end would be a path
        of its own. ``one_per_signature`` keeps the best path of each sequence of relations; ``without`` names
        rows of the snapshot that must not be used, such as the fact to be checked. The order is that of
        scores, then of rows. Raises :class:`~kg.errors.UsageError` for ids or lengths out of range.
        """
        self._known([*sources, target])
        if not 1 <= max_length <= LONGEST:
            raise UsageError(f"a path has 1 to {LONGEST} edges, not {max_length}.")
        starts = np.setdiff1d(np.asarray(list(sources), dtype=np.int64), [target])
        search = _Search(self, starts, target, without, max_walks)
        found: list[Path] = []
        for length in range(1, max_length + 1):
            found += self._best(search.paths(length), limit, one_per_signature)
        found.sort(key=lambda path: (-path.score, len(path.triples), path.triples, path.entities))
        if one_per_signature:
            first: dict[tuple[int, ...], Path] = {}
            for path in found:
                first.setdefault(path.relations, path)
            found = list(first.values())
        return PathSearch(tuple(found[:limit]), search.complete)

    def shortest(self, source: int, target: int, *, max_length: int = 6) -> Path | None:
        """A path of the fewest edges, of several the best; ``None`` where there is none that short."""
        self._known([source, target])
        if source == target:
            return Path((source,), (), (), 1.0)
        came_by = np.full(self.snapshot.n_entities, -1, dtype=np.int64)
        came_from = np.full(self.snapshot.n_entities, -1, dtype=np.int64)
        came_from[source] = source
        frontier, strength = np.array([source]), np.ones(1)
        for _ in range(max_length):
            row, edge = self.edges_of(frontier)
            fresh = came_from[self._neighbour[edge]] < 0
            row, edge = row[fresh], edge[fresh]
            reached = self._neighbour[edge]
            worth = strength[row] * self._confidence[edge]
            order = np.lexsort((self._triple[edge], -worth, reached))
            best = order[np.r_[True, reached[order][1:] != reached[order][:-1]]] if len(order) else order
            came_by[reached[best]], came_from[reached[best]] = edge[best], frontier[row[best]]
            if came_from[target] >= 0:
                return self._walked_back(source, target, came_by, came_from)
            frontier = reached[best]
            strength = worth[best] * self._discount[frontier]
        return None

    def spell(self, path: Path) -> str:
        """The path in names: ``Heat -DIRECTED_BY-> Mann <-DIRECTED_BY- Ali``."""
        names, relations = self.snapshot.entity_names, self.snapshot.relation_names
        text = names[path.entities[0]]
        for relation, entity in zip(path.relations, path.entities[1:], strict=True):
            forward = relation < len(relations)
            name = relations[relation % len(relations)]
            text += f" -{name}-> {names[entity]}" if forward else f" <-{name}- {names[entity]}"
        return text

    def edges_of(self, nodes: Ints) -> tuple[Ints, Ints]:
        """All edges out of each node: the row of ``nodes`` they belong to, and their position."""
        degree = self.degrees(nodes)
        row = np.repeat(np.arange(len(nodes)), degree)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(degree) - degree, degree)
        return row, np.repeat(self._indptr[nodes], degree) + offset

    def degrees(self, nodes: Ints) -> Ints:
        """How many edges each node has, in both directions."""
        return self._indptr[nodes + 1] - self._indptr[nodes]

    def extend(self, walks: _Walks, banned: Ints, is_source: NDArray[np.bool_]) -> _Walks:
        """Every walk by every edge that leads to a node it has not met."""
        row, edge = self.edges_of(walks.nodes[:, -1])
        reached = self._neighbour[edge]
        kept = ~is_source[reached] & ~(walks.nodes[row] == reached[:, None]).any(axis=1)
        if len(banned):
            kept &= ~np.isin(self._triple[edge], banned)
        row, edge, reached = row[kept], edge[kept], reached[kept]
        return _Walks(
            np.column_stack([walks.nodes[row], reached]),
            np.column_stack([walks.edges[row], edge]),
            walks.strength[row] * self._confidence[edge] * self._discount[reached],
        )

    def _best(self, walks: _Walks, limit: int, one_per_signature: bool) -> list[Path]:
        """The best walks as paths, more than ``limit`` only where scores are equal.

        Whole paths are scored anew from their source on: no score depends on where halves met.
        """
        if not len(walks) or limit < 1:
            return []
        score = np.ones(len(walks))
        for column in walks.edges.T:
            score *= self._confidence[column]
        for column in walks.nodes[:, 1:-1].T:
            score *= self._discount[column]
        rows = np.arange(len(walks))
        if one_per_signature:
            _, kind = np.unique(self._relation[walks.edges], axis=0, return_inverse=True)
            highest = np.zeros(int(kind.max()) + 1)
            np.maximum.at(highest, kind, score)
            rows = np.flatnonzero(score == highest[kind])
        elif len(rows) > limit:
            rows = np.flatnonzero(score >= np.partition(score, -limit)[-limit])
        nodes, edges = walks.nodes[rows], walks.edges[rows]
        # A walk back from the target holds its edges against their direction.
        forward = self.snapshot.triples[self._triple[edges], 0] == nodes[:, :-1]
        relations = self._relation[edges] % self.snapshot.n_relations
        relations += np.where(forward, 0, self.snapshot.n_relations)
        triples = self._triple[edges].tolist()
        parts = zip(nodes.tolist(), relations.tolist(), triples, score[rows].tolist(), strict=True)
        return [Path(tuple(n), tuple(r), tuple(t), worth) for n, r, t, worth in parts]

    def _walked_back(self, source: int, target: int, came_by: Ints, came_from: Ints) -> Path:
        nodes, edges = [target], []
        while nodes[-1] != source:
            edges.append(int(came_by[nodes[-1]]))
            nodes.append(int(came_from[nodes[-1]]))
        walk = _Walks(np.array([nodes[::-1]]), np.array([edges[::-1]]), np.ones(1))
        return self._best(walk, 1, False)[0]

    def _known(self, entities: Iterable[int]) -> None:
        for entity in entities:
            if not 0 <= entity < self.snapshot.n_entities:
                raise UsageError(
                    f"there is no entity {entity} in this snapshot.",
                    hint=f"Its dense ids are 0 to {self.snapshot.n_entities - 1}.",
                )


class _Search:
    """One search: half walks from both ends, grown when they are needed, that meet in the middle.

    A path of three edges can meet after one or after two; the cheaper side grows, so that a hub on one side
    is not opened.
    """

    def __init__(
        self, finder: PathFinder, sources: Ints, target: int, without: Collection[int], max_walks: int
    ) -> None:
        self.complete = True
        self._finder = finder
        self._banned = np.asarray(sorted(without), dtype=np.int64)
        self._max_walks = max_walks
        self._is_source = np.zeros(finder.snapshot.n_entities, dtype=bool)
        self._is_source[sources] = True
        self._is_target = np.zeros(finder.snapshot.n_entities, dtype=bool)
        self._is_target[target] = True
        self._out = [_start(sources)]
        self._back = [_start(np.array([target]))]

    def paths(self, length: int) -> _Walks:
        """All paths of exactly ``length`` edges."""
        n_out, n_back = length // 2, length - length // 2
        if length == 3 and self._cost(self._walk(self._out, 1)) < self._cost(self._walk(self._back, 1)):
            n_out, n_back = 2, 1
        return self._meet(self._walk(self._out, n_out), self._walk(self._back, n_back))

    def _walk(self, grown: list[_Walks], length: int) -> _Walks:
        """Walks of a length from one end; the way back may end in a source, but never pass through one."""
        while len(grown) <= length:
            last = grown[-1]
            nowhere = self._is_source | self._is_target if grown is self._out else self._is_target
            if grown is self._back:
                last = last.take(~self._is_source[last.nodes[:, -1]])
            grown.append(self._finder.extend(self._affordable(last), self._banned, nowhere))
        return grown[length]

    def _cost(self, walks: _Walks) -> int:
        return int(self._finder.degrees(walks.nodes[:, -1]).sum())

    def _affordable(self, walks: _Walks) -> _Walks:
        """The strongest walks whose edges together are few enough to look at."""
        cost = self._finder.degrees(walks.nodes[:, -1])
        return walks.take(self._strongest(walks.strength, cost))

    def _strongest(self, strength: Scores, cost: Ints) -> Ints:
        order = np.argsort(-strength, kind="stable")
        if int(cost.sum()) <= self._max_walks:
            return order
        self.complete = False
        return order[np.cumsum(cost[order]) <= self._max_walks]

    def _meet(self, out: _Walks, back: _Walks) -> _Walks:
        """Join the walks that end in the same node and share no other."""
        back = back.take(np.lexsort((-back.strength, back.nodes[:, -1])))
        ends = back.nodes[:, -1]
        first = np.searchsorted(ends, out.nodes[:, -1], side="left")
        count = np.searchsorted(ends, out.nodes[:, -1], side="right") - first
        kept = self._strongest(out.strength, count)
        row = np.repeat(kept, count[kept])
        offset = np.arange(len(row)) - np.repeat(np.cumsum(count[kept]) - count[kept], count[kept])
        other = first[row] + offset
        one, two = out.nodes[row], back.nodes[other][:, -2::-1]
        apart = np.ones(len(row), dtype=bool)
        for column in one.T:
            apart &= ~(two == column[:, None]).any(axis=1)
        row, other = row[apart], other[apart]
        return _Walks(
            np.column_stack([one[apart], two[apart]]),
            np.column_stack([out.edges[row], back.edges[other][:, ::-1]]),
            out.strength[row] * back.strength[other],
        )


def _start(nodes: Ints) -> _Walks:
    return _Walks(nodes.reshape(-1, 1), np.empty((len(nodes), 0), dtype=np.int64), np.ones(len(nodes)))
