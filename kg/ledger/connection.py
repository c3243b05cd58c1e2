"""The ledger file: opening it, one writer's transactions, and read snapshots beside them."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kg.errors import LedgerError, StoreLocked
from kg.ledger.tables import APPLICATION_ID, FORMAT, TABLES

BUSY_SECONDS = 30.0
"""How long a writer waits for another process to finish its commit."""

ENTITIES_REMEMBERED = 250_000
"""Entities whose numbers a writer keeps in memory at most, about 60 MB."""

_RESTORE = "Restore it from a backup, or start a new ledger and ingest again."


@dataclass(slots=True)
class Known:
    """What a writer knows of an entity: its number, and number and id of the canonical one."""

    number: int
    canonical: int
    canonical_identity: str


@dataclass(slots=True)
class Memory:
    """What a writer remembers of the tables between statements; forgotten whenever it may be stale."""

    entities: dict[str, Known] = field(default_factory=dict)
    predicates: dict[str, int] = field(default_factory=dict)
    last_entity: int | None = None
    symmetric: frozenset[str] | None = None

    def forget(self) -> None:
        """Forget everything."""
        self.entities.clear()
        self.predicates.clear()
        self.last_entity = None
        self.symmetric = None


class Database:
    """The open file. One connection writes and does small reads under a lock; snapshots get their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.memory = Memory()
        self._head = 0
        self._version: int | None = None
        self._changes: list[tuple[str, str]] = []
        with self.translated():
            self.connection = _open(path)

    @property
    def writing_now(self) -> bool:
        """Whether a transaction of this object is under way."""
        return self._version is not None

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn SQLite's errors into the project's."""
        try:
            yield
        except UnicodeEncodeError as problem:
            raise LedgerError(
                f"a text holds half a surrogate pair: {problem.object!r}.", where=str(self.path)
            ) from problem
        except sqlite3.ProgrammingError as problem:
            raise LedgerError(f"the ledger is closed: {problem}.", where=str(self.path)) from problem
        except sqlite3.OperationalError as problem:
            if "locked" in str(problem) or "busy" in str(problem):
                raise StoreLocked(
                    f"another process has been writing for more than {BUSY_SECONDS:.0f} seconds.",
                    where=str(self.path),
                    hint="Wait for it to finish, or stop it.",
                ) from problem
            raise LedgerError(f"the ledger file failed: {problem}.", where=str(self.path)) from problem
        except sqlite3.DatabaseError as problem:
            raise LedgerError(
                f"the ledger file is damaged: {problem}.", where=str(self.path), hint=_RESTORE
            ) from problem

    @contextmanager
    def writing(self) -> Iterator[int]:
        """Run a transaction, or a part of the one under way; yields the version it will have.

        Nothing is committed, and no version used up, where :meth:`changed` was not called.
        """
        with self.lock, self.translated():
            if self._version is not None:
                with self._part():
                    yield self._version
                return
            self._begin()
            try:
                assert self._version is not None
                yield self._version
                self._commit()
            except BaseException:
                self._abandon()
                raise
            finally:
                self._version = None

    def changed(self, kind: str, detail: str) -> None:
        """Say that the transaction under way changed something; this is what the log will tell."""
        self._changes.append((kind, detail))

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the main connection for a small read, inside one snapshot."""
        with self.lock, self.translated():
            if self.connection.in_transaction:
                yield self.connection
                return
            self.connection.execute("BEGIN")
            try:
                yield self.connection
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Open another connection that sees the last commit, whatever is written meanwhile."""
        with self.translated(), closing(self.open_snapshot()) as connection:
            yield connection

    def open_snapshot(self) -> sqlite3.Connection:
        """Open the connection of :meth:`snapshot`; the caller closes it."""
        connection = _connect(self.path)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        head_of(connection)
        return connection

    def close(self) -> None:
        """Move everything into the file and close it."""
        with self.lock, self.translated():
            self.connection.close()

    @contextmanager
    def _part(self) -> Iterator[None]:
        changes = len(self._changes)
        self.connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self.memory.forget()
            del self._changes[changes:]
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK TO part")
                self.connection.execute("RELEASE part")
            raise
        self.connection.execute("RELEASE part")

    def _begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        head, _ = head_of(self.connection)
        if head != self._head or len(self.memory.entities) > ENTITIES_REMEMBERED:
            self.memory.forget()
        self._head = head
        self._version = head + 1
        self._changes.clear()

    def _commit(self) -> None:
        if not self._changes:
            self.connection.execute("ROLLBACK")
            return
        assert self._version is not None
        kind, detail = self._changes[0]
        if len(self._changes) > 1:
            kind, detail = "batch", f"{len(self._changes)} changes"
        write_log(self.connection, self._version, kind, detail)
        self.connection.execute("COMMIT")
        self._head = self._version

    def _abandon(self) -> None:
        self.memory.forget()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


def head_of(connection: sqlite3.Connection) -> tuple[int, str]:
    """The newest version and its token."""
    row = connection.execute("SELECT version, token FROM log ORDER BY version DESC LIMIT 1").fetchone()
    return int(row[0]), str(row[1])


def write_log(connection: sqlite3.Connection, version: int, kind: str, detail: str) -> None:
    """Add the log row of a version, with a token no other history of the file can have."""
    connection.execute(
        "INSERT INTO log(version, token, at, kind, detail) VALUES (?, ?, ?, ?, ?)",
        (version, secrets.token_hex(16), datetime.now(UTC).isoformat(timespec="seconds"), kind, detail),
    )


def _open(path: Path) -> sqlite3.Connection:
    if not path.parent.is_dir():
        raise LedgerError(
            "the folder of the ledger does not exist.", where=str(path), hint="Run `lore init`."
        )
    if path.is_dir():
        raise LedgerError("the ledger is a file, and this is a folder.", where=str(path))
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(path)
        if _is_empty(connection):
            _create(connection)
        _check_header(connection, path)
        connection.execute("PRAGMA cache_size = -262144")
    except BaseException as problem:
        if connection is not None:
            connection.close()
        if isinstance(problem, sqlite3.DatabaseError) and "not a database" in str(problem):
            raise LedgerError(
                "this is no ledger: not an SQLite file.", where=str(path), hint="Name another file."
            ) from problem
        if isinstance(problem, sqlite3.OperationalError) and "unable to open" in str(problem):
            raise LedgerError(
                f"the ledger cannot be opened: {problem}.", where=str(path), hint="Check its permissions."
            ) from problem
        raise
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # One statement per SQL text stays prepared; the lock of the database makes the threads take turns.
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    # A commit writes about a hundred scattered pages per document: small pages halve what goes to disk.
    settings = (
        ("page_size", "4096"),
        ("foreign_keys", "ON"),
        ("synchronous", "FULL"),
        ("secure_delete", "ON"),
        ("wal_autocheckpoint", "16000"),
        ("cache_size", "-65536"),
        ("temp_store", "MEMORY"),
    )
    try:
        for name, value in settings:
            connection.execute(f"PRAGMA {name} = {value}")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_empty(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_empty(connection):  # another process may have been first
            for statement in TABLES:
                connection.execute(statement)
            write_log(connection, 1, "init", "")
            connection.execute("INSERT INTO setting(name, value) VALUES ('symmetric', '[]')")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _check_header(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise LedgerError(
            "this is no ledger: an SQLite file of another program.",
            where=str(path),
            hint="Name another file.",
        )
    if version != FORMAT:
        raise LedgerError(
            f"the ledger has format {version}, and this program reads format {FORMAT}.",
            where=str(path),
            hint="Use the loregraph version that wrote it, or ingest again into a new ledger.",
        )
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        connection.execute("PRAGMA journal_mode = WAL")
    head_of(connection)
