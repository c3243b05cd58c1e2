from __future__ import annotations

import numpy as np
import pytest

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.graph.joint import JointGraph, KnowledgeView
from recommender.graph.ripple import RippleSets, draw_places, draw_ripple_sets
from tests.recommender.spreading import NOTHING_HAD, ONE_PATH, ONLY_UNLINKED, small_data
from tests.worlds import planted_world


def data(*, linked: bool = True) -> tuple[JointGraph, Interactions]:
    given = small_data(linked=linked)
    assert given.graph is not None
    return given.graph, given.train


def sets(*, inverse: bool, n_hops: int = 3, size: int = 5, seed: int = 0) -> RippleSets:
    graph, train = data()
    view = graph.knowledge(inverse=inverse)
    return draw_ripple_sets(view, train, n_hops, size, np.random.default_rng(seed))


def listed(view: KnowledgeView) -> set[tuple[int, int, int]]:
    return set(zip(view.head.tolist(), view.relation.tolist(), view.tail.tolist(), strict=True))


def test_a_view_is_the_graph_without_interactions() -> None:
    graph, _ = data()
    one, both = (graph.knowledge(inverse=inverse) for inverse in (False, True))
    forward = listed(one)
    assert listed(both) == forward | {(t, r + graph.n_relations, h) for h, r, t in forward}
    assert len(both.edge) == 2 * len(one.edge) == 2 * len(forward)
    for view in (one, both):
        assert (graph.triple[view.edge] >= 0).all()
        assert (graph.head[view.edge] == view.head + graph.n_users).all()
        assert (graph.tail[view.edge] == view.tail + graph.n_users).all()
        assert (view.head == np.repeat(np.arange(view.n_entities), np.diff(view.indptr))).all()
        assert view.indptr[-1] == len(view.tail)


@pytest.mark.parametrize("inverse", [False, True])
def test_drawn_triples_exist_and_each_hop_goes_on_from_the_one_before(inverse: bool) -> None:
    found = sets(inverse=inverse)
    _, train = data()
    known = listed(found.view)
    repeated = 0
    for user, hops in enumerate(found.written_out()):
        if not found.known[user]:
            continue
        seeds = set(train.item[train.user == user].tolist())
        for hop, (heads, relations, tails) in enumerate(hops.tolist()):
            assert set(zip(heads, relations, tails, strict=True)) <= known
            if hop and not any(head in seeds for head, _, _ in known):
                assert (hops[hop] == hops[hop - 1]).all()  # nothing leaves the tails
                repeated += 1
            else:
                assert set(heads) <= seeds
            seeds = set(tails)
    assert (repeated > 0) == (not inverse)  # an inverse edge always leads back


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    one, same, other = (sets(inverse=True, seed=seed).triple.tobytes() for seed in (0, 0, 1))
    assert one == same != other


def test_distinct_triples_where_there_are_enough_and_copies_of_the_only_one() -> None:
    found = sets(inverse=True, size=3)
    for user in np.flatnonzero(found.known):
        if user != ONE_PATH:
            assert len(set(found.triple[user, 0].tolist())) == 3
    whole = sets(inverse=False, size=4).written_out()
    assert (whole[ONE_PATH, 0] == whole[ONE_PATH, 0, :, :1]).all()
    assert whole[ONE_PATH, 0, :, 0].tolist()[:2] == [0, 1]


def test_users_without_history_or_triples_are_marked() -> None:
    found = sets(inverse=True)
    assert np.flatnonzero(~found.known).tolist() == [NOTHING_HAD, ONLY_UNLINKED]
    assert (found.written_out()[[NOTHING_HAD, ONLY_UNLINKED]] == 0).all()
    graph, train = data(linked=False)
    nothing = draw_ripple_sets(graph.knowledge(inverse=True), train, 2, 4, np.random.default_rng(0))
    assert not nothing.known.any()
    assert nothing.written_out().shape == (train.n_users, 2, 3, 4)


def test_every_triple_that_leaves_the_seeds_is_drawn_as_often() -> None:
    places = draw_places(np.full(20_000, 6), 3, np.random.default_rng(0))
    assert all(len(set(row)) == 3 for row in places[:100].tolist())
    assert np.bincount(places.ravel(), minlength=6) == pytest.approx(10_000, rel=0.03)
    few = draw_places(np.full(20_000, 2), 3, np.random.default_rng(0))
    assert np.bincount(few.ravel()) == pytest.approx([30_000, 30_000], rel=0.03)


def test_no_hop_of_a_planted_world_misses_an_attribute() -> None:
    world = planted_world(0)
    graph = JointGraph.build(world.split, world.graph, world.links)
    view = graph.knowledge(inverse=True)
    found = draw_ripple_sets(view, world.split.train, 1, 30, np.random.default_rng(0)).written_out()
    had = np.bincount(world.split.train.user, minlength=600) == 15  # and so 30 triples: all are drawn
    assert all(len(np.unique(hops[0], axis=1).T) == 30 for hops in found[had])


def test_no_hop_or_no_triple_is_refused() -> None:
    for n_hops, size in ((0, 4), (2, 0)):
        with pytest.raises(UsageError, match="hold nothing"):
            sets(inverse=True, n_hops=n_hops, size=size)
