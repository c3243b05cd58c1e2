"""The child process that runs strangers' queries: limits first, then one answer for every question on stdin.

A message is four bytes of length and JSON. The first says which copy of the database to open, the others are
statements. The process never writes a file, and ends when its input does.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO

from kg.errors import LoreError, QueryFailed
from kg.stores.embedded_reading import Statement, open_database, run

_ADDRESS_ROOM = 1 << 30
_SMALLEST_DATABASE = 1 << 30


def read_message(stream: BinaryIO) -> Any | None:
    """The next message, or None at the end of the stream."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    body = stream.read(int.from_bytes(head, "little"))
    return json.loads(body)


def write_message(stream: BinaryIO, message: Any) -> None:
    """Write one message at once."""
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    stream.write(len(body).to_bytes(4, "little") + body)
    stream.flush()


def main() -> None:
    """Serve until the input ends."""
    # The answers go to a descriptor that the engine does not print to.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    database: Any = None
    while (message := read_message(sys.stdin.buffer)) is not None:
        if "open" in message:
            if database is not None:
                database.close()
            try:
                database = _open(message["open"], int(message["pool"]))
            except LoreError as problem:
                database = None
                write_message(answers, _error(problem))
            else:
                write_message(answers, {"rows": []})
        else:
            write_message(answers, _answer(database, message))


def _open(path: str, pool: int) -> Any:
    # The engine reserves addresses for the largest database it expects, a power of two.
    largest = max(_SMALLEST_DATABASE, 1 << (4 * Path(path).stat().st_size).bit_length())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    room = 2 * largest + pool + _ADDRESS_ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    return open_database(path, buffer_pool_bytes=pool, threads=1, read_only=True, largest=largest)


def _answer(database: Any, message: dict[str, Any]) -> dict[str, Any]:
    statement = Statement(
        message["text"], message["parameters"], tuple(message["names"]), frozenset(message["compact"])
    )
    timeout = float(message["timeout"])
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime + timeout) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
    try:
        return {"rows": run(database, statement, limit=int(message["limit"]), timeout=timeout)}
    except LoreError as problem:
        return _error(problem)
    except (MemoryError, RecursionError):
        return _error(QueryFailed("the query needs more memory than it may have."))


def _error(problem: LoreError) -> dict[str, Any]:
    return {"error": type(problem).__name__, "what": problem.what, "hint": problem.hint}
