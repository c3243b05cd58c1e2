"""The check of a whole ledger: is the file sound, and is everything derived what it should be?"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator

from kg.facts import content_hash
from kg.ledger.edges import edge_identity, read_symmetric
from kg.ledger.merges import replay
from kg.ledger.tables import DESCRIPTION, NAME, SURFACE

_ASSERTIONS = """
SELECT s.identity, a.position, a.edge, cs.number, cs.identity, p.name, co.number, co.identity,
    a.literal, a.qualifiers, g.identity, g.subject, g.object
FROM assertion a JOIN source s ON s.number = a.source JOIN predicate p ON p.number = a.predicate
JOIN entity es ON es.number = a.subject JOIN entity cs ON cs.number = es.canonical
LEFT JOIN entity eo ON eo.number = a.object LEFT JOIN entity co ON co.number = eo.canonical
LEFT JOIN edge g ON g.number = a.edge
"""


def audit(connection: sqlite3.Connection) -> list[str]:
    """One sentence for each thing that is wrong; reads everything (seconds for a million assertions)."""
    damage = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    if damage:
        return [f"The file is damaged: {line}." for line in damage]
    return [
        *_references(connection),
        *_texts(connection),
        *_canonicals(connection),
        *_edges(connection),
        *_wordings(connection),
    ]


def _references(connection: sqlite3.Connection) -> Iterator[str]:
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"Row {row} of {table} refers to a {parent} that is not there."


def _texts(connection: sqlite3.Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT s.number, s.identity, d.text FROM document d JOIN source s ON s.number = d.source"
    )
    for number, identity, text in rows:
        if content_hash("document", text) != identity:
            yield f"The text of document {identity} is not the one it was stored with."
        (last,) = connection.execute(
            "SELECT ifnull(max(ends), 0) FROM evidence WHERE source = ?", (number,)
        ).fetchone()
        if last > len(text):
            yield f"A quote lies outside the text of document {identity}."
    for (identity,) in connection.execute(
        """SELECT s.identity FROM document d JOIN source s ON s.number = d.source
           WHERE NOT EXISTS (SELECT 1 FROM place WHERE source = d.source)"""
    ):
        yield f"Document {identity} is at no place."


def _canonicals(connection: sqlite3.Connection) -> Iterator[str]:
    merges = {
        number: (loser, winner)
        for number, loser, winner in connection.execute(
            "SELECT number, loser, winner FROM merge WHERE undone IS NULL"
        )
    }
    roots = replay(merges)
    for number, identity, canonical in connection.execute("SELECT number, identity, canonical FROM entity"):
        if roots.get(number, number) != canonical:
            yield f"Entity {identity} has another canonical entity than its merges say."


def _edges(connection: sqlite3.Connection) -> Iterator[str]:
    symmetric = read_symmetric(connection)
    for row in connection.execute(_ASSERTIONS):
        source, position, _, subject, first, predicate, target, second, literal, qualifiers, *edge = row
        if second is not None and predicate in symmetric and second < first:
            subject, first, target, second = target, second, subject, first
        identity = edge_identity(first, predicate, second, literal, qualifiers)
        if edge != [identity, subject, target]:
            yield f"Assertion {position} of {source} is in another edge than it belongs to."


def _wordings(connection: sqlite3.Connection) -> Iterator[str]:
    found: Counter[tuple[int, int, str]] = Counter()
    for entity, name, description in connection.execute("SELECT entity, name, description FROM appearance"):
        found[entity, NAME, name] += 1
        if description:
            found[entity, DESCRIPTION, description] += 1
    mentions = connection.execute(
        """SELECT m.source, m.entity, m.begins, m.ends FROM mention m ORDER BY m.source"""
    )
    at, text = None, ""
    for source, entity, start, end in mentions:
        if source != at:
            (text,) = connection.execute("SELECT text FROM document WHERE source = ?", (source,)).fetchone()
            at = source
        found[entity, SURFACE, text[start:end]] += 1
    stored = {
        (entity, kind, wording): uses
        for entity, kind, wording, uses in connection.execute("SELECT entity, kind, text, uses FROM wording")
    }
    for key in sorted(stored.keys() | found.keys()):
        if stored.get(key, 0) != found.get(key, 0):
            yield f"Wording {key[2]!r} of entity number {key[0]} is counted wrongly."
