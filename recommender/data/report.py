"""What interactions are like before anything is trained on them: sizes, skew, and what may go wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from recommender.data.interactions import Interactions
from recommender.data.splits import Split


def describe(interactions: Interactions) -> dict[str, Any]:
    """Sizes, density, activity, skew and duplicates, by name.

    ``popularity_gini`` is 0 where every item was had by as many users, near 1 where few items have it all.
    """
    per_user = np.bincount(interactions.user, minlength=interactions.n_users)
    per_item = interactions.popularity
    cells = max(interactions.n_users * interactions.n_items, 1)
    found: dict[str, Any] = {
        "users": interactions.n_users,
        "items": interactions.n_items,
        "interactions": len(interactions),
        "density": len(interactions) / cells,
        "median_of_user": float(np.median(per_user)) if len(per_user) else 0.0,
        "users_with_one": int((per_user == 1).sum()),
        "items_nobody_had": int((per_item == 0).sum()),
        "popularity_gini": gini(per_item),
        "duplicate_rows": interactions.n_duplicates,
        "contradictory_pairs": interactions.n_contradictory,
        "weights": f"{interactions.weight.min():g} to {interactions.weight.max():g}",
    }
    if interactions.time is not None:
        days = np.asarray(interactions.time, dtype="datetime64[s]").astype("datetime64[D]")
        found |= {"first": str(days.min()), "last": str(days.max())}
    return found


def describe_split(split: Split) -> dict[str, Any]:
    """Sizes of the parts, what is cold in the test, and how much of it lies in the training's past.

    A leak itself, a held-out pair that is also trained on, cannot be: a split refuses it.
    """
    train, test = split.train, split.test
    cold_users = np.setdiff1d(test.user, train.user)
    found: dict[str, Any] = {
        "train": len(train),
        "validation": len(split.validation),
        "test": len(test),
        "cold_test_items": len(np.setdiff1d(test.item, train.item)),
        "cold_test_users": len(cold_users),
    }
    if train.time is not None and test.time is not None and len(test) and len(train):
        found["test_pairs_before_last_train"] = float((test.time < train.time.max()).mean())
    return found


def gini(counts: Any) -> float:
    """Gini index of non-negative counts: 0 where all are alike, ``1 - 1 / n`` where one has everything."""
    ordered = np.sort(np.asarray(counts, dtype=np.float64))
    n, total = len(ordered), ordered.sum()
    if total == 0:
        return float("nan")
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))
