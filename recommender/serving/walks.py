"""Bounded simple paths from a set of sources to one target on a CSR graph, the strongest first.

The search grows from the target and meets the edges of the sources, so the last step into a hub with a
hundred thousand neighbours costs nothing. Where a layer grows beyond ``max_walks``, the weakest are
dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Walks:
    """Paths of one length, source first.

    *Shape:* ``nodes`` [n_walks, length + 1], ``edges`` [n_walks, length], ``strength`` [n_walks]. ``edges``
    are positions in the CSR; each connects its two neighbours in ``nodes``, in either direction.
    """

    nodes: Ints
    edges: Ints
    strength: NDArray[np.float64]


def walks_to(
    target: int,
    sources: Ints,
    indptr: Ints,
    tail: Ints,
    weight: Floats,
    *,
    max_length: int = 3,
    max_walks: int = 20_000,
) -> list[Walks]:
    """All simple paths of at most ``max_length`` edges from a source to ``target``, by length.

    No path passes through another source or comes back to a node. The strength of a path is the product of
    the weights of its edges. The graph must hold both directions of every edge.

    *Shape:* ``sources`` [n_sources], ``indptr`` [n_nodes + 1], ``tail`` and ``weight`` [n_edges].
    """
    sources = np.setdiff1d(sources, [target])
    is_source = np.zeros(len(indptr) - 1, dtype=bool)
    is_source[sources] = True
    row, out = _edges_of(sources, indptr)
    order = np.argsort(tail[out], kind="stable")
    start, out = sources[row][order], out[order]
    reached = tail[out]
    found = []
    nodes, edges = np.asarray([[target]]), np.empty((1, 0), dtype=np.int64)
    strength = np.ones(1)
    for length in range(1, max_length + 1):
        row, meeting = _matches(nodes[:, 0], reached)
        fresh = ~(nodes[row] == start[meeting][:, None]).any(axis=1)
        row, meeting = row[fresh], meeting[fresh]
        found.append(
            Walks(
                np.column_stack([start[meeting], nodes[row]]),
                np.column_stack([out[meeting], edges[row]]),
                strength[row] * weight[out[meeting]],
            )
        )
        if length == max_length:
            break
        row, step = _edges_of(nodes[:, 0], indptr)
        kept = ~is_source[tail[step]] & ~(nodes[row] == tail[step][:, None]).any(axis=1)
        row, step = row[kept], step[kept]
        strength = strength[row] * weight[step]
        if len(row) > max_walks:
            strongest = np.sort(np.argsort(-strength, kind="stable")[:max_walks])
            row, step, strength = row[strongest], step[strongest], strength[strongest]
        nodes, edges = np.column_stack([tail[step], nodes[row]]), np.column_stack([step, edges[row]])
    return found


def _edges_of(nodes: Ints, indptr: Ints) -> tuple[Ints, Ints]:
    """All edges out of each node: which row they belong to, and their positions."""
    degree = indptr[nodes + 1] - indptr[nodes]
    row = np.repeat(np.arange(len(nodes)), degree)
    offset = np.arange(int(degree.sum())) - np.repeat(np.cumsum(degree) - degree, degree)
    return row, np.repeat(indptr[nodes], degree) + offset


def _matches(wanted: Ints, sorted_keys: Ints) -> tuple[Ints, Ints]:
    """All (row of ``wanted``, position in ``sorted_keys``) with equal values."""
    first = np.searchsorted(sorted_keys, wanted, side="left")
    n = np.searchsorted(sorted_keys, wanted, side="right") - first
    row = np.repeat(np.arange(len(wanted)), n)
    offset = np.arange(int(n.sum())) - np.repeat(np.cumsum(n) - n, n)
    return row, np.repeat(first, n) + offset
