"""A query as clauses: the keyword, and what follows it up to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

from kg.errors import QueryRefused
from kg.stores.cypher import Item, Items, Token, is_symbol, is_word
from kg.stores.gate import CLAUSES


@dataclass(slots=True)
class Clause:
    """One clause: its keyword and what follows it."""

    keyword: str
    items: list[Item] = field(default_factory=list)
    start: int = 0


def split_clauses(items: Items) -> list[Clause]:
    """Split a query, or the inside of a subquery. Raises :class:`~kg.errors.QueryRefused`."""
    clauses: list[Clause] = []
    at = 0
    while at < len(items):
        item = items[at]
        keyword = _keyword_at(items, at)
        if keyword is None:
            if not clauses:
                raise QueryRefused("a query starts with MATCH, OPTIONAL MATCH, WITH, UNWIND or RETURN.")
            clauses[-1].items.append(item)
            at += 1
            continue
        clauses.append(Clause(keyword, [], item.start))
        at += len(keyword.split())
        if keyword == "UNION" and at < len(items) and is_word(items[at], "ALL"):
            clauses[-1].items.append(items[at])
            at += 1
    return clauses


def _keyword_at(items: Items, at: int) -> str | None:
    item = items[at]
    before = items[at - 1] if at else None
    if not isinstance(item, Token) or item.kind != "word" or item.text.upper() not in CLAUSES:
        return None
    if is_symbol(before, ".", ":", "|") or is_word(before, "AS"):
        return None
    word = item.text.upper()
    after = items[at + 1] if at + 1 < len(items) else None
    if word == "WITH" and is_word(before, "STARTS", "ENDS"):
        return None
    if word == "OPTIONAL":
        return "OPTIONAL MATCH" if is_word(after, "MATCH") else None
    if word == "ORDER":
        return "ORDER BY" if is_word(after, "BY") else None
    return "SKIP" if word == "OFFSET" else word
