"""Meta-paths: relation sequences over a typed graph as sparse matrices (Sun et al., VLDB 2011).

The commuting matrix of a path is the product of its steps' adjacencies: ``M(i, j)`` counts the walks along
it. A symmetric path goes there and back, ``M = H H'`` for the matrix ``H`` of its first half. PathSim is
``S(i, j) = 2 M(i, j) / (M(i, i) + M(j, j))``; something without a walk has ``S(i, i) = 1`` and is similar to
nothing else. With row-normalised steps the product holds random-walk probabilities.

Nothing here is ever dense. Two caps bound the work, and what they leave out is counted: an entity in the
middle of a path that more than ``max_degree`` others share (who shares it says little and costs the square of
it), and all but the ``n_nearest`` most similar of each row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kg.errors import UsageError
from recommender.data.interactions import Ints
from recommender.graph.joint import JointGraph

_PRODUCTS_PER_BLOCK = 1 << 22
_TIE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class SymmetricPath:
    """A path from items over other entities back to items, by its first half.

    ``relations`` are those of the first half; the way back takes their inverses. ``half`` [n_items, n_nodes]
    counts the walks from each item to the middle, without the ``n_hubs`` entities there that were too common.
    """

    relations: tuple[int, ...]
    half: sparse.csr_array
    n_hubs: int

    @property
    def n_connected(self) -> int:
        """How many items the path connects with another one."""
        shared = np.bincount(self.half.indices, minlength=self.half.shape[1]) > 1
        rows = np.repeat(np.arange(self.half.shape[0]), np.diff(self.half.indptr))
        return len(np.unique(rows[shared[self.half.indices]]))


@dataclass(frozen=True, slots=True, eq=False)
class SymmetricPaths:
    """The paths of a graph, and those left out with the reason: ``empty``, ``same``, or ``many``."""

    paths: tuple[SymmetricPath, ...]
    left_out: tuple[tuple[tuple[int, ...], str], ...]


def relation_matrix(graph: JointGraph, relation: int) -> sparse.csr_array:
    """How many edges of one relation lead from node to node: [n_nodes, n_nodes]."""
    chosen = np.flatnonzero(graph.relation == relation)
    head = np.searchsorted(graph.indptr, chosen, side="right") - 1
    ones = np.ones(len(chosen))
    return sparse.csr_array((ones, (head, graph.tail[chosen])), shape=(graph.n_nodes, graph.n_nodes))


def item_rows(graph: JointGraph) -> slice:
    """Which nodes the items are."""
    return slice(graph.n_users, graph.n_users + graph.n_items)


def path_steps(
    graph: JointGraph, relations: Sequence[int], start: slice = slice(None)
) -> list[sparse.csr_array]:
    """The adjacencies along a relation sequence; the first one has only the rows of ``start``."""
    first, *others = [relation_matrix(graph, relation) for relation in relations]
    return [first[start], *others]


def commuting_matrix(steps: Sequence[sparse.csr_array]) -> sparse.csr_array:
    """How many walks take all steps in turn: the product. Raises :class:`~kg.errors.UsageError` for none."""
    if not steps:
        raise UsageError("a meta-path has at least one step.")
    return sparse.csr_array(reduce(lambda done, step: done @ step, steps))


def reachability(steps: Sequence[sparse.csr_array]) -> sparse.csr_array:
    """The probability that a walk of random steps ends there: the product of the row-normalised steps.

    A row sums to the probability that the walk does not get stuck.
    """
    return commuting_matrix([row_normalised(step) for step in steps])


def row_normalised(matrix: sparse.csr_array) -> sparse.csr_array:
    """Divide each row by its sum; an empty row stays empty."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(1.0, sums, out=np.zeros(len(sums)), where=sums != 0)
    return _scaled(sparse.csr_array(matrix), scale)


def path_sim(commuting: sparse.csr_array) -> sparse.csr_array:
    """PathSim of a symmetric path's commuting matrix, the diagonal too: [n, n]."""
    diagonal = commuting.diagonal()
    found = sparse.coo_array(commuting)
    off = found.row != found.col
    row, column = found.row[off], found.col[off]
    values = 2 * found.data[off] / (diagonal[row] + diagonal[column])
    both = sparse.csr_array((values, (row, column)), shape=commuting.shape)
    return sparse.csr_array(both + sparse.eye_array(commuting.shape[0]))


def nearest_by_path(halves: Sequence[sparse.csr_array], n_nearest: int) -> sparse.csr_array:
    """The ``n_nearest`` most PathSim-similar others of each row, for ``M = sum of H H'`` over ``halves``.

    One half is a plain symmetric path. Several are a path under a constraint, one half for each value that
    both ends must agree on: the rating, say. The diagonal is left out; of equal similarities a fixed random
    choice is kept, the same columns for every row.

    *Shape:* each [n, n_middle] -> [n, n]
    """
    n = halves[0].shape[0]
    halves = [sparse.csr_array(half, dtype=np.float64) for half in halves]
    diagonal = np.sum([half.multiply(half).sum(axis=1) for half in halves], axis=0)
    backs = [sparse.csr_array(half.T) for half in halves]
    parts = []
    for rows in _blocks(halves):
        products = (half[rows] @ back for half, back in zip(halves, backs, strict=True))
        pairs = sparse.coo_array(reduce(add, products))
        row, column = pairs.row + rows.start, pairs.col
        off = (row != column) & (pairs.data > 0)
        row, column = row[off], column[off]
        values = 2 * pairs.data[off] / (diagonal[row] + diagonal[column])
        shape = (rows.stop - rows.start, n)
        block = sparse.csr_array((values, (row - rows.start, column)), shape=shape)
        parts.append(highest(block, n_nearest))
    return sparse.csr_array(sparse.vstack(parts, format="csr"), dtype=np.float32)


def too_common(half: sparse.csr_array, max_degree: int) -> NDArray[np.bool_]:
    """Which columns more than ``max_degree`` rows share."""
    return np.asarray(np.bincount(half.indices, minlength=half.shape[1]) > max_degree)


def without_columns(matrix: sparse.csr_array, left_out: NDArray[np.bool_]) -> sparse.csr_array:
    """The same matrix with some columns emptied, its rows sorted."""
    matrix = sparse.csr_array(matrix)
    matrix.sort_indices()
    kept = ~left_out[matrix.indices]
    indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return sparse.csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def highest(matrix: sparse.csr_array, n_kept: int) -> sparse.csr_array:
    """The ``n_kept`` highest values of each row; of equal ones a fixed random choice, not the first ids."""
    tie = np.random.default_rng(0).random(matrix.shape[1]) * _TIE
    counts = np.diff(matrix.indptr)
    keep = np.ones(matrix.nnz, dtype=bool)
    for row in np.flatnonzero(counts > n_kept).tolist():
        inside = slice(matrix.indptr[row], matrix.indptr[row + 1])
        key = matrix.data[inside] + tie[matrix.indices[inside]]
        keep[inside] = False
        keep[matrix.indptr[row] + np.argpartition(-key, n_kept)[:n_kept]] = True
    indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, n_kept))])
    return sparse.csr_array((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)


def symmetric(matrix: sparse.csr_array) -> sparse.csr_array:
    """The larger of both directions: what one side kept among its nearest counts for both."""
    return sparse.csr_array(matrix.maximum(matrix.T))


def symmetric_item_paths(
    graph: JointGraph, *, max_length: int = 1, max_degree: int = 5000, max_paths: int = 6
) -> SymmetricPaths:
    """The paths item - X - item along each relation and back, of at most ``max_length`` steps to the middle.

    Interactions are no step. Of two paths that connect the same, a relation and another one that is its
    inverse, the first is kept; of more than ``max_paths`` those that connect the most items.
    """
    items = item_rows(graph)
    kept: list[SymmetricPath] = []
    left_out: list[tuple[tuple[int, ...], str]] = []
    known: set[bytes] = set()
    for relations, counts in _walks_from(graph, items, max_length):
        common = too_common(counts, max_degree)
        path = SymmetricPath(relations, without_columns(counts, common), int(common.sum()))
        if not path.n_connected:
            left_out.append((relations, "empty"))
            continue
        mark = path.half.indptr.tobytes() + path.half.indices.tobytes() + path.half.data.tobytes()
        if mark in known:
            left_out.append((relations, "same"))
            continue
        known.add(mark)
        kept.append(path)
    kept.sort(key=lambda path: (-path.n_connected, path.relations))
    left_out += [(path.relations, "many") for path in kept[max_paths:]]
    return SymmetricPaths(tuple(kept[:max_paths]), tuple(left_out))


def inverse_of(graph: JointGraph, relation: int) -> int:
    """The relation that walks the same edges backwards."""
    if relation >= 2 * graph.n_relations:
        return 4 * graph.n_relations + 1 - relation
    return (relation + graph.n_relations) % (2 * graph.n_relations)


def _walks_from(
    graph: JointGraph, start: slice, max_length: int
) -> Iterator[tuple[tuple[int, ...], sparse.csr_array]]:
    """Every relation sequence without a turn back that some walk takes, the shorter ones first."""
    matrices = [relation_matrix(graph, relation) for relation in range(2 * graph.n_relations)]
    open_walks: list[tuple[tuple[int, ...], sparse.csr_array]]
    open_walks = [((relation,), matrix[start]) for relation, matrix in enumerate(matrices)]
    for length in range(1, max_length + 1):
        open_walks = [(relations, counts) for relations, counts in open_walks if counts.nnz]
        yield from open_walks
        if length < max_length:
            open_walks = [
                ((*relations, relation), counts @ matrix)
                for relations, counts in open_walks
                for relation, matrix in enumerate(matrices)
                if relation != inverse_of(graph, relations[-1])
            ]


def _blocks(halves: Sequence[sparse.csr_array]) -> list[slice]:
    """Consecutive rows whose products with all rows fit a block."""
    n = halves[0].shape[0]
    cost = np.ones(n)
    for half in halves:
        degree = np.bincount(half.indices, minlength=half.shape[1])
        row = np.repeat(np.arange(n), np.diff(half.indptr))
        cost += np.bincount(row, degree[half.indices], minlength=n)
    block = (np.cumsum(cost) // _PRODUCTS_PER_BLOCK).astype(np.int64)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(block)) + 1, [n]])
    return [slice(int(a), int(b)) for a, b in pairwise(edges) if b > a]


def _scaled(matrix: sparse.csr_array, scale: NDArray[np.float64]) -> sparse.csr_array:
    values = matrix.data * np.repeat(scale, np.diff(matrix.indptr))
    indices: Ints = matrix.indices
    return sparse.csr_array((values, indices, matrix.indptr), shape=matrix.shape)
