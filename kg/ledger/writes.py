"""Writing sources: documents, runs, curated files and decisions; replacing and withdrawing them."""

from __future__ import annotations

import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kg.errors import LedgerError, NotFound, UsageError
from kg.facts import Assertions, Chunk, Document, Entity, Status, canonical_json, normalise_name
from kg.ledger.connection import Database, Known
from kg.ledger.edges import Edges
from kg.ledger.gathering import Gathered, gather_document, gather_source
from kg.ledger.tables import DESCRIPTION, FIRST_DECISION, NAME, STATUS_CODES, SURFACE

_TOUCH_ENTITY = """
UPDATE entity SET version = ?1
WHERE number = (SELECT canonical FROM entity WHERE number = ?2) AND version <> ?1
"""
_COUNT_WORDING = """
INSERT INTO wording(entity, kind, text, normal, uses) VALUES (?, ?, ?, ?, ?)
ON CONFLICT(entity, kind, text) DO UPDATE SET uses = uses + excluded.uses
"""


@dataclass(slots=True)
class Erased:
    """What a source spoke of before it was erased: numbers of edges and entities."""

    edges: list[int]
    entities: list[int]


class Writer:
    """Every write but merges. All methods run inside one transaction of the database."""

    def __init__(self, database: Database, edges: Edges) -> None:
        self._database = database
        self._connection = database.connection
        self._memory = database.memory
        self._edges = edges

    def put_document(self, document: Document, chunks: Sequence[Chunk], assertions: Assertions) -> bool:
        """Store a document and what it asserts; see :meth:`kg.ledger.ledger.Ledger.put_document`."""
        gathered = gather_document(document, chunks, assertions)
        with self._database.writing() as version:
            number, changed = self._put_content(document, gathered, version)
            moved_from = self._place_at(document, number)
            if not changed and moved_from == number:
                return False
            self._touch_document(document.id, len(gathered.chunks), version)
            if moved_from is not None and moved_from != number:
                self._leave(moved_from, version)
            self._database.changed("document", document.id)
            return True

    def put_source(self, identity: str, kind: str, assertions: Assertions) -> bool:
        """Store what a run or a curated source asserts; see :meth:`kg.ledger.ledger.Ledger.put_source`."""
        gathered = gather_source(identity, kind, assertions)
        with self._database.writing() as version:
            row = self._source(identity)
            if row is not None and row[1] != kind:
                raise LedgerError(
                    f"{identity} is already a {row[1]}, and cannot become a {kind}.", hint="Use another id."
                )
            if row is not None and row[2] == gathered.fingerprint:
                return False
            self._replace(identity, kind, row, gathered, version)
            self._database.changed(kind, identity)
            return True

    def drop_place(self, uri: str) -> bool:
        """Forget a place, and the document with its last place."""
        with self._database.writing() as version:
            row = self._connection.execute("SELECT source FROM place WHERE uri = ?", (uri,)).fetchone()
            if row is None:
                return False
            self._connection.execute("DELETE FROM place WHERE uri = ?", (uri,))
            self._leave(row[0], version)
            self._database.changed("drop place", uri)
            return True

    def drop_source(self, identity: str, kinds: Sequence[str]) -> bool:
        """Withdraw a source of one of these kinds, with everything it asserted."""
        with self._database.writing() as version:
            row = self._source(identity)
            if row is None or row[1] not in kinds:
                return False
            self._drop(row[0], version)
            self._database.changed(f"drop {row[1]}", identity)
            return True

    def decide(self, edge_id: str, status: Status, by: str) -> str:
        """Accept or reject an edge; the decision holds for every assertion that is in it now."""
        code = STATUS_CODES[status]
        if code < FIRST_DECISION:
            raise UsageError(f"a decision accepts or rejects; it cannot say {status}.")
        with self._database.writing() as version:
            edge = self._connection.execute(
                """SELECT number FROM edge WHERE identity = ? AND EXISTS
                   (SELECT 1 FROM assertion WHERE edge = number AND status < ?)""",
                (edge_id, FIRST_DECISION),
            ).fetchone()
            if edge is None:
                raise NotFound(f"there is no fact with the id {edge_id}.", hint="Its sources may be gone.")
            identity = f"decision:{secrets.token_hex(8)}"
            number = self._add_source(identity, "decision", "", version, by)
            self._connection.execute(
                """INSERT INTO assertion SELECT ?1, row_number() OVER () - 1, subject, predicate, object,
                          literal, qualifiers, 1.0, ?2, edge, NULL
                   FROM (SELECT DISTINCT subject, predicate, object, literal, qualifiers, edge
                         FROM assertion WHERE edge = ?3)""",
                (number, code, edge[0]),
            )
            self._edges.touch([edge[0]], version)
            self._database.changed("decision", f"{edge_id} {status}")
            return identity

    def _put_content(self, document: Document, gathered: Gathered, version: int) -> tuple[int, bool]:
        row = self._source(document.id)
        if row is not None and row[1] != "document":
            raise LedgerError(f"{document.id} is already a {row[1]}, and cannot become a document.")
        if row is not None and row[2] == gathered.fingerprint:
            return row[0], False
        if row is None:
            number = self._add_source(document.id, "document", gathered.fingerprint, version, None)
            self._connection.execute(
                "INSERT INTO document(source, characters, text) VALUES (?, ?, ?)",
                (number, len(document.text), document.text),
            )
            self._assert(number, gathered, version)
        else:
            number = self._replace(document.id, "document", row, gathered, version)
        self._connection.executemany(
            "INSERT INTO chunk(source, position, begins, ends) VALUES (?, ?, ?, ?)",
            [(number, *chunk) for chunk in gathered.chunks],
        )
        return number, True

    def _replace(
        self,
        identity: str,
        kind: str,
        row: tuple[int, str, str] | None,
        gathered: Gathered,
        version: int,
    ) -> int:
        if row is None:
            number = self._add_source(identity, kind, gathered.fingerprint, version, None)
            self._assert(number, gathered, version)
            return number
        number = row[0]
        erased = self._erase(number, version)
        self._connection.execute(
            "UPDATE source SET fingerprint = ?, version = ? WHERE number = ?",
            (gathered.fingerprint, version, number),
        )
        self._assert(number, gathered, version)
        self._tidy(erased)
        return number

    def _place_at(self, document: Document, number: int) -> int | None:
        """Say which document is at its place; the number of the one before, or ``None`` where there was none.

        A changed title counts as a place that was not known before.
        """
        metadata = canonical_json(dict(document.metadata))
        row = self._connection.execute(
            "SELECT source, title, metadata FROM place WHERE uri = ?", (document.uri,)
        ).fetchone()
        if row == (number, document.title, metadata):
            return number
        self._connection.execute(
            "INSERT OR REPLACE INTO place(uri, source, title, metadata) VALUES (?, ?, ?, ?)",
            (document.uri, number, document.title, metadata),
        )
        return None if row is None or row[0] == number else int(row[0])

    def _leave(self, number: int, version: int) -> None:
        """Drop a document that has no place any more; touch one that has."""
        row = self._connection.execute(
            """SELECT identity, EXISTS (SELECT 1 FROM place WHERE source = number)
               FROM source WHERE number = ?""",
            (number,),
        ).fetchone()
        if row[1]:
            self._touch_document(row[0], 0, version)
        else:
            self._drop(number, version)

    def _touch_document(self, identity: str, n_chunks: int, version: int) -> None:
        self._connection.execute(
            """INSERT INTO trace(identity, chunks, version) VALUES (?, ?, ?)
               ON CONFLICT(identity) DO UPDATE
               SET version = excluded.version, chunks = max(chunks, excluded.chunks)""",
            (identity, n_chunks, version),
        )

    def _source(self, identity: str) -> tuple[int, str, str] | None:
        row: tuple[int, str, str] | None = self._connection.execute(
            "SELECT number, kind, fingerprint FROM source WHERE identity = ?", (identity,)
        ).fetchone()
        return row

    def _add_source(self, identity: str, kind: str, fingerprint: str, version: int, by: str | None) -> int:
        cursor = self._connection.execute(
            "INSERT INTO source(identity, kind, fingerprint, decided_by, version) VALUES (?, ?, ?, ?, ?)",
            (identity, kind, fingerprint, by, version),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _drop(self, number: int, version: int) -> None:
        erased = self._erase(number, version)
        (identity, kind) = self._connection.execute(
            "DELETE FROM source WHERE number = ? RETURNING identity, kind", (number,)
        ).fetchone()
        if kind == "document":
            self._touch_document(identity, 0, version)
        self._tidy(erased)

    def _assert(self, number: int, gathered: Gathered, version: int) -> None:
        """Write the rows of a source that has none."""
        known = self._entities(gathered.entities.values(), version)
        execute_many = self._connection.executemany
        execute_many(_TOUCH_ENTITY, [(version, found.number) for found in known.values()])
        execute_many(
            "INSERT INTO appearance(source, entity, name, description) VALUES (?, ?, ?, ?)",
            [(number, known[e.id].number, e.name, e.description) for e in gathered.entities.values()],
        )
        execute_many(
            _COUNT_WORDING,
            [
                (known[entity].number, kind, text, "" if kind == DESCRIPTION else normalise_name(text), uses)
                for (entity, kind, text), uses in gathered.wordings.items()
            ],
        )
        execute_many(
            "INSERT INTO mention(source, entity, begins, ends, chunk) VALUES (?, ?, ?, ?, ?)",
            [(number, known[row[0]].number, *row[1:]) for row in gathered.mentions],
        )
        self._assert_facts(number, gathered, known, version)

    def _assert_facts(self, number: int, gathered: Gathered, known: dict[str, Known], version: int) -> None:
        edges = self._edges
        rows = []
        for position, fact in enumerate(gathered.facts):
            subject = known[fact.subject]
            target = None if fact.object is None else known[fact.object]
            predicate = edges.predicate(fact.predicate)
            edge = edges.place(
                (subject.canonical, subject.canonical_identity),
                (predicate, fact.predicate),
                None if target is None else (target.canonical, target.canonical_identity),
                fact.literal,
                fact.qualifiers,
                version,
            )
            rows.append(
                (
                    number, position, subject.number, predicate, None if target is None else target.number,
                    fact.literal, fact.qualifiers, fact.confidence, fact.status, edge, fact.inference,
                )
            )  # fmt: skip
        self._connection.executemany("INSERT INTO assertion VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._connection.executemany(
            "INSERT INTO evidence(source, position, begins, ends) VALUES (?, ?, ?, ?)",
            [
                (number, position, start, end)
                for position, fact in enumerate(gathered.facts)
                for start, end in fact.spans
            ],
        )

    def _entities(self, entities: Iterable[Entity], version: int) -> dict[str, Known]:
        """What is known of each entity, by id; new ones get a row."""
        memory = self._memory
        found: dict[str, Known] = {}
        new: list[tuple[int, str, str, str, int, int]] = []
        for entity in entities:
            known = memory.entities.get(entity.id)
            if known is None:
                row = self._connection.execute(_KNOWN, (entity.id,)).fetchone()
                if row is None:
                    number = self._next_entity()
                    known = Known(number, number, entity.id)
                    new.append((number, entity.id, entity.type, entity.discriminator, number, version))
                else:
                    known = Known(row[0], row[1], row[2])
                    if row[3] is None:
                        self._connection.execute(
                            "UPDATE entity SET discriminator = ? WHERE number = ?",
                            (entity.discriminator, row[0]),
                        )
                memory.entities[entity.id] = known
            found[entity.id] = known
        self._connection.executemany(
            "INSERT INTO entity(number, identity, type, discriminator, canonical, version)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            new,
        )
        return found

    def _next_entity(self) -> int:
        if self._memory.last_entity is None:
            (last,) = self._connection.execute("SELECT ifnull(max(number), 0) FROM entity").fetchone()
            self._memory.last_entity = int(last)
        self._memory.last_entity += 1
        return self._memory.last_entity

    def _erase(self, number: int, version: int) -> Erased:
        """Delete everything a source asserts, but not the source; touch what it spoke of."""
        execute = self._connection.execute
        edges = [row[0] for row in execute("SELECT DISTINCT edge FROM assertion WHERE source = ?", (number,))]
        self._edges.touch(edges, version)
        appearances = execute(
            "SELECT entity, name, description FROM appearance WHERE source = ?", (number,)
        ).fetchall()
        entities = [row[0] for row in appearances]
        self._connection.executemany(_TOUCH_ENTITY, [(version, entity) for entity in entities])
        wordings = _wordings(self._connection, number, appearances)
        self._connection.executemany(
            "UPDATE wording SET uses = uses - ? WHERE entity = ? AND kind = ? AND text = ?",
            [(uses, *key) for key, uses in wordings.items()],
        )
        for table in ("appearance", "mention", "evidence", "assertion", "chunk"):
            execute(f"DELETE FROM {table} WHERE source = ?", (number,))
        return Erased(edges, entities)

    def _tidy(self, erased: Erased) -> None:
        """Take out the texts that nothing uses any more."""
        self._edges.tidy(erased.edges)
        self._connection.executemany(
            "DELETE FROM wording WHERE entity = ? AND uses <= 0", [(entity,) for entity in erased.entities]
        )
        for entity in erased.entities:
            row = self._connection.execute(_FORGET_ENTITY, (entity, NAME)).fetchone()
            if row is not None:
                self._memory.entities.pop(row[0], None)


_KNOWN = """
SELECT e.number, c.number, c.identity, e.discriminator
FROM entity e JOIN entity c ON c.number = e.canonical WHERE e.identity = ?
"""
_FORGET_ENTITY = """
UPDATE entity SET discriminator = NULL
WHERE number = ?1 AND discriminator IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM wording WHERE entity = ?1 AND kind = ?2)
RETURNING identity
"""


def _wordings(
    connection: sqlite3.Connection, number: int, appearances: list[tuple[int, str, str]]
) -> Counter[tuple[int, int, str]]:
    """Count the wordings of a source as they were counted when it was written."""
    found: Counter[tuple[int, int, str]] = Counter()
    for entity, name, description in appearances:
        found[entity, NAME, name] += 1
        if description:
            found[entity, DESCRIPTION, description] += 1
    row = connection.execute("SELECT text FROM document WHERE source = ?", (number,)).fetchone()
    if row is not None:
        mentions = connection.execute("SELECT entity, begins, ends FROM mention WHERE source = ?", (number,))
        for entity, start, end in mentions:
            found[entity, SURFACE, row[0][start:end]] += 1
    return found
