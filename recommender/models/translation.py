"""Translations between entities: what several models learn from the triples of a graph.

TransR (Lin et al., AAAI 2015): ``f = |W_r e_h + e_r - W_r e_t|²``, here with the loss that KGAT and CKE give
it, ``softplus(f(true) - f(false tail))``. TransE (Bordes et al., NeurIPS 2013): ``d = |e_h + e_r - e_t|``
with the loss ``max(0, margin + d(true) - d(false))``; entities have length 1.

Triples of one relation share its matrix, so they are multiplied together: one product per relation, where a
gathered matrix per triple would be 16 kB at 64 dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import TrainingError
from recommender.data.interactions import Floats, Indices, Ints
from recommender.data.sampling import batches
from recommender.graph.corruption import TripleCorrupter
from recommender.models.gradient import as_ids, squared_norm


class TranslationTerms(NamedTuple):
    """What the loss is made of."""

    loss: Tensor
    """The mean over the batch of ``softplus(f(true) - f(false))``: []."""
    squares: Tensor
    """Half the squared length of all projected rows and relation vectors, per triple: []."""


def transr_loss(
    entities: Tensor,
    relations: Tensor,
    projections: Tensor,
    heads: Indices,
    relation_ids: Indices,
    tails: Indices,
    corrupted: Indices,
    *,
    normalised: bool = False,
    gather: Callable[[Tensor, Tensor], Tensor] = functional.embedding,
) -> TranslationTerms:
    """TransR of a batch of triples against the same triples with tails ``corrupted``.

    ``normalised`` puts projected entities and relation vectors to length 1, as CKE does. ``gather`` picks
    rows of ``entities``: a :class:`~recommender.graph.rows.RowGather` where the table is large.

    *Shape:* ``entities`` [n_entities, dim], ``relations`` [n_relations, relation_dim], ``projections``
    [n_relations, dim, relation_dim]; the ids [batch].
    """
    order = np.argsort(relation_ids, kind="stable")
    relation = relation_ids[order]
    nodes = np.concatenate([heads[order], tails[order], corrupted[order]])
    rows = gather(as_ids(nodes, entities.device), entities).view(3, len(order), -1)
    head, tail, false_tail = project_by_relation(rows, relation, projections)
    vector = functional.embedding(as_ids(relation, relations.device), relations)
    if normalised:
        head, vector, tail, false_tail = (
            functional.normalize(part) for part in (head, vector, tail, false_tail)
        )
    moved = head + vector
    true = (moved - tail).square().sum(dim=1)
    false = (moved - false_tail).square().sum(dim=1)
    loss = -functional.logsigmoid(false - true).mean()
    return TranslationTerms(loss, squared_norm(head, vector, tail, false_tail))


def project_by_relation(rows: Tensor, relation: Indices, projections: Tensor) -> Tensor:
    """Multiply each row by the matrix of its relation.

    *Shape:* ``rows`` [..., n, dim], ``relation`` [n] in ascending order -> [..., n, relation_dim].
    """
    starts = np.flatnonzero(np.diff(relation, prepend=-1))
    sizes = np.diff(starts, append=len(relation))
    pieces = torch.split(rows, sizes.tolist(), dim=-2)
    matrices = projections.unbind()  # split and unbind: their gradients are put together once
    projected = [
        piece @ matrices[number] for piece, number in zip(pieces, relation[starts].tolist(), strict=True)
    ]
    return torch.cat(projected, dim=-2)


class TranslationVectors(NamedTuple):
    """Entities [n_entities, dim] and relations [n_relations, dim]."""

    entities: Floats
    relations: Floats


def train_transe(
    triples: Ints,
    n_entities: int,
    n_relations: int,
    rng: np.random.Generator,
    generator: torch.Generator,
    *,
    dim: int = 50,
    margin: float = 1.0,
    learning_rate: float = 0.01,
    batch_size: int = 512,
    epochs: int = 100,
    unit_length: bool = True,
) -> TranslationVectors:
    """Learn TransE from ``triples``, head, relation, tail: [n_triples, 3].

    As in the paper: the Euclidean distance, margin 1, step size .01 and 50 dimensions, relations put to
    length 1 once and entities before every step, one false triple per true one with head or tail replaced.
    Adam, not plain gradient descent, and so 100 passes instead of 1000. On a sphere a relation that forms
    chains, "next to" say, cannot be one shift for all its triples: without ``unit_length`` entities may be
    anywhere.
    """
    if not len(triples):
        raise TrainingError("there is no triple to learn from.", hint="Give a graph with edges.")
    bound = 6 / dim**0.5
    entities, relations = (
        nn.Parameter(
            torch.empty(n, dim, device=generator.device).uniform_(-bound, bound, generator=generator)
        )
        for n in (n_entities, n_relations)
    )
    _to_unit_length(relations)
    optimiser = torch.optim.Adam([entities, relations], lr=learning_rate, fused=True)
    head, relation, tail = (np.ascontiguousarray(column) for column in triples.T)
    forward = TripleCorrupter(head, relation, tail, n_entities, n_relations)
    backward = TripleCorrupter(tail, relation, head, n_entities, n_relations)
    for _ in range(epochs):
        chosen, false_tail = forward.epoch(rng)
        false_head = backward.false_tails(chosen, rng)
        replace_head = rng.random(len(chosen)) < 0.5
        wrong_head = np.where(replace_head, false_head, head[chosen])
        wrong_tail = np.where(replace_head, tail[chosen], false_tail)
        for rows in batches(len(chosen), batch_size):
            if unit_length:
                _to_unit_length(entities)
            nodes = np.stack([head[chosen[rows]], tail[chosen[rows]], wrong_head[rows], wrong_tail[rows]])
            h, t, other_h, other_t = functional.embedding(as_ids(nodes, entities.device), entities)
            vector = functional.embedding(as_ids(relation[chosen[rows]], relations.device), relations)
            loss = functional.relu(margin + _distance(h, vector, t) - _distance(other_h, vector, other_t))
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    if unit_length:
        _to_unit_length(entities)
    return TranslationVectors(entities.detach().cpu().numpy(), relations.detach().cpu().numpy())


def _to_unit_length(vectors: Tensor) -> None:
    with torch.no_grad():
        vectors.copy_(functional.normalize(vectors))


def _distance(head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(head + relation - tail, dim=1)
    return distance
