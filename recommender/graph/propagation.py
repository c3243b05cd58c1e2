"""Layers over a graph, computed only for the rows that somebody asks for.

A row of layer ``l`` reads its own row and its neighbours' rows of layer ``l - 1``. For all users and items
the rows of a layer are a prefix of the graph's nodes (:attr:`~recommender.graph.joint.JointGraph.n_within`).
For the users and items of one batch the last layer needs only their rows, the layer below theirs and their
neighbours', and so on down, until the neighbours are nearly everybody: from there on the prefix is computed.
Either way the numbers are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from recommender.graph.joint import JointGraph
from recommender.graph.segment import SparseMatrix

_WORTH_RESTRICTING = 0.9
"""Above this share of a layer's edges, picking them out costs more than leaving the others out saves."""

Places = Tensor | int
"""Rows of a table: their numbers, or how many first ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What one layer reads from the table below it, the table of nodes or the layer below.

    ``matrix`` [n_rows, n_below] holds the edges of the layer's rows, ``own`` where these rows are below, and
    ``wanted`` where the rows that were asked for are below.
    """

    matrix: SparseMatrix
    own: Places
    wanted: Places


class Propagation:
    """All layers of a graph, lowest first."""

    def __init__(self, graph: JointGraph, n_layers: int, device: torch.device) -> None:
        self._n_nodes, self._n_wanted = graph.n_nodes, graph.n_users + graph.n_items
        within = [graph.n_within[min(hop, len(graph.n_within) - 1)] for hop in range(n_layers - 1, -1, -1)]
        n_edges = graph.indptr[within[0]]
        indptr = torch.from_numpy(graph.indptr[: within[0] + 1]).to(device, torch.int32)
        tail = torch.from_numpy(graph.tail[:n_edges]).to(device, torch.int32)
        self._matrices = [
            SparseMatrix(indptr[: n_rows + 1], tail[: graph.indptr[n_rows]], (n_rows, n_below), device)
            for n_below, n_rows in pairwise([graph.n_nodes, *within])
        ]

    def set_values(self, values: Tensor) -> None:
        """Give the weight of every edge of the graph: [n_edges]."""
        for matrix in self._matrices:
            matrix.set_values(values[: matrix.n_values])

    def everywhere(self) -> list[Layer]:
        """The layers for all users and items."""
        return [Layer(matrix, matrix.shape[0], self._n_wanted) for matrix in self._matrices]

    def towards(self, nodes: Tensor) -> list[Layer] | None:
        """The layers for some users and items, distinct and ascending; ``None`` where all cost no more."""
        if not _worth_restricting(self._matrices[-1], nodes):
            return None
        layers: list[Layer] = []
        rows: Tensor | None = nodes
        for number in reversed(range(len(self._matrices))):
            matrix = self._matrices[number]
            if rows is None:
                layers.append(Layer(matrix, matrix.shape[0], nodes))
                continue
            part, own, wanted = matrix.rows(rows), rows, nodes
            if number > 0:
                near = self._with_neighbours(rows, part)
                if _worth_restricting(self._matrices[number - 1], near):
                    place = torch.empty(self._n_nodes, dtype=torch.int32, device=near.device)
                    place[near] = torch.arange(len(near), dtype=torch.int32, device=near.device)
                    part = part.renumbered(place, len(near))
                    own, wanted, rows = place[rows], place[nodes], near
                else:
                    rows = None
            layers.append(Layer(part, own, wanted))
        return layers[::-1]

    def _with_neighbours(self, rows: Tensor, part: SparseMatrix) -> Tensor:
        """The rows and every column of theirs, ascending."""
        met = torch.zeros(self._n_nodes, dtype=torch.bool, device=rows.device)
        met[rows] = True
        met[part.columns] = True
        return met.nonzero().squeeze(1)


def _worth_restricting(matrix: SparseMatrix, rows: Tensor) -> bool:
    n_values = (matrix.indptr[rows + 1] - matrix.indptr[rows]).sum()
    return bool(n_values <= _WORTH_RESTRICTING * matrix.n_values)


def take(table: Tensor, places: Places) -> Tensor:
    """These rows of a table, as a view where they are the first ones."""
    return table[:places] if isinstance(places, int) else table.index_select(0, places)


def put_back(table: Tensor, places: Places, rows: Tensor) -> None:
    """Add ``rows`` to these rows of a table: the gradient of :func:`take`."""
    if isinstance(places, int):
        table[:places] += rows
    else:
        table.index_add_(0, places, rows.to(table.dtype))
