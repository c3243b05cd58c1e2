"""Edges: groups of assertions with the same canonical ends, predicate, object and qualifiers.

An edge row holds nothing folded. A commit touches it (sets ``version``); what it shows is computed on demand.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable

from kg.facts import content_hash
from kg.ledger.connection import Memory

_PLACE = """
INSERT INTO edge(identity, subject, predicate, object, literal, qualifiers, version)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(identity) DO UPDATE SET version = excluded.version, qualifiers = excluded.qualifiers
RETURNING number
"""


def edge_identity(
    subject: str, predicate: str, object: str | None, literal: str | None, qualifiers: str
) -> str:
    """The public id of an edge: the hash of its canonical ends or literal, predicate and qualifiers."""
    target = object if object is not None else f"={literal}"
    return content_hash("edge", subject, predicate, target, qualifiers)


def read_symmetric(connection: sqlite3.Connection) -> frozenset[str]:
    """The names of the symmetric predicates, as stored."""
    (value,) = connection.execute("SELECT value FROM setting WHERE name = 'symmetric'").fetchone()
    return frozenset(json.loads(value))


class Edges:
    """Finds or makes the edge of an assertion, and marks what changed."""

    def __init__(self, connection: sqlite3.Connection, memory: Memory) -> None:
        self._connection = connection
        self._memory = memory

    @property
    def symmetric(self) -> frozenset[str]:
        """The names of the predicates whose two ends mean the same."""
        found = self._memory.symmetric
        if found is None:
            found = self._memory.symmetric = read_symmetric(self._connection)
        return found

    def store_symmetric(self, symmetric: Collection[str]) -> None:
        """Make these predicates the symmetric ones."""
        self._memory.symmetric = frozenset(symmetric)
        value = json.dumps(sorted(symmetric))
        self._connection.execute("UPDATE setting SET value = ? WHERE name = 'symmetric'", (value,))

    def predicate(self, name: str) -> int:
        """The number of a predicate, made when it is new."""
        number = self._memory.predicates.get(name)
        if number is None:
            self._connection.execute("INSERT OR IGNORE INTO predicate(name) VALUES (?)", (name,))
            row = self._connection.execute("SELECT number FROM predicate WHERE name = ?", (name,)).fetchone()
            number = self._memory.predicates[name] = int(row[0])
        return number

    def place(
        self,
        subject: tuple[int, str],
        predicate: tuple[int, str],
        target: tuple[int, str] | None,
        literal: str | None,
        qualifiers: str,
        version: int,
    ) -> int:
        """Touch the edge between canonical ends (number, id), making it when it is new; return its number."""
        number, name = predicate
        if target is not None and name in self.symmetric and target[1] < subject[1]:
            subject, target = target, subject
        identity = edge_identity(subject[1], name, None if target is None else target[1], literal, qualifiers)
        row = self._connection.execute(
            _PLACE,
            (
                identity,
                subject[0],
                number,
                None if target is None else target[0],
                literal,
                qualifiers,
                version,
            ),
        ).fetchone()
        return int(row[0])

    def touch(self, edges: Iterable[int], version: int) -> None:
        """Mark edges as changed; a literal edge marks the node that shows it."""
        rows = [(version, edge) for edge in edges]
        self._connection.executemany("UPDATE edge SET version = ? WHERE number = ?", rows)
        self._connection.executemany(
            """UPDATE entity SET version = ?
               WHERE number = (SELECT subject FROM edge WHERE number = ? AND literal IS NOT NULL)""",
            rows,
        )

    def tidy(self, edges: Iterable[int]) -> None:
        """Take the text out of edges that no assertion is left of; keep what projections must be told."""
        rows = [(edge,) for edge in edges]
        self._connection.executemany(
            """DELETE FROM edge WHERE number = ? AND literal IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM assertion WHERE edge = edge.number)""",
            rows,
        )
        self._connection.executemany(
            """UPDATE edge SET qualifiers = '{}' WHERE number = ? AND qualifiers <> '{}'
               AND NOT EXISTS (SELECT 1 FROM assertion WHERE edge = edge.number)""",
            rows,
        )

    def derive_again(self, assertions: Iterable[tuple[int, int]], version: int) -> None:
        """Recompute the edge of assertions (source, position) whose ends or symmetry changed."""
        placed: dict[tuple[int, int, int | None, str | None, str], int] = {}
        moved: list[tuple[int, int, int]] = []
        left: set[int] = set()
        for source, position in assertions:
            row = self._connection.execute(_RAW, (source, position)).fetchone()
            subject, predicate, target = (row[0], row[1]), (row[2], row[3]), (row[4], row[5])
            key = (subject[0], predicate[0], target[0], row[6], row[7])
            edge = placed.get(key)
            if edge is None:
                end = None if target[0] is None else target
                edge = placed[key] = self.place(subject, predicate, end, row[6], row[7], version)
            if edge != row[8]:
                left.add(row[8])
                moved.append((edge, source, position))
        self._connection.executemany("UPDATE assertion SET edge = ? WHERE source = ? AND position = ?", moved)
        self.touch(left, version)
        self.touch(placed.values(), version)
        self.tidy(left)


_RAW = """
SELECT s.number, s.identity, p.number, p.name, o.number, o.identity, a.literal, a.qualifiers, a.edge
FROM assertion a
JOIN entity es ON es.number = a.subject JOIN entity s ON s.number = es.canonical
JOIN predicate p ON p.number = a.predicate
LEFT JOIN entity eo ON eo.number = a.object LEFT JOIN entity o ON o.number = eo.canonical
WHERE a.source = ? AND a.position = ?
"""
