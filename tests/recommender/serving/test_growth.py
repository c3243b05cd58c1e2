"""New users and items in a trained bundle, on a world whose right answer is known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import sparse

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.evaluation.metrics import auc
from recommender.graph.joint import JointGraph
from recommender.serving.bundle import Bundle
from recommender.serving.growth import Growth, fold_in, grow
from recommender.serving.packing import pack
from recommender.serving.service import Service
from recommender.training.train import Options, train
from tests.worlds import Variant, World, planted_world

N_KNOWN = 400


def rows_of(whole: Interactions, chosen: np.ndarray) -> Interactions:
    """These rows over the users and warm items that they name alone."""
    part = whole.select(chosen)
    return Interactions.of(
        [part.user_ids[u] for u in part.user],
        [part.item_ids[i] for i in part.item],
    )


@cache
def grown(variant: Variant = "PG-1") -> tuple[World, Bundle, Growth]:
    """BPR on the first 400 users and the warm items; then everybody and everything."""
    world = planted_world(0, variant)
    first = rows_of(world.split.train, world.split.train.user < N_KNOWN)
    nothing = first.select(np.zeros(len(first), dtype=bool))
    options = Options(epochs=40, device="cpu")
    settings = {"dim": 16, "learning_rate": 0.01, "warm_only": True}
    trained = train("bpr", Split(first, nothing, nothing), model_options=settings, options=options)
    bundle = pack(trained, first)
    graph = JointGraph.build(world.split, world.graph.described(), world.links)
    return world, bundle, grow(bundle, world.split.train, graph, world.graph.described())


def area(world: World, growth: Growth, *, cold: bool, new_users: bool) -> float:
    pairs = world.cold if cold else world.warm
    chosen = (pairs.users >= N_KNOWN) == new_users
    bundle = growth.bundle
    assert bundle.user_vectors is not None
    assert bundle.item_vectors is not None
    users, items = bundle.user_vectors[pairs.users[chosen]], bundle.item_vectors[pairs.items[chosen]]
    return auc((users * items).sum(axis=1), pairs.labels[chosen])


def test_fold_in_is_where_its_loss_is_smallest() -> None:
    rng = np.random.default_rng(0)
    items = rng.normal(size=(12, 3)).astype(np.float32)
    history = sparse.csr_matrix(np.asarray([[1.0] * 4 + [0.0] * 8, [0.0] * 12]))
    folded = fold_in(items, history)
    assert not folded[1].any()

    def loss(u: np.ndarray) -> float:
        fit, all_ = np.square(1 - items[:4] @ u).sum(), 0.1 * np.square(items @ u).sum()
        return float(fit + all_ + 0.01 * np.square(items).sum(axis=1).mean() * u @ u)

    for step in np.eye(3) * 1e-2:
        assert loss(folded[0]) < min(loss(folded[0] + step), loss(folded[0] - step))


@pytest.mark.planted
def test_new_users_are_served_from_their_history() -> None:
    world, _, growth = grown()
    assert growth.new_users == 200
    assert area(world, growth, cold=False, new_users=True) > 0.95
    shuffled = np.random.default_rng(0).permutation(600)
    assert growth.bundle.user_vectors is not None
    other = growth.bundle.user_vectors[shuffled]
    pairs, items = world.warm, growth.bundle.item_vectors
    assert items is not None
    control = auc((other[pairs.users] * items[pairs.items]).sum(axis=1), pairs.labels)
    assert 0.4 < control < 0.6


@pytest.mark.planted
@pytest.mark.parametrize(
    ("variant", "lowest", "highest"), [("PG-1", 0.9, 1), ("PG-2u", 0.85, 1), ("PG-1-shuffled", 0.35, 0.6)]
)
def test_new_items_are_mapped_through_the_graph(variant: Variant, lowest: float, highest: float) -> None:
    world, bundle, growth = grown(variant)
    assert growth.new_items == world.split.train.n_items - len(bundle.item_ids) > 75
    for new_users in (False, True):
        found = area(world, growth, cold=True, new_users=new_users)
        print(f"{variant}, new users {new_users}: {found:.3f}")
        assert lowest < found <= highest


def test_who_did_not_change_stays_and_the_rest_is_renewed() -> None:
    _, bundle, growth = grown()
    after = growth.bundle
    assert growth.moved_users == 0
    assert bundle.user_vectors is not None
    assert after.user_vectors is not None
    assert np.array_equal(after.user_vectors[:N_KNOWN], bundle.user_vectors)
    service = Service(after)
    assert len(service.recommend("u599", 5)) == 5
    assert service.explain("u599", "i000").name == "item 000"
    assert "200 new" in after.settings["grown"]
    assert after.graph is not None
    assert growth.unmapped_items == 0


def test_a_longer_history_moves_a_user() -> None:
    world, bundle, _ = grown()
    whole = world.split.train
    extra = Interactions.of(
        [*(whole.user_ids[u] for u in whole.user), "u000"],
        [*(whole.item_ids[i] for i in whole.item), "zzz"],
        catalogue=whole.item_ids,
    )
    nothing = extra.select(np.zeros(len(extra), dtype=bool))
    snapshot = world.graph.described()
    graph = JointGraph.build(Split(extra, nothing, nothing), snapshot, world.links)
    growth = grow(bundle, extra, graph, snapshot)
    assert (growth.moved_users, growth.unmapped_items) == (1, 1)


def test_what_cannot_grow_is_refused() -> None:
    world, bundle, _ = grown()
    graph = JointGraph.build(world.split, world.graph.described(), world.links)
    fewer = rows_of(world.split.train, world.split.train.user > 0)
    with pytest.raises(UsageError, match="1 earlier users are gone, 'u000' first"):
        grow(bundle, fewer, graph, world.graph.described())
    nothing = world.split.validation
    popular = pack(train("popularity", Split(world.split.train, nothing, nothing)), world.split.train)
    with pytest.raises(UsageError, match="popularity has no vectors to grow"):
        grow(popular, world.split.train, graph, world.graph.described())
