"""Folding: what nodes, edges, documents and mentions show, computed from raw rows.

Every stream takes ``since`` and yields what was touched after that version, at the state of the connection's
snapshot; 0 means everything. Rows that are not alive come too, marked, because a projection must drop them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from kg.facts import Status, canonical_json
from kg.ledger.tables import DECISION_STEP, DESCRIPTION, FIRST_DECISION, NAME, STATUS_OF_CODE
from kg.stores.store import DOCUMENTS_PER_EDGE

FOLD = f"""
max(CASE WHEN a.status < {FIRST_DECISION} THEN a.status END) AS base,
max(CASE WHEN a.status >= {FIRST_DECISION} THEN a.source * {DECISION_STEP} + a.status END) AS decision,
max(CASE WHEN a.status < {FIRST_DECISION} THEN a.confidence END) AS confidence,
count(DISTINCT CASE WHEN a.status < {FIRST_DECISION} THEN a.source END) AS support
"""
"""The columns that fold a group of assertions ``a``."""

# Without the hint, GROUP BY makes SQLite walk all edges in order of their numbers: milliseconds per delta.
# For everything, walking in that order is what is wanted.
_EDGES = """
SELECT g.identity, p.name, s.identity, s.type, o.identity, o.type, g.qualifiers, {fold},
    group_concat(DISTINCT CASE WHEN a.status < {first} AND d.kind = 'document' THEN d.identity END), g.version
FROM edge g {walk}
CROSS JOIN entity s ON s.number = g.subject CROSS JOIN entity o ON o.number = g.object
CROSS JOIN predicate p ON p.number = g.predicate
LEFT JOIN assertion a ON a.edge = g.number LEFT JOIN source d ON d.number = a.source
WHERE g.version > :since AND g.literal IS NULL AND g.subject <> g.object
GROUP BY g.number
"""
_NODES = """
SELECT n.number, n.identity, n.type, n.version, n.canonical = n.number, (
    SELECT text FROM wording WHERE entity = n.number AND kind = 2 ORDER BY uses DESC, text LIMIT 1)
FROM entity n {walk} WHERE n.version > :since ORDER BY n.number
"""
_WORDINGS = """
SELECT n.number, n.number, w.kind, w.text, w.normal, w.uses
FROM entity n {walk} CROSS JOIN wording w ON w.entity = n.number AND w.kind < 2
WHERE n.version > :since AND n.canonical = n.number
UNION ALL
SELECT n.number, m.number, w.kind, w.text, w.normal, w.uses
FROM entity n {walk} CROSS JOIN entity m INDEXED BY entity_canonical
    ON m.canonical = n.number AND m.canonical <> m.number
CROSS JOIN wording w ON w.entity = m.number AND w.kind < 2
WHERE n.version > :since AND n.canonical = n.number
ORDER BY 1
"""
_PROPERTIES = """
SELECT n.number, p.name, g.literal, {fold}
FROM entity n {walk} CROSS JOIN edge g INDEXED BY edge_literal
    ON g.subject = n.number AND g.literal IS NOT NULL
CROSS JOIN predicate p ON p.number = g.predicate
CROSS JOIN assertion a ON a.edge = g.number
WHERE n.version > :since AND n.canonical = n.number
GROUP BY n.number, g.number ORDER BY n.number
"""
_DOCUMENTS = """
SELECT t.identity, t.chunks, t.version, s.number,
    (SELECT min(uri) FROM place WHERE source = s.number) AS uri
FROM trace t {walk} LEFT JOIN source s ON s.identity = t.identity
WHERE t.version > :since ORDER BY t.identity
"""
_MENTIONS = """
SELECT s.identity, m.chunk, c.identity, c.type, count(*)
FROM trace t {walk} CROSS JOIN source s ON s.identity = t.identity
CROSS JOIN mention m ON m.source = s.number
CROSS JOIN entity e ON e.number = m.entity CROSS JOIN entity c ON c.number = e.canonical
WHERE t.version > :since AND m.chunk IS NOT NULL
GROUP BY m.source, m.chunk, c.number
"""


class Node(NamedTuple):
    """A canonical entity as it is shown: NODE_FIELDS, and whether it is ``alive``.

    It is not where it was merged away, or where nothing speaks of it any more.
    """

    id: str
    type: str
    name: str
    aliases: tuple[str, ...]
    description: str
    properties: str
    version: int
    alive: bool


class Edge(NamedTuple):
    """An edge as it is shown: EDGE_FIELDS; no ``status`` where no source asserts it any more."""

    id: str
    predicate: str
    source: str
    source_type: str
    target: str
    target_type: str
    qualifiers: str
    status: Status | None
    confidence: float
    support: int
    documents: list[str]
    version: int

    @property
    def shown(self) -> bool:
        """Whether the graph shows it."""
        return self.status is not None and self.status is not Status.REJECTED


@dataclass(frozen=True, slots=True)
class Shown:
    """A document as it is shown; ``number`` is ``None`` where it is gone, ``chunks`` the most it ever had."""

    id: str
    chunks: int
    version: int
    number: int | None
    uri: str
    title: str


def status_of(base: int | None, decision: int | None) -> Status | None:
    """The status of a group: its newest decision, else its strongest base status; ``None`` without any."""
    if base is None:
        return None
    return STATUS_OF_CODE[base if decision is None else decision % DECISION_STEP]


def fold_edges(connection: sqlite3.Connection, since: int) -> Iterator[Edge]:
    """Edges between two entities."""
    rows = connection.execute(edges_sql(since), {"since": since})
    for *ends, base, decision, confidence, support, documents, version in rows:
        if documents is None:
            ids = []
        elif "," in documents:
            ids = sorted(documents.split(","))[:DOCUMENTS_PER_EDGE]
        else:
            ids = [documents]
        status = status_of(base, decision)
        yield Edge._make((*ends, status, confidence, support, ids, version))


def edges_sql(since: int) -> str:
    """The query of :func:`fold_edges`."""
    return _EDGES.format(fold=FOLD, first=FIRST_DECISION, walk=_walk("edge_version", since))


def nodes_sql(since: int) -> tuple[str, str, str]:
    """The queries of :func:`fold_nodes`."""
    walk = _walk("entity_version", since)
    return _NODES.format(walk=walk), _WORDINGS.format(walk=walk), _PROPERTIES.format(walk=walk, fold=FOLD)


def fold_nodes(connection: sqlite3.Connection, since: int) -> Iterator[Node]:
    """Entities, each with its name, aliases, description and properties."""
    nodes, wordings, properties = nodes_sql(since)
    worded = _Grouped(connection.execute(wordings, {"since": since}))
    valued = _Grouped(connection.execute(properties, {"since": since}))
    rows = connection.execute(nodes, {"since": since})
    for number, identity, type_, version, canonical, description in rows:
        words = worded.take(number)
        values = valued.take(number)
        if not canonical or not any(word[2] == NAME for word in words):
            yield Node(identity, type_, "", (), "", "{}", version, False)
            continue
        name, aliases = fold_words(number, words)
        if description is None and any(word[1] != number for word in words):
            description = _member_description(connection, number)
        properties_ = _fold_properties(values)
        yield Node(identity, type_, name, aliases, description or "", properties_, version, True)


def fold_words(number: int, words: list[tuple[Any, ...]]) -> tuple[str, tuple[str, ...]]:
    """Choose name and aliases from rows (node, entity, kind, text, normal, uses).

    The name is the spelling that most sources declare for the canonical entity itself, or for a merged one
    where nothing speaks of that any more. Each alias is the most used spelling of its normalised form.
    """
    if len(words) == 1:
        return words[0][3], ()
    declared = [word for word in words if word[2] == NAME]
    own = [word for word in declared if word[1] == number]
    best = min(own or declared, key=lambda word: (-word[5], word[3]))
    uses: dict[tuple[str, str], int] = {}
    for _, _, _, text, normal, count in words:
        uses[normal, text] = uses.get((normal, text), 0) + count
    chosen: dict[str, str] = {}
    for (normal, text), count in uses.items():
        other = chosen.get(normal)
        if other is None or (-count, text) < (-uses[normal, other], other):
            chosen[normal] = text
    chosen.pop(best[4], None)
    return best[3], tuple(sorted(chosen.values()))


def fold_documents(connection: sqlite3.Connection, since: int) -> Iterator[Shown]:
    """Documents, those that are gone too."""
    sql, _ = documents_sql(since)
    for identity, chunks, version, number, uri in connection.execute(sql, {"since": since}):
        title = ""
        if uri is not None:
            (title,) = connection.execute("SELECT title FROM place WHERE uri = ?", (uri,)).fetchone()
        yield Shown(identity, chunks, version, number, uri or "", title)


def documents_sql(since: int) -> tuple[str, str]:
    """The queries of :func:`fold_documents` and :func:`fold_mentions`."""
    walk = _walk("trace_version", since)
    return _DOCUMENTS.format(walk=walk), _MENTIONS.format(walk=walk)


def fold_chunks(connection: sqlite3.Connection, number: int) -> Iterator[tuple[int, int, int, str]]:
    """The chunks of a stored document: position, start, end, text."""
    (text,) = connection.execute("SELECT text FROM document WHERE source = ?", (number,)).fetchone()
    for position, start, end in connection.execute(
        "SELECT position, begins, ends FROM chunk WHERE source = ? ORDER BY position", (number,)
    ):
        yield position, start, end, text[start:end]


def fold_mentions(connection: sqlite3.Connection, since: int) -> Iterator[tuple[str, str, str, int]]:
    """Mentions in the chunks of touched documents: chunk id, canonical entity id and type, count."""
    _, sql = documents_sql(since)
    for document, chunk, entity, type_, count in connection.execute(sql, {"since": since}):
        yield f"{document}#{chunk}", entity, type_, count


def _walk(index: str, since: int) -> str:
    return f"INDEXED BY {index}" if since > 0 else "NOT INDEXED"


def _member_description(connection: sqlite3.Connection, number: int) -> str | None:
    row = connection.execute(
        """SELECT w.text FROM entity m INDEXED BY entity_canonical JOIN wording w ON w.entity = m.number
           WHERE m.canonical = ? AND m.canonical <> m.number AND w.kind = ?
           ORDER BY w.uses DESC, w.text LIMIT 1""",
        (number, DESCRIPTION),
    ).fetchone()
    return None if row is None else str(row[0])


def _fold_properties(rows: list[tuple[Any, ...]]) -> str:
    """Write {property: [values]}, best supported first; rejected values are left out."""
    if not rows:
        return "{}"
    best: dict[str, dict[str, tuple[int, float]]] = {}
    for _, name, literal, base, decision, confidence, support in rows:
        status = status_of(base, decision)
        if status is None or status is Status.REJECTED:
            continue
        values = best.setdefault(name, {})
        # One value may come with different qualifiers; it ranks by its best supported edge.
        values[literal] = max(values.get(literal, (0, 0.0)), (support, confidence))
    folded = {
        name: [
            json.loads(literal)
            for literal in sorted(values, key=lambda text: (-values[text][0], -values[text][1], text))
        ]
        for name, values in best.items()
    }
    return canonical_json(folded)


class _Grouped:
    """Rows in ascending order of their first field, taken group by group."""

    def __init__(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def take(self, number: int) -> list[tuple[Any, ...]]:
        """The rows whose first field is ``number``; numbers must be asked for in ascending order."""
        found = []
        while self._next is not None and self._next[0] == number:
            found.append(self._next)
            self._next = next(self._rows, None)
        return found
