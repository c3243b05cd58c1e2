"""A recommendation explained: the path that supports it, and for every step the sentence that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kg.facts import Status

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger
    from recommender.serving.explain import PathEdge
    from recommender.serving.service import Service


@dataclass(frozen=True, slots=True)
class Step:
    """One edge of a path with its source; ``sentence`` is empty where no document says it (any more)."""

    subject: str
    predicate: str
    object: str
    sentence: str
    document: str
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class SupportedPath:
    """A path from something the user had to the item; ``score`` is comparable within one answer only."""

    text: str
    score: float
    steps: tuple[Step, ...]

    def as_json(self) -> dict[str, Any]:
        """The path as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why this item for this user; without ``paths``, ``reason`` says what the score rests on instead.

    ``warning`` names the facts that the bundle walks and the graph does not hold (any more), empty where
    there is none.
    """

    user: str
    item: str
    name: str
    reason: str
    paths: tuple[SupportedPath, ...]
    warning: str = ""

    def as_json(self) -> dict[str, Any]:
        """The explanation as plain values."""
        return asdict(self)


def explain(service: Service, ledger: Ledger, user: str, item: str, *, k: int = 3) -> Explanation:
    """Explain ``item`` for ``user`` with at most ``k`` paths, each step with its source.

    Raises :class:`~kg.errors.NotFound` for an unknown user or item.
    """
    found = service.explain(user, item, k=k)
    paths = tuple(
        SupportedPath(
            path.text,
            path.score,
            tuple(
                step_with_source(ledger, edge.edge_id, edge.subject, edge.predicate, edge.object)
                for edge in path.edges
            ),
        )
        for path in found.paths
    )
    warning = _gone(ledger, [edge for path in found.paths for edge in path.edges])
    return Explanation(user, item, found.name, found.reason, paths, warning)


def _gone(ledger: Ledger, edges: Sequence[PathEdge]) -> str:
    """Which of the edges are not facts of the ledger now: never were, were forgotten, or were rejected."""
    facts = {edge.edge_id: f"{edge.subject} {edge.predicate} {edge.object}" for edge in edges}
    gone = [said for edge_id, said in facts.items() if not _holds(ledger, edge_id)]
    if not gone:
        return ""
    return (
        f"{len(gone)} of {len(facts)} facts on these paths are not in the graph now: {'; '.join(gone)}. It"
        " has changed since the model was trained, or the model was trained on another: `lore refresh` or"
        " `lore train` brings both together."
    )


def _holds(ledger: Ledger, edge_id: str) -> bool:
    decided = ledger.decisions(edge_id)
    if decided:
        return decided[0].status is not Status.REJECTED
    return bool(ledger.provenance(edge_id))


def step_with_source(ledger: Ledger, edge_id: str, subject: str, predicate: str, object: str) -> Step:
    """A step with the first sentence that says it; without one where no document does."""
    rows = ledger.provenance(edge_id) if edge_id else []
    spoken = next((row for row in rows if row.sentence), None)
    if spoken is None:
        return Step(subject, predicate, object, "", "", None, None)
    return Step(subject, predicate, object, spoken.sentence, spoken.uri, spoken.start, spoken.end)
