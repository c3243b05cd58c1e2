"""Reading single things and lists of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

from kg.errors import NotFound
from kg.facts import Document, Entity, Status, normalise_name
from kg.ledger.connection import Database, head_of
from kg.ledger.folding import FOLD, fold_words
from kg.ledger.rows import DecisionRow, DocumentRow, EntityRow, PlaceRow, Statistics
from kg.ledger.tables import FIRST_DECISION, NAME, STATUS_OF_CODE, SURFACE

_MEMBERS = """
SELECT number FROM entity WHERE number = ?1
UNION SELECT number FROM entity INDEXED BY entity_canonical WHERE canonical = ?1 AND canonical <> number
"""
_MEMBER_WORDS = f"""
SELECT ?1, w.entity, w.kind, w.text, w.normal, w.uses FROM wording w
WHERE w.kind < 2 AND w.entity IN ({_MEMBERS})
"""
_OWN_DESCRIPTION = """
SELECT text FROM wording WHERE entity = ? AND kind = 2 ORDER BY uses DESC, text LIMIT 1
"""
_DOCUMENT_ROWS = """
SELECT s.number, s.identity, d.characters, (SELECT count(*) FROM chunk WHERE source = s.number),
    (SELECT count(*) FROM assertion WHERE source = s.number)
FROM document d JOIN source s ON s.number = d.source ORDER BY s.number
"""
_FACTS = f"""
SELECT count(*) FROM (
    SELECT {FOLD} FROM assertion a JOIN edge g ON g.number = a.edge
    WHERE g.object IS NULL OR g.subject <> g.object GROUP BY a.edge)
WHERE base IS NOT NULL AND (decision IS NULL OR decision % 8 <> ?)
"""


class Reader:
    """Small reads from the main connection, lists from a snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def has_document(self, identity: str) -> bool:
        """Whether a document is stored."""
        with self._database.reading() as connection:
            return _document_number(connection, identity) is not None

    def holds(self, uri: str) -> str | None:
        """The id of the document at a place."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT s.identity FROM place p JOIN source s ON s.number = p.source WHERE p.uri = ?", (uri,)
            ).fetchone()
            return None if row is None else str(row[0])

    def place(self, uri: str) -> PlaceRow | None:
        """What is stored at a place."""
        with self._database.reading() as connection:
            row = connection.execute(
                """SELECT s.identity, p.title, p.metadata
                   FROM place p JOIN source s ON s.number = p.source WHERE p.uri = ?""",
                (uri,),
            ).fetchone()
            return None if row is None else PlaceRow(uri, row[0], row[1], json.loads(row[2]))

    def document(self, identity: str) -> Document:
        """A stored document, at its first place."""
        with self._database.reading() as connection:
            row = connection.execute(
                """SELECT d.text, p.uri, p.title, p.metadata FROM source s
                   JOIN document d ON d.source = s.number JOIN place p ON p.source = s.number
                   WHERE s.identity = ? ORDER BY p.uri LIMIT 1""",
                (identity,),
            ).fetchone()
            if row is None:
                raise NotFound(f"there is no document {identity}.", hint="`lore documents list` shows them.")
            return Document(identity, row[0], row[1], row[2], json.loads(row[3]))

    def documents(self) -> Iterator[DocumentRow]:
        """All documents in the order they were first stored."""
        with self._database.snapshot() as connection:
            for number, identity, characters, chunks, facts in connection.execute(_DOCUMENT_ROWS):
                places = connection.execute(
                    "SELECT uri, title FROM place WHERE source = ? ORDER BY uri", (number,)
                ).fetchall()
                uris = tuple(uri for uri, _ in places)
                yield DocumentRow(identity, uris, places[0][1], characters, chunks, facts)

    def canonical(self, identity: str) -> str:
        """The id of the entity that stands for this one."""
        with self._database.reading() as connection:
            row = connection.execute(
                """SELECT c.identity FROM entity e JOIN entity c ON c.number = e.canonical
                   WHERE e.identity = ?""",
                (identity,),
            ).fetchone()
            if row is None:
                raise NotFound(f"there is no entity {identity}.")
            return str(row[0])

    def entity(self, identity: str) -> Entity | None:
        """One entity as its own sources declare it, merged or not; ``None`` where none does."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT number, type, discriminator FROM entity WHERE identity = ?", (identity,)
            ).fetchone()
            if row is None:
                return None
            name = connection.execute(
                "SELECT text FROM wording WHERE entity = ? AND kind = ? ORDER BY uses DESC, text LIMIT 1",
                (row[0], NAME),
            ).fetchone()
            if name is None:
                return None
            description = connection.execute(_OWN_DESCRIPTION, (row[0],)).fetchone()
            return Entity(identity, row[1], name[0], row[2] or "", description[0] if description else "")

    def entities(self, type: str | None) -> Iterator[EntityRow]:
        """All canonical entities that something speaks of, by number."""
        with self._database.snapshot() as connection:
            rows = connection.execute(
                "SELECT number FROM entity WHERE canonical = number AND (?1 IS NULL OR type = ?1)", (type,)
            )
            for (number,) in rows:
                found = _entity_row(connection, number)
                if found is not None:
                    yield found

    def entities_named(self, name: str, type: str | None) -> list[EntityRow]:
        """The canonical entities with exactly this name or alias, once normalised; most mentioned first."""
        with self._database.reading() as connection:
            numbers = connection.execute(
                """SELECT DISTINCT c.number FROM wording w JOIN entity e ON e.number = w.entity
                   JOIN entity c ON c.number = e.canonical
                   WHERE w.normal = ?1 AND w.kind < 2 AND (?2 IS NULL OR c.type = ?2)""",
                (normalise_name(name), type),
            ).fetchall()
            found = (_entity_row(connection, number) for (number,) in numbers)
            rows = [row for row in found if row is not None]
            return sorted(rows, key=lambda row: (-row.n_mentions, row.id))

    def decisions(self, edge_id: str) -> list[DecisionRow]:
        """The decisions on an edge, newest first: the first one holds."""
        with self._database.reading() as connection:
            rows = connection.execute(
                """SELECT DISTINCT s.number, s.identity, a.status, s.decided_by, s.version FROM edge g
                   JOIN assertion a ON a.edge = g.number JOIN source s ON s.number = a.source
                   WHERE g.identity = ? AND a.status >= ? ORDER BY s.number DESC""",
                (edge_id, FIRST_DECISION),
            )
            return [DecisionRow(row[1], STATUS_OF_CODE[row[2]], row[3] or "", row[4]) for row in rows]

    def statistics(self) -> Statistics:
        """Count everything, at the last commit."""
        with self._database.snapshot() as connection:

            def count(sql: str, *values: int) -> int:
                return int(connection.execute(sql, values).fetchone()[0])

            return Statistics(
                documents=count("SELECT count(*) FROM document"),
                chunks=count("SELECT count(*) FROM chunk"),
                entities=count(
                    """SELECT count(DISTINCT e.canonical) FROM wording w JOIN entity e ON e.number = w.entity
                       WHERE w.kind = ?""",
                    NAME,
                ),
                facts=count(_FACTS, _code(Status.REJECTED)),
                evidence=count(
                    """SELECT (SELECT count(*) FROM evidence)
                       + (SELECT count(*) FROM assertion WHERE inference IS NOT NULL)"""
                ),
                version=head_of(connection)[0],
            )


def node_name(connection: sqlite3.Connection, number: int) -> str:
    """The name that a canonical entity shows; empty where nothing speaks of it."""
    words = connection.execute(_MEMBER_WORDS, (number,)).fetchall()
    return fold_words(number, words)[0] if any(word[2] == NAME for word in words) else ""


def _code(status: Status) -> int:
    return next(code for code, known in STATUS_OF_CODE.items() if known is status)


def _document_number(connection: sqlite3.Connection, identity: str) -> int | None:
    row = connection.execute(
        "SELECT number FROM source WHERE identity = ? AND kind = 'document'", (identity,)
    ).fetchone()
    return None if row is None else int(row[0])


def _description(connection: sqlite3.Connection, number: int) -> str | None:
    """The description that most sources give of an entity or of what was merged into it."""
    row = connection.execute(
        f"""SELECT text FROM wording WHERE kind = 2 AND entity IN ({_MEMBERS})
            ORDER BY entity <> ?1, uses DESC, text LIMIT 1""",
        (number,),
    ).fetchone()
    return None if row is None else str(row[0])


def _entity_row(connection: sqlite3.Connection, number: int) -> EntityRow | None:
    words = connection.execute(_MEMBER_WORDS, (number,)).fetchall()
    if not any(word[2] == NAME for word in words):
        return None
    identity, type_, discriminator = connection.execute(
        "SELECT identity, type, discriminator FROM entity WHERE number = ?", (number,)
    ).fetchone()
    name, aliases = fold_words(number, words)
    mentions = sum(word[5] for word in words if word[2] == SURFACE)
    description = _description(connection, number) or ""
    return EntityRow(identity, type_, name, aliases, discriminator or "", mentions, description)
