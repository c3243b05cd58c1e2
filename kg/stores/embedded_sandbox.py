"""Strangers' queries run in child processes, on a copy of the database: a crash is one failed answer.

A crafted query can overflow the engine's parser or fill the memory. So a child that can write nothing, has
bounded memory and is killed at its deadline runs it. The engine lets nobody else open a file that is being
written, so the children read a copy. A small copy is renewed before the query when the graph has moved; a
large one is renewed beside the queries, which see the older copy until the new one is there.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kg
from kg.errors import QueryFailed, QueryTimeout, ServiceUnavailable, StoreError
from kg.stores.embedded_reading import MAX_RESULT_BYTES, Statement, execute, open_database

Stamp = tuple[str, int, str]
"""Which content a copy shows: file name, ledger version, token."""

N_CHILDREN = 2
GRACE = 1.0
"""Seconds beyond a query's time limit before its process is killed."""
WAIT_FOR_COPY = 1.0
"""A copy that took longer than this (seconds) is renewed beside the queries, not before them."""
_CLONE = 0x40049409  # FICLONE of linux/fs.h: share the blocks where the file system can
_POOL_BYTES = 64 << 20
_FOLD_POOL_BYTES = 512 << 20
_START_WAIT = 20.0
_MAX_REPLY_BYTES = 4 * MAX_RESULT_BYTES
_ERRORS: Mapping[str, type[QueryFailed]] = {"QueryTimeout": QueryTimeout, "QueryFailed": QueryFailed}


@dataclass(frozen=True, slots=True)
class _Copy:
    path: Path
    stamp: Stamp
    seconds: float
    made_at: float


class Sandbox:
    """A few child processes and the copy that they read; ``folder`` is theirs alone."""

    def __init__(self, folder: Path, make_copy: Callable[[Path], Stamp], stamp: Callable[[], Stamp]) -> None:
        self._folder = folder
        self._make_copy = make_copy
        self._stamp = stamp
        self._copy: _Copy | None = None
        self._n_copies = 0
        self._copy_lock = threading.Lock()
        self._idle = [_Child() for _ in range(N_CHILDREN)]
        self._free = threading.Semaphore(N_CHILDREN)
        self._list_lock = threading.Lock()
        self._closed = False

    def run(self, statement: Statement, *, limit: int, timeout: float) -> list[dict[str, Any]]:
        """Run a statement in a child; whatever becomes of the child, this process goes on.

        Raises :class:`~kg.errors.QueryTimeout` at the time limit, :class:`~kg.errors.QueryFailed` where the
        engine rejects the statement or the child dies, :class:`~kg.errors.ServiceUnavailable` where all
        children stay busy.
        """
        if not self._free.acquire(timeout=timeout):
            raise ServiceUnavailable("all query processes are busy.", hint="Try again in a moment.")
        try:
            with self._list_lock:
                child = self._idle.pop()
            try:
                return self._run_in(child, statement, limit, timeout)
            finally:
                with self._list_lock:
                    self._idle.append(child)
        finally:
            self._free.release()

    def _run_in(
        self, child: _Child, statement: Statement, limit: int, timeout: float
    ) -> list[dict[str, Any]]:
        path = self._fresh_copy()
        try:
            return child.run(path, statement, limit=limit, timeout=timeout)
        except StoreError:
            # The copy cannot be opened: whoever damaged it did not reach the database.
            with self._copy_lock:
                if self._copy is not None and self._copy.path == path:
                    self._copy = None
            return child.run(self._fresh_copy(), statement, limit=limit, timeout=timeout)

    def close(self) -> None:
        """End the children and delete the copies."""
        self._closed = True
        for _ in range(N_CHILDREN):
            self._free.acquire(timeout=_START_WAIT)
        for child in self._idle:
            child.end()
        with self._copy_lock:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _fresh_copy(self) -> Path:
        copy = self._copy
        now = self._stamp()
        if copy is not None and copy.stamp == now:
            return copy.path
        if copy is None or copy.seconds < WAIT_FOR_COPY:
            with self._copy_lock:
                return self._renew(now).path
        # Large graphs: at most half of the time goes into copying.
        if time.monotonic() - copy.made_at > copy.seconds and self._copy_lock.acquire(blocking=False):
            threading.Thread(target=self._renew_beside, args=(now,), daemon=True).start()
        return copy.path

    def _renew_beside(self, wanted: Stamp) -> None:
        try:
            if not self._closed:
                self._renew(wanted)
        finally:
            self._copy_lock.release()

    def _renew(self, wanted: Stamp) -> _Copy:
        copy = self._copy
        if copy is not None and copy.stamp == wanted:
            return copy
        started = time.monotonic()
        self._n_copies += 1
        path = self._folder / str(self._n_copies) / "graph.lbug"
        path.parent.mkdir(parents=True)
        stamp = self._make_copy(path)
        _fold_log(path)
        self._copy = _Copy(path, stamp, time.monotonic() - started, time.monotonic())
        # A child may be about to open the copy before this one, but none older.
        shutil.rmtree(self._folder / str(self._n_copies - 2), ignore_errors=True)
        return self._copy


class _Child:
    """One child process, started when needed and again after its death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._opened: Path | None = None

    def run(self, copy: Path, statement: Statement, *, limit: int, timeout: float) -> list[dict[str, Any]]:
        """Ask the child; it has ``timeout`` seconds and a little grace, then it is killed."""
        if self._process is None or self._process.poll() is not None or self._opened != copy:
            self._open(copy)
        message = {
            "text": statement.text,
            "parameters": dict(statement.parameters),
            "names": statement.names,
            "compact": sorted(statement.compact),
            "limit": limit,
            "timeout": timeout,
        }
        reply = self._ask(message, timeout + GRACE)
        if reply is None:
            self.end()
            raise QueryTimeout(
                f"the query took longer than {timeout:g} seconds; its process was ended.",
                hint="Start from fewer nodes, or shorten the paths.",
            )
        if "error" in reply:
            raise _ERRORS.get(reply["error"], QueryFailed)(reply["what"], hint=reply["hint"])
        rows: list[dict[str, Any]] = reply["rows"]
        return rows

    def end(self) -> None:
        """Kill the child; safe to repeat."""
        process, self._process, self._opened = self._process, None, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def _open(self, copy: Path) -> None:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = _start()
        reply = self._ask({"open": str(copy), "pool": _POOL_BYTES}, _START_WAIT)
        if reply is None:
            self.end()
            raise ServiceUnavailable("the query process does not start.")
        if "error" in reply:
            self.end()
            raise StoreError(f"the copy for queries is damaged: {reply['what']}")
        self._opened = copy

    def _ask(self, message: Mapping[str, Any], wait: float) -> dict[str, Any] | None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ServiceUnavailable("the query process is gone.")
        body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
        deadline = time.monotonic() + wait
        try:
            process.stdin.write(len(body).to_bytes(4, "little") + body)
            process.stdin.flush()
            head = _read(process.stdout.fileno(), 4, deadline)
            if head is None:
                return None
            length = int.from_bytes(head, "little")
            if length > _MAX_REPLY_BYTES:
                raise EOFError
            answer = _read(process.stdout.fileno(), length, deadline)
            if answer is None:
                return None
            reply = json.loads(answer)
        except (OSError, EOFError, ValueError):
            self.end()
            raise QueryFailed(
                "the query broke the process that ran it.",
                hint="Write it simpler: fewer levels, smaller values.",
            ) from None
        return reply if isinstance(reply, dict) else {"rows": []}


def copy_database(source: Path, target: Path) -> None:
    """Copy a database file and its log; share the blocks where the file system can."""
    _copy_file(source, target)
    log = source.with_name(source.name + ".wal")
    if log.exists():
        _copy_file(log, target.with_name(target.name + ".wal"))


def _copy_file(source: Path, target: Path) -> None:
    import fcntl

    with source.open("rb") as reading, target.open("wb") as writing:
        try:
            fcntl.ioctl(writing.fileno(), _CLONE, reading.fileno())
            return
        except OSError:
            pass
    shutil.copyfile(source, target)


def _fold_log(path: Path) -> None:
    """Bring the log into the copy, so that a child can open it read-only."""
    import ladybug

    log = path.with_name(path.name + ".wal")
    if not log.exists() or not log.stat().st_size:
        return
    database = open_database(str(path), buffer_pool_bytes=_FOLD_POOL_BYTES, threads=1)
    try:
        connection = ladybug.Connection(database)
        execute(connection, "CHECKPOINT")
        connection.close()
    finally:
        database.close()


def _start() -> subprocess.Popen[bytes]:
    root = str(Path(kg.__file__).resolve().parent.parent)
    paths = [root, *(path for path in sys.path if path)]
    program = f"import sys; sys.path[:] = {paths!r}; from kg.stores.embedded_child import main; main()"
    # Nothing of this process's environment: keys and passwords stay here.
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-I", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        close_fds=True,
    )


def _read(descriptor: int, length: int, deadline: float) -> bytes | None:
    """Exactly ``length`` bytes, or None at the deadline. Raises EOFError where the stream ends before."""
    parts: list[bytes] = []
    while length > 0:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        part = os.read(descriptor, min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
