"""Drawing a false tail for each triple of a whole epoch at once."""

from __future__ import annotations

import numpy as np

from recommender.data.interactions import Indices, Ints
from recommender.data.sampling import batches, contains

_MAX_ROUNDS = 100
_ROWS_AT_ONCE = 1 << 17


class TripleCorrupter:
    """Replaces the tails of known triples by nodes that make no known triple.

    The known triples are kept as sorted numbers, one each, so a whole epoch is checked by binary search.
    Where every node is a true tail, a true one is kept after 100 rounds: there is nothing false to draw.
    ``among`` names the positions that an epoch visits, ascending, all where not given: with every triple
    of their relations, as only these are known.

    *Shape:* ``heads``, ``relations``, ``tails`` [n_triples].
    """

    def __init__(
        self,
        heads: Indices,
        relations: Indices,
        tails: Indices,
        n_nodes: int,
        n_relations: int,
        *,
        among: Indices | None = None,
    ) -> None:
        self.heads, self.relations, self.tails = heads, relations, tails
        self.n_nodes, self.n_relations = n_nodes, n_relations
        self._among = among
        known = slice(None) if among is None else among
        keys = self._prefix(known)
        keys += tails[known]
        if (keys[1:] < keys[:-1]).any():
            keys.sort()
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def epoch(self, rng: np.random.Generator, share: float = 1.0) -> tuple[Indices, Indices]:
        """A ``share`` of the triples in random order, at least one, and a false tail for each.

        *Shape:* -> positions [n_rows], tails [n_rows].
        """
        n_rows = max(1, round(share * len(self)))
        chosen = self._among
        if n_rows < len(self):
            drawn = np.sort(rng.permutation(len(self))[:n_rows])
            chosen = drawn if chosen is None else chosen[drawn]
        # Before the shuffle: near triples are looked up near each other.
        tails = self.false_tails(_numbers(n_rows) if chosen is None else chosen, rng)
        order = _numbers(n_rows)
        rng.shuffle(order)
        return order if chosen is None else chosen[order], tails[order]

    def false_tails(self, rows: Indices, rng: np.random.Generator) -> Indices:
        """A false tail for the triples at these positions: [n_rows] -> [n_rows]."""
        drawn = rng.integers(0, self.n_nodes, len(rows), dtype=np.int32)
        for piece in batches(len(rows), _ROWS_AT_ONCE):
            self._redraw(rows[piece], drawn[piece], rng)
        return drawn

    def _redraw(self, rows: Indices, drawn: Indices, rng: np.random.Generator) -> None:
        prefix = self._prefix(rows)
        again = np.flatnonzero(contains(self._keys, prefix + drawn))
        for _ in range(_MAX_ROUNDS):
            if not len(again):
                break
            drawn[again] = rng.integers(0, self.n_nodes, len(again), dtype=np.int32)
            again = again[contains(self._keys, prefix[again] + drawn[again])]

    def _prefix(self, rows: Indices | slice) -> Ints:
        prefix = self.heads[rows].astype(np.int64)
        prefix *= self.n_relations
        prefix += self.relations[rows]
        prefix *= self.n_nodes
        return prefix


def _numbers(n: int) -> Indices:
    return np.arange(n, dtype=np.int32)
