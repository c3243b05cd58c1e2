"""A world of a page, with everything that some model needs."""

from __future__ import annotations

from functools import cache

import numpy as np

from recommender.data.interactions import Interactions
from recommender.data.splits import Split, last_split
from recommender.graph.joint import JointGraph
from recommender.models.base import SideData
from recommender.training.run import Precision
from recommender.training.train import Options, Trained, train
from tests.worlds import PlainGraph


@cache
def tiny() -> tuple[Split, JointGraph, SideData]:
    """30 users, 20 items, of which the last two are in no interaction and the last has no link either."""
    rng = np.random.default_rng(0)
    catalogue = [f"i{n:02d}" for n in range(20)]
    users, items = rng.integers(0, 30, 260), rng.integers(0, 18, 260)
    rated = Interactions.of(
        [f"u{u:02d}" for u in users],
        [catalogue[i] for i in items],
        weight=rng.integers(1, 6, 260).astype(float),
        time=rng.integers(0, 10**9, 260),
        catalogue=catalogue,
    )
    split = last_split(rated.at_least(3))
    triples = [[n, int(rng.integers(0, 2)), int(rng.integers(19, 26))] for n in range(19) for _ in range(2)]
    triples += [[n, 2, int(rng.integers(26, 29))] for n in range(19, 26)]
    entities = [f"e{n:02d}" for n in range(29)]
    graph = PlainGraph(entities, ["BY", "HAS", "OF"], np.unique(np.asarray(triples), axis=0))
    links = {item: entities[n] for n, item in enumerate(catalogue[:19])}
    words = np.asarray(["red", "green", "blue", "old", "new"])
    side = SideData(
        rated=rated,
        item_texts=[" ".join(rng.choice(words, 3)) if n < 19 else "" for n in range(20)],
        item_vectors=rng.normal(size=(20, 8)).astype(np.float32),
        user_vectors=rng.normal(size=(rated.n_users, 8)).astype(np.float32),
        friends=np.stack([np.arange(28), np.arange(1, 29)], axis=1),
    )
    return split, JointGraph.build(split, graph, links), side


def fitted(name: str, seed: int = 0, precision: Precision = "float32") -> Trained:
    """The model after two epochs."""
    split, graph, side = tiny()
    options = Options(epochs=2, seed=seed, device="cpu", evaluate_every=1, precision=precision)
    return train(name, split, graph, side=side, options=options)
