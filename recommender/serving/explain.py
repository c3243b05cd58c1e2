"""Why an item for a user: the strongest paths through the knowledge graph from what they had.

A path alternates entities and edges that are in the graph: nothing else can come out, and every path is
checked once more before it is shown. The sentence is made from a template and names only what is on the
path. Where no path exists the answer says what the score rests on instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.data.interactions import Ints
from recommender.models.registry import MODELS
from recommender.serving.bundle import Bundle, ExplanationGraph
from recommender.serving.path_ranking import PathRanker, RankedPath
from recommender.serving.walks import walks_to

MAX_LENGTH = 3
"""Edges between an item the user had and the recommended one; longer paths convince nobody."""
_PREPOSITIONS = frozenset({"by", "in", "on", "at", "of", "from", "to", "for", "with"})


@dataclass(frozen=True, slots=True)
class PathEdge:
    """One fact of a path in its own direction; ``edge_id`` finds its evidence."""

    edge_id: str
    subject: str
    predicate: str
    object: str


@dataclass(frozen=True, slots=True)
class ExplanationPath:
    """A path from an item of the user's history to the recommended item.

    ``entities`` are the names on it in order, ``edges`` the facts between them; ``score`` is comparable
    within one answer only. ``support`` counts the items of the history that lead to the same place the same
    way, the one on the path included.
    """

    text: str
    score: float
    entities: tuple[str, ...]
    edges: tuple[PathEdge, ...]
    support: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item; without paths, ``reason`` says what the score rests on."""

    item: str
    name: str
    reason: str
    paths: tuple[ExplanationPath, ...]


class Explainer:
    """Explains from the graph in a bundle."""

    def __init__(self, bundle: Bundle, *, max_length: int = MAX_LENGTH) -> None:
        self._bundle = bundle
        self._max_length = max_length
        self._ranker = None if bundle.graph is None else PathRanker(bundle.graph, len(bundle.item_ids))

    def explain(self, history: Ints, item: int, *, k: int = 3) -> Explanation:
        """The ``k`` best paths of distinct kinds from ``history`` (dense item ids) to ``item``.

        Two paths are of one kind when they walk the same relations in the same directions.
        """
        paths = self._paths(history, item, k) if self._ranker is not None and len(history) else ()
        reason = self._reason(history, item, bool(paths))
        return Explanation(self._bundle.item_ids[item], self._bundle.item_names[item], reason, paths)

    def _paths(self, history: Ints, item: int, k: int) -> tuple[ExplanationPath, ...]:
        graph = self._bundle.graph
        assert graph is not None
        assert self._ranker is not None
        found = walks_to(item, history, graph.indptr, graph.tail, graph.weight, max_length=self._max_length)
        ranked = [path for walks in found for path in self._ranker.best_by_kind(walks, len(history), k)]
        ranked.sort(key=lambda path: (-path.score, path.nodes, path.edges))
        shown: dict[tuple[int, ...], ExplanationPath] = {}
        for path in ranked:
            kind = tuple(graph.relation[list(path.edges)].tolist())
            if kind not in shown and len(shown) < k and is_valid(graph, path.nodes, path.edges):
                shown[kind] = describe(graph, path)
        return tuple(shown.values())

    def _reason(self, history: Ints, item: int, has_paths: bool) -> str:
        entry = MODELS.get(self._bundle.model)
        if item in history:
            return "the user already had it."
        if has_paths and (entry is None or entry.needs_graph):
            return "the graph connects it to what the user had."
        rests = self._without_graph(item)
        if has_paths:
            return f"{rests} The model did not look at the graph, which connects it to what the user had:"
        return f"no path of at most {self._max_length} steps leads here from what the user had; {rests}"

    def _without_graph(self, item: int) -> str:
        n_had = int(self._bundle.popularity[item])
        if self._bundle.item_scores is not None:
            return f"it is shown because {n_had} of {len(self._bundle.user_ids)} users had it."
        if n_had:
            return f"the score rests on users with a similar history ({n_had} users had it)."
        return "nobody had it yet, so the score rests on little."


def is_valid(graph: ExplanationGraph, nodes: Sequence[int], edges: Sequence[int]) -> bool:
    """Whether every edge of a path is in the graph and joins its two neighbours; no node comes twice."""
    if len(nodes) != len(edges) + 1 or len(set(nodes)) != len(nodes):
        return False
    for left, right, edge in zip(nodes[:-1], nodes[1:], edges, strict=True):
        if not 0 <= edge < len(graph.tail):
            return False
        head = int(np.searchsorted(graph.indptr, edge, side="right")) - 1
        if {head, int(graph.tail[edge])} != {left, right}:
            return False
    return True


def describe(graph: ExplanationGraph, path: RankedPath) -> ExplanationPath:
    """Say a path in names and in a sentence."""
    names = tuple(graph.entity_names[node] for node in path.nodes)
    n_relations = len(graph.relation_names)
    facts = []
    for edge in path.edges:
        head = int(np.searchsorted(graph.indptr, edge, side="right")) - 1
        ends = graph.entity_names[head], graph.entity_names[int(graph.tail[edge])]
        relation = int(graph.relation[edge])
        subject, object_ = ends if relation < n_relations else ends[::-1]
        predicate = graph.relation_names[relation % n_relations]
        facts.append(PathEdge(graph.edge_ids[int(graph.edge[edge])], subject, predicate, object_))
    text = _sentence(names, facts, path.support)
    return ExplanationPath(text, path.score, names, tuple(facts), path.support)


def _sentence(names: Sequence[str], facts: Sequence[PathEdge], support: int) -> str:
    had, shown = names[0], names[-1]
    others = f" and {support - 1} more like it" if support > 1 else ""
    if len(facts) == 2 and facts[0].predicate == facts[1].predicate:
        words = relation_words(facts[0].predicate)
        if facts[0].subject == had and facts[1].subject == shown:
            return f"You had {had}{others}. {shown}, too, {words} {names[1]}."
        if facts[0].object == had and facts[1].object == shown:
            return f"You had {had}{others}. {names[1]} {words} {had} and {shown}."
    said = [f"{fact.subject} {relation_words(fact.predicate)} {fact.object}" for fact in facts]
    return f"You had {had}{others}. {', and '.join(said)}."


def relation_words(predicate: str) -> str:
    """A relation's name as words between subject and object: DIRECTED_BY is "is directed by"."""
    words = predicate.replace("_", " ").lower().split()
    if len(words) > 1 and words[-1] in _PREPOSITIONS and words[0] not in ("is", "has", "was"):
        words = ["is", *words]
    return " ".join(words)
