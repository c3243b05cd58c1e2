"""The attention of a relation's translation, on every edge of a joint graph."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recommender.data.sampling import batches
from recommender.graph.joint import JointGraph
from recommender.graph.segment import segment_softmax

_EDGES_AT_ONCE = 1 << 16
_EDGES_MULTIPLIED = 1 << 13


class TranslationAttention:
    """``softmax over the edges out of h of (W_r e_t) · tanh(W_r e_h + e_r)``, relation by relation.

    A node is projected once for each relation it occurs in, not once per edge; where a relation has more
    than 65,536 edges, a tail once for each so many of them. So at 64 dimensions less than 80 MB is used
    beside the result, however large the graph is.
    """

    def __init__(self, graph: JointGraph, heads: NDArray[np.int32], device: torch.device) -> None:
        self._heads, self._tails = heads, graph.tail
        self._indptr = torch.from_numpy(graph.indptr).to(device)
        self._by_relation = np.argsort(graph.relation, kind="stable").astype(np.int32)
        counts = np.bincount(graph.relation, minlength=graph.n_all_relations)
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._place = np.empty(graph.n_nodes, dtype=np.int32)

    def uniform(self) -> Tensor:
        """1 / degree for every edge: [n_edges]."""
        degree = torch.diff(self._indptr)
        return torch.repeat_interleave(1.0 / degree, degree)

    def weights(self, nodes: Tensor, projections: Tensor, relations: Tensor) -> Tensor:
        """The attention of every edge: [n_edges].

        *Shape:* ``nodes`` [n_nodes, dim], ``projections`` [n_relations, dim, relation_dim], ``relations``
        [n_relations, relation_dim].
        """
        logits = torch.empty(len(self._tails), device=nodes.device, dtype=nodes.dtype)
        for relation, (projection, vector) in enumerate(zip(projections, relations, strict=True)):
            members = self._by_relation[self._starts[relation] : self._starts[relation + 1]]
            for rows in batches(len(members), _EDGES_AT_ONCE):
                chunk = members[rows]
                places = torch.from_numpy(chunk).to(nodes.device)
                logits[places] = self._logits(chunk, nodes, projection, vector)
        return self._softmax(logits)

    def _softmax(self, logits: Tensor) -> Tensor:
        """In place, over the edges of some nodes at a time."""
        ends = self._indptr
        first = 0
        while first < len(ends) - 1:
            start = int(ends[first])
            last = max(first + 1, int(torch.searchsorted(ends, start + _EDGES_AT_ONCE, right=True)) - 1)
            stop = int(ends[last])
            logits[start:stop] = segment_softmax(logits[start:stop], ends[first : last + 1] - start)
            first = last
        return logits

    def _logits(self, edges: NDArray[np.int32], nodes: Tensor, projection: Tensor, vector: Tensor) -> Tensor:
        head_rows, head_place = self._distinct(self._heads[edges], nodes.device)
        tail_rows, tail_place = self._distinct(self._tails[edges], nodes.device)
        heads = torch.addmm(vector, nodes.index_select(0, head_rows), projection).tanh_()
        tails = nodes.index_select(0, tail_rows) @ projection
        parts = [
            (heads.index_select(0, head_place[rows]) * tails.index_select(0, tail_place[rows])).sum(dim=1)
            for rows in batches(len(edges), _EDGES_MULTIPLIED)
        ]
        return torch.cat(parts)

    def _distinct(self, wanted: NDArray[np.integer], device: torch.device) -> tuple[Tensor, Tensor]:
        """The nodes that occur, ascending, and at which of them each one is."""
        occurs = np.zeros(len(self._place), dtype=bool)
        occurs[wanted] = True
        found = np.flatnonzero(occurs)
        self._place[found] = np.arange(len(found), dtype=np.int32)
        return torch.from_numpy(found).to(device), torch.from_numpy(self._place[wanted]).to(device)
