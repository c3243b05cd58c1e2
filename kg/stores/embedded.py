"""The embedded graph store: a LadybugDB file in a folder, owned by one process.

The file is a projection of the ledger and can be thrown away at any time. One process owns it; threads share
it: readers see the last committed version while one writer at a time moves it forward, and a full load builds
a new file beside the old one, which readers keep until the new one is complete.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from kg.errors import ConfigurationError, StoreError, UsageError
from kg.schema import Schema
from kg.stores import gate
from kg.stores.embedded_dialect import Vocabulary, translate
from kg.stores.embedded_files import REBUILD, Folder, check_header, delete_database
from kg.stores.embedded_finding import find
from kg.stores.embedded_loading import write_all
from kg.stores.embedded_reading import Statement, execute, open_database, run
from kg.stores.embedded_sandbox import Sandbox, copy_database
from kg.stores.embedded_scanning import graph_schema, scan_edges, scan_nodes
from kg.stores.embedded_tables import MARKER, Catalog, declare_schema
from kg.stores.embedded_writing import write_delta
from kg.stores.store import Delta, GraphSchema, Hit, Projection, StoreVersion

APPLIES_PER_CHECKPOINT = 50
ROWS_PER_CHECKPOINT = 200_000
LOAD_POOL_BYTES = 1 << 30
_DEFAULT_POOL_MEGABYTES = 256
_LEAST_POOL_MEGABYTES = 48
_CLOSE_WAIT = 10.0


class _Opened:
    """One open database file, kept until its last reader is done."""

    def __init__(self, path: Path, database: Any, catalog: Catalog) -> None:
        self.path = path
        self.database = database
        self.catalog = catalog
        self._readers = 0
        self._retired = False
        self._condition = threading.Condition()

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """The database, which stays open inside."""
        with self._condition:
            self._readers += 1
        try:
            yield self.database
        finally:
            with self._condition:
                self._readers -= 1
                if not self._readers:
                    self._condition.notify_all()
                    if self._retired:
                        self._close()

    def retire(self, *, wait: float = 0.0) -> None:
        """Close as soon as nobody reads; wait up to ``wait`` seconds for that."""
        with self._condition:
            self._condition.wait_for(lambda: not self._readers, timeout=wait)
            self._retired = True
            if not self._readers:
                self._close()

    def _close(self) -> None:
        with suppress(RuntimeError):
            self.database.close()


class EmbeddedStore:
    """A graph in a folder that this process owns: the :class:`~kg.stores.store.GraphStore` without a server.

    ``path`` is the folder, made if need be. ``fresh`` throws away what is there, which also helps where it is
    damaged. The memory for pages is ``LORE_BUFFER_POOL_MB`` megabytes (default 256).

    Raises :class:`~kg.errors.StoreLocked` where it is open already, here or in another process, and
    :class:`~kg.errors.StoreError` where the file is damaged or of another engine version.
    """

    def __init__(self, path: Path, schema: Schema, *, fresh: bool = False) -> None:
        self._schema = schema
        self._pool_bytes = _pool_bytes()
        self._write_lock = threading.Lock()
        self._open_lock = threading.Lock()
        self._n_applies = 0
        self._n_rows = 0
        self._closed = False
        self._folder = Folder(path)
        try:
            if fresh:
                self._folder.discard()
            self._opened = self._open(self._folder.current())
        except BaseException:
            self._folder.release()
            raise
        self._sandbox = Sandbox(self._folder.readers, self._copy_to, self._stamp)

    def apply(self, delta: Delta) -> None:
        """Move the store forward to ``delta.version`` in one transaction; safe to repeat.

        Raises :class:`~kg.errors.StoreError` where ``delta.since`` is above the version shown, or where a row
        names an endpoint that is not there; the store is unchanged then.
        """
        with self._write_lock:
            opened = self._current()
            shown = _read_version(opened.database)
            if delta.since > shown.version:
                raise StoreError(
                    f"the graph shows version {shown.version}, the change starts at {delta.since}.",
                    hint=REBUILD,
                )
            if delta.version < shown.version:
                return
            try:
                self._write(opened, delta)
            except StoreError as problem:
                # Every apply since the last checkpoint holds some memory.
                if "buffer pool is full" not in problem.what or not self._checkpoint(opened):
                    raise
                self._write(opened, delta)
            self._n_applies += 1
            self._n_rows += delta.n_rows
            if self._n_applies >= APPLIES_PER_CHECKPOINT or self._n_rows >= ROWS_PER_CHECKPOINT:
                self._checkpoint(opened)

    def load(self, projection: Projection) -> None:
        """Replace the whole content; readers see the old graph until the new one is complete."""
        with self._write_lock:
            path = self._folder.following()
            try:
                self._build(path, projection)
                self._folder.make_current(path)
            except BaseException:
                delete_database(path)
                raise
            opened = self._open(path)
            with self._open_lock:
                old, self._opened = self._opened, opened
            old.retire()
            # The old file is unlinked while the last readers still hold it open.
            delete_database(old.path)
            self._n_applies = self._n_rows = 0

    def version(self) -> StoreVersion:
        """The ledger version and token shown; version 0 and an empty token for an empty store."""
        with self._current().reading() as database:
            return _read_version(database)

    def query(
        self,
        cypher: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int = 1000,
        timeout: float = 30.0,
    ) -> list[dict[str, Any]]:
        """Run one read-only Cypher query in this process; see :meth:`query_untrusted` for strangers' ones.

        Raises :class:`~kg.errors.QueryRefused`, :class:`~kg.errors.QueryFailed` or
        :class:`~kg.errors.QueryTimeout`.
        """
        opened = self._current()
        statement = self._statement(opened, cypher, parameters, limit)
        with opened.reading() as database:
            return run(database, statement, limit=limit, timeout=timeout)

    def query_untrusted(
        self,
        cypher: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int = 1000,
        timeout: float = 30.0,
    ) -> list[dict[str, Any]]:
        """As :meth:`query`, in a child process with limits, on a copy: whatever happens, this one lives on.

        On a large graph the copy may be some seconds older than the store.
        """
        opened = self._current()
        statement = self._statement(opened, cypher, parameters, limit)
        return self._sandbox.run(statement, limit=limit, timeout=timeout)

    def scan(self, what: Literal["nodes", "edges"], *, batch_rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """Stream entity nodes or edges with the fields of NODE_FIELDS or EDGE_FIELDS, in any order."""
        opened = self._current()
        stream = scan_nodes if what == "nodes" else scan_edges
        with opened.reading() as database, _connected(database) as connection:
            yield from stream(connection, opened.catalog, batch_rows)

    def find(self, text: str, *, type: str | None = None, k: int = 10) -> list[Hit]:
        """The ``k`` entities whose name or alias is closest to ``text``, best first."""
        opened = self._current()
        with opened.reading() as database:
            return find(database, opened.catalog, text, type, k)

    def schema(self) -> GraphSchema:
        """What is in the database, from counts."""
        opened = self._current()
        with opened.reading() as database, _connected(database) as connection:
            return graph_schema(connection, opened.catalog, self._schema)

    def close(self) -> None:
        """Release files and connections; safe to repeat."""
        with self._write_lock:
            if self._closed:
                return
            self._closed = True
            self._sandbox.close()
            if self._n_applies:
                self._checkpoint(self._opened)
            self._opened.retire(wait=_CLOSE_WAIT)
            self._folder.release()

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _current(self) -> _Opened:
        with self._open_lock:
            if self._closed:
                raise StoreError("the graph store is closed.", where=str(self._folder.path))
            return self._opened

    def _statement(
        self, opened: _Opened, cypher: str, parameters: Mapping[str, Any] | None, limit: int
    ) -> Statement:
        if limit < 1:
            raise UsageError(f"a query returns at least one row, not {limit}.", where="limit")
        given = dict(parameters or {})
        items = gate.check(cypher, given)
        return translate(cypher, items, given, _vocabulary(opened.catalog), limit=limit)

    def _open(self, path: Path) -> _Opened:
        import ladybug

        check_header(path, ladybug.Database.get_storage_version())
        database = open_database(str(path), buffer_pool_bytes=self._pool_bytes, threads=_n_threads())
        try:
            with _connected(database) as connection:
                catalog = declare_schema(connection, self._schema)
        except BaseException:
            database.close()
            raise
        return _Opened(path, database, catalog)

    def _build(self, path: Path, projection: Projection) -> None:
        pool = max(self._pool_bytes, LOAD_POOL_BYTES)
        database = open_database(str(path), buffer_pool_bytes=pool, threads=_n_threads())
        try:
            with _connected(database) as connection:
                catalog = declare_schema(connection, self._schema)
                write_all(connection, catalog, projection, self._folder.spill)
                execute(connection, "CHECKPOINT")
        finally:
            database.close()

    def _write(self, opened: _Opened, delta: Delta) -> None:
        with opened.reading() as database, _connected(database) as connection:
            opened.catalog = write_delta(connection, opened.catalog, delta)

    def _checkpoint(self, opened: _Opened) -> bool:
        # It waits for readers and gives up after a while: the next apply tries again.
        with suppress(StoreError), _connected(opened.database) as connection:
            execute(connection, "CHECKPOINT")
            self._n_applies = self._n_rows = 0
            return True
        return False

    def _stamp(self) -> tuple[str, int, str]:
        """What a copy is a copy of."""
        opened = self._current()
        shown = self.version()
        return opened.path.name, shown.version, shown.token

    def _copy_to(self, target: Path) -> tuple[str, int, str]:
        """Copy the database, with its log, while nobody writes; return what it is a copy of."""
        with self._write_lock:
            stamp = self._stamp()
            copy_database(self._current().path, target)
            return stamp


def _vocabulary(catalog: Catalog) -> Vocabulary:
    nodes = {name: tuple(columns) for name, columns in catalog.nodes.items() if name != MARKER}
    return Vocabulary(nodes, {name: tuple(columns) for name, columns in catalog.edges.items()})


@contextmanager
def _connected(database: Any) -> Iterator[Any]:
    import ladybug

    connection = ladybug.Connection(database)
    try:
        yield connection
    finally:
        connection.close()


def _read_version(database: Any) -> StoreVersion:
    with _connected(database) as connection:
        rows = execute(connection, f"MATCH (m:{MARKER}) RETURN m.version, m.token")
    return StoreVersion(int(rows[0][0]), str(rows[0][1])) if rows else StoreVersion(0, "")


def _pool_bytes() -> int:
    text = os.environ.get("LORE_BUFFER_POOL_MB", str(_DEFAULT_POOL_MEGABYTES))
    if not text.isdigit() or not _LEAST_POOL_MEGABYTES <= int(text) <= 1 << 20:
        raise ConfigurationError(
            f"{text!r} is no number of megabytes from {_LEAST_POOL_MEGABYTES} on.",
            where="LORE_BUFFER_POOL_MB",
        )
    return int(text) << 20


def _n_threads() -> int:
    # One query takes one thread, so that a slow one never keeps the others waiting.
    return max(4, min(16, os.cpu_count() or 1))
