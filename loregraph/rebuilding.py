"""Build the graph again from the ledger: the answer to a lost or damaged database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from loregraph.workspace import Workspace

if TYPE_CHECKING:
    from kg.stores.store import GraphStore


def rebuild(workspace: Workspace) -> int:
    """Rebuild the graph store and return the ledger version it then shows.

    Of an embedded database only its own files are thrown away, whatever else lies in the folder. Raises
    :class:`~kg.errors.StoreLocked` where another process owns it, and leaves it alone then.
    """
    with workspace.ledger() as ledger, _emptied(workspace) as store:
        store.load(ledger.projection())
        return store.version().version


@contextmanager
def _emptied(workspace: Workspace) -> Iterator[GraphStore]:
    if "://" in workspace.store_url:
        with workspace.store() as store:
            yield store
        return
    from kg.stores.embedded import EmbeddedStore

    with EmbeddedStore(Path(workspace.store_url), workspace.schema, fresh=True) as embedded:
        yield embedded
