"""Layers over a sample of the neighbours, for graphs whose layers do not fit in memory.

A row of a layer reads at most ``fan_out`` of its edges: all, where it has no more, else so many drawn evenly
with replacement, each weighing ``degree / fan_out`` times as much, so that the expected sum is the whole one
(GraphSAGE's sampling: Hamilton et al., NeurIPS 2017). A batch of ``n`` rows then reads at most
``n (fan_out + 1)^n_layers`` rows of the lowest layer, however large the graph is.

Torch Geometric's own sampler needs ``pyg-lib`` or ``torch-sparse``, which are compiled for each version of
torch; :func:`neighbour_loader` gives its loaders a sampler that needs neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kg.errors import ConfigurationError
from recommender.data.interactions import Ints
from recommender.graph.joint import JointGraph
from recommender.graph.propagation import Layer, Propagation
from recommender.graph.segment import SparseMatrix


class SampledPropagation(Propagation):
    """As :class:`~recommender.graph.propagation.Propagation`, but layers towards some rows read samples."""

    def __init__(self, graph: JointGraph, n_layers: int, fan_out: int, generator: torch.Generator) -> None:
        super().__init__(graph, n_layers, generator.device)
        self._n_layers, self._fan_out, self._generator = n_layers, fan_out, generator
        self._indptr = torch.from_numpy(graph.indptr).to(generator.device)
        self._tail = torch.from_numpy(graph.tail).to(generator.device)
        self._sampled_values: Tensor | None = None

    def set_values(self, values: Tensor) -> None:
        """See :meth:`recommender.graph.propagation.Propagation.set_values`."""
        super().set_values(values)
        self._sampled_values = values.detach()

    def towards(self, nodes: Tensor) -> list[Layer]:
        """The layers for some users and items, distinct and ascending, over a new sample."""
        assert self._sampled_values is not None, "set_values comes first"
        layers: list[Layer] = []
        rows = nodes
        for number in reversed(range(self._n_layers)):
            indptr, edges, scale = sample_edges(self._indptr, rows, self._fan_out, self._generator)
            columns, own, wanted, n_below = self._tail[edges].long(), rows, nodes, self._n_nodes
            if number > 0:
                below = torch.unique(torch.cat([rows, columns]))
                own, wanted, columns = (torch.searchsorted(below, part) for part in (rows, nodes, columns))
                n_below = len(below)
            matrix = SparseMatrix(indptr, columns, (len(rows), n_below), rows.device)
            matrix.set_values(self._sampled_values[edges] * scale)
            layers.append(Layer(matrix, own, wanted))
            if number > 0:
                rows = below
        return layers[::-1]


def sample_edges(
    indptr: Tensor, rows: Tensor, fan_out: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """At most ``fan_out`` edges of each row.

    *Shape:* ``indptr`` of the whole graph, ``rows`` [n_rows] -> ``indptr`` of the sample [n_rows + 1], edge
    positions [n_sampled], and what each stands for [n_sampled].
    """
    first, degree = indptr[rows], indptr[rows + 1] - indptr[rows]
    sizes = degree.clamp(max=fan_out)
    starts = functional.pad(torch.cumsum(sizes, 0), (1, 0))
    total = int(starts[-1])
    row = torch.repeat_interleave(sizes, output_size=total)
    within = torch.arange(total, device=rows.device) - starts[row]
    drawn = torch.rand(total, device=rows.device, generator=generator, dtype=torch.float64)
    drawn = (drawn * degree[row]).long()
    within = torch.where(degree[row] > fan_out, drawn, within)
    return starts, first[row] + within, (degree[row] / sizes[row]).to(torch.float32)


def neighbour_loader(
    graph: JointGraph, nodes: Ints, fan_outs: list[int], batch_size: int, generator: torch.Generator
) -> Any:
    """A Torch Geometric ``NodeLoader`` over ``nodes`` whose batches hold the sampled neighbourhood.

    Each batch is a ``Data`` with ``n_id`` (nodes of the joint graph, those asked for first), ``edge_index``
    (head, tail, counted within the batch), ``e_id`` (positions of the joint graph's edges), ``relation`` and
    ``batch_size``. Raises :class:`~kg.errors.ConfigurationError` where Torch Geometric is not installed.
    """
    data = _torch_geometric("torch_geometric.data").Data(
        edge_index=torch.from_numpy(graph.head).new_empty(2, 0), num_nodes=graph.n_nodes
    )
    relation = torch.from_numpy(graph.relation)

    def with_relations(batch: Any) -> Any:
        batch.relation = relation[batch.e_id].long()
        return batch

    return _torch_geometric("torch_geometric.loader").NodeLoader(
        data,
        node_sampler=_Sampler(graph, fan_outs, generator),
        input_nodes=torch.from_numpy(nodes),
        batch_size=batch_size,
        transform=with_relations,
    )


class _Sampler:
    """What a ``NodeLoader`` asks for neighbours: hop by hop, each node once."""

    edge_permutation = None
    """Its edges are in the graph's order."""

    def __init__(self, graph: JointGraph, fan_outs: list[int], generator: torch.Generator) -> None:
        self._indptr, self._tail = torch.from_numpy(graph.indptr), torch.from_numpy(graph.tail)
        self._fan_outs, self._generator = fan_outs, generator
        self._output = _torch_geometric("torch_geometric.sampler").SamplerOutput

    def sample_from_nodes(self, asked: Any) -> Any:
        """A ``SamplerOutput`` for a ``NodeSamplerInput``."""
        known: Tensor = asked.node
        frontier = known
        heads, edges = [known[:0]], [known[:0]]
        for fan_out in self._fan_outs:
            starts, chosen, _ = sample_edges(self._indptr, frontier, fan_out, self._generator)
            heads.append(frontier.repeat_interleave(torch.diff(starts)))
            edges.append(chosen)
            met = torch.unique(self._tail[chosen]).long()
            frontier = met[~torch.isin(met, known)]
            known = torch.cat([known, frontier])
        edge = torch.cat(edges)
        order = torch.argsort(known)
        head, tail = (
            order[torch.searchsorted(known, part, sorter=order)]
            for part in (torch.cat(heads), self._tail[edge].long())
        )
        return self._output(known, head, tail, edge, metadata=(asked.input_id, asked.time))


def _torch_geometric(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigurationError(
            "torch-geometric is not installed.", hint="Run pip install torch-geometric."
        ) from None
