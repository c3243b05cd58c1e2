"""From Neo4j's Cypher to the embedded engine's: the clauses of a query.

The same text gives the same rows on both stores, or is refused with the words to write instead; see
``docs/cypher.md``. Beside what the patterns and expressions need, three habits of the engine are mended here:

- it forgets an ORDER BY before an aggregate without groups, unless an UNWIND stands between;
- it loses rows whose ``COUNT { }`` is zero where nothing else reads the node, so something always reads it;
- it keeps a whole result in memory, so a query without a LIMIT gets the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kg.errors import QueryRefused
from kg.stores.cypher import Group, Item, Items, Token, is_group, is_symbol, is_word, split_at
from kg.stores.embedded_clauses import Clause, split_clauses
from kg.stores.embedded_expressions import Expressions
from kg.stores.embedded_matching import Matching
from kg.stores.embedded_patterns import (
    Scope,
    Variable,
    spelled,
)
from kg.stores.embedded_reading import HIDDEN, Statement
from kg.stores.gate import CLAUSES

_DIRECTIONS = ("ASC", "ASCENDING", "DESC", "DESCENDING")
_MODIFIERS = ("ORDER BY", "SKIP", "LIMIT", "WHERE")
_EVERYTHING = 10**15
MAX_JOINED = 10
"""Relationships of all MATCH between two WITH: planning takes exponential time in them, seconds at ten."""
_LIST_FUNCTIONS = ("LABELS", "NODES", "RELATIONSHIPS", "KEYS", "COLLECT", "SPLIT", "RANGE", "TAIL")
_NO_ENTITIES = frozenset({"Document", "Chunk"})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a query may name: properties by label and by relationship type, without the marker."""

    nodes: Mapping[str, tuple[str, ...]]
    edges: Mapping[str, tuple[str, ...]]

    @property
    def entities(self) -> frozenset[str]:
        """The labels that are entity types."""
        return frozenset(self.nodes) - _NO_ENTITIES


def translate(
    cypher: str, items: Items, parameters: Mapping[str, Any], vocabulary: Vocabulary, *, limit: int
) -> Statement:
    """Put a query that passed the gate into the engine's words.

    Raises :class:`~kg.errors.QueryRefused` with a hint where the dialect has no words for it.
    """
    return _Query(cypher, parameters, vocabulary, limit).statement(items)


class _Query:
    def __init__(
        self, cypher: str, parameters: Mapping[str, Any], vocabulary: Vocabulary, limit: int
    ) -> None:
        self.parameters = parameters
        self.labels: Mapping[str, frozenset[str]] = {name: frozenset({name}) for name in vocabulary.nodes} | {
            "Entity": vocabulary.entities
        }
        self.types: Mapping[str, frozenset[str]] = {name: frozenset({name}) for name in vocabulary.edges}
        self._cypher = cypher
        self._vocabulary = vocabulary
        self._limit = limit
        self._n_fresh = 0
        self.counts = False
        self._n_joined = 0
        self._names: list[str] = []
        self._compact: set[int] = set()
        self._lists: set[str] = set()
        self.expressions = Expressions(self)

    def statement(self, items: Items) -> Statement:
        """Translate the whole query."""
        self.counts = _has_count(items)
        clauses = split_clauses(items)
        is_union = any(clause.keyword == "UNION" for clause in clauses)
        if not is_union:
            self._cap(clauses)
        text = self._clauses(clauses, {}, outermost=True)
        used = {name: self.parameters[name] for name in self.expressions.used}
        return Statement(text, used, tuple(self._names), frozenset(self._compact))

    def columns(self, variable: Variable) -> list[str]:
        """The properties that a node or relationship may have."""
        known = self._vocabulary.nodes if variable.kind == "node" else self._vocabulary.edges
        tables = known if variable.tables is None else variable.tables
        return sorted({column for table in tables for column in known[table]})

    def known_property(self, name: str) -> bool:
        """Whether any label or relationship type has this property."""
        known = (*self._vocabulary.nodes.values(), *self._vocabulary.edges.values())
        return any(name in columns for columns in known)

    def existence(self, items: Items, scope: Scope) -> str:
        """``EXISTS`` with a subquery or a pattern."""
        return f"EXISTS {{ {self._subquery(items, scope)} }}"

    def counting(self, items: Items, scope: Scope) -> str:
        """``COUNT`` with a subquery or a pattern."""
        return f"COUNT {{ {self._subquery(items, scope)} }}"

    def _subquery(self, items: Items, scope: Scope) -> str:
        first = items[0] if items else None
        if isinstance(first, Group) or (isinstance(first, Token) and not first.is_word(*CLAUSES)):
            items = [Token("word", "MATCH", 0, 0), *items]
        clauses = split_clauses(items)
        if clauses and clauses[-1].keyword == "RETURN" and not _says_distinct(clauses[-1].items):
            clauses.pop()
        keywords = [clause.keyword for clause in clauses]
        if keywords not in (["MATCH"], ["MATCH", "WHERE"]):
            raise QueryRefused(
                "EXISTS { } and COUNT { } take one MATCH and one WHERE.",
                hint="Join patterns with a comma: EXISTS { MATCH (a)-->(b), (b)-->(c) WHERE ... }.",
            )
        outside, self._n_joined = self._n_joined, 0
        text = self._clauses(clauses, dict(scope), outermost=False)
        self._n_joined = outside
        return text

    def _clauses(self, clauses: list[Clause], scope: Scope, *, outermost: bool) -> str:
        out: list[str] = []
        at = 0
        while at < len(clauses):
            clause = clauses[at]
            at += 1
            if clause.keyword in ("MATCH", "OPTIONAL MATCH"):
                where = clauses[at] if at < len(clauses) and clauses[at].keyword == "WHERE" else None
                out.append(self._match(clause, where, scope))
                at += where is not None
            elif clause.keyword == "UNION":
                out.append("UNION ALL" if clause.items else "UNION")
                self._n_joined = 0
                scope.clear()
            elif clause.keyword == "UNWIND":
                out.append(self._unwind(clause, scope))
            elif clause.keyword == "WITH":
                self._n_joined = 0
                end = at
                while end < len(clauses) and clauses[end].keyword in _MODIFIERS:
                    end += 1
                out.append(self._with(clause, clauses[at:end], scope))
                at = end
            elif clause.keyword == "RETURN":
                out.append(self._projection(clause, scope, name_columns=outermost))
            else:
                out.append(self._modifier(clause, scope))
        return " ".join(out)

    def _with(self, clause: Clause, modifiers: list[Clause], scope: Scope) -> str:
        out = [self._projection(clause, scope, name_columns=False)]
        keywords = {modifier.keyword for modifier in modifiers}
        for modifier in modifiers:
            out.append(self._modifier(modifier, scope))
            if modifier.keyword == "ORDER BY" and not keywords & {"SKIP", "LIMIT"}:
                out.append(f"LIMIT {_EVERYTHING}")
        if "ORDER BY" in keywords:
            out.append(f"UNWIND [1] AS {self.fresh()}")
        return " ".join(out)

    def _modifier(self, clause: Clause, scope: Scope) -> str:
        if clause.keyword == "ORDER BY":
            return f"ORDER BY {self._order(clause.items, scope)}"
        return f"{clause.keyword} {self.expressions.text(clause.items, scope)}"

    def _match(self, clause: Clause, where: Clause | None, scope: Scope) -> str:
        optional = clause.keyword.startswith("OPTIONAL")
        matching = Matching(self, scope, optional=optional)
        text = matching.text(clause.items, where.items if where is not None else None)
        self._n_joined = matching.n_edges + (0 if optional else self._n_joined)
        if self._n_joined > MAX_JOINED:
            raise QueryRefused(
                f"more than {MAX_JOINED} relationships are matched at once.",
                where=f"character {clause.start + 1}",
                hint="Put a WITH between two MATCH, or write -[:STARS*1..4]- for a repeated relationship.",
            )
        return f"{clause.keyword} {text}"

    def _unwind(self, clause: Clause, scope: Scope) -> str:
        items = clause.items
        if len(items) < 3 or not isinstance(items[-1], Token) or not is_word(items[-2], "AS"):
            raise QueryRefused(
                "UNWIND looks like UNWIND $names AS name.", where=f"character {clause.start + 1}"
            )
        text = self.expressions.text(items[:-2], scope)
        scope[items[-1].text] = Variable("value")
        return f"UNWIND {text} AS `{items[-1].text}`"

    def _projection(self, clause: Clause, scope: Scope, *, name_columns: bool) -> str:
        items = list(clause.items)
        distinct = ""
        if items and is_word(items[0], "DISTINCT"):
            distinct = "DISTINCT "
            items = items[1:]
        after: Scope = {}
        texts: list[str] = []
        names: list[str] = []
        for part in self._expanded(split_at(items, ","), scope):
            if name_columns and _is_call(part, "properties"):
                self._compact.add(len(names))
            text, name, variable = self._projected(part, scope, keep=clause.keyword == "WITH")
            after[name] = variable
            if _is_list(part):
                self._lists.add(name)
            texts.append(text)
            names.append(name)
        if name_columns and not self._names:
            self._names = names
        if clause.keyword == "WITH":
            scope.clear()
        scope.update(after)
        return f"{clause.keyword} {distinct}{', '.join(texts)}"

    def _expanded(self, parts: list[list[Item]], scope: Scope) -> list[list[Item]]:
        """The parts of a projection, with ``*`` written out."""
        found: list[list[Item]] = []
        for part in parts:
            if len(part) == 1 and is_symbol(part[0], "*"):
                if not scope:
                    raise QueryRefused("there is nothing that * could stand for.")
                found += [[Token("name", name, 0, 0)] for name in sorted(scope)]
            elif part:
                found.append(part)
            else:
                raise QueryRefused("something is missing between two commas.")
        return found

    def _projected(self, part: list[Item], scope: Scope, *, keep: bool) -> tuple[str, str, Variable]:
        """One item: its text, its name, and what the name stands for afterwards.

        ``keep`` is for WITH, where a path of variable length stays what it is.
        """
        alias = None
        if len(part) > 2 and is_word(part[-2], "AS") and isinstance(part[-1], Token):
            alias = part[-1].text
            part = part[:-2]
        first = part[0]
        own = first.text if len(part) == 1 and isinstance(first, Token) else None
        known = scope.get(own) if own is not None else None
        if keep and known is not None and own is not None and not known.guard:
            text, variable = spelled(own, known), known
        else:
            text, variable = self.expressions.text(part, scope), Variable("value")
            if known is not None and known.kind != "edges" and not known.guard:
                variable = known
        name = alias or own or self._cypher[part[0].start : part[-1].end]
        if alias is None and keep and known is not None and known.guard:
            alias = name
        if alias is None or (alias == own and text == spelled(own, known)):
            return text, name, variable
        # The engine takes a name that is known already for the old one.
        fresh = self.fresh() if alias in scope else None
        variable = replace(variable, spelled=fresh)
        return f"{text} AS {spelled(alias, variable)}", name, variable

    def _order(self, items: Items, scope: Scope) -> str:
        keys = []
        for part in split_at(items, ","):
            first = part[0] if part else None
            alone = len(part) == 1 or (len(part) == 2 and is_word(part[1], *_DIRECTIONS))
            if alone and isinstance(first, Token) and first.text in scope:
                known = scope[first.text]
                if known.kind in ("node", "edge"):
                    part = [first, Token("symbol", ".", 0, 0), Token("word", "id", 0, 0), *part[1:]]
                elif first.text in self._lists:
                    direction = self.expressions.text(part[1:], scope)
                    keys.append(f"string({spelled(first.text, known)}) {direction}".strip())
                    continue
            keys.append(self.expressions.text(part, scope))
        return ", ".join(keys)

    def _cap(self, clauses: list[Clause]) -> None:
        """Give the last RETURN the caller's limit where it has none, or a larger one."""
        last = clauses[-1]
        if not any(clause.keyword == "RETURN" for clause in clauses):
            raise QueryRefused("the query returns nothing.", hint="End it with RETURN.")
        if last.keyword == "LIMIT":
            number = last.items[0] if len(last.items) == 1 else None
            if isinstance(number, Token) and number.text.isdigit() and int(number.text) > self._limit:
                last.items = [_number(self._limit)]
        else:
            clauses.append(Clause("LIMIT", [_number(self._limit)], 0))

    def fresh(self) -> str:
        """A name that no query uses."""
        self._n_fresh += 1
        return f"`{HIDDEN}{self._n_fresh}`"


def _has_count(items: Items) -> bool:
    for at, item in enumerate(items):
        if isinstance(item, Group):
            before = items[at - 1] if at else None
            if (item.opening == "{" and is_word(before, "COUNT")) or _has_count(item.items):
                return True
    return False


def _is_call(part: list[Item], name: str) -> bool:
    return (
        len(part) > 1
        and isinstance(part[0], Token)
        and part[0].text.lower() == name
        and isinstance(part[1], Group)
    )


def _is_list(part: Items) -> bool:
    first = part[0] if part else None
    if is_group(first, "["):
        return True
    after = part[1] if len(part) > 1 else None
    return (
        is_word(first, *_LIST_FUNCTIONS)
        and is_group(after, "(")
        and (len(part) == 2 or is_word(part[2], "AS"))
    )


def _says_distinct(items: Items) -> bool:
    return bool(items) and is_word(items[0], "DISTINCT")


def _number(value: int) -> Token:
    return Token("number", str(value), 0, 0)
