from __future__ import annotations

from typing import Any

import pytest

from kg.errors import QueryRefused, UsageError
from kg.stores import gate
from kg.stores.cypher import group, tokenise

READS = [
    "MATCH (n) RETURN n",
    "  match (n) return n ;  ",
    "OPTIONAL MATCH (n:Film) RETURN n",
    "UNWIND [1, 2] AS x WITH x WHERE x > 1 RETURN x ORDER BY x DESC SKIP 1 LIMIT 2",
    "MATCH (n:Film) RETURN n.name AS name UNION ALL MATCH (n:Person) RETURN n.name AS name",
    "MATCH (n) WHERE EXISTS { MATCH (n)-->() } RETURN COUNT { (n)--() } AS degree",
    "RETURN CASE WHEN true THEN 1 ELSE 2 END AS x",
    "RETURN 'CREATE (n) DELETE n; DROP TABLE x' AS text",
    'RETURN "it\'s // no comment /* none */" AS text',
    "RETURN 'a \\' MERGE \\\\' AS text",
    "MATCH (n) // SET n.x = 1\nRETURN n",
    "MATCH (n) /* CALL db.labels(); */ RETURN n",
    "MATCH (`DELETE`:Film) RETURN `DELETE`.name",
    "MATCH (n:Film {set: 1}) RETURN n.create AS delete",
    "MATCH (n)-[r:LOAD|COPY]->() RETURN r.merge",
    "MATCH (n) WHERE all(x IN [1] WHERE x = 1) RETURN n",
    "MATCH p = shortestPath((a)-[*..3]-(b)) RETURN p",
]

REFUSED = [
    "",
    ";",
    "   // only a comment",
    "CREATE (n:Film)",
    "MATCH (n) SET n.x = 1",
    "MATCH (n) DETACH DELETE n",
    "MATCH (n) REMOVE n.x",
    "MERGE (n:Film {id: 1}) RETURN n",
    "MATCH (n) FOREACH (x IN [1] | SET n.x = x)",
    "LOAD CSV FROM 'file:///etc/passwd' AS row RETURN row",
    "LOAD FROM '/etc/passwd' RETURN *",
    "COPY (MATCH (n) RETURN n) TO 'out.csv'",
    "EXPORT DATABASE 'x'",
    "IMPORT DATABASE 'x'",
    "ATTACH 'x' AS y",
    "INSTALL httpfs",
    "CHECKPOINT",
    "BEGIN TRANSACTION",
    "DROP TABLE Film",
    "ALTER TABLE Film ADD x STRING",
    "USE neo4j MATCH (n) RETURN n",
    "EXPLAIN MATCH (n) RETURN n",
    "PROFILE MATCH (n) RETURN n",
    "SHOW USERS",
    "TERMINATE TRANSACTION 'x'",
    "CALL db.labels()",
    "CALL { MATCH (n) RETURN n } RETURN n",
    "MATCH (n) CALL { WITH n RETURN 1 AS x } RETURN x",
    "MATCH (n) RETURN n; MATCH (m) RETURN m",
    "MATCH (n) /* */ DELETE n",
    "MATCH (n) //\n DELETE n",
    "RETURN apoc.load.json('http://x')",
    "RETURN repeat('a', 2000000000)",
    "RETURN nextval('x')",
    "RETURN `repeat`('a', 2)",
    "RETURN 'open",
    'RETURN "open',
    "RETURN `open",
    "MATCH (n) /* open RETURN n",
    "RETURN (1",
    "RETURN 1)",
    "RETURN [1)",
    "RETURN \\u0027",
    "RETURN '\\q'",
    "RETURN '\\u0000'",
    "RETURN 1 # 2",
    "RETURN \u200b1",
    "WITH 1 AS x YIELD x",
]


@pytest.mark.parametrize("query", READS)
def test_reading_passes(query: str) -> None:
    assert gate.check(query, {})


@pytest.mark.parametrize("query", REFUSED)
def test_everything_else_is_refused(query: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        gate.check(query, {})
    assert caught.value.message.endswith(".")


def test_nesting_is_bounded() -> None:
    deep = gate.MAX_NESTING
    assert gate.check(f"RETURN {'(' * deep}1{')' * deep} AS x", {})
    with pytest.raises(QueryRefused, match="nests"):
        gate.check(f"RETURN {'(' * (deep + 1)}1{')' * (deep + 1)} AS x", {})
    with pytest.raises(QueryRefused, match="CASE"):
        gate.check("RETURN " + "CASE WHEN true THEN " * 40 + "1" + " END" * 40, {})


def test_length_and_chains_are_bounded() -> None:
    with pytest.raises(QueryRefused, match="characters"):
        gate.check("RETURN " + "1 " * gate.MAX_CHARACTERS, {})
    with pytest.raises(QueryRefused, match="without a comma"):
        gate.check("RETURN " + "+".join(["1"] * 600), {})
    assert gate.check("RETURN [" + ",".join(["1"] * 2000) + "] AS x", {})


def test_a_refusal_says_what_may_be_meant() -> None:
    with pytest.raises(QueryRefused, match=r"Did you mean tolower\(\)"):
        gate.check("RETURN toLowr('A')", {})


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.5, "x", [1, [2, None]], {"a": [1]}, -(2**63), 2**63 - 1, (1, 2)]
)
def test_plain_parameters_pass(value: Any) -> None:
    assert gate.check("RETURN $x AS x", {"x": value})


@pytest.mark.parametrize("value", [2**63, object(), {1: 2}, {"a": object()}, b"x", {1, 2}])
def test_other_parameters_do_not(value: Any) -> None:
    with pytest.raises(UsageError, match=r"\$x"):
        gate.check("RETURN $x AS x", {"x": value})


def test_missing_and_odd_parameters() -> None:
    with pytest.raises(UsageError, match=r"\$y has no value"):
        gate.check("RETURN $x, $y", {"x": 1})
    assert gate.check("RETURN '$y' AS x // $z", {})
    with pytest.raises(UsageError, match="name of a parameter"):
        gate.check("RETURN 1 AS x", {"a b": 1})
    with pytest.raises(UsageError, match="MB"):
        gate.check("RETURN $x", {"x": "a" * (gate.MAX_PARAMETER_BYTES + 1)})


def test_tokens_know_strings_names_numbers_and_parameters() -> None:
    text = "RETURN 'it\\'s\\n', \"\\u00e9\", `a b`, $p, $`q r`, 1..3, 1.5e-3, .5, 0x1F, a<>b /* x */ // y"
    found = [(token.kind, token.text) for token in tokenise(text)]
    assert ("string", "it's\n") in found
    assert ("string", "é") in found
    assert ("name", "a b") in found
    assert ("parameter", "p") in found
    assert ("parameter", "q r") in found
    assert [token for kind, token in found if kind == "number"] == ["1", "3", "1.5e-3", ".5", "0x1F"]
    assert ("symbol", "<>") in found
    assert found[-1] == ("word", "b")


def test_tokens_cover_the_text_they_came_from() -> None:
    text = "MATCH (n {name: 'x'})-[:R]->(m) RETURN n.name, $p"
    for token in tokenise(text):
        assert token.text in text[token.start : token.end]


def test_grouping_is_not_recursive() -> None:
    depth = 5000
    tokens = tokenise("(" * depth + ")" * depth)
    assert len(group(tokens, deepest=depth)) == 1
