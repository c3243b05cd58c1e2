"""What the parts of a translation need to know about the query around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kg.stores.cypher import Items
from kg.stores.embedded_patterns import Scope, Variable


class Context(Protocol):
    """One query: its parameters, and the words that it may use."""

    parameters: Mapping[str, Any]
    labels: Mapping[str, frozenset[str]]  # the tables of every label
    types: Mapping[str, frozenset[str]]  # the tables of every relationship type

    def columns(self, variable: Variable) -> list[str]:
        """The properties that a node or relationship may have."""

    def known_property(self, name: str) -> bool:
        """Whether any label or relationship type has this property."""

    def existence(self, items: Items, scope: Scope) -> str:
        """``EXISTS`` with a subquery or a pattern."""

    def counting(self, items: Items, scope: Scope) -> str:
        """``COUNT`` with a subquery or a pattern."""
