"""A store follows its ledger: the one place where a projection is moved forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kg.stores.store import GraphStore

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger

APPLY_AT_MOST = 200_000
"""A larger delta is slower to apply than a full load (rows; measured on the embedded engine)."""


def follow(ledger: Ledger, store: GraphStore) -> int:
    """Bring ``store`` to the ledger's version and return how many rows were applied (-1 for a full load).

    A store that is empty, or that shows a version this ledger never had (a restored backup), is loaded anew.
    """
    shown = store.version()
    if shown.version == ledger.version and shown.token == ledger.token:
        return 0
    if shown.version == 0 or not ledger.knows(shown.version, shown.token):
        store.load(ledger.projection())
        return -1
    delta = ledger.delta(shown.version)
    if delta.n_rows > APPLY_AT_MOST:
        store.load(ledger.projection())
        return -1
    store.apply(delta)
    return delta.n_rows
