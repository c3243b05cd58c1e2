"""Build the graph again from the ledger: the answer to a lost or damaged database."""

from __future__ import annotations

import shutil
from pathlib import Path

from kg.errors import StoreError
from loregraph.workspace import Workspace


def rebuild(workspace: Workspace) -> int:
    """Rebuild the graph store and return the ledger version it then shows.

    A damaged embedded database is moved aside (``graph.damaged``), never repaired in place. Raises
    :class:`~kg.errors.StoreLocked` where another process owns it, and leaves it alone then.
    """
    with workspace.ledger() as ledger:
        try:
            with workspace.store() as store:
                store.load(ledger.projection())
                return store.version().version
        except StoreError:
            if "://" in workspace.store_url:
                raise
            _move_aside(Path(workspace.store_url))
        with workspace.store() as store:
            store.load(ledger.projection())
            return store.version().version


def _move_aside(folder: Path) -> None:
    aside = folder.with_name(folder.name + ".damaged")
    if aside.exists():
        shutil.rmtree(aside)
    folder.rename(aside)
