"""Cold items on ML-100K: does a graph extracted from text help where interactions are missing?

The 1,219 films that have a lead text, in increasing id; an item is cold if
``numpy.random.default_rng(seed).random(1219) < 0.2``. Positives are ratings of 4 or 5. Only the cold items
are ranked for a user; NDCG@20 and Recall@20 are averaged over users with a cold positive. No model sees an
interaction of a cold item.

This module holds the protocol and the rows that need no training; ``films_end_to_end.py`` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds

Floats = NDArray[np.float64]
K = 20
N_FACTORS = 40


@dataclass(frozen=True)
class ColdSplit:
    """Positives as a users × items matrix, and which items are cold."""

    positives: sparse.csr_matrix  # [n_users, n_items]
    cold: NDArray[np.bool_]  # [n_items]

    @property
    def warm_matrix(self) -> sparse.csr_matrix:
        """The positives with every cold column emptied: all that a model may see."""
        kept: sparse.csr_matrix = self.positives @ sparse.diags((~self.cold).astype(float))
        kept.eliminate_zeros()
        return kept.tocsr()


def split(positives: sparse.csr_matrix, seed: int) -> ColdSplit:
    """Choose the cold items of one seed."""
    return ColdSplit(positives, np.random.default_rng(seed).random(positives.shape[1]) < 0.2)


def evaluate(scores: Floats, data: ColdSplit) -> dict[str, Floats]:
    """NDCG@20 and Recall@20 of each user with a cold positive; ``scores`` is [n_users, n_items]."""
    columns = np.flatnonzero(data.cold)
    truth = data.positives[:, columns].toarray() > 0
    users = np.flatnonzero(truth.any(axis=1))
    truth, ranked = truth[users], scores[np.ix_(users, columns)]
    order = np.argsort(-ranked, axis=1, kind="stable")[:, :K]
    hits = np.take_along_axis(truth, order, axis=1)
    discount = 1.0 / np.log2(np.arange(2, K + 2))
    n_relevant = truth.sum(axis=1)
    ideal = np.cumsum(discount)[np.minimum(n_relevant, K) - 1]
    return {"ndcg": (hits * discount).sum(axis=1) / ideal, "recall": hits.sum(axis=1) / n_relevant}


def unit(rows: Floats) -> Floats:
    """Rows at length 1; an empty row stays 0."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def idf_features(links: sparse.csr_matrix) -> sparse.csr_matrix:
    """Items × entities, weighted by inverse document frequency, rows at length 1."""
    frequency = np.asarray((links > 0).sum(axis=0)).ravel()
    weighted = (links > 0).astype(float) @ sparse.diags(np.log(links.shape[0] / np.maximum(frequency, 1)))
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return (sparse.diags(1.0 / np.maximum(length, 1e-12)) @ weighted).tocsr()


def nearest_neighbour_scores(similarity: Floats, data: ColdSplit) -> Floats:
    """Mean similarity of an item to the user's warm positives."""
    warm = data.warm_matrix
    count = np.maximum(np.asarray(warm.sum(axis=1)).ravel(), 1)
    result: Floats = np.asarray(warm @ similarity) / count[:, None]
    return result


def ridge_scores(features: Floats, data: ColdSplit, strength: float) -> Floats:
    """Ridge regression from item features to the 40 SVD item factors of the warm matrix."""
    warm = data.warm_matrix.astype(float)
    left, values, right = svds(warm, k=N_FACTORS, random_state=0)
    user_factors, item_factors = left * values, right.T
    known = ~data.cold
    x = features[known]
    if x.shape[1] > x.shape[0]:
        gram = x @ x.T + strength * np.eye(x.shape[0])
        weights = x.T @ np.linalg.solve(gram, item_factors[known])
    else:
        gram = x.T @ x + strength * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x.T @ item_factors[known])
    scores: Floats = user_factors @ (features @ weights).T
    return scores


def untrained_rows(
    plots: Floats, leads: Floats, graph: sparse.csr_matrix
) -> Mapping[str, Callable[[ColdSplit, np.random.Generator], Floats]]:
    """The rows of the table by name: each scores [n_users, n_items] from what is warm."""
    lead, centred = unit(leads), unit(leads - leads.mean(axis=0))
    idf = idf_features(graph)
    by_graph, dense = (idf @ idf.T).toarray(), idf.toarray()
    by_plot, by_lead, by_centred = unit(plots) @ unit(plots).T, lead @ lead.T, centred @ centred.T

    return {
        "random": lambda data, rng: rng.random(data.positives.shape),
        "plot sentence, MiniLM kNN": lambda data, _: nearest_neighbour_scores(by_plot, data),
        "lead text, MiniLM kNN": lambda data, _: nearest_neighbour_scores(by_lead, data),
        "graph, idf cosine kNN": lambda data, _: nearest_neighbour_scores(by_graph, data),
        "lead text kNN + graph kNN": lambda data, _: nearest_neighbour_scores(by_lead + by_graph, data),
        "lead text, centred MiniLM kNN": lambda data, _: nearest_neighbour_scores(by_centred, data),
        "centred lead text kNN + graph kNN": lambda d, _: nearest_neighbour_scores(by_centred + by_graph, d),
        "ridge from the graph": lambda data, _: ridge_scores(dense, data, 1.0),
        "ridge from the text": lambda data, _: ridge_scores(lead, data, 1.0),
        "ridge from graph and text": lambda data, _: ridge_scores(np.hstack([dense, lead]), data, 1.0),
    }
