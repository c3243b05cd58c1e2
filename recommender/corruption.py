"""Drawing a false tail for each triple of a whole epoch at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recommender.data import Ints
from recommender.sampling import batches, contains

_MAX_ROUNDS = 100
_ROWS_AT_ONCE = 1 << 17


class TripleCorrupter:
    """Replaces the tails of known triples by nodes that make no known triple.

    The known triples are kept as sorted numbers, one each, so a whole epoch is checked by binary search.
    Where every node is a true tail, a true one is kept after 100 rounds: there is nothing false to draw.

    *Shape:* ``heads``, ``relations``, ``tails`` [n_triples].
    """

    def __init__(
        self, heads: NDArray[np.integer], relations: Ints, tails: Ints, n_nodes: int, n_relations: int
    ) -> None:
        self.heads, self.relations, self.tails = heads, relations, tails
        self.n_nodes, self.n_relations = n_nodes, n_relations
        keys = self._prefix(slice(None))
        keys += tails
        if (keys[1:] < keys[:-1]).any():
            keys.sort()
        self._keys = keys

    def __len__(self) -> int:
        return len(self.tails)

    def epoch(
        self, rng: np.random.Generator, share: float = 1.0, among: Ints | None = None
    ) -> tuple[Ints, Ints]:
        """A ``share`` of the triples in random order, at least one, and a false tail for each.

        ``among`` names the positions to choose from, ascending; all where not given.

        *Shape:* -> positions [n_rows], tails [n_rows].
        """
        n_triples = len(self) if among is None else len(among)
        n_rows = max(1, round(share * n_triples))
        if n_rows < n_triples:
            chosen = np.sort(rng.permutation(n_triples)[:n_rows])
            among = chosen if among is None else among[chosen]
        # Before the shuffle: near triples are looked up near each other.
        tails = self.false_tails(np.arange(n_rows) if among is None else among, rng)
        order = rng.permutation(n_rows)
        return order if among is None else among[order], tails[order]

    def false_tails(self, rows: Ints, rng: np.random.Generator) -> Ints:
        """A false tail for the triples at these positions: [n_rows] -> [n_rows]."""
        drawn = rng.integers(0, self.n_nodes, len(rows))
        for piece in batches(len(rows), _ROWS_AT_ONCE):
            self._redraw(rows[piece], drawn[piece], rng)
        return drawn

    def _redraw(self, rows: Ints, drawn: Ints, rng: np.random.Generator) -> None:
        prefix = self._prefix(rows)
        again = np.flatnonzero(contains(self._keys, prefix + drawn))
        for _ in range(_MAX_ROUNDS):
            if not len(again):
                break
            drawn[again] = rng.integers(0, self.n_nodes, len(again))
            again = again[contains(self._keys, prefix[again] + drawn[again])]

    def _prefix(self, rows: Ints | slice) -> Ints:
        prefix = self.heads[rows].astype(np.int64)
        prefix *= self.n_relations
        prefix += self.relations[rows]
        prefix *= self.n_nodes
        return prefix
