"""Finding entities by name in the embedded graph: a few scans for candidates, ranked outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kg.errors import QueryRefused
from kg.facts import normalise_name
from kg.stores.embedded_reading import Statement, run
from kg.stores.embedded_tables import Catalog
from kg.stores.likeness import rank
from kg.stores.store import Hit

Candidate = tuple[str, str, str, Sequence[str]]
"""Id, name, type and aliases of an entity."""

MAX_TEXT = 500
_TIMEOUT = 10.0
_SHORTEST_WORD = 3
_MAX_WORDS = 8
# Names and aliases as lines of one text: a line, the start of a line, or any part may match.
_LINES = "'\\n' + lower(n.name) + '\\n' + lower(coalesce(list_to_string('\\n', n.aliases), '')) + '\\n'"


def find(database: Any, catalog: Catalog, text: str, type_: str | None, k: int) -> list[Hit]:
    """The ``k`` entities whose name or alias is closest to ``text``, best first.

    Raises :class:`~kg.errors.QueryRefused` at a type that is not in the graph.
    """
    if type_ is not None and type_ not in catalog.entities:
        raise QueryRefused(
            f"there is no entity type {type_!r} in the graph.",
            hint=f"There are {', '.join(catalog.entities)}.",
        )
    wanted = normalise_name(text[:MAX_TEXT])
    types = [type_] if type_ is not None else list(catalog.entities)
    if not wanted or not types or k < 1:
        return []
    labels = "|".join(f"`{name}`" for name in types)
    n_wanted = max(50, 5 * k)
    candidates = _containing(database, labels, wanted, n_wanted)
    if len(candidates) < k:
        candidates |= _similar(database, labels, wanted, n_wanted)
    return rank(text[:MAX_TEXT], candidates.values(), k)


def _containing(database: Any, labels: str, wanted: str, limit: int) -> dict[str, Candidate]:
    text = (
        f"MATCH (n:{labels}) WITH n, {_LINES} AS lines WHERE lines CONTAINS $part "
        "RETURN n.id, n.name, n.type, n.aliases "
        "ORDER BY CASE WHEN lines CONTAINS $line THEN 0 WHEN lines CONTAINS $head THEN 1 ELSE 2 END, "
        f"size(n.name), n.id LIMIT {limit}"
    )
    parameters = {"part": wanted, "line": f"\n{wanted}\n", "head": f"\n{wanted}"}
    return _candidates(database, text, parameters, limit)


def _similar(database: Any, labels: str, wanted: str, limit: int) -> dict[str, Candidate]:
    words = [word for word in wanted.split() if len(word) >= _SHORTEST_WORD][:_MAX_WORDS]
    conditions = ["levenshtein(lower(n.name), $wanted) <= $most"]
    conditions += [f"lines CONTAINS $word{i}" for i in range(len(words))]
    text = (
        f"MATCH (n:{labels}) WITH n, {_LINES} AS lines WHERE {' OR '.join(conditions)} "
        "RETURN n.id, n.name, n.type, n.aliases "
        f"ORDER BY levenshtein(lower(n.name), $wanted), n.id LIMIT {limit}"
    )
    parameters: dict[str, Any] = {f"word{i}": word for i, word in enumerate(words)}
    parameters |= {"wanted": wanted, "most": 2 + len(wanted) // 3}
    return _candidates(database, text, parameters, limit)


def _candidates(database: Any, text: str, parameters: dict[str, Any], limit: int) -> dict[str, Candidate]:
    names = ("id", "name", "type", "aliases")
    rows = run(database, Statement(text, parameters, names), limit=limit, timeout=_TIMEOUT)
    return {row["id"]: (row["id"], row["name"] or "", row["type"], row["aliases"] or ()) for row in rows}
