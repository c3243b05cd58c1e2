"""Random histories of a ledger, with lag and torn applies, projected onto the real stores."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.conftest import Opener
from tests.kg.ledger.fuzz import Counts, run_fuzz
from tests.kg.ledger.mirror import Contents, contents, row_of
from tests.kg.ledger.world import SCHEMA
from tests.kg.stores.graphs import Rows

HISTORIES = 10
OPERATIONS = 100
_OTHERS = {
    "documents": "MATCH (d:Document) RETURN d.id AS id, d.uri AS uri, d.title AS title, d.version AS version",
    "chunks": "MATCH (c:Chunk)-[:PART_OF]->(d:Document) RETURN c.id AS id, d.id AS document, "
    "c.position AS position, c.start AS start, c.end AS end, c.text AS text, c.version AS version",
    "mentions": "MATCH (c:Chunk)-[m:MENTIONS]->(e:Entity) RETURN c.id AS chunk, e.id AS entity, "
    "e.type AS entity_type, m.count AS count",
}


def everything(store: Any) -> Contents:
    """All kinds that a store shows, in the form that the oracle compares."""
    found = contents(store)
    for kind, cypher in _OTHERS.items():
        found[kind] = dict(row_of(kind, row) for row in store.query(cypher, limit=100_000))
    return found


@pytest.mark.slow
def test_a_thousand_random_operations_agree_with_the_oracle(open_graph: Opener) -> None:
    store = open_graph(SCHEMA)
    counts = Counts()
    for seed in range(5000, 5000 + HISTORIES):
        store.load(Rows(0))
        counts.add(run_fuzz(seed, OPERATIONS, store, read=everything, tear="staged"))
    assert counts.operations >= HISTORIES * OPERATIONS
    assert min(counts.torn, counts.merges, counts.undone, counts.decisions, counts.dropped) >= 10


def test_a_short_history_agrees_with_the_oracle(open_graph: Opener) -> None:
    assert run_fuzz(4242, 60, open_graph(SCHEMA), read=everything, tear="staged").compared >= 5
