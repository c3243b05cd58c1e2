"""A fixed number of neighbours per entity, as tables, and the nodes that so many hops of them reach.

Only the knowledge graph counts, in both directions; interactions are left out. An entity with more edges than
the table has columns is given that many of them at random, without repeats. One with fewer is padded: what is
padding is masked, so a result does not depend on how many columns there are. ``with_replacement`` is what
published code does instead: the few edges of an entity are drawn again and again until its row is full, and
some of them count double by chance.

An entity without any edge has itself as neighbour, by a relation of its own, and all of it masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Ints
from recommender.graph.joint import JointGraph

Flags = NDArray[np.bool_]
_PRODUCTS_AT_ONCE = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourTable:
    """Neighbours by entity.

    Relations are the joint graph's, ``0..2R-1``; the number 2R marks padding (``n_relations`` counts it too).
    *Shape:* ``near``, ``relation``, ``mask`` [n_entities, k]; the masked-in columns come first.
    """

    near: Ints
    relation: Ints
    mask: Flags
    n_relations: int

    @classmethod
    def draw(
        cls, graph: JointGraph, k: int, rng: np.random.Generator, *, with_replacement: bool = False
    ) -> NeighbourTable:
        """Draw ``k`` columns; the same ``rng`` gives the same table."""
        known = graph.knowledge(inverse=True)
        head, tail, relation = known.head, known.tail, known.relation
        n = graph.n_entities
        degree, first = np.diff(known.indptr), known.indptr[:-1]
        padding = 2 * graph.n_relations
        near = np.repeat(np.arange(n, dtype=np.int64)[:, None], k, axis=1)
        kind = np.full((n, k), padding, dtype=np.int64)
        mask = np.arange(k) < np.minimum(degree, k)[:, None]
        edges = _at_most(k, head, degree, first, rng)
        near[mask], kind[mask] = tail[edges], relation[edges]
        short = np.flatnonzero((degree > 0) & (degree < k))
        if with_replacement and len(short):
            drawn = first[short, None] + (rng.random((len(short), k)) * degree[short, None]).astype(np.int64)
            near[short], kind[short], mask[short] = tail[drawn], relation[drawn], True
        return cls(near, kind, mask, padding + 1)


def _at_most(k: int, head: Ints, degree: Ints, first: Ints, rng: np.random.Generator) -> Ints:
    """At most ``k`` edges of each head, evenly at random, in the order they have."""
    crowded = np.flatnonzero(degree[head] > k)
    order = np.lexsort((rng.random(len(crowded)), head[crowded]))
    # Edges of one head stay together, so the place within its run is the place in the random order.
    counts = degree[np.unique(head[crowded])]
    place = np.arange(len(crowded)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.ones(len(head), dtype=bool)
    kept[crowded] = False
    kept[crowded[order[place < k]]] = True
    return np.flatnonzero(kept)


@dataclass(frozen=True, slots=True, eq=False)
class Hop:
    """Nodes of one level and where they and their neighbours are on the level below it.

    Nodes that have the same relations in the same columns share a row of ``patterns``: what only depends on
    relations is computed once for all of them.
    *Shape:* ``own``, ``pattern`` [n_nodes]; ``near`` [n_nodes, k]; ``relation``, ``mask`` [n_patterns, k].
    """

    own: Ints
    near: Ints
    pattern: Ints
    relation: Ints
    mask: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """What some nodes see through ``len(hops)`` hops, each node of a level once.

    ``hops`` go from the farthest to the nearest; ``farthest`` holds the nodes of the lowest level, and the
    last hop's nodes are those that were asked for, in their order.
    """

    farthest: Ints
    hops: tuple[Hop, ...]

    @classmethod
    def of(cls, table: NeighbourTable, nodes: Ints, n_hops: int) -> Field:
        """The field of ``nodes``, which may repeat."""
        hops = []
        for _ in range(n_hops):
            near = table.near[nodes]
            below = np.unique(np.concatenate([nodes, near.ravel()]))
            relation, mask, pattern = _patterns(table.relation[nodes], table.mask[nodes])
            hops.append(
                Hop(np.searchsorted(below, nodes), np.searchsorted(below, near), pattern, relation, mask)
            )
            nodes = below
        return cls(nodes, tuple(reversed(hops)))


def _patterns(relation: Ints, mask: Flags) -> tuple[Ints, Flags, Ints]:
    """Distinct rows of both, and which one each row is."""
    joined = np.ascontiguousarray(2 * relation + mask)
    as_bytes = joined.view(np.dtype((np.void, joined.dtype.itemsize * joined.shape[1]))).ravel()
    _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
    return relation[first], mask[first], which.astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class SecondOrder:
    """Which rows share something, as CSR by row with the columns sorted.

    ``count`` says in how many ways two rows share; ``n_skipped`` how many things too many rows share, so that
    they linked nobody.
    *Shape:* ``indptr`` [n + 1]; ``near``, ``count`` [n_links].
    """

    indptr: Ints
    near: Ints
    count: Ints
    n_skipped: int

    @classmethod
    def of(cls, incidence: Any, k: int, rng: np.random.Generator, *, max_degree: int) -> SecondOrder:
        """Link rows of ``incidence`` (scipy CSR, [n, n_things], counts) that share things.

        The counts are those of ``incidence`` times its transpose, less the diagonal. Each row keeps the ``k``
        it shares most with, equals in random order. What more than ``max_degree`` rows share says little and
        would cost the square of it, so it is skipped.
        """
        degree = np.bincount(incidence.indices, minlength=incidence.shape[1])
        some = incidence[:, np.flatnonzero((degree >= 2) & (degree <= max_degree))].astype(np.int64)
        columns = some.T.tocsr()
        cost = some.astype(bool) @ np.diff(columns.indptr)
        pieces = np.searchsorted(np.cumsum(cost), np.arange(0, int(cost.sum()) + 1, _PRODUCTS_AT_ONCE))
        bounds = np.unique([0, *pieces, len(cost)])
        parts = []
        for start, end in pairwise(bounds.tolist()):
            product = (some[start:end] @ columns).tocoo()
            row, near = product.row.astype(np.int64) + start, product.col.astype(np.int64)
            other = row != near
            parts.append(_most(k, row[other], near[other], product.data[other], rng))
        return cls._joined(parts, incidence.shape[0], int((degree > max_degree).sum()))

    @classmethod
    def of_pairs(cls, pairs: Ints, n: int, k: int, rng: np.random.Generator) -> SecondOrder:
        """Rows that are linked already: [n_pairs, 2], in both directions, at most ``k`` each."""
        either = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
        either = np.unique(either[either[:, 0] != either[:, 1]], axis=0)
        row, near = either.T
        return cls._joined([_most(k, row, near, np.ones(len(row), dtype=np.int64), rng)], n, 0)

    @classmethod
    def _joined(cls, parts: list[tuple[Ints, Ints, Ints]], n: int, n_skipped: int) -> SecondOrder:
        row, near, count = (np.concatenate(column) for column in zip(*parts, strict=True))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))]).astype(np.int64)
        return cls(indptr, near, count, n_skipped)


def _most(k: int, row: Ints, near: Ints, count: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Of each row the ``k`` of highest count, then by row and column."""
    order = np.lexsort((rng.random(len(row)), -count, row))
    lengths = np.bincount(row) if len(row) else np.zeros(0, np.int64)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = order[place < k]
    kept = kept[np.lexsort((near[kept], row[kept]))]
    return row[kept], near[kept], count[kept]
