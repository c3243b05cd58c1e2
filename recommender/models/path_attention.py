"""Reading paths: a recurrent network along each, and attention over the paths of a row.

A path is read entity by entity, each with the relation that led there: ``h_k = GRU(h_(k-1), [e_k; r_k])``,
and its vector ``p`` is the last state. The paths of a row weigh ``alpha = softmax(w · tanh(W p))``, and the
row's vector is ``sum alpha p``; zero where there is no path. The alphas are the explanation.

Paths that begin alike share their states: each node of a trie is read once, however many rows have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recommender.data.interactions import Ints
from recommender.graph.item_paths import PathsOfRows, PathTrie
from recommender.graph.segment import segment_softmax, segment_sum
from recommender.models.gradient import xavier
from recommender.models.recurrent import GatedUnit


@dataclass(frozen=True, slots=True, eq=False)
class ReadPaths:
    """The paths that were read: ``nodes`` of the trie in ascending order, vectors and attention logits.

    *Shape:* ``nodes`` [n_nodes], ``vectors`` [n_nodes, dim], ``logits`` [n_nodes].
    """

    nodes: Ints
    vectors: Tensor
    logits: Tensor


class PathAttention(nn.Module):
    """The recurrent unit, a vector per relation, and the attention."""

    def __init__(self, n_relations: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.relations = xavier(generator, n_relations + 1, dim)  # the last one begins a path
        self.unit = GatedUnit(2 * dim, dim, generator)
        self.hidden_weights = xavier(generator, dim, dim)
        self.logit_weights = xavier(generator, dim, 1)

    def read(self, trie: PathTrie, paths: Ints, features: Callable[[Ints], Tensor]) -> ReadPaths:
        """Read some paths and all that they begin with; ``features`` gives the vectors of entities."""
        levels = trie.levels(paths)
        states: list[Tensor] = []
        for depth, nodes in enumerate(levels):
            relation = self._ids(trie.relation[nodes] % len(self.relations))  # -1 is the last
            inputs = torch.cat(
                [features(trie.entity[nodes]), functional.embedding(relation, self.relations)], 1
            )
            if depth == 0:
                before = self.unit.start(len(nodes))
            else:
                above = np.searchsorted(levels[depth - 1], trie.parent[nodes])
                before = functional.embedding(self._ids(above), states[-1])
            states.append(self.unit(inputs, before))
        vectors = torch.cat(states)
        logits = torch.tanh(vectors @ self.hidden_weights) @ self.logit_weights
        return ReadPaths(np.concatenate(levels), vectors, logits.squeeze(1))

    def pool(self, read: ReadPaths, rows: PathsOfRows) -> tuple[Tensor, Tensor]:
        """The vector of each row, [n_rows, dim], and the alphas of its paths, [n_paths]."""
        place = self._ids(np.searchsorted(read.nodes, rows.paths))
        indptr = self._ids(rows.indptr)
        if not len(rows.paths):
            return read.vectors.new_zeros(len(rows.indptr) - 1, read.vectors.shape[1]), read.logits[:0]
        alphas = segment_softmax(read.logits[place], indptr)
        return segment_sum(alphas[:, None] * functional.embedding(place, read.vectors), indptr), alphas

    def _ids(self, array: Ints) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.relations.device)
