"""What every model in the registry must do, whatever it is."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from kg.errors import UsageError
from recommender.data import Interactions
from recommender.graph import JointGraph
from recommender.models.base import Recommender, SideData
from recommender.models.registry import MODELS, NEEDS
from recommender.splits import Split, last_split
from recommender.training import Options, train
from tests.worlds import PlainGraph

pytestmark = pytest.mark.filterwarnings("error")


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


def fitted(name: str, seed: int = 0) -> Recommender:
    split, graph, side = tiny()
    options = Options(epochs=2, seed=seed, device="cpu", evaluate_every=1)
    return train(name, split, graph, side=side, options=options).model


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_finite_and_have_their_shape(name: str) -> None:
    split, _, _ = tiny()
    model, users, items = fitted(name), np.asarray([3, 0, 7]), np.asarray([19, 2, 0, 18])
    whole = model.score(users)
    assert whole.shape == (3, split.train.n_items)
    assert np.isfinite(whole).all()
    assert model.score(users, items) == pytest.approx(whole[:, items], abs=1e-5)
    pairs = model.score_pairs(np.repeat(users, 4), np.tile(items, 3))
    assert pairs.reshape(3, 4) == pytest.approx(whole[:, items], abs=1e-5)
    assert model.score_pairs(np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("name", MODELS)
def test_vectors_give_the_score(name: str) -> None:
    model = fitted(name)
    if (vectors := model.vectors()) is not None:
        assert vectors.score(np.asarray([1, 5])) == pytest.approx(model.score(np.asarray([1, 5])), abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_model(name: str) -> None:
    users = np.arange(10)
    assert np.array_equal(fitted(name).score(users), fitted(name).score(users))


@pytest.mark.parametrize("name", MODELS)
def test_edge_weights_are_of_the_joint_graph(name: str) -> None:
    _, graph, _ = tiny()
    weights = fitted(name).edge_weights()
    assert weights is None or (len(weights) == len(graph.tail) and (weights >= 0).all())


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.needs])
def test_what_a_model_needs_is_asked_for(name: str) -> None:
    split, _, _ = tiny()
    bare = Interactions.of(
        [split.train.user_ids[u] for u in split.train.user],
        [split.train.item_ids[i] for i in split.train.item],
    )
    nothing = bare.select(np.zeros(len(bare), dtype=bool))
    with pytest.raises(UsageError, match=f"{name} needs ") as caught:
        train(name, Split(bare, nothing, nothing))
    assert any(NEEDS[need] in caught.value.message for need in MODELS[name].needs)


@pytest.mark.parametrize("name", MODELS)
def test_every_default_is_a_value_of_its_kind(name: str) -> None:
    entry = MODELS[name]
    assert entry.configure({}) == entry.config_class()()
    assert entry.source
    assert len(entry.description) < 90
