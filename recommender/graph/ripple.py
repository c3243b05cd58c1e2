"""Ripple sets: what the knowledge graph says about what a user had, hop by hop (Wang et al., CIKM 2018).

The seeds of the first hop are the user's training items, those of a later hop the tails of the hop before.
A hop is ``size`` triples drawn from all that leave its seeds: distinct ones where there are enough, with
repeats otherwise. Where nothing leaves the seeds the hop before is repeated. A user whose items have no
triple at all, or who has no items, has no ripple sets and is marked so.

No hop lists the triples it draws from: a seed of degree 10⁵ costs what any other costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kg.errors import UsageError
from recommender.data.interactions import Interactions, Ints
from recommender.graph.joint import KnowledgeView


@dataclass(frozen=True, slots=True, eq=False)
class RippleSets:
    """The ripple sets of all users.

    *Shape:* ``triple`` [n_users, n_hops, size], int32 positions in ``view``; ``known`` [n_users], false for a
    user without ripple sets, whose positions mean nothing.
    """

    view: KnowledgeView
    triple: NDArray[np.int32]
    known: NDArray[np.bool_]

    def written_out(self) -> Ints:
        """Heads, relations and tails: [n_users, n_hops, 3, size]; 0 for users without ripple sets."""
        columns = np.stack([self.view.head, self.view.relation, self.view.tail])
        whole = np.zeros((*self.triple.shape[:2], 3, self.triple.shape[2]), dtype=np.int64)
        whole[self.known] = np.moveaxis(columns[:, self.triple[self.known]], 0, 2)
        return whole


def draw_ripple_sets(
    view: KnowledgeView, train: Interactions, n_hops: int, size: int, rng: np.random.Generator
) -> RippleSets:
    """Draw the ripple sets of every user of ``train``.

    Raises :class:`~kg.errors.UsageError` where there would be no hop or an empty one.
    """
    if n_hops < 1 or size < 1:
        raise UsageError(
            f"ripple sets of {n_hops} hops of {size} triples hold nothing.", hint="Give 1 or more."
        )
    triple = np.zeros((train.n_users, n_hops, size), dtype=np.int32)
    user, seed = train.user, train.item
    known = np.zeros(train.n_users, dtype=bool)
    for hop in range(n_hops):
        drawn, found = _draw_hop(view, user, seed, train.n_users, size, rng)
        if hop == 0:
            known = found
        else:
            triple[:, hop] = triple[:, hop - 1]
        triple[found, hop] = drawn
        tails = view.tail[triple[known, hop]]
        owner = np.repeat(np.flatnonzero(known), size)
        user, seed = np.divmod(np.unique(owner * view.n_entities + tails.ravel()), view.n_entities)
    return RippleSets(view, triple, known)


def _draw_hop(
    view: KnowledgeView, user: Ints, seed: Ints, n_users: int, size: int, rng: np.random.Generator
) -> tuple[Ints, NDArray[np.bool_]]:
    """Triples out of the distinct (user, seed) pairs, sorted by user: [n_found, size]; and who has any."""
    degree = view.indptr[seed + 1] - view.indptr[seed]
    ends = np.cumsum(degree)
    last = np.searchsorted(user, np.arange(n_users), side="right")
    upto = np.concatenate([[0], ends])[last]
    start = np.concatenate([[0], upto[:-1]])
    n_out = upto - start
    found = n_out > 0
    place = start[found, None] + draw_places(n_out[found], size, rng)
    source = np.searchsorted(ends, place, side="right")
    return view.indptr[seed[source]] + place - (ends - degree)[source], found


def draw_places(n_places: Ints, size: int, rng: np.random.Generator) -> Ints:
    """For each row ``size`` numbers below its ``n_places``: distinct where there are as many, else any.

    Distinct ones by Floyd's algorithm, in as many steps as numbers, whatever ``n_places`` is.

    *Shape:* [n_rows], all at least 1 -> [n_rows, size].
    """
    drawn = np.empty((len(n_places), size), dtype=np.int64)
    enough = n_places >= size
    few = n_places[~enough]
    drawn[~enough] = rng.integers(0, few[:, None], (len(few), size))
    distinct = np.empty((int(enough.sum()), size), dtype=np.int64)
    for step in range(size):
        highest = n_places[enough] - size + step
        pick = rng.integers(0, highest + 1)
        taken = (distinct[:, :step] == pick[:, None]).any(axis=1)
        distinct[:, step] = np.where(taken, highest, pick)
    drawn[enough] = distinct
    return drawn
