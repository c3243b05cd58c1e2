"""Functions of Neo4j's Cypher in the words of the embedded engine.

Every translation takes and gives texts of the engine's dialect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kg.errors import QueryRefused
from kg.stores.cypher import Token, string_literal

_LONGEST_ARGUMENT = 3_000
_TIGHTER = frozenset({"*", "/", "%", "^", "-"})


def call(name: Token, arguments: Sequence[str]) -> str:
    """A call of a function that passed the gate. Raises :class:`~kg.errors.QueryRefused`."""
    lower = name.text.lower()
    known = _CALLS.get(lower)
    if known is None:
        return f"{_SAME_BUT_FOR_THE_NAME.get(lower, lower)}({', '.join(arguments)})"
    _bound(*arguments)
    try:
        return known(*arguments)
    except TypeError:
        raise QueryRefused(
            f"{name.text}() does not take {len(arguments)} arguments.", where=f"character {name.start + 1}"
        ) from None


def literal(value: Any) -> str:
    """A parameter's value written out, for the places where the engine takes no parameter."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return f"CAST('{value}' AS DOUBLE)"
    if isinstance(value, int | float):
        return f"CAST({value!r} AS {'INT64' if isinstance(value, int) else 'DOUBLE'})"
    if isinstance(value, str):
        return string_literal(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    if any("`" in name for name in value):
        raise QueryRefused("a key in a parameter holds a back-tick.")
    return "{" + ", ".join(f"`{name}`: {literal(item)}" for name, item in value.items()) + "}"


def holds_empty_list(value: Any) -> bool:
    """Whether there is an empty list in a parameter's value: the engine has no type for one."""
    if isinstance(value, dict):
        return any(map(holds_empty_list, value.values()))
    return isinstance(value, list | tuple) and (not value or any(map(holds_empty_list, value)))


def null_with_any(pieces: list[str]) -> list[str]:
    """An expression whose ``+`` between texts is null where any of them is; the engine skips nulls.

    ``pieces`` are operands and operators in turn. What has a string literal in it is taken for text.
    """
    at = 1
    while at < len(pieces) - 1:
        end = at
        while end < len(pieces) - 1 and pieces[end] == "+":
            end += 2
        before = pieces[at - 2] if at > 1 else ""
        after = pieces[end] if end < len(pieces) else ""
        operands = pieces[at - 1 : end : 2]
        unknown = [operand for operand in operands if operand[0] != "'"]
        if 0 < len(unknown) < len(operands) and not {before, after} & _TIGHTER:
            _bound(*operands)
            test = " OR ".join(f"({operand}) IS NULL" for operand in unknown)
            joined = " + ".join(operands)
            pieces = [*pieces[: at - 1], f"(CASE WHEN {test} THEN NULL ELSE {joined} END)", *pieces[end:]]
        at += 1
    return pieces


def own_list(text: str) -> str:
    """The list as a value of its own: in a part of another value the engine's lambdas see a wrong row."""
    return f"list_concat({text}, [])"


def at_place(primary: str, place: str) -> str:
    """``primary[place]`` as Neo4j means it: counted from 0, from the end where negative, null outside."""
    _bound(primary, place)
    number = place.replace(" ", "")
    size = f"size({primary})"
    if number.isdigit():
        inside, found = f"{size} > {number}", str(int(number) + 1)
    elif number[:1] == "-" and number[1:].isdigit():
        inside, found = f"{size} >= {number[1:]}", f"{size} + 1 - {number[1:]}"
    else:
        inside = f"((({place}) >= 0 AND {size} > ({place})) OR (({place}) < 0 AND {size} >= -({place})))"
        found = f"CASE WHEN ({place}) < 0 THEN {size} + ({place}) + 1 ELSE ({place}) + 1 END"
    # The engine computes both ways of a CASE for all rows, so neither may look beyond the end.
    return (
        f"list_extract(CASE WHEN {inside} THEN {primary} ELSE [NULL] END, "
        f"CASE WHEN {inside} THEN {found} ELSE 1 END)"
    )


def between_places(primary: str, low: str, high: str) -> str:
    """``primary[low..high]`` as Neo4j means it: counted from 0, the end exclusive; either may be empty."""
    _bound(primary, low, high)
    first = _from_zero(primary, low, 1) if low else "1"
    last = _from_zero(primary, high, 0) if high else f"size({primary})"
    return f"list_slice({primary}, {first}, {last})"


def _from_zero(primary: str, place: str, shift: int) -> str:
    if place.isdigit():
        return str(int(place) + shift)
    added = f" + {shift}" if shift else ""
    from_end = f"CASE WHEN size({primary}) + ({place}) > 0 THEN size({primary}) + ({place}) ELSE 0 END"
    return f"(CASE WHEN ({place}) < 0 THEN {from_end} ELSE ({place}) END{added})"


def _bound(*texts: str) -> None:
    # Some translations repeat their argument: nested ones would grow without end.
    if sum(map(len, texts)) > _LONGEST_ARGUMENT:
        raise QueryRefused("this expression is too long.", hint="Compute its parts in a WITH before.")


def _substring(text: str, start: str, length: str = "2147483647") -> str:
    return f"substring({text}, ({start}) + 1, {length})"


def _to_string(value: str) -> str:
    # The engine writes True for true and 1.500000 for 1.5.
    return (
        f"(CASE typeof({value}) WHEN 'BOOL' THEN lower(string({value})) WHEN 'DOUBLE' "
        f"THEN regexp_replace(string({value}), '(\\\\.[0-9]+?)0+$', '\\\\1') ELSE string({value}) END)"
    )


def _to_integer(value: str) -> str:
    number = f"CAST({value} AS DOUBLE)"
    return f"CAST((CASE WHEN {number} < 0 THEN ceil({number}) ELSE floor({number}) END) AS INT64)"


def _round(value: str, digits: str | None = None) -> str:
    # Without digits Neo4j rounds a half up, also below zero.
    return f"floor(CAST({value} AS DOUBLE) + 0.5)" if digits is None else f"round({value}, {digits})"


_SAME_BUT_FOR_THE_NAME = {
    "tolower": "lower",
    "toupper": "upper",
    "split": "string_split",
    "startnode": "start_node",
    "endnode": "end_node",
    "log": "ln",
    "char_length": "size",
    "character_length": "size",
    "btrim": "trim",
}
_CALLS: Mapping[str, Callable[..., str]] = {
    "head": lambda found: at_place(found, "0"),
    "last": lambda found: at_place(found, "-1"),
    "tail": lambda found: f"list_slice({found}, 2, size({found}))",
    "isempty": lambda found: f"(size({found}) = 0)",
    "sum": lambda value: f"coalesce(sum({value}), 0)",
    "substring": _substring,
    "tostring": _to_string,
    "tointeger": _to_integer,
    "tofloat": lambda value: f"CAST({value} AS DOUBLE)",
    "toboolean": lambda value: f"CAST({value} AS BOOL)",
    "round": _round,
    "exp": lambda value: f"pow(2.718281828459045, {value})",
    "e": lambda: "2.718281828459045",
}
