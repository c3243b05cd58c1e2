"""What may run on Neo4j: queries whose execution plan only reads.

A READ session is no protection: the server runs ``LOAD CSV``, ``SHOW``, ``TERMINATE`` and administration
procedures in it. So the server is asked to explain the query, and every operator of the plan must be one
that reads the graph, every procedure one of a short list. Words in strings, comments and back-ticks mean
nothing to a plan. The text itself is only looked at for what a plan does not show: size, depth, ``USE`` and
plug-in functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kg.errors import QueryRefused

MAX_CHARACTERS = 20_000
MAX_NESTING = 64
MAX_SUBQUERY_NESTING = 12
MAX_CHAIN = 1_000
"""Words and symbols between two commas or clauses."""
MAX_NOT = 64
MAX_XOR = 8
"""No timeout interrupts planning, and these cost the planner exponential time: 25 XOR took 49 seconds, a
thousand NOT more than two minutes (5.26, measured)."""
PROCEDURES = frozenset(
    {
        "db.labels",
        "db.relationshipTypes",
        "db.propertyKeys",
        "db.schema.visualization",
        "db.schema.nodeTypeProperties",
        "db.schema.relTypeProperties",
        "db.index.fulltext.queryNodes",
        "db.index.fulltext.queryRelationships",
        "db.index.vector.queryNodes",
        "db.index.vector.queryRelationships",
    }
)
_READING = re.compile(
    r"""(\w+)?(Scan|Seek(By\w+)?|Expand|Join|Aggregation|FromCountStore)
    | (Anti|Let|Select|Or|Semi|RollUp|Conditional|Cartesian|Argument)*(Apply|Product)
    | (Ordered|Partial|Exhaustive|Partitioned)?(Distinct|Limit|Skip|Sort|Top|Top1WithTies|Union|Unwind)
    | Projection | Filter | Optional | Argument | ProduceResults | EmptyRow | EmptyResult | Eager
    | CacheProperties | RemoteBatchProperties(WithFilter)? | (Stateful)?ShortestPath | PathPropagatingBFS
    | (Bidirectional)?Repeat(Walk)? | Triadic(Selection|Build|Filter) | AssertSame(Node|Relationship)
    | ProjectEndpoints | PreserveOrder | ErrorPlan | Input | NullifyMetadata""",
    re.VERBOSE,
)
_PLUG_IN_FREE = frozenset(
    {"date", "datetime", "localdatetime", "time", "localtime", "duration", "point", "vector", "db"}
)
_QUIET = re.compile(
    r"""'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | //[^\n\r]* | /\*.*?\*/""", re.VERBOSE | re.DOTALL
)
_BACK_TICKED = re.compile(r"`(?:[^`]|``)*`")
_UNICODE = re.compile(r"\\u+([0-9a-fA-F]{4})")
_DOTTED_CALL = re.compile(r"(?<![\w`.])((?:[^\W\d]\w*\s*\.\s*)+)[^\W\d]\w*\s*\(")
_USE = re.compile(r"(?<![\w.:$|&!`])USE\s+[\w`(]", re.IGNORECASE)

_XOR = re.compile(r"\bXOR\b", re.IGNORECASE)
_NOT_CHAIN = re.compile(rf"(?:\bNOT\b[\s(]*){{{MAX_NOT + 1}}}", re.IGNORECASE)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_CHAIN_ENDS = re.compile(
    r",|\b(?:MATCH|WHERE|WITH|RETURN|UNWIND|UNION|CALL|ORDER|SKIP|LIMIT)\b", re.IGNORECASE
)


def check_text(cypher: str) -> None:
    """Refuse what must not even be explained: too long, nested too deep, another graph, a plug-in function.

    Raises :class:`~kg.errors.QueryRefused`.
    """
    if not cypher.strip():
        raise QueryRefused("the query is empty.", hint="Write for example MATCH (n) RETURN n LIMIT 10.")
    if len(cypher) > MAX_CHARACTERS:
        raise QueryRefused(
            f"the query has {len(cypher):,} characters; {MAX_CHARACTERS:,} are allowed.",
            hint="Pass long lists and texts as parameters.",
        )
    bare = _bare(cypher)
    _check_size(bare)
    if ";" in bare.strip().rstrip(";"):
        raise QueryRefused("only one query at a time.")
    if _USE.search(bare):
        raise QueryRefused(
            "USE is not allowed: a query reads the graph that the store shows.",
            hint="A variable of that name goes into back-ticks.",
        )
    for match in _DOTTED_CALL.finditer(bare):
        name = re.sub(r"\s", "", match[1]).split(".")[0].lstrip("_").lower()
        if name not in _PLUG_IN_FREE:
            raise QueryRefused(
                f"{match[0][:60].rstrip('(').strip()!r} is not among the functions that a query may call.",
                hint="Functions and procedures of plug-ins are not allowed.",
            )


def check_plan(query_type: str | None, plan: Mapping[str, Any] | None) -> None:
    """Refuse a plan that does more than read the graph.

    ``query_type`` and ``plan`` are those of the driver's result summary of ``EXPLAIN``. Raises
    :class:`~kg.errors.QueryRefused`.
    """
    if query_type in ("w", "rw"):
        raise QueryRefused("the query writes; only reading is allowed.", hint="Use MATCH … RETURN ….")
    if plan is None:
        raise QueryRefused("the server does not explain this query, so it is not run.")
    for operator, details in _operators(plan):
        if operator == "ProcedureCall":
            _check_procedure(details)
        elif _READING.fullmatch(operator) is None:
            raise QueryRefused(
                f"the query does more than read the graph ({operator}).",
                hint="LOAD CSV, SHOW, TERMINATE and administration are not allowed.",
            )
    if query_type != "r":
        raise QueryRefused("the server does not call this a reading query.")


def _check_procedure(details: str) -> None:
    name = details.partition("(")[0].strip()
    if name not in PROCEDURES:
        raise QueryRefused(
            f"the procedure {name[:80]} is not allowed.", hint=f"Allowed are {', '.join(sorted(PROCEDURES))}."
        )


def _operators(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    waiting = [plan]
    while waiting:
        step = waiting.pop()
        name = str(step["operatorType"]).partition("@")[0].partition("(")[0]
        yield name, str((step.get("args") or {}).get("Details", ""))
        waiting.extend(step.get("children") or ())


def _bare(cypher: str) -> str:
    """The text without strings and comments, read as the server reads it: after decoding ``\\uXXXX``.

    A name in back-ticks counts as a plain name, so that ``a`.`b`() is seen for the call that it is.
    """
    text = _UNICODE.sub(lambda match: chr(int(match[1], 16)), cypher)
    found: list[str] = []
    at = 0
    while at < len(text):
        match = _QUIET.match(text, at)
        name = None if match else _BACK_TICKED.match(text, at)
        if match is not None:
            found.append(" '' " if text[at] in "'\"" else " ")
            at = match.end()
        elif name is not None:
            found.append(" _" + re.sub(r"\W", "_", name[0][1:-1]) + " ")
            at = name.end()
        else:
            found.append(text[at])
            at += 1
    return "".join(found)


def _check_size(bare: str) -> None:
    """Refuse what the server would spend too long on before its own time limit can act."""
    if _depth(bare, "([{", ")]}") > MAX_NESTING:
        raise QueryRefused(f"the query nests brackets more than {MAX_NESTING} deep.")
    if _depth(bare, "{", "}") > MAX_SUBQUERY_NESTING:
        raise QueryRefused(f"the query nests braces more than {MAX_SUBQUERY_NESTING} deep.")
    if len(_XOR.findall(bare)) > MAX_XOR or _NOT_CHAIN.search(bare):
        raise QueryRefused("the query has too many XOR or NOT.", hint="Write conditions with AND, OR and IN.")
    if any(len(_TOKEN.findall(part)) > MAX_CHAIN for part in _CHAIN_ENDS.split(bare)):
        raise QueryRefused(
            f"more than {MAX_CHAIN:,} words and symbols without a comma or clause.",
            hint="Write a long chain of conditions as x IN $list.",
        )


def _depth(bare: str, opening: str, closing: str) -> int:
    depth = deepest = 0
    for character in bare:
        if character in opening:
            depth += 1
            deepest = max(deepest, depth)
        elif character in closing:
            depth -= 1
    return deepest
