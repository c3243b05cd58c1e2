"""The gate: Cypher that reads, within limits, goes through; everything else is refused with a reason.

It is an allow-list. A text is split into tokens, so that words inside strings, comments and back-ticks mean
nothing; then only reading clauses, only functions known to be pure, and only bounded size and nesting pass.
An engine that has no such gate of its own (the embedded one) depends on it: its parser crashes on deep
nesting, and its read-only mode still writes files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from kg.errors import QueryRefused, UsageError
from kg.stores.cypher import Group, Item, Items, Token, group, tokenise

MAX_CHARACTERS = 20_000
MAX_NESTING = 64
MAX_CASE_NESTING = 8
"""Parsing takes the embedded engine exponential time in this: a second at 16, for ever at 24."""
MAX_CHAIN = 1_000
"""Tokens between two commas, clauses or brackets: a longer chain of operators exhausts the engine's stack."""
MAX_PARAMETER_BYTES = 16 << 20

FIRST_WORDS = frozenset({"MATCH", "OPTIONAL", "WITH", "UNWIND", "RETURN"})
CLAUSES = FIRST_WORDS | {"WHERE", "ORDER", "SKIP", "OFFSET", "LIMIT", "UNION"}
FORBIDDEN = frozenset(
    {
        "CALL", "LOAD", "COPY", "EXPORT", "IMPORT", "ATTACH", "DETACH", "INSTALL", "UNINSTALL", "CHECKPOINT",
        "CREATE", "MERGE", "SET", "DELETE", "NODETACH", "REMOVE", "FOREACH", "DROP", "ALTER",
        "INSERT", "FINISH",
        "BEGIN", "COMMIT", "ROLLBACK", "USE", "PROFILE", "EXPLAIN", "YIELD", "TERMINATE", "PROJECT", "MACRO",
    }
)  # fmt: skip
"""Words that are refused wherever they could begin a clause."""
KEYWORDS = CLAUSES | {
    "BY", "ASC", "ASCENDING", "DESC", "DESCENDING", "AND", "OR", "XOR", "NOT", "IN", "IS", "NULL", "TRUE",
    "FALSE", "CASE", "WHEN", "THEN", "ELSE", "END", "STARTS", "ENDS", "CONTAINS", "AS", "DISTINCT", "ALL",
}  # fmt: skip
_REFUSED_FUNCTIONS: Mapping[str, str] = {
    "repeat": "It can make a value of any size.",
    "lpad": "It can make a value of any size.",
    "rpad": "It can make a value of any size.",
    "reduce": "UNWIND the list and aggregate, for example with sum().",
    "date": "Dates are ISO 8601 texts here: compare n.release_date >= '1990-01-01' as text.",
    "datetime": "Dates are ISO 8601 texts here: compare them as text.",
    "localdatetime": "Dates are ISO 8601 texts here: compare them as text.",
    "time": "Dates are ISO 8601 texts here: compare them as text.",
    "duration": "Dates are ISO 8601 texts here: compare them as text.",
    "timestamp": "Pass the time as a parameter.",
    "rand": "Order by a property, or sample outside the query.",
    "randomuuid": "Make identifiers outside the query.",
    "stdev": "Return avg(x) and avg(x * x), and take the root outside the query.",
    "stdevp": "Return avg(x) and avg(x * x), and take the root outside the query.",
}
FUNCTIONS = frozenset(
    {
        # aggregates
        "count", "collect", "sum", "avg", "min", "max", "percentilecont", "percentiledisc",
        # nodes, relationships, paths
        "type", "labels", "id", "elementid", "properties", "keys", "startnode", "endnode", "nodes",
        "relationships", "length", "shortestpath", "allshortestpaths",
        # lists and predicates
        "size", "head", "last", "tail", "range", "coalesce", "nullif", "any", "all", "none", "single",
        "exists", "isempty", "reverse",
        # text
        "tolower", "toupper", "lower", "upper", "trim", "ltrim", "rtrim", "btrim", "split", "substring",
        "left", "right", "replace", "tostring", "char_length", "character_length",
        # numbers
        "tointeger", "tofloat", "toboolean", "abs", "ceil", "floor", "round", "sign", "sqrt", "exp", "log",
        "log10", "e", "pi", "sin", "cos", "tan", "cot", "asin", "acos", "atan", "atan2", "degrees", "radians",
    }
)  # fmt: skip
"""Functions of Neo4j that pass: pure, and bounded by what they are given. Lower case."""


def check(
    cypher: str,
    parameters: Mapping[str, Any],
    *,
    functions: frozenset[str] = FUNCTIONS,
) -> list[Item]:
    """Judge a query and return its tokens, nested by brackets, without a closing semicolon.

    Raises :class:`~kg.errors.QueryRefused` where it is not one read-only query within the limits, and
    :class:`~kg.errors.UsageError` where a parameter is missing or of an unusable type.
    """
    if len(cypher) > MAX_CHARACTERS:
        raise QueryRefused(
            f"the query has {len(cypher):,} characters; {MAX_CHARACTERS:,} are allowed.",
            hint="Pass long lists and texts as parameters.",
        )
    if any("\ud800" <= character <= "\udfff" for character in cypher):
        raise QueryRefused("the query holds half a character.")
    tokens = tokenise(cypher)
    while tokens and tokens[-1].is_symbol(";"):
        tokens.pop()
    if not tokens:
        raise QueryRefused("the query is empty.", hint="Write for example MATCH (n) RETURN n LIMIT 10.")
    for token in tokens:
        if token.is_symbol(";"):
            raise QueryRefused("only one query at a time.", where=f"character {token.start + 1}")
    if not tokens[0].is_word(*FIRST_WORDS):
        raise _refused_clause(tokens[0])
    items = group(tokens, deepest=MAX_NESTING)
    _check_level(items, None, functions)
    _check_cases(tokens)
    _check_parameters(tokens, parameters)
    return items


def _check_level(items: Items, opening: str | None, functions: frozenset[str]) -> None:
    chain = 0
    for at, item in enumerate(items):
        before = items[at - 1] if at else None
        after = items[at + 1] if at + 1 < len(items) else None
        chain += 1
        if isinstance(item, Group):
            if item.opening == "(" and isinstance(before, Token):
                _check_function(items, at, before, functions)
            _check_level(item.items, item.opening, functions)
            continue
        if item.is_symbol(",") or (item.kind == "word" and item.text.upper() in CLAUSES):
            chain = 0
        if chain > MAX_CHAIN:
            raise QueryRefused(
                f"more than {MAX_CHAIN:,} tokens without a comma or clause.",
                where=f"character {item.start + 1}",
                hint="Write a long chain of conditions as x IN $list.",
            )
        if (
            item.kind == "word"
            and item.text.upper() in FORBIDDEN
            and not _is_plain_name(before, after, opening)
        ):
            raise _refused_clause(item)


def _is_plain_name(before: Item | None, after: Item | None, opening: str | None) -> bool:
    if isinstance(before, Token) and (before.is_symbol(".", ":", "|", "&", "!") or before.is_word("AS")):
        return True
    is_key = opening == "{" and (before is None or (isinstance(before, Token) and before.is_symbol(",")))
    return is_key and isinstance(after, Token) and after.is_symbol(":")


def _refused_clause(token: Token) -> QueryRefused:
    return QueryRefused(
        f"{token.text[:40]!r} may not stand here: a query only reads, with MATCH, OPTIONAL MATCH, WHERE, "
        "WITH, UNWIND, RETURN, UNION, ORDER BY, SKIP and LIMIT.",
        where=f"character {token.start + 1}",
        hint="A variable of that name goes into back-ticks.",
    )


def _check_function(items: Items, at: int, before: Token, functions: frozenset[str]) -> None:
    if before.kind not in ("word", "name"):
        return
    if before.kind == "word" and before.text.upper() in KEYWORDS - {"ALL"}:
        return
    earlier = items[at - 2] if at > 1 else None
    if isinstance(earlier, Token) and earlier.is_symbol("."):
        raise QueryRefused(
            f"the function {_dotted(items, at)!r} is not among those that a query may call.",
            where=f"character {before.start + 1}",
            hint="Procedures and plug-in functions differ from engine to engine.",
        )
    if isinstance(earlier, Token) and earlier.is_symbol(":", "|", "&", "!"):
        return
    name = before.text.lower()
    if before.kind == "word" and name in functions:
        return
    reason = _REFUSED_FUNCTIONS.get(name)
    if reason is None:
        close = get_close_matches(name, sorted(functions), n=1, cutoff=0.75)
        reason = f"Did you mean {close[0]}()?" if close else "docs/cypher.md lists those that it may."
    raise QueryRefused(
        f"the function {before.text[:60]!r} is not among those that a query may call.",
        where=f"character {before.start + 1}",
        hint=reason,
    )


def _dotted(items: Items, at: int) -> str:
    names: list[str] = []
    for item in reversed(items[:at]):
        if not isinstance(item, Token) or not (item.kind in ("word", "name") or item.is_symbol(".")):
            break
        if names and names[-1] != "." and not item.is_symbol("."):
            break
        names.append(item.text)
    return "".join(reversed(names))[:60]


def _check_cases(tokens: Sequence[Token]) -> None:
    depth = 0
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before is not None and (before.is_symbol(".", ":") or before.is_word("AS")):
            continue
        if token.is_word("CASE"):
            depth += 1
        elif token.is_word("END"):
            depth = max(0, depth - 1)
        if depth > MAX_CASE_NESTING:
            raise QueryRefused(
                f"the query nests CASE more than {MAX_CASE_NESTING} deep.",
                where=f"character {token.start + 1}",
                hint="One CASE may have many WHEN; or compute the inner one in a WITH before.",
            )


def _check_parameters(tokens: Sequence[Token], parameters: Mapping[str, Any]) -> None:
    for token in tokens:
        if token.kind == "parameter" and token.text not in parameters:
            raise UsageError(
                f"the parameter ${token.text[:60]} has no value.",
                hint="Give one for every $name in the query.",
            )
    room = MAX_PARAMETER_BYTES
    for name, value in parameters.items():
        if re.fullmatch(r"\w+", name) is None:
            raise UsageError(f"{name[:60]!r} cannot be the name of a parameter.")
        room -= _checked_size(name, value, 0)
        if room < 0:
            raise UsageError(f"the parameters take more than {MAX_PARAMETER_BYTES >> 20} MB.")


def _checked_size(name: str, value: Any, depth: int) -> int:
    if depth > 8:
        raise UsageError(f"the parameter ${name} nests too deep.")
    if value is None or isinstance(value, bool | float):
        return 8
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise UsageError(f"the parameter ${name} holds an integer of more than 64 bits.")
        return 8
    if isinstance(value, str):
        try:
            return len(value.encode())
        except UnicodeEncodeError:
            raise UsageError(f"the parameter ${name} holds half a character.") from None
    if isinstance(value, list | tuple):
        return 8 + sum(_checked_size(name, item, depth + 1) for item in value)
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return 8 + sum(len(key) + _checked_size(name, item, depth + 1) for key, item in value.items())
    raise UsageError(
        f"the parameter ${name} holds a {type(value).__name__}; text, numbers, booleans, null, and lists and "
        "maps of them can be passed."
    )
