"""New users and items in a trained model of vectors, without training it again.

*New users* are folded in: the vector ``u`` that explains their history best with the item vectors held fixed,
``argmin sum over had (1 - u·v)² + unseen * sum over all (u·v)² + penalty |u|²`` (Hu et al., ICDM 2008, one
half-step). A user of the training with a longer history moves by as much as this vector moves.

*New items* are mapped: a ridge regression from the entities around an item in the graph to the vectors of
the items that were trained on (Gantner et al., ICDM 2010; :mod:`recommender.models.attributemap`). It asks
nothing of the model but vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kg.errors import UsageError
from recommender.data.interactions import Floats, Interactions, Ints
from recommender.graph.joint import JointGraph
from recommender.models.attributemap import Config, fit_ridge, item_features
from recommender.models.base import SideData
from recommender.models.linear import interaction_matrix
from recommender.serving.bundle import Bundle
from recommender.serving.packing import DescribedGraph, explanation_graph, name_items

UNSEEN_WEIGHT = 0.1
"""What an item that was not had weighs beside one that was: nobody knows whether it was disliked."""
PENALTY = 0.01
"""Beside the mean squared length of the item vectors."""
HOPS = 2
"""How far the map of new items looks."""


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """A bundle that knows more users and items, and what was done for it."""

    bundle: Bundle
    new_users: int
    moved_users: int
    new_items: int
    unmapped_items: int
    """New items with nothing around them in the graph: their vector is the mean of the others."""


def fold_in(item_vectors: Floats, histories: Any) -> Floats:
    """A vector for each history, as in the module's first equation.

    *Shape:* ``item_vectors`` [n_items, dim], ``histories`` scipy CSR of ones [n_users, n_items] -> [n_users,
    dim]; an empty history gives 0.
    """
    items = item_vectors.astype(np.float64)
    everything = UNSEEN_WEIGHT * items.T @ items
    ridge = PENALTY * np.square(items).sum(axis=1).mean() * np.eye(items.shape[1])
    folded = np.zeros((histories.shape[0], items.shape[1]), dtype=np.float32)
    for user in range(histories.shape[0]):
        had = items[histories.indices[histories.indptr[user] : histories.indptr[user + 1]]]
        if len(had):
            folded[user] = np.linalg.solve(had.T @ had + everything + ridge, had.sum(axis=0))
    return folded


def map_new_items(graph: JointGraph, vectors: Floats, trained: NDArray[np.bool_]) -> tuple[Floats, Ints]:
    """Vectors of all items by the map from the graph, and which items have nothing to be mapped from.

    *Shape:* ``vectors`` [n_items, dim], of which only the rows in ``trained`` [n_items] are read.
    """
    features = item_features(graph, SideData(), Config(hops=HOPS))
    mean = vectors[trained].mean(axis=0)
    weights = fit_ridge(features[trained], vectors[trained].astype(np.float64) - mean, strength=3.0)
    bare = np.flatnonzero(np.diff(features.indptr) == 0)
    return np.asarray(features @ weights + mean, dtype=np.float32), bare


def grow(bundle: Bundle, interactions: Interactions, graph: JointGraph, snapshot: DescribedGraph) -> Growth:
    """Add to a bundle the users and items of ``interactions``, which hold the earlier ones too.

    ``graph`` is the joint graph of these interactions and of ``snapshot``; explanations walk it from now on.
    Raises :class:`~kg.errors.UsageError` for a model without vectors, where an earlier user or item is gone,
    and for a graph that knows none of the earlier items.
    """
    if bundle.user_vectors is None or bundle.item_vectors is None:
        raise UsageError(f"{bundle.model} has no vectors to grow.", hint="Train it again with `lore train`.")
    item_place = _places(bundle.item_ids, interactions.item_ids, "item")
    user_place = _places(bundle.user_ids, interactions.user_ids, "user")
    items, known, bare = _grown_items(bundle, graph, item_place)
    before, after = _histories(bundle, interactions, user_place, item_place), interaction_matrix(interactions)
    changed = np.flatnonzero(np.diff((after - before).tocsr().indptr))
    users = np.zeros((interactions.n_users, items.shape[1]), dtype=np.float32)
    users[user_place] = bundle.user_vectors
    users[changed] += fold_in(items, after[changed]) - fold_in(items, before[changed])
    moved = len(np.intersect1d(changed, user_place))
    n_unmapped = len(np.setdiff1d(bare, np.flatnonzero(known)))
    counts = (interactions.n_users - len(user_place), moved, int((~known).sum()), n_unmapped)
    indptr, had = interactions.by_user()
    given = {
        identity: name
        for identity, name in zip(bundle.item_ids, bundle.item_names, strict=True)
        if name != identity
    }
    names = name_items(interactions, given, graph, snapshot)
    grown = replace(
        bundle,
        settings={**bundle.settings, "snapshot": snapshot.hash, "grown": _said(counts)},
        user_ids=interactions.user_ids,
        item_ids=interactions.item_ids,
        item_names=names,
        popularity=interactions.popularity,
        history_indptr=indptr,
        history_items=had,
        user_vectors=users,
        item_vectors=items,
        graph=explanation_graph(graph, snapshot, names, None),
    )
    return Growth(grown, *counts)


def _grown_items(bundle: Bundle, graph: JointGraph, place: Ints) -> tuple[Floats, NDArray[np.bool_], Ints]:
    """Vectors of all items, which of them the bundle knew, and which have nothing to be mapped from."""
    assert bundle.item_vectors is not None
    vectors = np.zeros((graph.n_items, bundle.item_vectors.shape[1]), dtype=np.float32)
    vectors[place] = bundle.item_vectors
    known, trained = np.zeros(len(vectors), dtype=bool), np.zeros(len(vectors), dtype=bool)
    known[place] = True
    trained[place] = np.asarray(bundle.popularity) > 0
    if not (graph.entity[: graph.n_items][trained] >= 0).any():
        raise UsageError(
            f"none of the items that {bundle.model} was trained on is linked to this graph.",
            hint="Link them with `lore link ITEMS`, or train again: this may be another graph.",
        )
    mapped, bare = map_new_items(graph, vectors, trained)
    vectors[~known] = mapped[~known]
    return vectors, known, bare


def _said(counts: tuple[int, int, int, int]) -> str:
    new_users, moved_users, new_items, unmapped = counts
    return (
        f"{new_users} new and {moved_users} moved users, {new_items} new items, {unmapped} of them unmapped,"
        " since the training"
    )


def _places(old: Any, new: tuple[str, ...], what: str) -> Ints:
    """Where each earlier id is now."""
    place = {identity: number for number, identity in enumerate(new)}
    missing = [identity for identity in old if identity not in place]
    if missing:
        raise UsageError(
            f"{len(missing)} earlier {what}s are gone, {missing[0]!r} first.",
            hint="Growing adds only. Train again to forget.",
        )
    return np.asarray([place[identity] for identity in old], dtype=np.int64)


def _histories(bundle: Bundle, interactions: Interactions, user_place: Ints, item_place: Ints) -> Any:
    """The bundle's histories over the new ids."""
    counts = np.diff(bundle.history_indptr)
    rows, columns = np.repeat(user_place, counts), item_place[bundle.history_items]
    shape = (interactions.n_users, interactions.n_items)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
