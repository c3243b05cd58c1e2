"""The tables of the ledger file, and the small codes stored in them.

Three kinds of table:

- decisions, only ever added to: ``log``, ``merge`` (an undo stamps ``undone``), sources of kind ``decision``;
- current state, deleted for good by cascade from ``source``: ``document``, ``place``, ``chunk``,
  ``appearance``, ``mention``, ``assertion``, ``evidence``;
- derived, recomputable from the above: ``entity.canonical``, ``assertion.edge``, ``edge``, ``wording``.

``version`` columns say which commit touched a row last; ``edge``, ``entity`` and ``trace`` rows outlive what
they stood for, so that a projection can be told what is gone. Names, surfaces, descriptions and qualifiers
are cleared from such rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kg.facts import STATUS_STRENGTH, Status

APPLICATION_ID = 0x4C4F5245
"""Written into the SQLite header: "LORE"."""

FORMAT = 1
"""The version of these tables, written into the SQLite header as ``user_version``."""

STATUS_CODES: Mapping[Status, int] = MappingProxyType(
    {**STATUS_STRENGTH, Status.ACCEPTED: 4, Status.REJECTED: 5}
)
"""Base statuses by strength, then decisions, so that ``max`` over codes picks the strongest base status."""

STATUS_OF_CODE: Mapping[int, Status] = MappingProxyType({code: s for s, code in STATUS_CODES.items()})

FIRST_DECISION = 4
"""Codes from here on are decisions."""

DECISION_STEP = 8
"""``source * DECISION_STEP + code`` orders decisions by age and still tells the code."""

NAME, SURFACE, DESCRIPTION = 0, 1, 2
"""Kinds of ``wording``: a declared name, a mention's surface, a description."""

TABLES = (
    "CREATE TABLE setting(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE log(
        version INTEGER PRIMARY KEY, token TEXT NOT NULL, at TEXT NOT NULL,
        kind TEXT NOT NULL, detail TEXT NOT NULL)""",
    "CREATE TABLE predicate(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    # The order of decisions relies on numbers never being given twice.
    """CREATE TABLE source(
        number INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK(kind IN ('document', 'run', 'curated', 'decision')),
        fingerprint TEXT NOT NULL, decided_by TEXT, version INTEGER NOT NULL)""",
    """CREATE TABLE document(
        source INTEGER PRIMARY KEY REFERENCES source ON DELETE CASCADE,
        characters INTEGER NOT NULL, text TEXT NOT NULL)""",
    """CREATE TABLE place(
        uri TEXT PRIMARY KEY, source INTEGER NOT NULL REFERENCES source ON DELETE CASCADE,
        title TEXT NOT NULL, metadata TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX place_source ON place(source)",
    """CREATE TABLE chunk(
        source INTEGER NOT NULL REFERENCES source ON DELETE CASCADE, position INTEGER NOT NULL,
        begins INTEGER NOT NULL, ends INTEGER NOT NULL, PRIMARY KEY(source, position)) WITHOUT ROWID""",
    """CREATE TABLE trace(
        identity TEXT PRIMARY KEY, chunks INTEGER NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX trace_version ON trace(version)",
    """CREATE TABLE entity(
        number INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, type TEXT NOT NULL, discriminator TEXT,
        canonical INTEGER NOT NULL REFERENCES entity DEFERRABLE INITIALLY DEFERRED,
        version INTEGER NOT NULL)""",
    "CREATE INDEX entity_canonical ON entity(canonical) WHERE canonical <> number",
    "CREATE INDEX entity_version ON entity(version)",
    """CREATE TABLE appearance(
        source INTEGER NOT NULL REFERENCES source ON DELETE CASCADE,
        entity INTEGER NOT NULL REFERENCES entity, name TEXT NOT NULL, description TEXT NOT NULL,
        PRIMARY KEY(source, entity)) WITHOUT ROWID""",
    "CREATE INDEX appearance_entity ON appearance(entity)",
    """CREATE TABLE wording(
        entity INTEGER NOT NULL REFERENCES entity, kind INTEGER NOT NULL, text TEXT NOT NULL,
        normal TEXT NOT NULL, uses INTEGER NOT NULL, PRIMARY KEY(entity, kind, text)) WITHOUT ROWID""",
    "CREATE INDEX wording_normal ON wording(normal) WHERE kind < 2",
    "CREATE INDEX wording_description ON wording(entity, uses DESC, text) WHERE kind = 2",
    """CREATE TABLE mention(
        source INTEGER NOT NULL REFERENCES source ON DELETE CASCADE, entity INTEGER NOT NULL,
        begins INTEGER NOT NULL, ends INTEGER NOT NULL, chunk INTEGER,
        PRIMARY KEY(source, entity, begins, ends)) WITHOUT ROWID""",
    """CREATE TABLE edge(
        number INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, subject INTEGER NOT NULL,
        predicate INTEGER NOT NULL, object INTEGER, literal TEXT, qualifiers TEXT NOT NULL,
        version INTEGER NOT NULL, CHECK((object IS NULL) <> (literal IS NULL)))""",
    "CREATE INDEX edge_version ON edge(version) WHERE literal IS NULL",
    "CREATE INDEX edge_literal ON edge(subject) WHERE literal IS NOT NULL",
    """CREATE TABLE assertion(
        source INTEGER NOT NULL REFERENCES source ON DELETE CASCADE, position INTEGER NOT NULL,
        subject INTEGER NOT NULL, predicate INTEGER NOT NULL, object INTEGER, literal TEXT,
        qualifiers TEXT NOT NULL, confidence REAL NOT NULL, status INTEGER NOT NULL,
        edge INTEGER NOT NULL, inference TEXT, PRIMARY KEY(source, position),
        CHECK((object IS NULL) <> (literal IS NULL))) WITHOUT ROWID""",
    "CREATE INDEX assertion_subject ON assertion(subject)",
    "CREATE INDEX assertion_object ON assertion(object) WHERE object IS NOT NULL",
    "CREATE INDEX assertion_edge ON assertion(edge, source, status, confidence)",
    """CREATE TABLE evidence(
        source INTEGER NOT NULL REFERENCES source ON DELETE CASCADE, position INTEGER NOT NULL,
        begins INTEGER NOT NULL, ends INTEGER NOT NULL,
        PRIMARY KEY(source, position, begins, ends)) WITHOUT ROWID""",
    """CREATE TABLE merge(
        number INTEGER PRIMARY KEY AUTOINCREMENT, loser INTEGER NOT NULL REFERENCES entity,
        winner INTEGER NOT NULL REFERENCES entity, reason TEXT NOT NULL, version INTEGER NOT NULL,
        undone INTEGER)""",
    "CREATE INDEX merge_loser ON merge(loser) WHERE undone IS NULL",
    "CREATE INDEX merge_winner ON merge(winner) WHERE undone IS NULL",
)
"""The statements that make an empty ledger."""
