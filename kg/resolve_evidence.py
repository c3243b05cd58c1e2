"""What resolution knows beside names: keys, neighbours in common, and merges that were undone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kg.facts import Literal
from kg.snapshot import TRAINED_ON

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger
    from kg.ledger.rows import EntityRow, LedgerArrays
    from kg.schema import Schema

HUB_DEGREE = 30
"""A neighbour with more edges than this (a genre, a country) is no sign that two things are one."""


class Evidence:
    """Evidence about pairs of entities, by public id."""

    def __init__(
        self, arrays: LedgerArrays, keys: Mapping[str, str], undone: Iterable[tuple[str, str]]
    ) -> None:
        self._keys = keys
        self._undone: dict[str, set[str]] = {}
        for one, other in undone:
            self._undone.setdefault(one, set()).add(other)
            self._undone.setdefault(other, set()).add(one)
        self._dense = {identity: number for number, identity in enumerate(arrays.entity_ids)}
        head = np.concatenate([arrays.subject, arrays.object])
        tail = np.concatenate([arrays.object, arrays.subject])
        degree = np.bincount(head, minlength=len(arrays.entity_ids))
        kept = degree[tail] <= HUB_DEGREE
        head, tail = head[kept], tail[kept]
        self._tail: NDArray[np.int64] = tail[np.argsort(head, kind="stable")]
        counts = np.bincount(head, minlength=len(arrays.entity_ids))
        self._indptr = np.concatenate([[0], np.cumsum(counts)])

    def key(self, row: EntityRow) -> str:
        """What tells this entity from its namesakes: its discriminator, else its key property; or empty.

        Several values of the property are one key that no other entity has.
        """
        return row.discriminator or self._keys.get(row.id, "")

    def beside(self, one: Iterable[str], other: Iterable[str]) -> bool:
        """Whether a member of each group stands beside the same neighbour, which is no hub."""
        return not self._neighbours(one).isdisjoint(self._neighbours(other))

    def undone(self, one: Iterable[str], other: Iterable[str]) -> bool:
        """Whether a merge of a member of each group was undone."""
        if not self._undone:
            return False
        there = set(other)
        return any(not there.isdisjoint(self._undone.get(identity, ())) for identity in one)

    def _neighbours(self, identities: Iterable[str]) -> set[int]:
        found: set[int] = set()
        for identity in identities:
            number = self._dense.get(identity)
            if number is not None:
                found.update(self._tail[self._indptr[number] : self._indptr[number + 1]].tolist())
        return found


def gather_evidence(ledger: Ledger, schema: Schema) -> Evidence:
    """Read the keys, the edges and the undone merges of a ledger."""
    undone = [
        (ledger.canonical(merge.loser), ledger.canonical(merge.winner))
        for merge in ledger.merges()
        if merge.undone
    ]
    return Evidence(ledger.arrays(TRAINED_ON), _keys(ledger, schema), undone)


def _keys(ledger: Ledger, schema: Schema) -> dict[str, str]:
    """The values of the key property of each entity that has any."""
    wanted = {entity.name: entity.key for entity in schema.entities.values() if entity.key}
    found: dict[str, str] = {}
    if not wanted:
        return found
    with ledger.projection() as projection:
        for batch in projection.batches("nodes"):
            columns = (batch.column(name).to_pylist() for name in ("id", "type", "properties"))
            for identity, type_, properties in zip(*columns, strict=True):
                key = wanted.get(type_)
                if key is not None and f'"{key}"' in properties:
                    found[identity] = _one(identity, json.loads(properties).get(key, []))
    return found


def _one(identity: str, values: list[Literal]) -> str:
    return str(values[0]) if len(values) == 1 else f"{identity}: {values}" if values else ""
