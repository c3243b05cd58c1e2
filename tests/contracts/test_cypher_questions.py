"""The same questions in the same words have the same answers on every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kg.errors import QueryRefused
from kg.stores.opening import open_store
from tests.contracts.conftest import Opener
from tests.contracts.cypher_questions import QUESTIONS, Question
from tests.contracts.planted import SCHEMA, news, planted
from tests.kg.stores.graphs import delta

ONLY_ON_NEO4J = [
    "MATCH (a:Film {id: 'heat'})((x)-[:STARS]-(y)){1,3}(b:Person) RETURN DISTINCT b.name AS name",
    "MATCH p = SHORTEST 1 (a:Person {name: 'Jean Reno'})-[:STARS]-+(b:Person {name: 'Val Kilmer'}) RETURN p",
    "CALL db.labels() YIELD label RETURN label",
    "MATCH (f:Film) CALL (f) { MATCH (f)-[:STARS]->(p) RETURN count(p) AS n } RETURN f.name AS name, n",
    "RETURN reduce(total = 0, x IN [1, 2, 3] | total + x) AS total",
    "RETURN datetime().year AS year",
    "RETURN duration('P1D') AS d",
    "MATCH (f:Film) RETURN COLLECT { MATCH (f)-[:STARS]->(p:Person) RETURN p.name } AS names",
    "MATCH (f:Film) RETURN rand() AS r ORDER BY r LIMIT 1",
    "RETURN point({x: 1, y: 2}) AS p",
    "MATCH (f:Film) WHERE f:$($label) RETURN f.name AS name",
    "CYPHER runtime=slotted MATCH (f:Film) RETURN f.name AS name",
]
"""What the embedded dialect cannot do: refused there with a sentence that says what to write instead."""


@pytest.fixture(scope="module")
def films(open_shared_graph: Opener) -> Any:
    """The planted graph at version 2."""
    store = open_shared_graph(SCHEMA)
    store.apply(delta(0, 1, **planted()))
    store.apply(news())
    return store


def test_the_questions_are_many_and_different() -> None:
    assert len({question.cypher for question in QUESTIONS}) == len(QUESTIONS) >= 40
    assert sum("(:Entity" in q.cypher or "e:Entity" in q.cypher for q in QUESTIONS) >= 5


@pytest.mark.parametrize("question", QUESTIONS, ids=[question.asks for question in QUESTIONS])
def test_question(films: Any, question: Question) -> None:
    found = films.query(question.cypher, question.parameters)
    expected = [dict(zip(question.columns, row, strict=True)) for row in question.rows]
    found = [{name: unordered(value, name) for name, value in row.items()} for row in found]
    if not question.is_ordered:
        found, expected = sorted(found, key=repr), sorted(expected, key=repr)
    assert [list(row) for row in found] == [list(row) for row in expected] or not found
    assert found == expected


def unordered(value: Any, name: str) -> Any:
    """Values in the form to compare: what is collected in no order sorted, a node with sorted keys."""
    if name == "shared":
        return sorted(value)
    if isinstance(value, dict):
        keys = ["id", "type", "name", "aliases", "description", "version"]
        return {key: value[key] for key in [*keys, *sorted(value.keys() - set(keys))] if key in value}
    return value


@pytest.mark.parametrize("cypher", ONLY_ON_NEO4J)
def test_what_the_embedded_dialect_lacks_is_refused_with_advice(tmp_path: Path, cypher: str) -> None:
    store: Any = open_store(str(tmp_path / "graph"), SCHEMA)
    try:
        with pytest.raises(QueryRefused) as caught:
            store.query(cypher, {"label": "Film"})
        assert caught.value.hint, f"no advice: {caught.value}"
    finally:
        store.close()
