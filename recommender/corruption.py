"""Drawing a false tail for each triple of a whole epoch at once."""

from __future__ import annotations

import numpy as np

from recommender.data import Ints
from recommender.sampling import contains

_MAX_ROUNDS = 100


class TripleCorrupter:
    """Replaces the tails of known triples by nodes that make no known triple.

    The known triples are kept as sorted numbers, one each, so a whole epoch is checked by binary search.
    Where every node is a true tail, a true one is kept after 100 rounds: there is nothing false to draw.

    *Shape:* ``heads``, ``relations``, ``tails`` [n_triples].
    """

    def __init__(self, heads: Ints, relations: Ints, tails: Ints, n_nodes: int, n_relations: int) -> None:
        self.heads, self.relations, self.tails = heads, relations, tails
        self.n_nodes, self.n_relations = n_nodes, n_relations
        keys = self._prefix(slice(None)) + tails
        if (keys[1:] < keys[:-1]).any():
            keys.sort()
        self._keys = keys

    def __len__(self) -> int:
        return len(self.tails)

    def epoch(self, rng: np.random.Generator, share: float = 1.0) -> tuple[Ints, Ints]:
        """A ``share`` of the triples in random order, at least one, and a false tail for each.

        *Shape:* -> positions [n_rows], tails [n_rows].
        """
        rows = rng.permutation(len(self))[: max(1, round(share * len(self)))]
        return rows, self.false_tails(rows, rng)

    def false_tails(self, rows: Ints, rng: np.random.Generator) -> Ints:
        """A false tail for the triples at these positions: [n_rows] -> [n_rows]."""
        prefix = self._prefix(rows)
        drawn = rng.integers(0, self.n_nodes, len(rows))
        again = np.flatnonzero(contains(self._keys, prefix + drawn))
        for _ in range(_MAX_ROUNDS):
            if not len(again):
                break
            drawn[again] = rng.integers(0, self.n_nodes, len(again))
            again = again[contains(self._keys, prefix[again] + drawn[again])]
        return drawn

    def _prefix(self, rows: Ints | slice) -> Ints:
        prefix: Ints = (self.heads[rows] * self.n_relations + self.relations[rows]) * self.n_nodes
        return prefix
