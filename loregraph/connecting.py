"""How two things are connected: the best paths between them, every step with its sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kg.errors import NotFound
from kg.paths import Path, PathFinder
from kg.snapshot import Snapshot
from loregraph.explaining import SupportedPath, step_with_source

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger


def connections(
    ledger: Ledger, source: str, target: str, *, k: int = 3, max_length: int = 3
) -> list[SupportedPath]:
    """The ``k`` best paths between anything called ``source`` and anything called ``target``.

    Raises :class:`~kg.errors.NotFound` where a name is nobody's, or nothing connects the two.
    """
    snapshot = Snapshot.of(ledger)
    finder = PathFinder(snapshot)
    numbers = {identity: number for number, identity in enumerate(snapshot.entity_ids)}
    starts, ends = (_named(ledger, numbers, name) for name in (source, target))
    found = [
        path for end in ends for path in finder.between(starts, end, max_length=max_length, limit=k).paths
    ]
    if not found:
        raise NotFound(
            f"no path of at most {max_length} steps connects {source!r} and {target!r}.",
            hint="--max-length 4 looks further." if max_length < 4 else None,
        )
    found.sort(key=lambda path: -path.score)
    return [_supported(ledger, finder, path) for path in found[:k]]


def _named(ledger: Ledger, numbers: dict[str, int], name: str) -> list[int]:
    rows = ledger.entities_named(name)
    if not rows:
        raise NotFound(f"nothing is called {name!r}.", hint="`lore query` finds names that contain a word.")
    return [numbers[row.id] for row in rows if row.id in numbers]


def _supported(ledger: Ledger, finder: PathFinder, path: Path) -> SupportedPath:
    snapshot = finder.snapshot
    steps = []
    for row in path.triples:
        head, relation, tail = snapshot.triples[row].tolist()
        names = snapshot.entity_names[head], snapshot.relation_names[relation], snapshot.entity_names[tail]
        steps.append(step_with_source(ledger, snapshot.edge_ids[row], *names))
    return SupportedPath(finder.spell(path), path.score, tuple(steps))
