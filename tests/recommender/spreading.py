"""A small graph with everything that can go wrong where preferences spread along it."""

from __future__ import annotations

import numpy as np

from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.graph.joint import JointGraph
from recommender.models.base import TrainingData
from tests.worlds import PlainGraph

NOTHING_HAD, ONLY_UNLINKED, ONE_PATH = 0, 1, 2
"""Users without training item, with one that has no triple, and with one that has a single triple."""


def small_data(*, linked: bool = True) -> TrainingData:
    """8 users, 10 items (8 without link, 9 had by nobody), 24 entities, a relation without triple."""
    rng = np.random.default_rng(0)
    pairs = [(ONLY_UNLINKED, 8), (ONE_PATH, 0)]
    pairs += [(user, int(item)) for user in range(3, 8) for item in rng.choice(8, 4, replace=False)]
    whole = Interactions.of(
        [f"u{user}" for user, _ in [*pairs, (NOTHING_HAD, 1)]],
        [f"i{item}" for _, item in [*pairs, (NOTHING_HAD, 1)]],
        catalogue=[f"i{item}" for item in range(10)],
    )
    entities = [f"e{number:02d}" for number in range(24)]
    drawn = np.stack([rng.integers(1, 18, 60), rng.integers(0, 3, 60), rng.integers(1, 23, 60)], axis=1)
    triples = np.unique(np.concatenate([drawn, [(0, 1, 23)]]), axis=0)
    links = {f"i{item}": f"e{item:02d}" for item in range(10) if item != 8} if linked else {}
    train = whole.select(whole.user != NOTHING_HAD)
    nothing = whole.select(np.zeros(len(whole), dtype=bool))
    graph = PlainGraph(entities, ["p", "q", "r", "never"], triples)
    return TrainingData(train, JointGraph.build(Split(train, nothing, nothing), graph, links))
