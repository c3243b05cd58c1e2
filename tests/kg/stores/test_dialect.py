"""Where the embedded engine would answer otherwise than Neo4j; the answers here are Neo4j's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kg.errors import QueryRefused, UsageError
from tests.kg.stores.graphs import EVERYTHING, FILMS, delta

pytest.importorskip("ladybug")

from kg.stores.embedded import EmbeddedStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path_factory.mktemp("dialect") / "graph", FILMS) as opened:
        opened.apply(delta(0, 1, **EVERYTHING))
        yield opened


ANSWERS: list[tuple[str, list[tuple[Any, ...]]]] = [
    # one relationship is not used twice in a MATCH, but may be in two
    ("MATCH (a:Person)<-[:STARS]-(f)-[:STARS]->(b:Person) RETURN count(*)", [(4,)]),
    ("MATCH (a:Person)<-[:STARS]-(f), (f)-[:STARS]->(b:Person) RETURN count(*)", [(4,)]),
    ("MATCH (a:Person)<-[:STARS]-(f) MATCH (f)-[:STARS]->(b:Person) RETURN count(*)", [(8,)]),
    ("MATCH (:Film {name: 'Alpha'})-[:STARS*3]-(x) RETURN x.name ORDER BY x.name", [("Bob",), ("Cid",)]),
    ("MATCH (:Film {name: 'Alpha'})-[:STARS*2]-(y)-[:STARS]-(z) RETURN y.name, z.name ORDER BY z.name",
     [("Beta", "Bob"), ("Beta", "Cid")]),
    ("MATCH (:Film {name: 'Alpha'})-[:STARS*1..2]-(y)-[:STARS*1..2]-(z) RETURN count(*)", [(8,)]),
    # the engine's ORDER BY is lost before an aggregate
    ("MATCH (f:Film) WITH f ORDER BY f.name DESC LIMIT 2 RETURN collect(f.name)", [(["Gamma", "Delta"],)]),
    ("MATCH (f:Film) WITH f.name AS n ORDER BY n DESC RETURN collect(n)[0]", [("Gamma",)]),
    # the engine loses rows whose COUNT is zero
    ("MATCH (f:Film) RETURN COUNT { (f)-[:STARS]->() } AS n ORDER BY n", [(0,), (0,), (2,), (2,)]),
    ("MATCH (f:Film) WITH f, COUNT { (f)-->(:Person) } AS n RETURN n, count(*) ORDER BY n",
     [(0, 1), (1, 1), (3, 2)]),
    ("MATCH (f:Film) WHERE COUNT { (f)-[:STARS]->() } = 0 RETURN count(*)", [(2,)]),
    # lists count from 0 and end in null
    ("MATCH (f:Film) RETURN f.prizes[1] AS p, f.aliases[0] AS a ORDER BY f.name",
     [("Bafta", "Alfa"), (None, None), (None, None), (None, None)]),
    ("RETURN [1, 2, 3][-1], [1, 2, 3][3], [1, 2, 3][1..], [1, 2, 3][..-1], [1, 2, 3][-2..]",
     [(3, None, [2, 3], [1, 2], [2, 3])]),
    ("UNWIND [-4, -1, 0, 3] AS i RETURN [1, 2, 3][i]", [(None,), (3,), (1,), (None,)]),
    ("RETURN head([]), last([1, 2]), tail([1, 2]), isEmpty([]), substring('abc', 1), substring('abc', 0, 2)",
     [(None, 2, [2], True, "bc", "ab")]),
    # lambdas see the right row, and parameters, and names that are taken outside
    ("MATCH p = (x:Film {name: 'Alpha'})-[r:STARS*2]-(y) MATCH (y)-[:HAS_GENRE|DIRECTED_BY]->(z) "
     "RETURN [x IN nodes(p) | x.name] AS names, [e IN r | e.id] AS ids, z.name ORDER BY names, z.name",
     [(["Alpha", "Bob", "Beta"], ["e4", "e7"], "Ann"), (["Alpha", "Bob", "Beta"], ["e4", "e7"], "Drama"),
      (["Alpha", "Cid", "Beta"], ["e5", "e6"], "Ann"), (["Alpha", "Cid", "Beta"], ["e5", "e6"], "Drama")]),
    ("MATCH (f:Film) WHERE any(x IN f.prizes WHERE x = $prize) RETURN f.name", [("Alpha",)]),
    ("RETURN [x IN range(1, 5) WHERE x % 2 = 1 | x * 10]", [([10, 30, 50],)]),
    # what is null stays null
    ("MATCH (f:Film {name: 'Delta'}) OPTIONAL MATCH p = (f)-[r:STARS]->(x) "
     "RETURN p, length(p), labels(x), type(r), x:Person, sum(x.birth_year), collect(x)",
     [(None, None, None, None, None, 0, [])]),
    ("MATCH (p:Person) RETURN 'born ' + toString(p.birth_year) ORDER BY p.name",
     [("born 1950",), ("born 1960",), (None,), (None,)]),
    ("MATCH (f:Film) RETURN f.birth_year, f.role LIMIT 1", [(None, None)]),
    ("MATCH (d:Document)<-[r:PART_OF]-(x) RETURN d.name, r.role, x.rating, x.text LIMIT 1",
     [(None, None, None, "Alpha is")]),
    ("MATCH (:Chunk {position: 0})-[:PART_OF]->(x) RETURN x.name, x.title", [(None, "One")]),
    # labels
    ("MATCH (n) WHERE n:Film OR n:Genre RETURN count(n)", [(6,)]),
    ("MATCH (n:Entity&!Film) RETURN count(n)", [(6,)]),
    ("MATCH (n:Film:Person) RETURN count(n)", [(0,)]),
    ("MATCH (f:Film) MATCH (f:Entity|Person) RETURN count(f)", [(4,)]),
    ("MATCH (a:Film), (a:Entity) RETURN count(a)", [(4,)]),
    ("MATCH (n:Film) RETURN DISTINCT labels(n), labels(n)[1]", [(["Entity", "Film"], "Film")]),
    ("MATCH (n) RETURN count(n)", [(13,)]),
    ("MATCH (f:Film {id: 'f1'}) WITH f, {f: {odd: 3}} AS m RETURN m.f.odd", [(3,)]),
    # names
    ("MATCH (f:Film) RETURN f.name AS f ORDER BY f LIMIT 1", [("Alpha",)]),
    ("MATCH (f:Film) WITH f.name AS f, f.rating AS r RETURN * ORDER BY f LIMIT 1", [("Alpha", 7.5)]),
    ("MATCH (f:Film)-[r:STARS*1..1]->(p) WITH * WHERE p.name = 'Cid' RETURN r[0].role ORDER BY f.name",
     [(None,), ("villain",)]),
    ("MATCH (c:Chunk) RETURN c.end ORDER BY c.position", [(8,), (17,)]),
    # numbers and texts
    ("RETURN round(-2.5), round(2.5), round(1.257, 2), 7 / 2, 2 ^ 3", [(-2.0, 3.0, 1.26, 3, 8.0)]),
    ("RETURN toInteger(-3.9), toString(1.5), toString(true)", [(-3, "1.5", "true")]),
    ("MATCH (f:Film) RETURN sum(f.release_year), avg(f.rating), count(f.rating)", [(6001, 7.75, 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("cypher", "expected"), ANSWERS, ids=[cypher for cypher, _ in ANSWERS])
def test_answer(store: EmbeddedStore, cypher: str, expected: list[tuple[Any, ...]]) -> None:
    parameters = {"prize": "Oscar"} if "$prize" in cypher else {}
    assert [tuple(row.values()) for row in store.query(cypher, parameters)] == expected


def test_columns_are_named_by_their_text(store: EmbeddedStore) -> None:
    [row] = store.query("MATCH (f:Film) RETURN count( * ), max(f.name) AS `a b`, 1+1 , f.missing IS NULL"
                        .replace("f.missing", "max(f.birth_year)"))  # fmt: skip
    assert list(row) == ["count( * )", "a b", "1+1", "max(f.birth_year) IS NULL"]


def test_properties_and_keys_leave_nulls_out(store: EmbeddedStore) -> None:
    [row] = store.query("MATCH (f:Film {name: 'Delta'}) RETURN properties(f) AS p, keys(f) AS k")
    assert sorted(row["p"]) == row["k"] == ["aliases", "description", "id", "name", "type", "version"]


ADVICE = [
    ("MATCH (n:Flim) RETURN n", "'Film'"),
    ("MATCH ()-[r:STAR]->() RETURN r", "'STARS'"),
    ("MATCH (n:Film) RETURN n.nmae", "nmae"),
    ("MATCH (f:Film) RETURN [(f)-->(x) | x.name]", r"collect\(\)"),
    ("MATCH (f:Film) RETURN COLLECT { MATCH (f)-->(x) RETURN x }", r"collect\(\)"),
    ("MATCH (a)-[*]-(b) RETURN a", "upper bound"),
    ("MATCH (a)-[:STARS*2..]-(b) RETURN a", "upper bound"),
    ("MATCH (a)-[:STARS*1..99]-(b) RETURN a", "at most 30"),
    ("MATCH (a)-[:STARS*1..2 {role: 'x'}]-(b) RETURN a", r"relationships\(p\)"),
    ("MATCH ((a)-[:STARS]-(b)){1,3} RETURN a", r"\*1\.\.4"),
    ("MATCH (a)-[:STARS]->+(b) RETURN a", r"\*1\.\.4"),
    ("MATCH p = SHORTEST 1 (a)-[:STARS]-(b) RETURN p", "shortestPath"),
    ("MATCH (f:Film) RETURN f {.*}", "name: n.name"),
    ("MATCH (f:Film $x) RETURN f", r"\{id: \$id\}"),
    ("MATCH (f:Film) WHERE exists(f.name) RETURN f", "IS NOT NULL"),
    ("MATCH (a)-[r:KNOWS]-(b) RETURN startNode(r)", "arrow"),
    ("RETURN date('2000-01-01')", "ISO 8601"),
    ("MATCH " + "".join(f"(a{i})-[:STARS]-" for i in range(11)) + "(b) RETURN b", "WITH between"),
    ("RETURN " + "toString(" * 9 + "1" + ")" * 9, "WITH before"),
    ("RETURN " + "[0" * 30 + "]" * 30 + "[0]" * 30, "WITH before"),
    ("RETURN *", r"\*"),
    ("MATCH (n) WHERE n.name = 'x'", "RETURN"),
]


@pytest.mark.parametrize(("cypher", "advice"), ADVICE, ids=[cypher[:60] for cypher, _ in ADVICE])
def test_a_refusal_gives_advice(store: EmbeddedStore, cypher: str, advice: str) -> None:
    with pytest.raises(QueryRefused, match=advice):
        store.query(cypher, {"x": {}})


def test_parameters_cannot_become_text(store: EmbeddedStore) -> None:
    nasty = "it's \\ \n ` } ) RETURN 1 //"
    for cypher in ("RETURN [x IN [1] | $p][0] AS v", "RETURN $p AS v"):
        assert store.query(cypher, {"p": nasty}) == [{"v": nasty}]
        assert store.query(cypher, {"p": {"a": [], "b": nasty}}) == [{"v": {"a": [], "b": nasty}}]
    with pytest.raises((QueryRefused, UsageError), match="back-tick"):
        store.query("RETURN [x IN [1] | $p] AS v", {"p": {"a`: 1}] AS v RETURN 2 //": 1}})
