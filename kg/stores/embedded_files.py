"""The folder of an embedded graph: which database file is current, who owns it, what is left over.

::

    graph/
      lock                  held by the owner as long as it is open; contains its process number
      current               the name of the database file that counts; replaced atomically by a full load
      graph-7.lbug          the database
      graph-7.lbug.wal      what has been committed since the last checkpoint
      readers/              copies that queries of strangers run on; thrown away when the owner opens
      loading/              rows that wait during a full load; thrown away when the owner opens

A file that ``current`` does not name is rubbish of a load that did not finish, and is deleted on opening.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path

from kg.errors import StoreError, StoreLocked

REBUILD = "Run `lore store rebuild`."
_DATABASE_NAME = re.compile(r"graph-(\d+)\.lbug")
_MAGIC = b"LBUG"
_open_here: set[Path] = set()
_registry = threading.Lock()


class Folder:
    """The folder of one embedded graph, owned by this object from construction until :meth:`release`.

    Raises :class:`~kg.errors.StoreLocked` where another process, or another object of this process, owns it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StoreError(f"the folder cannot be made: {problem}.", where=str(path)) from None
        with _registry:
            if self.path in _open_here:
                raise StoreLocked(
                    "this process has the graph open already.",
                    where=str(path),
                    hint="Share the open store, or close it first.",
                )
            self._lock = _take_lock(self.path / "lock")
            _open_here.add(self.path)
        self._clean()

    def release(self) -> None:
        """Give up ownership; safe to repeat."""
        with _registry:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1
                _open_here.discard(self.path)

    @property
    def readers(self) -> Path:
        """Where copies for the queries of strangers go."""
        return self.path / "readers"

    @property
    def spill(self) -> Path:
        """Where a full load keeps rows that wait."""
        return self.path / "loading"

    def current(self) -> Path:
        """The database file that counts; it may not exist yet."""
        try:
            name = (self.path / "current").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return self.path / "graph-1.lbug"
        except (OSError, UnicodeDecodeError):
            name = ""
        if _DATABASE_NAME.fullmatch(name) is None:
            raise StoreError(
                "the file does not name a database.", where=str(self.path / "current"), hint=REBUILD
            )
        return self.path / name

    def following(self) -> Path:
        """A name for the database that a full load builds; no such file exists."""
        match = _DATABASE_NAME.fullmatch(self.current().name)
        number = int(match.group(1)) + 1 if match else 1
        path = self.path / f"graph-{number}.lbug"
        delete_database(path)
        return path

    def make_current(self, database: Path) -> None:
        """Let ``database`` count from now on: all or nothing, also when the power goes."""
        _sync(database)
        temporary = self.path / "current.new"
        temporary.write_text(database.name, encoding="ascii")
        _sync(temporary)
        os.replace(temporary, self.path / "current")
        _sync(self.path)

    def discard(self) -> None:
        """Throw away every database in the folder."""
        (self.path / "current").unlink(missing_ok=True)
        for found in self.path.glob("graph-*.lbug*"):
            found.unlink(missing_ok=True)

    def _clean(self) -> None:
        shutil.rmtree(self.readers, ignore_errors=True)
        shutil.rmtree(self.spill, ignore_errors=True)
        try:
            kept = self.current().name
        except StoreError:
            return
        for found in self.path.glob("graph-*.lbug*"):
            if not found.name.startswith(kept):
                found.unlink(missing_ok=True)


def delete_database(path: Path) -> None:
    """Delete a database file and what belongs to it."""
    for found in path.parent.glob(path.name + "*"):
        found.unlink(missing_ok=True)


def check_header(path: Path, storage_version: int) -> None:
    """Refuse a file that this engine would not read, or would silently convert for ever.

    Raises :class:`~kg.errors.StoreError`. A file that does not exist, or is empty, is fine: it is a new one.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise StoreError(f"the graph cannot be read: {problem}.", where=str(path), hint=REBUILD) from None
    if not head:
        return
    if head[:4] != _MAGIC or len(head) < 12:
        raise StoreError("the file is damaged: it is no graph database.", where=str(path), hint=REBUILD)
    found = int.from_bytes(head[4:12], "little")
    if found != storage_version:
        raise StoreError(
            f"the graph has the format {found} of another engine version; this one writes {storage_version}.",
            where=str(path),
            hint=REBUILD,
        )


def _take_lock(path: Path) -> int:
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreLocked(
            f"the graph is in use by process {owner}.",
            where=str(path.parent),
            hint="Stop that process, or let it do the work: it follows the ledger by itself.",
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode("ascii"))
    return descriptor


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
