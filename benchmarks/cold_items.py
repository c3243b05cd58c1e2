"""Cold items on ML-100K: does a graph extracted from text help where interactions are missing?

The 1,219 films that have a lead text, in increasing id; an item is cold if
``numpy.random.default_rng(seed).random(1219) < 0.2``. Positives are ratings of 4 or 5. Only the cold items
are ranked for a user; NDCG@20 and Recall@20 are averaged over users with a cold positive. No model sees an
interaction of a cold item.

What a row has to choose (the strength of a ridge, the weights of its parts) is chosen on items that are
warm: a fifth of them is held out as if it were cold, three times over, and the choice that ranks those best
is taken.

This module holds the protocol and the rows without a learned graph model; ``films_cold.py`` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
K = 20
N_FACTORS = 40
COLD_SHARE = 0.2
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
GRAPH_WEIGHTS = (0.5, 1.0, 2.0)
N_INNER = 3
INNER_ENTROPY = 20_483
"""So that what is held out inside has nothing to do with the choice of the cold items."""

PUBLISHED: Mapping[str, tuple[float, float]] = {
    "random": (0.065, 0.086),
    "plot sentence, MiniLM kNN": (0.094, 0.122),
    "lead text, MiniLM kNN": (0.142, 0.183),
    "graph, idf cosine kNN": (0.172, 0.211),
    "lead text kNN + graph kNN": (0.198, 0.235),
    "ridge from the graph": (0.199, 0.240),
    "ridge from the text": (0.214, 0.246),
    "ridge from graph and text": (0.236, 0.274),
}
"""NDCG@20 and Recall@20 of an earlier study on seeds 0 to 2, whose graph 30 lines of patterns had read."""


@dataclass(frozen=True)
class ColdSplit:
    """Positives as a users × items matrix, which items are ranked, and which may be learnt from."""

    positives: sparse.csr_matrix  # [n_users, n_items]
    cold: Mask  # [n_items]
    known: Mask  # [n_items]

    @property
    def warm_matrix(self) -> sparse.csr_matrix:
        """The positives of the known items alone: all that a model may see."""
        kept: sparse.csr_matrix = self.positives @ sparse.diags(self.known.astype(float))
        kept.eliminate_zeros()
        return kept.tocsr()


def split(positives: sparse.csr_matrix, seed: int) -> ColdSplit:
    """Choose the cold items of one seed."""
    cold = np.random.default_rng(seed).random(positives.shape[1]) < COLD_SHARE
    return ColdSplit(positives, cold, ~cold)


def inner_split(data: ColdSplit, seed: int) -> ColdSplit:
    """Hold a fifth of the known items out as if cold; what is cold in ``data`` is not there at all."""
    held_out = data.known & (
        np.random.default_rng([INNER_ENTROPY, seed]).random(len(data.known)) < COLD_SHARE
    )
    return ColdSplit(data.warm_matrix, held_out, data.known & ~held_out)


def evaluate(scores: Floats, data: ColdSplit) -> dict[str, Floats]:
    """NDCG@20 and Recall@20 of each ``user`` with a cold positive; ``scores`` is [n_users, n_items]."""
    columns = np.flatnonzero(data.cold)
    truth = data.positives[:, columns].toarray() > 0
    users = np.flatnonzero(truth.any(axis=1))
    truth, ranked = truth[users], scores[np.ix_(users, columns)]
    order = np.argsort(-ranked, axis=1, kind="stable")[:, :K]
    hits = np.take_along_axis(truth, order, axis=1)
    discount = 1.0 / np.log2(np.arange(2, K + 2))
    n_relevant = truth.sum(axis=1)
    ideal = np.cumsum(discount)[np.minimum(n_relevant, K) - 1]
    return {
        "user": users.astype(float),
        "ndcg": (hits * discount).sum(axis=1) / ideal,
        "recall": hits.sum(axis=1) / n_relevant,
    }


def unit(rows: Floats) -> Floats:
    """Rows at length 1; an empty row stays 0."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return scaled


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


def factors_of(data: ColdSplit) -> tuple[Floats, Floats]:
    """The 40 SVD factors of the warm matrix: users [n_users, 40], items [n_items, 40]."""
    left, values, right = svds(data.warm_matrix.astype(float), k=N_FACTORS, random_state=0)
    return left * values, right.T


def ridge_scores(kernel: Floats, data: ColdSplit, strength: float, factors: tuple[Floats, Floats]) -> Floats:
    """Ridge regression from item features to item factors; ``kernel`` holds the products of the features.

    *Shape:* [n_items, n_items] -> [n_users, n_items].
    """
    users, items = factors
    inside = kernel[np.ix_(data.known, data.known)]
    weights = np.linalg.solve(inside + strength * np.eye(len(inside)), items[data.known])
    scores: Floats = users @ (kernel[:, data.known] @ weights).T
    return scores


def chosen_ridge(
    graphs: Mapping[str, Floats], text: Floats | None, data: ColdSplit
) -> tuple[Floats, dict[str, Any]]:
    """Ridge on one of the graph's kernels, the text's added where there is one.

    Which kernel, its weight beside the text, and the strength are chosen on warm items.
    """
    inner = [inner_split(data, number) for number in range(N_INNER)]
    inner_factors = [factors_of(one) for one in inner]
    weights = (
        GRAPH_WEIGHTS if text is not None and any(kernel.any() for kernel in graphs.values()) else (1.0,)
    )
    best: tuple[float, float, float, str] = (-1.0, 0.0, 0.0, "")
    for name, weight, strength in product(graphs, weights, STRENGTHS):
        kernel = weight * graphs[name] + (0.0 if text is None else text)
        found = [
            evaluate(ridge_scores(kernel, one, strength, factors), one)["ndcg"].mean()
            for one, factors in zip(inner, inner_factors, strict=True)
        ]
        best = max(best, (float(np.mean(found)), strength, weight, name))
    validation, strength, weight, name = best
    kernel = weight * graphs[name] + (0.0 if text is None else text)
    scores = ridge_scores(kernel, data, strength, factors_of(data))
    chosen = {"validation": round(validation, 4), "strength": strength, "weight": weight, "graph": name}
    return scores, chosen


Row = Callable[[ColdSplit, np.random.Generator], tuple[Floats, dict[str, Any]]]


def neighbour_rows(plots: Floats, leads: Floats, graph: sparse.csr_matrix) -> Mapping[str, Row]:
    """The rows that learn nothing, by name; a row scores [n_users, n_items] and says what it chose."""
    plot, lead, centred = unit(plots), unit(leads), unit(leads - leads.mean(axis=0))
    by_graph = graph_kernel(graph)
    by_plot, by_lead, by_centred = plot @ plot.T, lead @ lead.T, centred @ centred.T

    def near(similarity: Floats) -> Row:
        return lambda data, _: (nearest_neighbour_scores(similarity, data), {})

    return {
        "random": lambda data, rng: (rng.random(data.positives.shape), {}),
        "plot sentence, MiniLM kNN": near(by_plot),
        "lead text, MiniLM kNN": near(by_lead),
        "graph, idf cosine kNN": near(by_graph),
        "lead text kNN + graph kNN": near(by_lead + by_graph),
        "centred lead text kNN": near(by_centred),
        "centred lead text kNN + graph kNN": near(by_centred + by_graph),
    }


def ridge_rows(leads: Floats, graph: sparse.csr_matrix, shuffled: sparse.csr_matrix) -> Mapping[str, Row]:
    """The ridges by name; ``shuffled`` is the graph with the items' rows permuted, the control."""
    lead = unit(leads)
    text = lead @ lead.T
    nothing = {"none": np.zeros_like(text)}
    plain, true, false = {"idf": graph_kernel(graph)}, graph_kernels(graph), graph_kernels(shuffled)
    return {
        "ridge from the graph": lambda data, _: chosen_ridge(plain, None, data),
        "ridge from the text": lambda data, _: chosen_ridge(nothing, text, data),
        "ridge from graph and text": lambda data, _: chosen_ridge(plain, text, data),
        "ridge from the graph, weighting chosen": lambda data, _: chosen_ridge(true, None, data),
        "ridge from graph and text, weighting chosen": lambda data, _: chosen_ridge(true, text, data),
        "ridge from the shuffled graph": lambda data, _: chosen_ridge(false, None, data),
        "ridge from shuffled graph and text": lambda data, _: chosen_ridge(false, text, data),
    }


def graph_kernel(links: sparse.csr_matrix) -> Floats:
    """Cosine of the items' linked entities under inverse document frequency: [n_items, n_items]."""
    idf = idf_features(links)
    kernel: Floats = (idf @ idf.T).toarray()
    return kernel


def graph_kernels(links: sparse.csr_matrix) -> dict[str, Floats]:
    """Two ways to weigh entities: the cosine above, and root idf of shared entities without unit rows.

    An item with many entities of its own has little length left for those it shares; the second kernel leaves
    those out. It is scaled to a mean of 1 on the diagonal.
    """
    frequency = np.asarray((links > 0).sum(axis=0)).ravel()
    weight = np.where(frequency > 1, np.sqrt(np.log(links.shape[0] / np.maximum(frequency, 1))), 0.0)
    weighted = (links > 0).astype(float) @ sparse.diags(weight)
    shared = (weighted @ weighted.T).toarray()
    return {"idf": graph_kernel(links), "shared entities, root idf": shared / shared.diagonal().mean()}
