"""Expressions of Neo4j's Cypher in the words of the embedded engine: the same value, or a refusal.

Neo4j counts list places from 0 and gives null beyond the end, the embedded engine counts from 1 and fails;
``labels()``, ``toString()``, ``[x IN list WHERE … | …]``, ``n:Film`` and a dozen functions are missing or
differ.
"""

from __future__ import annotations

from typing import Any

from kg.errors import QueryRefused
from kg.stores.cypher import Group, Item, Items, Token, is_symbol, split_at, string_literal
from kg.stores.embedded_context import Context
from kg.stores.embedded_functions import (
    at_place,
    between_places,
    call,
    holds_empty_list,
    literal,
    null_with_any,
    own_list,
)
from kg.stores.embedded_patterns import Scope, Variable, path_length_at, quoted_name, resolve, spelled
from kg.stores.embedded_reading import HIDDEN
from kg.stores.gate import KEYWORDS

_LONGEST_LITERAL = 10_000
_OPERANDS = {"NULL", "TRUE", "FALSE", "END"}
_SYMBOLS = {"=", "<", ">", "<=", ">=", "<>", "+", "-", "*", "/", "%", "^", "=~", ","}


class Expressions:
    """Translates expressions; one object for one query."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._in_lambda = 0
        self._n_lambdas = 0
        self.used: set[str] = set()
        """The parameters that the engine will be given."""

    def text(self, items: Items, scope: Scope) -> str:
        """The expression in the engine's words. Raises :class:`~kg.errors.QueryRefused`."""
        out: list[str] = []
        at, operand = 0, False
        while at < len(items):
            at, operand = self._next(items, at, out, operand, scope)
        return " ".join(null_with_any(out))

    def arguments(self, group: Group, scope: Scope) -> list[str]:
        """The arguments of a call, each translated."""
        return [self.text(part, scope) for part in split_at(group.items, ",")]

    def mapping(self, group: Group, scope: Scope) -> str:
        """``{name: value, …}``."""
        parts = []
        for part in split_at(group.items, ","):
            if len(part) < 3 or not isinstance(part[0], Token) or not is_symbol(part[1], ":"):
                raise QueryRefused("a map looks like {name: value}.", where=f"character {group.start + 1}")
            parts.append(f"{quoted_name(part[0].text)}: {self.text(part[2:], scope)}")
        return "{" + ", ".join(parts) + "}"

    def _short_literal(self, token: Token, value: Any) -> str:
        text = literal(value)
        if len(text) > _LONGEST_LITERAL:
            raise QueryRefused(
                f"${token.text} is too long for this place.",
                where=f"character {token.start + 1}",
                hint="Inside list expressions keep parameters short; or UNWIND the list and use WHERE.",
            )
        return text

    def _next(self, items: Items, at: int, out: list[str], operand: bool, scope: Scope) -> tuple[int, bool]:
        item = items[at]
        if isinstance(item, Group):
            return self._group(items, at, item, out, operand, scope)
        after = items[at + 1] if at + 1 < len(items) else None
        if item.kind in ("word", "name"):
            return self._word(items, at, item, after, out, scope)
        if item.kind == "string":
            out.append(string_literal(item.text))
        elif item.kind == "number":
            out.append(_number(item))
        elif item.kind == "parameter":
            value = self._context.parameters[item.text]
            # Inside a lambda the engine knows no parameters, and it has no type for an empty list in one.
            if self._in_lambda or holds_empty_list(value):
                out.append(self._short_literal(item, value))
            else:
                out.append(f"${item.text}")
                self.used.add(item.text)
        elif item.is_symbol("."):
            if not operand or not isinstance(after, Token) or after.kind not in ("word", "name"):
                raise _unreadable(item)
            self._property(items, at, after, out, scope)
            return at + 2, True
        else:
            return self._symbol(item, at, out, operand)
        return at + 1, True

    def _symbol(self, item: Token, at: int, out: list[str], operand: bool) -> tuple[int, bool]:
        if item.is_symbol("||"):
            out.append("+")
        elif item.is_symbol("<-"):
            out += ["<", "-"]
        elif item.text in _SYMBOLS:
            if item.text == "*" and not operand:
                out.append("*")
                return at + 1, True
            if not (item.text == "+" and not operand):
                out.append(item.text)
        else:
            raise _unreadable(item)
        return at + 1, False

    def _word(
        self, items: Items, at: int, item: Token, after: Item | None, out: list[str], scope: Scope
    ) -> tuple[int, bool]:
        if item.kind == "word" and isinstance(after, Group):
            upper = item.text.upper()
            if after.opening == "{" and upper in ("EXISTS", "COUNT", "COLLECT"):
                out.append(self._subquery(upper, item, after, scope))
                return at + 2, True
            if after.opening == "(" and (upper not in KEYWORDS or (upper == "ALL" and _is_predicate(after))):
                out.append(self._call(item, after, scope))
                return at + 2, True
        if item.kind == "word" and item.text.upper() in KEYWORDS:
            out.append(item.text.upper())
            return at + 1, item.text.upper() in _OPERANDS
        known = scope.get(item.text)
        name = spelled(item.text, known)
        if isinstance(after, Group) and after.opening == "{":
            out.append(self._projection(name, after, scope))
            return at + 2, True
        if is_symbol(after, ":"):
            end = at + 2
            while end < len(items) and _is_label_part(items[end], items[end - 1]):
                end += 1
            out.append(self._label_test(item.text, items[at + 2 : end], scope))
            return end, True
        if known is not None and known.kind == "edges" and not is_symbol(after, "."):
            name = f"rels({name})"
        if known is not None and known.guard:
            name = f"(CASE WHEN {known.guard} IS NULL THEN NULL ELSE {name} END)"
        out.append(name)
        return at + 1, True

    def _group(
        self, items: Items, at: int, item: Group, out: list[str], operand: bool, scope: Scope
    ) -> tuple[int, bool]:
        if item.opening == "(":
            length = path_length_at(items, at)
            if length:
                out.append(self._context.existence(items[at : at + length], scope))
                return at + length, True
            out.append(f"({self.text(item.items, scope)})")
        elif item.opening == "{":
            if operand:
                raise QueryRefused(
                    "quantified path patterns are not portable.", hint="Write -[:STARS*1..4]-."
                )
            out.append(self.mapping(item, scope))
        elif operand:
            out[-1] = self._place_in(out[-1], item, scope)
        else:
            out.append(self._list(item, scope))
        return at + 1, True

    def _property(self, items: Items, at: int, name: Token, out: list[str], scope: Scope) -> None:
        before = items[at - 1]
        inside = at > 1 and is_symbol(items[at - 2], ".")
        variable = scope.get(before.text) if isinstance(before, Token) and not inside else None
        if (
            variable is not None
            and variable.kind in ("node", "edge")
            and not self._context.known_property(name.text)
        ):
            raise QueryRefused(
                f"nothing in the graph has a property {name.text!r}.", where=f"character {name.start + 1}"
            )
        lacking = (
            variable is not None
            and variable.kind in ("node", "edge")
            and not (name.text in self._context.columns(variable) or variable.spelled)
        )
        out[-1] = "NULL" if lacking else f"{out[-1]}.{quoted_name(name.text)}"

    def _place_in(self, primary: str, group: Group, scope: Scope) -> str:
        dots = next((i for i, item in enumerate(group.items) if is_symbol(item, "..")), None)
        if dots is None:
            return at_place(primary, self.text(group.items, scope))
        low = self.text(group.items[:dots], scope)
        high = self.text(group.items[dots + 1 :], scope)
        return between_places(primary, low, high)

    def _list(self, group: Group, scope: Scope) -> str:
        items = group.items
        if path_length_at(items, 0) or (
            len(items) > 2 and is_symbol(items[1], "=") and path_length_at(items, 2)
        ):
            raise QueryRefused(
                "a pattern comprehension is not portable.",
                where=f"character {group.start + 1}",
                hint="Write OPTIONAL MATCH with collect(), or COUNT { MATCH ... }.",
            )
        if len(items) > 2 and isinstance(items[1], Token) and items[1].is_word("IN"):
            return self._comprehension(items, scope)
        return f"[{', '.join(self.text(part, scope) for part in split_at(items, ','))}]"

    def _comprehension(self, items: Items, scope: Scope) -> str:
        head, *value = split_at(items, "|")
        name, source, condition = _lambda_parts(head)
        found, element, inner = self._list_and_scope(name, source, scope)
        if condition:
            found = own_list(f"list_filter({found}, {element} -> {self._lambda(condition, inner)})")
        if value:
            found = f"list_transform({found}, {element} -> {self._lambda(value[0], inner)})"
        return found

    def _list_and_scope(self, name: str, source: Items, scope: Scope) -> tuple[str, str, Scope]:
        """The list, what its elements are called, and the names known inside."""
        first = source[0] if source else None
        kinds = {"NODES": "node", "RELATIONSHIPS": "edge"}
        kind = "value"
        if isinstance(first, Token) and len(source) == 2:
            kind = kinds.get(first.text.upper(), kind)
        elif isinstance(first, Token) and len(source) == 1 and first.text in scope:
            kind = "edge" if scope[first.text].kind == "edges" else kind
        # The engine takes a name that is known outside for the outer one.
        self._n_lambdas += 1
        element = f"`{HIDDEN}x{self._n_lambdas}`"
        return own_list(self.text(source, scope)), element, {**scope, name: Variable(kind, spelled=element)}

    def _lambda(self, items: Items, scope: Scope) -> str:
        self._in_lambda += 1
        try:
            return f"({self.text(items, scope)})"
        finally:
            self._in_lambda -= 1

    def _subquery(self, kind: str, token: Token, group: Group, scope: Scope) -> str:
        if kind == "COLLECT":
            raise QueryRefused(
                "COLLECT { } is not portable.",
                where=f"character {token.start + 1}",
                hint="Write OPTIONAL MATCH and collect().",
            )
        if self._in_lambda:
            raise QueryRefused(
                f"{kind} {{ }} inside a list expression is not portable.",
                hint="UNWIND the list and put the condition into WHERE.",
            )
        if kind == "EXISTS":
            return self._context.existence(group.items, scope)
        return self._context.counting(group.items, scope)

    def _projection(self, name: str, group: Group, scope: Scope) -> str:
        parts = []
        for part in split_at(group.items, ","):
            if (
                len(part) == 2
                and is_symbol(part[0], ".")
                and isinstance(part[1], Token)
                and not is_symbol(part[1], "*")
            ):
                parts.append(f"{quoted_name(part[1].text)}: {name}.{quoted_name(part[1].text)}")
            elif len(part) > 2 and isinstance(part[0], Token) and is_symbol(part[1], ":"):
                parts.append(f"{quoted_name(part[0].text)}: {self.text(part[2:], scope)}")
            else:
                raise QueryRefused(
                    "of map projections only n {.name, key: value} is portable.",
                    where=f"character {group.start + 1}",
                    hint="Write {name: n.name, year: n.release_year}.",
                )
        return "{" + ", ".join(parts) + "}"

    def _label_test(self, name: str, labels: Items, scope: Scope) -> str:
        variable = scope.get(name, Variable("value"))
        first = labels[0] if labels else None
        is_type = isinstance(first, Token) and first.text in self._context.types
        edge = variable.kind == "edge" or (variable.kind == "value" and is_type)
        groups = self._context.types if edge else self._context.labels
        tables = resolve(labels, groups, "relationship type" if edge else "label") or frozenset()
        listed = ", ".join(f"'{table}'" for table in sorted(tables))
        quoted = spelled(name, variable)
        test = f"label({quoted}) IN [{listed}]" if tables else "false"
        if variable.optional:
            return f"CASE WHEN {quoted} IS NULL THEN NULL ELSE {test} END"
        return f"({test})"

    def _call(self, name: Token, group: Group, scope: Scope) -> str:
        lower = name.text.lower()
        if lower in ("any", "all", "none", "single"):
            variable, source, condition = _lambda_parts(group.items)
            found, element, inner = self._list_and_scope(variable, source, scope)
            if not condition:
                raise QueryRefused(f"{name.text}() needs a WHERE.", where=f"character {name.start + 1}")
            return f"{lower}({element} IN {found} WHERE {self._lambda(condition, inner)})"
        if lower == "exists":
            if path_length_at(group.items, 0):
                return self._context.existence(group.items, scope)
            raise QueryRefused(
                "exists() takes a pattern.",
                where=f"character {name.start + 1}",
                hint="Write n.name IS NOT NULL for a property.",
            )
        if lower in ("labels", "type", "keys", "properties", "id", "elementid"):
            return self._about(lower, name, group, scope)
        if lower in ("startnode", "endnode", "length"):
            return self._of_edges(lower, name, group, scope)
        return call(name, self.arguments(group, scope))

    def _of_edges(self, lower: str, name: Token, group: Group, scope: Scope) -> str:
        token = group.items[0] if len(group.items) == 1 else None
        known = scope.get(token.text) if isinstance(token, Token) else None
        if lower != "length":
            if known is None or known.kind != "edge" or not known.directed:
                raise QueryRefused(
                    f"{name.text}() takes a relationship that MATCH gives a direction.",
                    where=f"character {name.start + 1}",
                    hint="Write -[r:STARS]-> with an arrow, and use the node at its end.",
                )
            return call(name, self.arguments(group, scope))
        if known is None or known.kind != "path" or not isinstance(token, Token):
            return f"size(rels({self.text(group.items, scope)}))"
        length = f"length({spelled(token.text, known)})"
        return f"(CASE WHEN {known.guard} IS NULL THEN NULL ELSE {length} END)" if known.guard else length

    def _about(self, lower: str, name: Token, group: Group, scope: Scope) -> str:
        token = group.items[0] if len(group.items) == 1 else None
        variable = scope.get(token.text) if isinstance(token, Token) else None
        value = self.text(group.items, scope)
        templates = {
            "labels": f"CASE WHEN label({value}) IN ['Document', 'Chunk'] THEN [label({value})] "
            f"ELSE ['Entity', label({value})] END",
            "type": f"label({value})",
            "id": f"id({value})",
            "elementid": f"string(id({value}))",
            "properties": f"properties({value})",
        }
        text = templates.get(lower) or self._keys(name, value, variable)
        if variable is not None and variable.optional:
            text = f"CASE WHEN {value} IS NULL THEN NULL ELSE {text} END"
        return f"({text})" if text.startswith("CASE") else text

    def _keys(self, name: Token, value: str, variable: Variable | None) -> str:
        if variable is None or variable.kind not in ("node", "edge"):
            raise QueryRefused(
                "keys() takes a node or a relationship from MATCH.", where=f"character {name.start + 1}"
            )
        cases = [
            f"CASE WHEN {value}.{quoted_name(column)} IS NOT NULL THEN '{column}' END"
            for column in self._context.columns(variable)
        ]
        return f"list_filter([{', '.join(cases)}], `{HIDDEN}x` -> `{HIDDEN}x` IS NOT NULL)"


def _lambda_parts(items: Items) -> tuple[str, Items, Items]:
    """``x IN list WHERE condition`` as its three parts."""
    if (
        len(items) < 3
        or not isinstance(items[0], Token)
        or not isinstance(items[1], Token)
        or not items[1].is_word("IN")
    ):
        raise QueryRefused("this looks like (x IN list WHERE condition).")
    for at, item in enumerate(items):
        if isinstance(item, Token) and item.is_word("WHERE"):
            return items[0].text, items[2:at], items[at + 1 :]
    return items[0].text, items[2:], ()


def _is_predicate(group: Group) -> bool:
    return len(group.items) > 2 and isinstance(group.items[1], Token) and group.items[1].is_word("IN")


def _is_label_part(item: Item, before: Item) -> bool:
    if isinstance(item, Group):
        return item.opening == "(" and is_symbol(before, ":", "|", "&", "!")
    if item.kind in ("word", "name"):
        return is_symbol(before, ":", "|", "&", "!")
    return item.is_symbol("|", "&", "!", ":") or (
        item.is_symbol("%") and is_symbol(before, ":", "|", "&", "!")
    )


def _number(token: Token) -> str:
    text = token.text
    if text[:2].lower() == "0x":
        text = str(int(text, 16))
    if text.startswith("."):
        text = "0" + text
    if text.isdigit() and int(text) >= 2**63:
        raise QueryRefused("an integer has at most 64 bits.", where=f"character {token.start + 1}")
    return text


def _unreadable(token: Token) -> QueryRefused:
    return QueryRefused(f"{token.text!r} cannot stand here.", where=f"character {token.start + 1}")
