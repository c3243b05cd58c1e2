"""Merges of entities: two things that turn out to be one, and the way back.

Which entity stands for another (``entity.canonical``) is a pure function of the merges that are not undone:
they are replayed in the order they were made through union-find, and the winner's root stays. Nothing an
assertion says is rewritten, so an undo is exact, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kg.errors import NotFound, UsageError
from kg.ledger.connection import Database
from kg.ledger.edges import Edges
from kg.ledger.rows import MergeRow

COMPONENT_LIMIT = 10_000
"""Entities that merges may join into one; more means that whatever merges runs wild."""

_NEIGHBOURS = """
SELECT number, loser, winner FROM merge WHERE loser = ?1 AND undone IS NULL
UNION SELECT number, loser, winner FROM merge WHERE winner = ?1 AND undone IS NULL
"""
_TOUCH_DOCUMENTS = """
UPDATE trace SET version = ?1 WHERE identity IN (
    SELECT s.identity FROM appearance a JOIN source s ON s.number = a.source
    WHERE a.entity = ?2 AND s.kind = 'document')
"""
_TOUCHING = """
SELECT source, position FROM assertion WHERE subject = ?1
UNION SELECT source, position FROM assertion WHERE object = ?1
"""


class Merger:
    """Merges entities and undoes merges. All methods run inside one transaction of the database."""

    def __init__(self, database: Database, edges: Edges) -> None:
        self._database = database
        self._connection = database.connection
        self._edges = edges

    def merge_many(self, pairs: Sequence[tuple[str, str]], reason: str) -> list[int]:
        """Merge each (loser, winner); a merge that already stands keeps its number."""
        with self._database.writing() as version:
            numbers: list[int] = []
            seeds: list[int] = []
            for loser, winner in pairs:
                ends = self._number(loser), self._number(winner)
                if ends[0] == ends[1]:
                    raise UsageError(f"entity {loser} cannot be merged with itself.")
                standing = self._connection.execute(
                    "SELECT number FROM merge WHERE loser = ? AND winner = ? AND undone IS NULL", ends
                ).fetchone()
                if standing is not None:
                    numbers.append(standing[0])
                    continue
                cursor = self._connection.execute(
                    "INSERT INTO merge(loser, winner, reason, version) VALUES (?, ?, ?, ?)",
                    (*ends, reason, version),
                )
                assert cursor.lastrowid is not None
                numbers.append(cursor.lastrowid)
                seeds.extend(ends)
                self._database.changed("merge", f"{loser} into {winner}")
            self._derive(seeds, version)
            return numbers

    def undo(self, number: int) -> None:
        """Take a merge back."""
        with self._database.writing() as version:
            row = self._connection.execute(
                "SELECT loser, winner, undone FROM merge WHERE number = ?", (number,)
            ).fetchone()
            if row is None:
                raise NotFound(f"there is no merge {number}.")
            if row[2] is not None:
                raise UsageError(f"merge {number} is already undone.")
            self._connection.execute("UPDATE merge SET undone = ? WHERE number = ?", (version, number))
            self._database.changed("undo merge", str(number))
            self._derive(row[:2], version)

    def change_symmetric(self, symmetric: frozenset[str]) -> None:
        """Derive again the edges of predicates that became symmetric, or are so no longer."""
        with self._database.writing() as version:
            changed = sorted(symmetric ^ self._edges.symmetric)
            if not changed:
                return
            self._edges.store_symmetric(symmetric)
            self._database.changed("symmetric", ", ".join(sorted(symmetric)))
            for name in changed:
                assertions = self._connection.execute(
                    """SELECT source, position FROM assertion
                       WHERE predicate = (SELECT number FROM predicate WHERE name = ?)""",
                    (name,),
                ).fetchall()
                self._edges.derive_again(assertions, version)

    def rows(self) -> list[MergeRow]:
        """All merges ever made, oldest first."""
        with self._database.reading() as connection:
            return [
                MergeRow(number, loser, winner, reason, undone is not None)
                for number, loser, winner, reason, undone in connection.execute(
                    """SELECT m.number, l.identity, w.identity, m.reason, m.undone FROM merge m
                       JOIN entity l ON l.number = m.loser JOIN entity w ON w.number = m.winner
                       ORDER BY m.number"""
                )
            ]

    def _number(self, identity: str) -> int:
        row = self._connection.execute("SELECT number FROM entity WHERE identity = ?", (identity,)).fetchone()
        if row is None:
            raise NotFound(f"there is no entity {identity}.", hint="Its sources may never have been stored.")
        return int(row[0])

    def _derive(self, seeds: Iterable[int], version: int) -> None:
        """Replay the merges around these entities, and move what has another canonical entity now."""
        members, merges = self._component(seeds)
        roots = replay(merges)
        execute = self._connection.execute
        moved: list[tuple[int, int, int]] = []
        for member in sorted(members):
            (old,) = execute("SELECT canonical FROM entity WHERE number = ?", (member,)).fetchone()
            new = roots.get(member, member)
            if old != new:
                moved.append((member, old, new))
        if not moved:
            return
        self._database.memory.entities.clear()
        for member, old, new in moved:
            execute("UPDATE entity SET canonical = ?, version = ? WHERE number = ?", (new, version, member))
            execute("UPDATE entity SET version = ? WHERE number IN (?, ?)", (version, old, new))
            execute(_TOUCH_DOCUMENTS, (version, member))
        assertions = {row for member, _, _ in moved for row in execute(_TOUCHING, (member,))}
        self._edges.derive_again(sorted(assertions), version)

    def _component(self, seeds: Iterable[int]) -> tuple[set[int], dict[int, tuple[int, int]]]:
        """All entities that standing merges connect to the seeds, and those merges by number."""
        members = set(seeds)
        waiting = list(members)
        merges: dict[int, tuple[int, int]] = {}
        while waiting:
            for number, loser, winner in self._connection.execute(_NEIGHBOURS, (waiting.pop(),)):
                merges[number] = (loser, winner)
                for end in (loser, winner):
                    if end not in members:
                        members.add(end)
                        waiting.append(end)
            if len(members) > COMPONENT_LIMIT:
                raise UsageError(
                    f"these merges would join more than {COMPONENT_LIMIT} entities into one.",
                    hint="Undo the merges that join what is not the same; `merges` lists them.",
                )
        return members, merges


def replay(merges: dict[int, tuple[int, int]]) -> dict[int, int]:
    """The root of every entity in these (loser, winner) merges, made in the order of their numbers."""
    parent: dict[int, int] = {}

    def find(entity: int) -> int:
        path = list(_path(entity, parent))
        for passed in path[:-2]:
            parent[passed] = path[-1]
        return path[-1]

    for number in sorted(merges):
        loser, winner = (find(end) for end in merges[number])
        if loser != winner:
            parent[loser] = winner
    return {end: find(end) for ends in merges.values() for end in ends}


def _path(entity: int, parent: dict[int, int]) -> Iterator[int]:
    yield entity
    while entity in parent:
        entity = parent[entity]
        yield entity
