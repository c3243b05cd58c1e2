"""What every model in the registry must do, whatever it is."""

from __future__ import annotations

import numpy as np
import pytest

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.models.registry import MODELS, NEEDS
from recommender.training.train import train
from tests.recommender.tiny import fitted, tiny

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_finite_and_have_their_shape(name: str) -> None:
    split, _, _ = tiny()
    model, users, items = fitted(name).model, np.asarray([3, 0, 7]), np.asarray([19, 2, 0, 18])
    whole = model.score(users)
    assert whole.shape == (3, split.train.n_items)
    assert np.isfinite(whole).all()
    assert model.score(users, items) == pytest.approx(whole[:, items], abs=1e-5)
    pairs = model.score_pairs(np.repeat(users, 4), np.tile(items, 3))
    assert pairs.reshape(3, 4) == pytest.approx(whole[:, items], abs=1e-5)
    assert model.score_pairs(np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("name", MODELS)
def test_vectors_give_the_score(name: str) -> None:
    model = fitted(name).model
    if (vectors := model.vectors()) is not None:
        assert vectors.score(np.asarray([1, 5])) == pytest.approx(model.score(np.asarray([1, 5])), abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_model(name: str) -> None:
    users = np.arange(10)
    assert np.array_equal(fitted(name).model.score(users), fitted(name).model.score(users))


@pytest.mark.parametrize("name", MODELS)
def test_edge_weights_are_of_the_joint_graph(name: str) -> None:
    _, graph, _ = tiny()
    weights = fitted(name).model.edge_weights()
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
