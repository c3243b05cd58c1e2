"""Patterns of MATCH for the embedded engine: what ``(a:Film)-[r:STARS*1..3]->(b)`` means there.

The engine matches walks where Neo4j never uses one relationship twice in a MATCH, reads a second label on a
bound variable as a union, and knows no ``Entity``. So labels become the alternation of the tables they stand
for, given once per variable; paths of variable length become trails; and relationships that could be the same
are told to differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import combinations

from kg.errors import QueryRefused
from kg.stores.cypher import Group, Item, Items, Token, is_group, is_symbol, split_at
from kg.stores.embedded_reading import HIDDEN

MAX_HOPS = 30
"""The longest path of variable length that the engine walks."""


@dataclass(frozen=True, slots=True)
class Variable:
    """What a name in a query stands for: ``tables`` are the labels or relationship types it may have.

    ``kind`` is ``node``, ``edge``, ``edges`` (a path of variable length), ``path`` or ``value``.
    """

    kind: str
    tables: frozenset[str] | None = None
    optional: bool = False
    spelled: str | None = None  # what the engine calls it, where that is another name
    directed: bool = True  # of an edge: whether the pattern says which end is the start
    guard: str | None = None  # of an optional path: what is null where the path is


Scope = dict[str, Variable]


@dataclass(frozen=True, slots=True)
class NodePattern:
    """``(variable:labels {properties} WHERE condition)``."""

    variable: str | None
    labels: Items
    properties: Group | None
    condition: Items


@dataclass(frozen=True, slots=True)
class EdgePattern:
    """``-[variable:types*low..high {properties} WHERE condition]->``; ``mode`` is TRAIL or a SHORTEST."""

    variable: str | None
    types: Items
    hops: tuple[int, int] | None
    properties: Group | None
    condition: Items
    left: bool
    right: bool
    mode: str = "TRAIL"


@dataclass(frozen=True, slots=True)
class PathPattern:
    """Nodes and the relationships between them; one relationship fewer than nodes."""

    variable: str | None
    nodes: list[NodePattern] = field(default_factory=list)
    edges: list[EdgePattern] = field(default_factory=list)


def quoted_name(name: str) -> str:
    """The name in back-ticks, which no token holds."""
    return f"`{name}`"


def spelled(name: str, variable: Variable | None) -> str:
    """What the engine calls a variable, in back-ticks."""
    return variable.spelled if variable is not None and variable.spelled else quoted_name(name)


def parse_paths(items: Items) -> list[PathPattern]:
    """Parse what stands between MATCH and WHERE. Raises :class:`~kg.errors.QueryRefused`."""
    return [_named_path(part) for part in split_at(items, ",")]


def path_length_at(items: Items, at: int) -> int:
    """How many items from ``at`` on are a pattern of at least one relationship; 0 where there is none."""
    end = at + 1
    while True:
        found = _edge_end(items, end)
        if found is None or found >= len(items) or not is_group(items[found], "("):
            break
        end = found + 1
    return end - at if end > at + 1 else 0


def parse_path(items: Items, variable: str | None = None) -> PathPattern:
    """Parse one path without a name."""
    path = PathPattern(variable)
    at = 0
    while True:
        if at < len(items) and _looks_quantified(items[at]):
            raise _quantified()
        if at >= len(items) or not is_group(items[at], "("):
            raise QueryRefused("a pattern looks like (a:Film)-[:DIRECTED_BY]->(b).", where=_near(items, at))
        path.nodes.append(_node(_as_group(items[at])))
        at += 1
        if at == len(items):
            return path
        end = _edge_end(items, at)
        if end is None and (_looks_quantified(items[at]) or is_group(items[at], "(")):
            raise _quantified()
        if end is None:
            raise QueryRefused(
                "a relationship looks like -[:DIRECTED_BY]->, and a node follows.", where=_near(items, at)
            )
        path.edges.append(_edge(items[at:end]))
        at = end


def distinctness(edges: Sequence[tuple[str, Variable]]) -> list[str]:
    """Conditions that keep one relationship from being matched twice in one MATCH."""
    conditions = []
    for (name, edge), (other_name, other) in combinations(edges, 2):
        if edge.tables is not None and other.tables is not None and not edge.tables & other.tables:
            continue
        if edge.kind == "edge" and other.kind == "edge":
            conditions.append(f"id({name}) <> id({other_name})")
        elif edge.kind == "edges" and other.kind == "edges":
            conditions.append(f"NOT list_has_any({_ids(name)}, {_ids(other_name)})")
        else:
            many, one = (name, other_name) if edge.kind == "edges" else (other_name, name)
            conditions.append(f"NOT list_contains({_ids(many)}, id({one}))")
    return conditions


def resolve(items: Items, groups: Mapping[str, frozenset[str]], what: str) -> frozenset[str] | None:
    """The tables that a label or type expression stands for (``A|B``, ``A&!B``, ``%``); None without any.

    ``groups`` gives the tables of every known name. Raises :class:`~kg.errors.QueryRefused` at another name.
    """
    if not items:
        return None
    everything = frozenset().union(*groups.values())
    parser = _Labels(items, groups, everything, what)
    found = parser.either()
    if parser.at < len(items):
        raise QueryRefused(f"this {what} cannot be read.", where=_near(items, parser.at))
    return found


class _Labels:
    """A recursive descent through ``|``, ``&`` (or ``:``), ``!``, parentheses, ``%`` and names."""

    def __init__(
        self, items: Items, groups: Mapping[str, frozenset[str]], everything: frozenset[str], what: str
    ) -> None:
        self.items, self.groups, self.everything, self.what = items, groups, everything, what
        self.at = 0

    def either(self) -> frozenset[str]:
        """One or more alternatives."""
        found = self.both()
        while self._takes("|"):
            self._takes(":")
            found |= self.both()
        return found

    def both(self) -> frozenset[str]:
        """One or more that must all hold."""
        found = self.one()
        while self._takes("&", ":"):
            found &= self.one()
        return found

    def one(self) -> frozenset[str]:
        """A name, ``%``, a negation, or something in parentheses."""
        if self._takes("!"):
            return self.everything - self.one()
        if self._takes("%"):
            return self.everything
        item = self.items[self.at] if self.at < len(self.items) else None
        self.at += 1
        if isinstance(item, Group) and item.opening == "(":
            return resolve(item.items, self.groups, self.what) or frozenset()
        if not isinstance(item, Token) or item.kind not in ("word", "name"):
            raise QueryRefused(f"a {self.what} is missing.", where=_near(self.items, self.at - 1))
        found = self.groups.get(item.text)
        if found is None:
            close = get_close_matches(item.text, list(self.groups), n=1)
            raise QueryRefused(
                f"there is no {self.what} {item.text!r} in the graph.",
                where=f"character {item.start + 1}",
                hint=f"Did you mean {close[0]!r}?"
                if close
                else f"There are {', '.join(sorted(self.groups))}.",
            )
        return found

    def _takes(self, *symbols: str) -> bool:
        if self.at < len(self.items):
            item = self.items[self.at]
            if isinstance(item, Token) and item.is_symbol(*symbols):
                self.at += 1
                return True
        return False


def _named_path(items: Items) -> PathPattern:
    variable = None
    if (
        len(items) > 2
        and isinstance(items[0], Token)
        and isinstance(items[1], Token)
        and items[1].is_symbol("=")
    ):
        variable = items[0].text
        items = items[2:]
    first = items[0] if items else None
    if isinstance(first, Token):
        name = first.text.lower()
        modes = {"shortestpath": "SHORTEST", "allshortestpaths": "ALL SHORTEST"}
        if name in modes and len(items) == 2 and is_group(items[1], "("):
            path = parse_path(_as_group(items[1]).items, variable)
            if len(path.edges) != 1 or path.edges[0].hops is None:
                raise QueryRefused(f"{first.text}() takes one path such as (a)-[*..4]-(b).")
            path.edges[0] = replace(path.edges[0], mode=modes[name])
            return path
        if first.is_word("SHORTEST", "ALL", "ANY", "WALK", "TRAIL", "REPEATABLE", "DIFFERENT"):
            raise QueryRefused(
                f"path selectors such as {first.text.upper()} are not portable.",
                where=f"character {first.start + 1}",
                hint="Write p = shortestPath((a)-[*..4]-(b)).",
            )
    return parse_path(items, variable)


def _node(group: Group) -> NodePattern:
    variable, labels, properties, condition = _parts(group.items)
    for item in labels:
        if isinstance(item, Token) and item.is_symbol("-", "->", "<-"):
            raise _quantified()
    return NodePattern(variable, labels, properties, condition)


def _edge(items: Items) -> EdgePattern:
    left = isinstance(items[0], Token) and items[0].is_symbol("<-")
    right = isinstance(items[-1], Token) and items[-1].is_symbol("->")
    if left and right:
        left = right = False
    inside = items[1].items if len(items) == 3 and isinstance(items[1], Group) else ()
    variable, types, properties, condition = _parts(inside)
    star = next((i for i, t in enumerate(types) if isinstance(t, Token) and t.is_symbol("*")), None)
    hops = None
    if star is not None:
        hops = _hops(types[star + 1 :])
        types = types[:star]
        if properties is not None or condition:
            raise QueryRefused(
                "a path of variable length takes no properties or WHERE of its own.",
                hint="Write MATCH p = (a)-[:STARS*1..3]-(b) "
                "WHERE all(r IN relationships(p) WHERE r.role = 'x').",
            )
    return EdgePattern(variable, types, hops, properties, condition, left, right)


def _hops(items: Items) -> tuple[int, int]:
    texts = [item.text if isinstance(item, Token) else "" for item in items]
    low, high = 1, -1
    if len(texts) == 1 and texts[0].isdigit():
        low = high = int(texts[0])
    elif ".." in texts:
        at = texts.index("..")
        before, after = "".join(texts[:at]), "".join(texts[at + 1 :])
        low = int(before) if before.isdigit() else 1
        high = int(after) if after.isdigit() else -1
    if high < 0 or high > MAX_HOPS or low > high:
        raise QueryRefused(
            f"a path of variable length needs an upper bound of at most {MAX_HOPS}.",
            hint="Write for example -[:STARS*1..4]-.",
        )
    return low, high


def _parts(items: Items) -> tuple[str | None, Items, Group | None, Items]:
    variable, properties = None, None
    condition: Items = ()
    rest = list(items)
    for i, item in enumerate(rest):
        if isinstance(item, Token) and item.is_word("WHERE"):
            condition = rest[i + 1 :]
            rest = rest[:i]
            break
    if rest and isinstance(rest[0], Token) and rest[0].kind in ("word", "name"):
        variable = rest[0].text
        rest = rest[1:]
    if rest and isinstance(rest[-1], Group) and rest[-1].opening == "{":
        properties = rest[-1]
        rest = rest[:-1]
    if rest and isinstance(rest[-1], Token) and rest[-1].kind == "parameter":
        raise QueryRefused(
            "a whole map as a parameter in a pattern is not portable.", hint="Write (n:Film {id: $id})."
        )
    if rest and isinstance(rest[0], Token) and rest[0].is_symbol(":"):
        rest = rest[1:]
    elif rest and not (isinstance(rest[0], Token) and rest[0].is_symbol("*")):
        raise (
            _quantified()
            if isinstance(rest[0], Group)
            else QueryRefused("this pattern cannot be read.", where=_near(rest, 0))
        )
    return variable, rest, properties, condition


def _edge_end(items: Items, at: int) -> int | None:
    """The place after a relationship that starts at ``at``, or None where there is none."""
    if at >= len(items) or not is_symbol(items[at], "-", "<-"):
        return None
    end = at + 1
    if end < len(items) and is_group(items[end], "["):
        end += 1
    if end < len(items) and is_symbol(items[end], "-", "->"):
        return end + 1
    return None


def _looks_quantified(item: Item) -> bool:
    return is_symbol(item, "+", "*") or is_group(item, "{")


def _quantified() -> QueryRefused:
    return QueryRefused(
        "quantified path patterns are not portable.",
        hint="Write -[:STARS*1..4]- for a repeated relationship.",
    )


def _ids(name: str) -> str:
    return f"list_transform(list_concat(rels({name}), []), `{HIDDEN}x` -> id(`{HIDDEN}x`))"


def _as_group(item: Item) -> Group:
    if not isinstance(item, Group):
        raise TypeError(item)
    return item


def _near(items: Items, at: int) -> str:
    if not items:
        return "the pattern"
    item = items[min(at, len(items) - 1)]
    return f"character {item.start + 1}"
