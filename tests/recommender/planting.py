"""Training on planted worlds, once per model, world and seed, however many tests ask."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.evaluation.evaluate import pair_auc
from recommender.graph.joint import JointGraph
from recommender.models.base import Recommender, SideData
from recommender.training.train import Options, train
from tests.worlds import Variant, World, planted_world

SEEDS = (0, 1, 2)
FLAT: dict[str, Any] = {"dim": 16, "learning_rate": 0.01}
KGAT: dict[str, Any] = {"dim": 16, "relation_dim": 16, "layers": (16, 16), "learning_rate": 0.01}


def trained(
    name: str, world: World, seed: int, *, epochs: int = 30, side: SideData | None = None, **options: Any
) -> Recommender:
    """The model after ``epochs`` on the world, with these settings of its own; None leaves a default."""
    graph = JointGraph.build(world.split, world.graph, world.links)
    given = {**(KGAT if name == "kgat" else FLAT), **options}
    config = {option: value for option, value in given.items() if value is not None}
    run = Options(epochs=epochs, seed=seed, device="cpu")
    return train(name, world.split, graph, side=side, model_options=config, options=run).model


@cache
def aucs(
    name: str, variant: Variant, *, seeds: tuple[int, ...] = SEEDS, epochs: int = 30, **options: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Warm and cold AUC of each seed."""
    found = []
    for seed in seeds:
        world = planted_world(seed, variant)
        model = trained(name, world, seed, epochs=epochs, **options)
        found.append([pair_auc(model, p.users, p.items, p.labels) for p in (world.warm, world.cold)])
    warm, cold = np.asarray(found).T
    print(f"{name} {variant} {options}: warm {warm.round(3)}, cold {cold.round(3)}")
    return warm, cold
