"""One MATCH for the embedded engine: its patterns, and the conditions that make them mean the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from kg.stores.cypher import Items, Token
from kg.stores.embedded_expressions import Expressions
from kg.stores.embedded_patterns import (
    EdgePattern,
    NodePattern,
    PathPattern,
    Scope,
    Variable,
    distinctness,
    parse_paths,
    resolve,
    spelled,
)

_FALSE = Token("word", "FALSE", 0, 0)


class Context(Protocol):
    """What a MATCH needs to know about the query around it."""

    labels: Mapping[str, frozenset[str]]  # the tables of every label
    types: Mapping[str, frozenset[str]]  # the tables of every relationship type
    counts: bool  # whether there is a COUNT { } anywhere
    expressions: Expressions

    def fresh(self) -> str:
        """A name that no query uses."""


class Matching:
    """Translates one MATCH and binds its variables in ``scope``."""

    def __init__(self, context: Context, scope: Scope, *, optional: bool) -> None:
        self._context = context
        self._scope = scope
        self._optional = optional
        self._bound = set(scope)
        self._told: set[str] = set()
        self._edges: list[tuple[str, Variable]] = []
        self.n_edges = 0
        """How many relationships the patterns name."""
        self._inline: list[Items] = []
        self._conditions: list[str] = []

    def text(self, items: Items, where: Items | None) -> str:
        """The patterns and their WHERE, without the word MATCH."""
        paths = parse_paths(items)
        self.n_edges = sum(len(path.edges) for path in paths)
        self._bind_nodes(paths)
        patterns = ", ".join([self._path(path) for path in paths])
        expressions, scope = self._context.expressions, self._scope
        conditions = [*self._conditions, *distinctness(self._edges)]
        conditions += [expressions.text(found, scope) for found in self._inline]
        if self._context.counts:
            conditions += [
                f"{spelled(name, scope.get(name))}.`id` IS NOT NULL" for name in sorted(self._told)
            ]
        if where is not None:
            conditions.insert(0, expressions.text(where, scope))
        if len(conditions) > 1:
            conditions = [f"({condition})" for condition in conditions]
        return f"{patterns} WHERE {' AND '.join(conditions)}" if conditions else patterns

    def _bind_nodes(self, paths: list[PathPattern]) -> None:
        """Give every new variable the labels that all its places in this MATCH ask for."""
        for path in paths:
            if path.variable:
                self._scope[path.variable] = Variable("path", optional=self._optional)
            for node in path.nodes:
                tables = resolve(node.labels, self._context.labels, "label")
                if node.variable is None:
                    continue
                known = self._scope.get(node.variable)
                if node.variable in self._bound:
                    if tables is not None:
                        listed = ", ".join(f"'{name}'" for name in sorted(tables))
                        test = f"label({spelled(node.variable, known)}) IN [{listed}]" if tables else "false"
                        self._conditions.append(test)
                    continue
                if known is not None and known.tables is not None:
                    tables = known.tables if tables is None else known.tables & tables
                self._scope[node.variable] = Variable("node", tables, self._optional)

    def _path(self, path: PathPattern) -> str:
        pieces = [self._node(path.nodes[0], alone=not path.edges)]
        for edge, node in zip(path.edges, path.nodes[1:], strict=True):
            guarded = path.variable if self._optional and edge is path.edges[0] else None
            pieces += [self._edge(edge, guarded), self._node(node, alone=False)]
        text = "".join(pieces)
        return f"`{path.variable}` = {text}" if path.variable else text

    def _node(self, node: NodePattern, *, alone: bool) -> str:
        """One node; ``alone`` it needs labels, or it would match the marker too."""
        name = node.variable
        if node.condition:
            self._inline.append(node.condition)
        known = name is not None and (name in self._bound or name in self._told)
        if name is None:
            tables = resolve(node.labels, self._context.labels, "label")
        else:
            tables = None if known else self._scope[name].tables
            self._told.add(name)
        if alone and tables is None and not known:
            tables = frozenset().union(*self._context.labels.values())
        properties = ""
        if node.properties:
            properties = f" {self._context.expressions.mapping(node.properties, self._scope)}"
        variable = spelled(name, self._scope.get(name)) if name else ""
        return f"({variable}{self._alternatives(tables)}{properties})"

    def _edge(self, edge: EdgePattern, guarded: str | None) -> str:
        """One relationship; ``guarded`` is the optional path that is there only where this is."""
        tables = resolve(edge.types, self._context.types, "relationship type")
        alternatives = self._alternatives(tables)
        variable = Variable("edge" if edge.hops is None else "edges", tables or None, self._optional)
        variable = replace(variable, directed=edge.left or edge.right)
        shortest = edge.mode != "TRAIL"
        name = spelled(edge.variable, self._scope.get(edge.variable)) if edge.variable else ""
        if not name and (guarded or (self.n_edges > 1 and not shortest)):
            name = self._context.fresh()
        if guarded:
            self._scope[guarded] = replace(self._scope[guarded], guard=name)
        if name and not shortest:
            self._edges.append((name, variable))
        if edge.variable:
            self._scope[edge.variable] = variable
        if edge.condition:
            self._inline.append(edge.condition)
        hops = f"* {edge.mode} {edge.hops[0]}..{edge.hops[1]}" if edge.hops is not None else ""
        properties = ""
        if edge.properties:
            properties = f" {self._context.expressions.mapping(edge.properties, self._scope)}"
        left, right = "<-" if edge.left else "-", "->" if edge.right else "-"
        return f"{left}[{name}{alternatives}{hops}{properties}]{right}"

    def _alternatives(self, tables: frozenset[str] | None) -> str:
        if tables is not None and not tables:
            self._inline.append([_FALSE])
        return ":" + "|".join(f"`{table}`" for table in sorted(tables)) if tables else ""
