"""Running one read-only statement on the embedded engine, and turning its values into plain Python ones.

This module is also what the child process of the sandbox runs, so it imports no more than it needs.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kg.errors import QueryFailed, QueryTimeout, StoreError

MAX_RESULT_BYTES = 64 << 20
"""A result larger than this is refused: about the memory that its rows take as text."""
LARGEST_DATABASE = 1 << 38
HIDDEN = "_lore_"
"""How the names begin that a translation makes up."""
_NOT_ENTITIES = frozenset({"Document", "Chunk", "LoreMarker"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement in the engine's own dialect.

    ``names`` are the names that the columns get, in order; empty where the engine's own names hold. Maps in
    the columns numbered in ``compact`` lose their nulls.
    """

    text: str
    parameters: Mapping[str, Any]
    names: tuple[str, ...] = ()
    compact: frozenset[int] = frozenset()


def open_database(
    path: str,
    *,
    buffer_pool_bytes: int,
    threads: int,
    read_only: bool = False,
    largest: int = LARGEST_DATABASE,
) -> Any:
    """Open a database file; ``largest`` is the size that addresses are reserved for, a power of two.

    Raises :class:`~kg.errors.StoreError` where the engine cannot read it.
    """
    import ladybug

    try:
        return ladybug.Database(
            path,
            buffer_pool_size=buffer_pool_bytes,
            max_num_threads=threads,
            read_only=read_only,
            max_db_size=largest,
            # A checkpoint waits for readers, so it happens when the owner says, never inside a commit.
            auto_checkpoint=False,
            # A torn end of the log is cut off: the marker inside the log tells how far the content goes.
            throw_on_wal_replay_failure=False,
            enable_multi_writes=False,
        )
    except (RuntimeError, IndexError, MemoryError) as problem:
        if "Mmap for size" in str(problem):
            raise StoreError(
                f"there are no {largest >> 30} GB of addresses for the graph.",
                where=path,
                hint="Raise the limit on virtual memory (ulimit -v).",
            ) from None
        raise StoreError(
            f"the graph cannot be opened: {one_line(problem)}", where=path, hint="Run `lore store rebuild`."
        ) from None


def execute(connection: Any, statement: str, parameters: Mapping[str, Any] | None = None) -> list[list[Any]]:
    """Run a statement of ours and return its rows. Raises :class:`~kg.errors.StoreError` where it fails."""
    try:
        result = connection.execute(statement, dict(parameters or {}))
        try:
            rows: list[list[Any]] = result.get_all()
            return rows
        finally:
            result.close()
    except (RuntimeError, MemoryError, IndexError) as problem:
        raise StoreError(
            f"the graph cannot be read or written: {one_line(problem)}", hint="Run `lore store rebuild`."
        ) from None


def run(database: Any, statement: Statement, *, limit: int, timeout: float) -> list[dict[str, Any]]:
    """Run a statement on a connection of its own; return at most ``limit`` rows.

    Raises :class:`~kg.errors.QueryTimeout` after ``timeout`` seconds, :class:`~kg.errors.QueryFailed` where
    the engine rejects the statement or the result is too large.
    """
    import ladybug

    connection = ladybug.Connection(database, num_threads=1)
    try:
        connection.set_query_timeout(max(1, int(timeout * 1000)))
        result = connection.execute(statement.text, dict(statement.parameters))
        try:
            return _fetch(result, statement, limit)
        finally:
            result.close()
    except (RuntimeError, MemoryError, ValueError, OverflowError) as problem:
        raise _as_failure(problem, timeout) from None
    finally:
        connection.close()


def _fetch(result: Any, statement: Statement, limit: int) -> list[dict[str, Any]]:
    engine_names = result.get_column_names()
    names = statement.names or engine_names
    rows: list[dict[str, Any]] = []
    size = 0
    while len(rows) < limit and result.has_next():
        row = result.get_next()
        found = dict(zip(names, map(plain, row), strict=True))
        for i in statement.compact:
            found[names[i]] = _without_nulls(found[names[i]])
        size += _weight(found)
        if size > MAX_RESULT_BYTES:
            raise QueryFailed(
                f"the result is larger than {MAX_RESULT_BYTES >> 20} MB.",
                hint="Return fewer or smaller columns, or add a LIMIT.",
            )
        rows.append(found)
    return rows


def plain(value: Any) -> Any:
    """A value of the engine as plain Python: nodes, relationships and paths as dictionaries, dates as text.

    A node is its properties that are not null and ``_labels``; a relationship its properties that are not
    null and ``_type``; a path ``{"nodes": [...], "relationships": [...]}``.
    """
    if isinstance(value, dict):
        return _plain_mapping(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.date | datetime.datetime | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value


def _plain_mapping(value: dict[Any, Any]) -> Any:
    if value.keys() == {"_NODES", "_RELS"}:
        return {
            "nodes": [plain(node) for node in value["_NODES"]],
            "relationships": [plain(edge) for edge in value["_RELS"]],
        }
    if value.keys() == {"offset", "table"}:
        return (value["table"] << 48) | value["offset"]
    if "_LABEL" not in value:
        return {str(name): plain(item) for name, item in value.items()}
    label = value["_LABEL"]
    found = {
        name: plain(item)
        for name, item in value.items()
        if item is not None and name not in ("_ID", "_SRC", "_DST", "_LABEL")
    }
    if "_SRC" in value:
        found["_type"] = label
    else:
        found["_labels"] = [label] if label in _NOT_ENTITIES else sorted(("Entity", label))
    return found


def _without_nulls(value: Any) -> Any:
    return (
        {name: item for name, item in value.items() if item is not None} if isinstance(value, dict) else value
    )


def _weight(value: Any) -> int:
    if isinstance(value, str):
        return 50 + len(value)
    if isinstance(value, dict):
        return 64 + sum(50 + len(name) + _weight(item) for name, item in value.items())
    if isinstance(value, list):
        return 64 + sum(map(_weight, value))
    return 32


def _as_failure(problem: BaseException, timeout: float) -> QueryFailed:
    text = one_line(problem)
    if "nterrupted" in text or "timeout" in text.lower():
        return QueryTimeout(
            f"the query took longer than {timeout:g} seconds.",
            hint="Start from fewer nodes, shorten the paths, or raise the timeout.",
        )
    if "buffer pool is full" in text.lower() or "bad_alloc" in text or isinstance(problem, MemoryError):
        return QueryFailed(
            "the query needs more memory than it may have.",
            hint="Start from fewer nodes, shorten the paths, or add a LIMIT.",
        )
    return QueryFailed(f"the engine rejects the query: {text}")


def one_line(problem: BaseException) -> str:
    """An error of the engine on one line, without its drawing of where in the text it happened."""
    return " ".join(str(problem).split())[:500]
