"""The figures of a test as rows to print and to keep: one row a model, and one a group of users or items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from recommender.data.splits import Split
    from recommender.evaluation.evaluate import Ranking
    from recommender.graph.joint import JointGraph
    from recommender.models.base import Recommender

SHOWN_METRICS = ("ndcg", "recall")
N_ACTIVITY_GROUPS = 4


def model_rows(rankings: Mapping[str, Ranking], split: Split, model: str, seed: int) -> list[dict[str, Any]]:
    """Each model with its intervals, what its lists are like, and how much ``model`` gains over it in NDCG.

    A gain is over the same users in pairs, with its 95 % interval: one that holds 0 is no difference.
    """
    from recommender.evaluation.beyond import describe_lists

    rows = []
    for name, ranking in rankings.items():
        rng = np.random.default_rng(seed)
        row: dict[str, Any] = {"model": name}
        for metric in SHOWN_METRICS:
            found = ranking.interval(metric, rng)
            row[f"{metric}@{ranking.k}"] = round(found.mean, 4)
            row[f"{metric}@{ranking.k} 95%"] = f"{found.low:.4f}-{found.high:.4f}"
        row[f"coverage@{ranking.k}"] = round(ranking.coverage, 4)
        lists = describe_lists(ranking.lists, split.train.popularity, split.train.n_users)
        row |= {figure: round(value, 4) for figure, value in lists.items()}
        gain = None if name == model else rankings[model].gain_over(ranking, "ndcg", rng)
        row[f"{model} gains"] = (
            "" if gain is None else f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
        )
        rows.append(row)
    return rows


def beyond_accuracy(
    ranking: Ranking,
    expected: Ranking,
    recommender: Recommender,
    split: Split,
    graph: JointGraph | None,
    seed: int,
) -> dict[str, float]:
    """AUC over all test pairs and within users, surprise beside popularity's lists, variety in the graph.

    ``exposure_divergence`` is in bits: how far the entities of what is shown are from those of what is
    relevant.
    """
    from recommender.evaluation import beyond
    from recommender.evaluation.evaluate import held_out_pairs
    from recommender.evaluation.metrics import auc, grouped_auc

    users, items, labels = held_out_pairs(split.test, seen=[split.train, split.validation], seed=seed)
    scores = recommender.score_pairs(users, items)
    found = {
        "auc": auc(scores, labels),
        "auc_within_users": grouped_auc(users, scores, labels),
        "serendipity": float(beyond.serendipity(ranking.lists, ranking.hits, expected.lists).mean()),
    }
    if graph is not None:
        entities = graph.item_entities()
        distinct, entropy = beyond.attribute_counts(ranking.lists, entities)
        found |= {
            "intra_list_distance": float(beyond.intra_list_distance(ranking.lists, entities).mean()),
            "distinct_entities": float(distinct.mean()),
            "entropy_of_entities": float(entropy.mean()),
            "exposure_divergence": beyond.exposure_divergence(ranking.lists, split.test.item, entities),
        }
    return {name: round(value, 4) for name, value in found.items()}


def slice_rows(ranking: Ranking, recommender: Recommender, split: Split, seed: int) -> list[dict[str, Any]]:
    """NDCG and recall of users by how much they had, and of the items that nobody had in training."""
    from kg.errors import UsageError
    from recommender.evaluation.beyond import group_gap
    from recommender.evaluation.evaluate import evaluate

    n_had = np.bincount(split.train.user, minlength=split.train.n_users)[ranking.users]
    order = np.argsort(n_had, kind="stable")
    groups = np.empty(len(order), dtype=np.int64)
    groups[order] = np.arange(len(order)) * N_ACTIVITY_GROUPS // max(len(order), 1)
    rows = []
    for group in np.unique(groups):
        inside = groups == group
        had = n_had[inside]
        rows.append(_slice(f"users with {had.min()} to {had.max()} in training", ranking.part(inside), seed))
    gap, _ = group_gap(ranking.values["ndcg"], groups)
    rows.append({"slice": "gap between these groups", "users": len(groups), "ndcg": round(gap, 4)})
    cold = split.test.select(split.train.popularity[split.test.item] == 0)
    try:
        of_cold = evaluate(
            recommender, cold, seen=[split.train, split.validation], candidates=split.cold_items, seed=seed
        )
        rows.append(_slice("items nobody had in training, among themselves", of_cold, seed))
    except UsageError:
        pass  # no user has a cold item in the test
    return rows


def _slice(name: str, ranking: Ranking, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    row: dict[str, Any] = {"slice": name, "users": len(ranking.users)}
    for metric in ("ndcg", "recall"):
        found = ranking.interval(metric, rng)
        row[metric] = round(found.mean, 4)
        row[f"{metric} 95%"] = f"{found.low:.4f}-{found.high:.4f}"
    return row
