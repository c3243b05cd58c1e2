"""The REST interface as it is promised: a change of it shows as a change of ``docs/openapi.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

from kg.ledger.ledger import Ledger
from kg.stores.store import GraphStore
from loregraph.api.app import create_app
from loregraph.api.serving import Serving
from loregraph.settings import ServerSettings
from tests.loregraph.commands import ROOT

SNAPSHOT = ROOT / "docs" / "openapi.json"


def test_the_interface_is_the_documented_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        # A description asks no route, so no graph is needed behind them.
        serving = Serving(ledger, cast(GraphStore, None), None, bundle=None)
        found = create_app(serving, ServerSettings()).openapi()
    finally:
        ledger.close()
    if os.environ.get("LORE_UPDATE_OPENAPI") == "1":
        SNAPSHOT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    documented = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert found == documented, "run this test with LORE_UPDATE_OPENAPI=1 where the change is meant"
