"""The graph as numpy arrays: what snapshots are made from."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kg.facts import Status
from kg.ledger.connection import head_of
from kg.ledger.reads import node_name
from kg.ledger.rows import LedgerArrays
from kg.ledger.tables import FIRST_DECISION, NAME, STATUS_CODES

_ASSERTIONS = (
    "SELECT edge, source, status, confidence FROM assertion INDEXED BY assertion_edge ORDER BY edge, source"
)
_EDGES = """
SELECT number, subject, predicate, object FROM edge
WHERE literal IS NULL AND subject <> object ORDER BY number
"""
_EDGE_IDS = "SELECT identity FROM edge WHERE literal IS NULL AND subject <> object ORDER BY number"
_ENTITIES = """
SELECT number, identity, type FROM entity WHERE number IN (
    SELECT e.canonical FROM wording w JOIN entity e ON e.number = w.entity WHERE w.kind = ?)
ORDER BY identity
"""


def make_arrays(connection: sqlite3.Connection, statuses: Collection[Status]) -> LedgerArrays:
    """Fold the edges that have one of these statuses, at the connection's snapshot."""
    entities = connection.execute(_ENTITIES, (NAME,)).fetchall()
    dense = np.full(_largest(connection, "entity") + 1, -1, dtype=np.int64)
    dense[[number for number, _, _ in entities]] = np.arange(len(entities))
    predicates = connection.execute("SELECT number, name FROM predicate ORDER BY name").fetchall()
    relations = np.full(_largest(connection, "predicate") + 1, -1, dtype=np.int64)
    relations[[number for number, _ in predicates]] = np.arange(len(predicates))

    edge, support, confidence = _fold(connection, statuses)
    kind = np.dtype([("number", "i8"), ("subject", "i8"), ("predicate", "i8"), ("object", "i8")])
    rows: NDArray[Any] = np.fromiter(connection.execute(_EDGES), dtype=kind)
    identities = list(chain.from_iterable(connection.execute(_EDGE_IDS)))
    place = np.minimum(np.searchsorted(edge, rows["number"]), max(0, len(edge) - 1))
    kept = np.flatnonzero(edge[place] == rows["number"]) if len(edge) else np.empty(0, np.int64)
    used, relation = np.unique(relations[rows["predicate"][kept]], return_inverse=True)
    head, tail = dense[rows["subject"][kept]], dense[rows["object"][kept]]
    order = _order(head, relation, tail, [identities[row] for row in kept.tolist()])
    return LedgerArrays(
        version=head_of(connection)[0],
        entity_ids=[identity for _, identity, _ in entities],
        entity_names=_names(connection, [number for number, _, _ in entities]),
        entity_types=[type_ for _, _, type_ in entities],
        predicate_names=[predicates[index][1] for index in used.tolist()],
        subject=head[order],
        predicate=relation[order],
        object=tail[order],
        confidence=confidence[place[kept]][order],
        support=support[place[kept]][order],
        edge_ids=[identities[row] for row in kept[order].tolist()],
    )


def _order(
    head: NDArray[np.int64], relation: NDArray[np.int64], tail: NDArray[np.int64], identities: list[str]
) -> NDArray[np.int64]:
    """Sort by head, relation, tail and, where edges differ only in qualifiers, by their ids."""
    order = np.lexsort((tail, relation, head))
    same = np.ones(max(0, len(order) - 1), dtype=bool)
    for column in (head, relation, tail):
        same &= column[order][1:] == column[order][:-1]
    end = 0
    for row in np.flatnonzero(same).tolist():
        if row < end:
            continue
        end = row + 1
        while end < len(order) and same[end - 1]:
            end += 1
        order[row:end] = sorted(order[row:end].tolist(), key=identities.__getitem__)
    return order


def _fold(
    connection: sqlite3.Connection, statuses: Collection[Status]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Edge numbers (ascending), support and confidence of the groups with one of these statuses."""
    kind = np.dtype([("edge", "i8"), ("source", "i8"), ("status", "i1"), ("confidence", "f8")])
    rows: NDArray[Any] = np.fromiter(connection.execute(_ASSERTIONS), dtype=kind)
    edge, source, status = rows["edge"], rows["source"], rows["status"]
    if not len(rows):
        return edge, np.empty(0, np.int32), np.empty(0, np.float32)
    first = np.flatnonzero(np.r_[True, edge[1:] != edge[:-1]])
    base = np.where(status < FIRST_DECISION, status, 0)
    new_source = np.r_[True, (edge[1:] != edge[:-1]) | (source[1:] != source[:-1])]
    support = np.add.reduceat((new_source & (base > 0)).astype(np.int32), first)
    confidence = np.maximum.reduceat(np.where(base > 0, rows["confidence"], 0.0), first)
    decision = np.maximum.reduceat(np.where(base > 0, 0, source * 8 + status), first)
    strongest = np.maximum.reduceat(base, first)
    final = np.where(strongest == 0, 0, np.where(decision > 0, decision % 8, strongest))
    kept = np.isin(final, [STATUS_CODES[status] for status in statuses])
    return edge[first][kept], support[kept], confidence[kept].astype(np.float32)


def _names(connection: sqlite3.Connection, numbers: list[int]) -> list[str]:
    """The names of canonical entities; merged or differently spelt ones are folded one by one."""
    alone: dict[int, str] = dict(
        connection.execute(
            "SELECT entity, min(text) FROM wording WHERE kind = ? GROUP BY entity HAVING count(*) = 1",
            (NAME,),
        )
    )
    return [alone.get(number) or node_name(connection, number) for number in numbers]


def _largest(connection: sqlite3.Connection, table: str) -> int:
    (largest,) = connection.execute(f"SELECT ifnull(max(number), 0) FROM {table}").fetchone()
    return int(largest)
