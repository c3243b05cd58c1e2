"""Make a bundle from a trained model: what serving and explaining need, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import sparse

from recommender.data.interactions import Floats, Interactions, Ints
from recommender.evaluation.ranking import top_k
from recommender.graph.joint import JointGraph, KnowledgeGraph, KnowledgeView
from recommender.models.base import Recommender
from recommender.models.linear import LinearRecommender
from recommender.models.popularity import Popularity
from recommender.serving.bundle import Bundle, ExplanationGraph, ItemRows

if TYPE_CHECKING:
    from recommender.training.train import Trained

LIST_LENGTH = 200
"""How many items a bundle holds for each user where the model has no vectors to score with."""
_USERS_PER_CHUNK = 256


class DescribedGraph(KnowledgeGraph, Protocol):
    """A graph with everything an explanation says; :class:`kg.snapshot.Snapshot` is one."""

    @property
    def entity_names(self) -> Sequence[str]:
        """Names by dense id."""

    @property
    def entity_types(self) -> Sequence[str]:
        """Types by dense id."""

    @property
    def edge_ids(self) -> Sequence[str]:
        """The public id of each triple."""

    @property
    def confidence(self) -> Floats:
        """How sure each triple is, in [0, 1]."""

    @property
    def hash(self) -> str:
        """What the content is known by."""


def pack(
    trained: Trained,
    history: Interactions,
    *,
    item_names: Mapping[str, str] | None = None,
    graph: JointGraph | None = None,
    snapshot: DescribedGraph | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Bundle:
    """Collect a bundle.

    ``history`` is all that users had, held-out parts included: what they had is not recommended again.
    Items are called by ``item_names``, else by their entity, else by their id. ``graph`` with ``snapshot``
    makes explanations possible, also for a model that did not use them.
    """
    vectors = trained.model.vectors()
    indptr, items = history.by_user()
    names = name_items(history, item_names or {}, graph, snapshot)
    own = trained.model.edge_weights()
    described = None if graph is None or snapshot is None else explanation_graph(graph, snapshot, names, own)
    settings = {
        "config": asdict(trained.config),
        "best_epoch": trained.best_epoch,
        "snapshot": None if snapshot is None else snapshot.hash,
    }
    bundle = Bundle(
        model=trained.name,
        settings=settings,
        user_ids=history.user_ids,
        item_ids=history.item_ids,
        item_names=names,
        popularity=history.popularity,
        history_indptr=indptr,
        history_items=items,
        user_vectors=None if vectors is None else vectors.user,
        item_vectors=None if vectors is None else vectors.item,
        **_scored(trained.model, history),
        graph=described,
        metrics=metrics or {},
    )
    return _with_card(bundle, trained, history)


def _scored(model: Recommender, history: Interactions) -> dict[str, Any]:
    """How a model without vectors scores, as fields of a bundle."""
    if model.vectors() is not None:
        return {}
    if isinstance(model, Popularity):
        return {"item_scores": model.item_scores}
    if isinstance(model, LinearRecommender):
        weights = sparse.csr_matrix(model.item_weights)
        return {
            "item_weights": ItemRows(
                weights.indptr.astype(np.int64), weights.indices.astype(np.int64), weights.data
            )
        }
    return {"lists": _lists(model, history)}


def _lists(model: Recommender, history: Interactions) -> ItemRows:
    """For each user the ``LIST_LENGTH`` best items they have not had, and those they had, with the scores."""
    indptr, had = history.by_user()
    rows: list[tuple[Ints, Floats]] = []
    for start in range(0, history.n_users, _USERS_PER_CHUNK):
        users = np.arange(start, min(start + _USERS_PER_CHUNK, history.n_users))
        scores = np.array(model.score(users), dtype=np.float32)
        for place, user in enumerate(users):
            own = had[indptr[user] : indptr[user + 1]]
            known = scores[place, own]
            scores[place, own] = -np.inf
            best, values = top_k(scores[place : place + 1], LIST_LENGTH)
            open_ = np.isfinite(values[0])
            rows.append((np.concatenate([best[0][open_], own]), np.concatenate([values[0][open_], known])))
    ends = np.cumsum([0, *(len(items) for items, _ in rows)]).astype(np.int64)
    return ItemRows(ends, np.concatenate([i for i, _ in rows]), np.concatenate([v for _, v in rows]))


def name_items(
    history: Interactions,
    given: Mapping[str, str],
    graph: JointGraph | None,
    snapshot: DescribedGraph | None,
) -> list[str]:
    """What each item is called: as ``given``, else as its entity, else by its id."""
    names = []
    for number, identity in enumerate(history.item_ids):
        entity = -1 if graph is None else int(graph.entity[number])
        fallback = identity if snapshot is None or entity < 0 else snapshot.entity_names[entity]
        names.append(given.get(identity) or fallback)
    return names


def explanation_graph(
    graph: JointGraph, snapshot: DescribedGraph, item_names: list[str], own: Floats | None
) -> ExplanationGraph:
    """The knowledge edges of the joint graph, entity nodes renumbered from 0.

    ``own`` is what the edges of the joint graph weigh to the model, [n_edges]; all alike where not given.
    """
    known = graph.knowledge(inverse=True)
    head, triple = known.head, graph.triple[known.edge]
    rows, edge = np.unique(triple, return_inverse=True)
    strength = np.ones(len(head)) if own is None else own[known.edge].astype(np.float64)
    strength /= np.maximum(np.bincount(head, strength, minlength=graph.n_entities), 1e-30)[head]
    weight = np.sqrt(strength * strength[_reverse(known)]) * snapshot.confidence[triple]
    entities = graph.entity[graph.n_items :]
    return ExplanationGraph(
        known.indptr,
        known.tail,
        known.relation,
        edge.astype(np.int64),
        weight.astype(np.float32),
        [*item_names, *(snapshot.entity_names[entity] for entity in entities)],
        [
            *("" if e < 0 else snapshot.entity_types[e] for e in graph.entity[: graph.n_items]),
            *(snapshot.entity_types[entity] for entity in entities),
        ],
        [snapshot.edge_ids[row] for row in rows],
        list(snapshot.relation_names),
    )


def _reverse(known: KnowledgeView) -> Ints:
    """For each edge the position of the same fact walked the other way: [n_triples].

    Why: a model's weight of an edge is relative to the other edges out of its head. The mean of both
    directions (geometric) keeps a hub weak, from whichever side it is reached.
    """
    r, n, half = known.n_relations, known.n_entities, known.n_relations // 2
    inverse = np.where(known.relation < half, known.relation + half, known.relation - half)
    there = (known.head * r + known.relation) * n + known.tail
    place: Ints = np.searchsorted(there, (known.tail * r + inverse) * n + known.head)
    return place


def _with_card(bundle: Bundle, trained: Trained, history: Interactions) -> Bundle:
    lines = [
        "---",
        "library_name: loregraph",
        f"tags: [recommendation, {bundle.model}]",
        "---",
        "",
        f"# {bundle.model}",
        "",
        f"Trained on {len(history)} interactions of {history.n_users} users with {history.n_items} items;"
        f" {int((bundle.popularity == 0).sum())} of the items were had by nobody.",
        f"Best epoch {trained.best_epoch}, {trained.seconds:.1f} s of training.",
        "",
        "It recommends items to users of its training data, and to others from the items they had. It knows"
        " nothing of what is not in its data, repeats the preferences in them, and a score means nothing"
        " outside one list.",
        "",
        "## Settings",
        "",
        *(f"- {name}: {value}" for name, value in asdict(trained.config).items()),
        "",
        "The figures of the test, with those of the baselines, are in `metrics.json`.",
        "",
    ]
    return replace(bundle, card="\n".join(lines))
