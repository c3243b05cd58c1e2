"""Interactions: who had what, when and how much, in dense ids.

Dense user ids count ``user_ids`` from 0, dense item ids count ``item_ids``. The item list is the catalogue:
it may hold items that nobody had yet. All parts of a split share both lists, so dense ids mean the same
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kg.errors import InputError, UsageError

Ints = NDArray[np.int64]
Indices = NDArray[np.integer]
"""Ids or positions in 32 or 64 bits; in 32 where there is one for each edge of a large graph."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Distinct (user, item) pairs, sorted by user, then item.

    *Shape:* ``user``, ``item``, ``weight`` and ``time`` (seconds since 1970, where known) are
    [n_interactions]. ``n_duplicates`` counts the rows that were folded into an earlier or later one of the
    same pair, ``n_contradictory`` the pairs whose rows had different weights: liked and disliked, say.
    """

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    user: Ints
    item: Ints
    weight: Floats
    time: Ints | None = None
    n_duplicates: int = 0
    n_contradictory: int = 0

    @classmethod
    def of(
        cls,
        users: Sequence[str],
        items: Sequence[str],
        *,
        weight: Sequence[float] | Floats | None = None,
        time: Sequence[int] | Ints | None = None,
        catalogue: Sequence[str] = (),
    ) -> Interactions:
        """Make interactions from rows of ids.

        Of rows with the same pair the latest counts (the last one, where no time is known). Both id lists are
        sorted; ``catalogue`` adds items that nobody had.
        """
        user_ids, user = np.unique(np.asarray(users, dtype=np.str_), return_inverse=True)
        item_ids = np.unique(np.asarray([*items, *catalogue], dtype=np.str_))
        item = np.searchsorted(item_ids, np.asarray(items, dtype=np.str_))
        n_rows = len(user)
        known = None if time is None else np.asarray(time, dtype=np.int64)
        row = np.arange(n_rows)
        order = np.lexsort((row if known is None else known, item, user))
        last = np.ones(n_rows, dtype=bool)
        last[:-1] = (user[order][1:] != user[order][:-1]) | (item[order][1:] != item[order][:-1])
        kept = order[last]
        weights = np.ones(n_rows, np.float32) if weight is None else np.asarray(weight, dtype=np.float32)
        ordered = weights[order]
        changed = order[:-1][~last[:-1] & (ordered[1:] != ordered[:-1])]
        return cls(
            tuple(user_ids.tolist()),
            tuple(item_ids.tolist()),
            user[kept].astype(np.int64),
            item[kept].astype(np.int64),
            weights[kept],
            None if known is None else known[kept],
            n_rows - len(kept),
            len(np.unique(user[changed] * len(item_ids) + item[changed])),
        )

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """How many users the id list names."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """How many items the catalogue names."""
        return len(self.item_ids)

    @property
    def keys(self) -> Ints:
        """One number per pair, ``user * n_items + item``, sorted."""
        return self.user * self.n_items + self.item

    @property
    def popularity(self) -> Ints:
        """How many users had each item: [n_items]."""
        return np.bincount(self.item, minlength=self.n_items).astype(np.int64)

    def by_user(self) -> tuple[Ints, Ints]:
        """The items of each user as CSR: ``items[indptr[u]:indptr[u + 1]]``, sorted."""
        counts = np.bincount(self.user, minlength=self.n_users)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), self.item

    def select(self, mask: NDArray[np.bool_] | Ints) -> Interactions:
        """The pairs that ``mask`` (or ascending positions) picks; the id lists stay."""
        return replace(
            self,
            user=self.user[mask],
            item=self.item[mask],
            weight=self.weight[mask],
            time=None if self.time is None else self.time[mask],
            n_duplicates=0,
            n_contradictory=0,
        )

    def at_least(self, weight: float) -> Interactions:
        """Only the pairs whose weight reaches the threshold: ratings of 4 and better, say."""
        return replace(
            self.select(self.weight >= weight),
            n_duplicates=self.n_duplicates,
            n_contradictory=self.n_contradictory,
        )

    def over(self, users: Sequence[str], items: Sequence[str]) -> Interactions:
        """The same interactions over other (sorted) id lists, which must hold every id that occurs."""
        new_users, new_items = (np.asarray(ids, dtype=np.str_) for ids in (users, items))
        moved_user = np.searchsorted(new_users, np.asarray(self.user_ids, dtype=np.str_))
        moved_item = np.searchsorted(new_items, np.asarray(self.item_ids, dtype=np.str_))
        return replace(
            self,
            user_ids=tuple(users),
            item_ids=tuple(items),
            user=moved_user[self.user].astype(np.int64),
            item=moved_item[self.item].astype(np.int64),
        )

    def joined(self, other: Interactions) -> Interactions:
        """The pairs of both, over the id lists that they share; of a pair in both, this one's row."""
        assert_disjoint(self.select(np.empty(0, dtype=np.int64)), other)
        mine = np.concatenate([np.ones(len(self), dtype=bool), ~np.isin(other.keys, self.keys)])
        keys = np.concatenate([self.keys, other.keys])
        chosen = np.flatnonzero(mine)
        chosen = chosen[np.argsort(keys[chosen])]
        timed = self.time is not None and other.time is not None
        return replace(
            self,
            user=keys[chosen] // self.n_items,
            item=keys[chosen] % self.n_items,
            weight=np.concatenate([self.weight, other.weight])[chosen],
            time=np.concatenate([self.time, other.time])[chosen] if timed else None,
        )

    def used(self) -> Interactions:
        """The same interactions without the ids that occur in none."""
        return self._compacted(np.ones(len(self), dtype=bool))

    def with_items(self, ids: Sequence[str]) -> Interactions:
        """The same interactions over a catalogue that also has ``ids``."""
        return self.over(self.user_ids, sorted({*self.item_ids, *ids}))

    def core(self, k: int) -> Interactions:
        """The largest part in which every user and every item has at least ``k`` interactions; ids shrink.

        Raises :class:`~kg.errors.UsageError` where nothing is left.
        """
        kept = np.ones(len(self), dtype=bool)
        while True:
            per_user = np.bincount(self.user[kept], minlength=self.n_users)
            per_item = np.bincount(self.item[kept], minlength=self.n_items)
            weak = kept & ((per_user[self.user] < k) | (per_item[self.item] < k))
            if not weak.any():
                break
            kept &= ~weak
        if not kept.any():
            raise UsageError(f"no interaction is left in the {k}-core.", hint="Choose a smaller k.")
        return self._compacted(kept)

    def _compacted(self, kept: NDArray[np.bool_]) -> Interactions:
        users, user = np.unique(self.user[kept], return_inverse=True)
        items, item = np.unique(self.item[kept], return_inverse=True)
        return replace(
            self.select(kept),
            user_ids=tuple(self.user_ids[u] for u in users),
            item_ids=tuple(self.item_ids[i] for i in items),
            user=user.astype(np.int64),
            item=item.astype(np.int64),
        )


def assert_disjoint(train: Interactions, *held_out: Interactions) -> None:
    """Raise :class:`~kg.errors.InputError` where a held-out pair is also a training pair: that is a leak."""
    for part in held_out:
        if part.user_ids != train.user_ids or part.item_ids != train.item_ids:
            raise InputError(
                "the parts of a split do not share their id lists.", hint="Split one set of interactions."
            )
        leaked = np.isin(part.keys, train.keys)
        if leaked.any():
            first = int(np.flatnonzero(leaked)[0])
            pair = f"({part.user_ids[part.user[first]]}, {part.item_ids[part.item[first]]})"
            raise InputError(
                f"{int(leaked.sum())} held-out pairs are also in training, {pair} first.",
                hint="Hold out before training.",
            )
