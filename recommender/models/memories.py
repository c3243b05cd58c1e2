"""Memories: for each user some slots with a key and a value each, which a candidate item attends to.

Slots point into tables of distinct rows, so a row that many slots share is computed once, and what a relation
does to its rows is one matrix product per relation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recommender.graph.joint import KnowledgeView


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The slots of one hop, for a batch of rows.

    ``source`` is the entity that a slot was reached from, ``triple`` the position of the triple it holds in
    the view, where it holds one. Where ``hidden`` is true a slot is empty: it gets weight 0.

    *Shape:* ``keys`` and ``values`` are tables [n_rows, dim]; the others [batch, size], ``key`` and ``value``
    as rows of the tables.
    """

    keys: Tensor
    key: Tensor
    values: Tensor
    value: Tensor
    source: Tensor
    triple: Tensor | None = None
    hidden: Tensor | None = None

    def hidden_from(self, items: Tensor | None) -> Tensor | None:
        """What is hidden; with ``items``, also what was reached from one, for it: [1 or batch, n_items] ->
        [batch, size, n_items or 1]."""
        hidden = None if self.hidden is None else self.hidden.unsqueeze(2)
        if items is None:
            return hidden
        reached = self.source.unsqueeze(2) == items.unsqueeze(1)
        return reached if hidden is None else hidden | reached


def attend(candidate: Tensor, memory: Memory, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What the slots say to a candidate, ``sum p value``, and their weights ``p = softmax(key · candidate)``.

    *Shape:* [batch, dim], ``hidden`` [batch, size, 1] -> [batch, dim], [batch, size].
    """
    size = memory.key.shape[1]
    keys = memory.keys.index_select(0, memory.key.reshape(-1)).view(-1, size, candidate.shape[1])
    logits = (keys * candidate.unsqueeze(1)).sum(dim=2)
    weights = masked_softmax(logits, None if hidden is None else hidden.squeeze(2), dim=1)
    answer = functional.embedding_bag(memory.value, memory.values, per_sample_weights=weights, mode="sum")
    return answer, weights


def masked_softmax(values: Tensor, hidden: Tensor | None, dim: int) -> Tensor:
    """Softmax along ``dim`` over what is not hidden; what is gets exactly 0, even where all of it is."""
    if hidden is None:
        return torch.softmax(values, dim=dim)
    lowest = torch.finfo(values.dtype).min
    return torch.softmax(values.masked_fill(hidden, lowest), dim=dim).masked_fill(hidden, 0.0)


class Triples:
    """The triples of a view on the model's device."""

    def __init__(self, view: KnowledgeView, device: torch.device) -> None:
        self.n_entities, self.n_relations = view.n_entities, view.n_relations
        self.head, self.relation, self.tail = (
            torch.from_numpy(column).to(device) for column in (view.head, view.relation, view.tail)
        )

    def distinct(self, positions: Tensor) -> DistinctTriples:
        """The distinct ones among positions of any shape."""
        flat = positions.reshape(-1)
        counts = torch.bincount(flat, minlength=len(self.head))
        used = counts.nonzero().squeeze(1)
        place = counts.new_empty(len(counts))
        place[used] = torch.arange(len(used), device=used.device)
        return DistinctTriples(
            self.head[used],
            self.relation[used],
            self.tail[used],
            counts[used],
            place[flat].view(positions.shape),
        )


@dataclass(frozen=True, slots=True, eq=False)
class DistinctTriples:
    """Distinct triples, how often each occurs, and which one each slot holds.

    *Shape:* [n_distinct], except ``slot``: the shape of the positions that were asked for.
    """

    head: Tensor
    relation: Tensor
    tail: Tensor
    count: Tensor
    slot: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RelatedNodes:
    """Distinct pairs of a relation and a node, sorted by relation, and which one each row is.

    *Shape:* ``node`` [n_pairs], ``row`` [n_rows]; ``bounds`` holds (relation, start, end).
    """

    node: Tensor
    row: Tensor
    bounds: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, relation: Tensor, node: Tensor, n_relations: int, n_nodes: int) -> RelatedNodes:
        """Find the distinct ones of rows: [n_rows] each."""
        pairs, row = torch.unique(relation * n_nodes + node, return_inverse=True)
        counts = torch.bincount(pairs // n_nodes, minlength=n_relations).tolist()
        bounds, start = [], 0
        for number, count in enumerate(counts):
            if count:
                bounds.append((number, start, start + count))
            start += count
        return cls(pairs % n_nodes, row, tuple(bounds))

    def project(self, table: Tensor, matrices: Tensor) -> Tensor:
        """``table[node] @ matrices[relation]`` of every pair.

        *Shape:* [n_nodes, dim], [n_relations, dim, to] -> [n_pairs, to].
        """
        rows = table.index_select(0, self.node)
        result: Tensor = _Project.apply(rows, matrices, self.bounds)  # type: ignore[no-untyped-call]
        return result


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, rows: Tensor, matrices: Tensor, bounds: tuple[tuple[int, int, int], ...]
    ) -> Tensor:
        context.save_for_backward(rows, matrices)
        context.bounds = bounds
        result = rows.new_empty(len(rows), matrices.shape[2])
        for relation, start, end in bounds:
            torch.mm(rows[start:end], matrices[relation], out=result[start:end])
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, matrices = context.saved_tensors
        gradient = gradients[0].contiguous()
        to_rows, to_matrices = torch.empty_like(rows), torch.zeros_like(matrices)
        for relation, start, end in context.bounds:
            piece = gradient[start:end]
            torch.mm(piece, matrices[relation].T, out=to_rows[start:end])
            torch.mm(rows[start:end].T, piece, out=to_matrices[relation])
        return to_rows, to_matrices, None
