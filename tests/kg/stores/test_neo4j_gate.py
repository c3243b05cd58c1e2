"""The gate in front of Neo4j, by hand-made texts and plans: no server is needed."""

from __future__ import annotations

from typing import Any

import pytest

from kg.errors import QueryRefused
from kg.stores.neo4j_gate import check_plan, check_text


def plan(*operators: str, details: str = "") -> dict[str, Any]:
    """A plan whose operators stand one under the other."""
    found: dict[str, Any] = {}
    for operator in reversed(operators):
        children = [found] if found else []
        found = {"operatorType": f"{operator}@neo4j", "args": {"Details": details}, "children": children}
    return found


READING = [
    "ProduceResults", "AllNodesScan", "NodeByLabelScan", "NodeUniqueIndexSeek", "NodeIndexSeekByRange",
    "NodeIndexContainsScan", "DirectedRelationshipUniqueIndexSeek", "UndirectedRelationshipTypeScan",
    "Expand(All)", "Expand(Into)", "OptionalExpand(All)", "VarLengthExpand(Pruning,BFS,All)", "Apply",
    "SemiApply", "AntiSemiApply", "LetSemiApply", "LetAntiSemiApply", "SelectOrSemiApply", "RollUpApply",
    "ConditionalApply", "AntiConditionalApply", "NodeHashJoin", "ValueHashJoin", "NodeLeftOuterHashJoin",
    "EagerAggregation", "OrderedAggregation", "NodeCountFromCountStore", "CartesianProduct", "Distinct",
    "OrderedDistinct", "Top", "PartialTop", "PartialSort", "Sort", "Skip", "Limit", "ExhaustiveLimit",
    "Union", "Unwind", "Projection", "CacheProperties", "ShortestPath", "StatefulShortestPath(Into)",
    "Repeat(Trail)",
    "BidirectionalRepeat(Trail)", "TriadicSelection", "Argument", "EmptyRow", "EmptyResult", "Eager",
    "Filter", "Optional", "ProjectEndpoints", "MultiNodeIndexSeek", "NodeByElementIdSeek",
    "UnionNodeByLabelsScan",
    "IntersectionNodeByLabelsScan", "SubtractionNodeByLabelsScan", "PartitionedAllNodesScan",
    "LetSelectOrSemiApply", "SelectOrAntiSemiApply", "AssertingMultiNodeIndexSeek",
]  # fmt: skip
OTHER = [
    "LoadCSV", "ShowTransactions", "TerminateTransactions", "ShowSettings", "ShowIndexes", "ShowFunctions",
    "AdministrationCommand", "Create", "Merge", "Delete", "DetachDelete", "SetProperty", "SetLabels",
    "RemoveLabels", "Foreach", "SubqueryForeach", "TransactionApply", "TransactionForeach", "CreateIndex",
    "DropConstraint", "LockNodes", "SomethingNew", "RunQueryAt",
]  # fmt: skip


@pytest.mark.parametrize("operator", READING)
def test_operators_that_read_pass(operator: str) -> None:
    check_plan("r", plan("ProduceResults", operator, "Argument"))


@pytest.mark.parametrize("operator", OTHER)
def test_operators_that_do_more_are_refused_at_any_depth(operator: str) -> None:
    with pytest.raises(QueryRefused):
        check_plan("r", plan("ProduceResults", "Apply", operator))


@pytest.mark.parametrize("query_type", ["w", "rw", "s", None])
def test_only_reading_queries_pass(query_type: str | None) -> None:
    with pytest.raises(QueryRefused):
        check_plan(query_type, plan("ProduceResults"))


def test_a_query_without_a_plan_is_refused() -> None:
    with pytest.raises(QueryRefused):
        check_plan("r", None)


@pytest.mark.parametrize(
    ("details", "passes"),
    [
        ("db.labels() :: (label :: STRING)", True),
        ("db.index.fulltext.queryNodes($a, $b) :: (node :: NODE)", True),
        ("dbms.listConfig() :: (name :: STRING)", False),
        ("db.labelsX() :: ()", False),
        ("DB.LABELS() :: ()", False),
        ("tx.setMetaData({a: 'db.labels()'}) :: ()", False),
        ("", False),
    ],
)
def test_procedures_are_judged_by_their_whole_name(details: str, passes: bool) -> None:
    call = plan("ProcedureCall", details=details)
    if passes:
        check_plan("r", call)
        return
    with pytest.raises(QueryRefused, match="procedure"):
        check_plan("r", call)


@pytest.mark.parametrize(
    "cypher",
    [
        "", " \n", "RETURN '" + "x" * 20_000 + "'", "(" * 65 + ")" * 65, "{" * 13 + "}" * 13,
        "RETURN 1 XOR " * 9, "RETURN " + "NOT (" * 65 + "x" + ")" * 65, "RETURN " + "1 + " * 600 + "1",
        "RETURN 1; RETURN 2", ";RETURN 1", "USE system MATCH (n) RETURN n", "use`system` RETURN 1",
        "RETURN apoc.version()", "RETURN `apoc`.`version`()", "RETURN genai.vector.encode('x')",
        "RETURN a . b . c ( 1 )", "RETURN graph.byName('x')", "\\u0055SE system RETURN 1",
        "RETURN '\\u0027; RETURN 2 //",
    ],
)  # fmt: skip
def test_texts_that_may_not_even_be_explained(cypher: str) -> None:
    with pytest.raises(QueryRefused):
        check_text(cypher)


@pytest.mark.parametrize(
    "cypher",
    [
        "RETURN 1;", "RETURN 1; // ; nothing", "RETURN ';' AS x", "RETURN `a;b` AS x",
        "RETURN '" + "(" * 500 + "' AS x",
        "RETURN date.truncate('year', d) AS x", "RETURN point.distance(a, b) AS x", "RETURN n.use AS x",
        "MATCH (`USE`) RETURN `USE` AS x", "RETURN 'USE system' AS x", "RETURN 'apoc.load.json()' AS x",
        "RETURN toLower(n.name) AS x", "RETURN `XOR` AS x // " + "XOR " * 50,
        "MATCH (n) WHERE n.a IN [1, 2] RETURN n",
        "RETURN [" + "1, " * 3_000 + "1] AS x", "CALL db.labels() YIELD label RETURN label",
    ],
)  # fmt: skip
def test_texts_that_only_look_dangerous(cypher: str) -> None:
    check_text(cypher)
