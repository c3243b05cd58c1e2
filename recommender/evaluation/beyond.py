"""What lists are like beyond their accuracy: novel, diverse, surprising, and fair to users and providers.

``lists[u, r]`` is the dense id of the item at rank ``r`` of user ``u``'s list, -1 where the list is shorter.
A figure per user comes as [n_users], so that it has an interval and can be compared in pairs. The smallest
faithful forms of what surveys of evaluation name (Castells, Hurley and Vargas, 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recommender.data.interactions import Ints
from recommender.data.report import gini
from recommender.evaluation.metrics import Values

LONG_TAIL = 0.8
"""The share of the catalogue, least popular first, that counts as long tail."""


def novelty(lists: Ints, popularity: Ints, n_users: int) -> Values:
    """Mean self-information ``-log2(share of users who had it)`` of the items, in bits: [n_users].

    An item that nobody had counts as had by one.
    """
    information = -np.log2(np.maximum(popularity, 1) / n_users)
    return _mean(information[lists], lists)


def long_tail_share(lists: Ints, popularity: Ints) -> Values:
    """Share of the items that are not among the most popular fifth: [n_users]."""
    order = np.lexsort((np.arange(len(popularity)), popularity))
    tail = np.zeros(len(popularity), dtype=bool)
    tail[order[: round(LONG_TAIL * len(order))]] = True
    return _mean(tail[lists].astype(np.float64), lists)


def intra_list_distance(lists: Ints, vectors: Any) -> Values:
    """Mean ``1 - cosine`` over the pairs of a list's items: [n_users]; 0 for a list of one.

    *Shape:* ``vectors`` [n_items, dim], an array or scipy CSR, of the items' entities or texts.
    """
    rows = sparse.csr_matrix(vectors, dtype=np.float64)
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    unit = sparse.diags(1.0 / np.maximum(length, 1e-12)) @ rows
    there = lists >= 0
    user = np.repeat(np.arange(len(lists)), there.sum(axis=1))
    member = sparse.csr_matrix((np.ones(len(user)), (user, lists[there])), (len(lists), rows.shape[0]))
    total, own = member @ unit, member @ (length > 0).astype(np.float64)
    cosines = (np.asarray(total.multiply(total).sum(axis=1)).ravel() - own) / 2
    n = there.sum(axis=1)
    pairs = n * (n - 1) / 2
    return np.asarray(np.where(pairs > 0, 1.0 - cosines / np.maximum(pairs, 1), 0.0))


def attribute_counts(lists: Ints, attributes: Any) -> tuple[Values, Values]:
    """Distinct attributes of each list, and the entropy (bits) of how they are spread: [n_users] twice.

    *Shape:* ``attributes`` scipy CSR [n_items, n_attributes], 1 where an item has one.
    """
    distinct, entropy = np.zeros(len(lists)), np.zeros(len(lists))
    for user, row in enumerate(lists):
        counts = np.asarray(attributes[row[row >= 0]].sum(axis=0)).ravel()
        shares = counts[counts > 0] / max(counts.sum(), 1)
        distinct[user], entropy[user] = len(shares), -(shares * np.log2(shares)).sum()
    return distinct, entropy


def serendipity(lists: Ints, hits: NDArray[np.bool_], expected: Ints) -> Values:
    """Share of the list that is relevant and not expected: [n_users].

    *Shape:* ``expected`` [n_users, m]: each user's list by a plain model, popularity say.
    """
    unexpected = ~(lists[:, :, None] == expected[:, None, :]).any(axis=2)
    return np.asarray((hits & unexpected).mean(axis=1))


def exposure_gini(lists: Ints, n_items: int) -> float:
    """Gini index of how often each item is shown: 0 where all alike, ``1 - 1 / n_items`` where it is one."""
    return gini(np.bincount(lists[lists >= 0], minlength=n_items))


def group_gap(values: Values, groups: Ints) -> tuple[float, float]:
    """How far apart the best and the worst group are on average, and the worst group's mean.

    *Shape:* ``values`` and ``groups`` [n_users].
    """
    means = [float(values[groups == group].mean()) for group in np.unique(groups)]
    return max(means) - min(means), min(means)


def exposure_divergence(lists: Ints, relevant_items: Ints, attributes: Any) -> float:
    """Kullback-Leibler divergence (bits) from what is relevant to what is shown, by attribute.

    0 where each attribute is shown in proportion to the relevant pairs that carry it. *Shape:*
    ``relevant_items`` [n_pairs]; ``attributes`` as in :func:`attribute_counts`.
    """
    shown = _spread(lists[lists >= 0], attributes)
    merit = _spread(relevant_items, attributes)
    known = merit > 0
    return float((merit[known] * np.log2(merit[known] / np.maximum(shown[known], 1e-12))).sum())


def describe_lists(lists: Ints, popularity: Ints, n_users: int) -> Mapping[str, float]:
    """The figures that need nothing but the lists and how often items were had."""
    return {
        "novelty": float(novelty(lists, popularity, n_users).mean()),
        "long_tail_share": float(long_tail_share(lists, popularity).mean()),
        "exposure_gini": exposure_gini(lists, len(popularity)),
    }


def _mean(values: Values, lists: Ints) -> Values:
    there = lists >= 0
    return np.asarray(np.where(there, values, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1))


def _spread(items: Ints, attributes: Any) -> Values:
    counts = np.asarray(attributes[items].sum(axis=0), dtype=np.float64).ravel()
    return np.asarray(counts / max(counts.sum(), 1e-12))
