"""What only a model that understands the graph can do, and controls that must fall to chance.

Levels were measured on three seeds; a floor is on the mean of three, with a lower one for each seed,
because the spread over seeds is up to .15.
"""

from __future__ import annotations

import numpy as np
import pytest

from recommender.evaluation.evaluate import evaluate, pair_auc
from recommender.evaluation.metrics import auc
from recommender.graph.joint import JointGraph
from recommender.serving.packing import pack
from recommender.serving.service import Service
from recommender.training.train import Options, train
from tests.recommender.planting import FLAT, KGAT, SEEDS, aucs, trained
from tests.worlds import N_ITEMS, N_USERS, Variant, planted_world


@pytest.mark.parametrize("variant", ["PG-1", "PG-1-shuffled", "PG-2", "PG-2u"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_world_is_as_planted(variant: Variant, seed: int) -> None:
    world = planted_world(seed, variant)
    popularity = world.split.train.popularity
    assert 0.47 <= auc(popularity[world.warm.items], world.warm.labels) <= 0.54
    assert auc(popularity[world.cold.items], world.cold.labels) == 0.5
    for pairs in (world.warm, world.cold):
        assert auc(world.counted(pairs), pairs.labels) > 0.998
        assert pairs.labels.mean() == 0.5
    assert len(world.split.train) == 15 * N_USERS
    assert (popularity == 0).sum() == N_ITEMS // 5 == len(np.setdiff1d(np.arange(N_ITEMS), world.warm.items))


def test_worlds_repeat_and_differ() -> None:
    one, again, other = planted_world(5), planted_world(5), planted_world(6)
    assert np.array_equal(one.split.train.keys, again.split.train.keys)
    assert np.array_equal(one.graph.triples, again.graph.triples)
    assert not np.array_equal(one.split.train.keys, other.split.train.keys)


def test_one_hop_says_nothing_in_the_hard_world() -> None:
    triples = planted_world(0, "PG-2u").graph.triples
    authors = triples[triples[:, 1] == 0][:, 2]
    assert len(np.unique(authors)) == N_ITEMS


@pytest.mark.planted
@pytest.mark.parametrize("name", ["bpr", "lightgcn"])
def test_without_a_graph_cold_items_stay_at_chance(name: str) -> None:
    warm, cold = aucs(name, "PG-1")
    assert warm.min() > 0.97
    assert ((cold > 0.4) & (cold < 0.6)).all()  # more is a leak


@pytest.mark.planted
def test_kgat_reaches_cold_items_through_the_graph() -> None:
    warm, cold = aucs("kgat", "PG-1")
    assert warm.min() > 0.99
    assert cold.mean() >= 0.85
    assert cold.min() >= 0.75


@pytest.mark.planted
def test_kgat_with_the_wrong_graph_falls_to_chance() -> None:
    warm, cold = aucs("kgat", "PG-1-shuffled")
    assert warm.min() > 0.99
    assert ((cold > 0.4) & (cold < 0.6)).all()


@pytest.mark.planted
def test_cold_items_drawn_as_negatives_learn_to_be_bad() -> None:
    _, cold = aucs("kgat", "PG-1")
    warm, spoiled = aucs("kgat", "PG-1", warm_only=False)
    assert warm.min() > 0.99  # on warm items nothing shows
    assert spoiled.mean() < 0.75
    assert cold.mean() - spoiled.mean() > 0.15


@pytest.mark.planted
def test_a_start_from_trained_vectors_costs_cold_items() -> None:
    _, cold = aucs("kgat", "PG-1")
    spoiled = []
    for seed in SEEDS:
        world = planted_world(seed)
        run = Options(epochs=30, seed=seed, device="cpu")
        first = train("bpr", world.split, model_options={**FLAT, "warm_only": True}, options=run)
        graph = JointGraph.build(world.split, world.graph, world.links)
        start = first.model.vectors()
        model = train("kgat", world.split, graph, model_options=KGAT, options=run, initial=start).model
        spoiled.append(pair_auc(model, world.cold.users, world.cold.items, world.cold.labels))
    print(f"kgat from bpr: cold {np.round(spoiled, 3)}")
    assert cold.mean() - np.mean(spoiled) > 0.15


@pytest.mark.planted
def test_more_layers_see_further() -> None:
    _, shallow = aucs("kgat", "PG-2u", layers=(16,))
    _, deep = aucs("kgat", "PG-2u", layers=(16, 16, 16))
    assert 0.4 < shallow.mean() < 0.6  # one hop: every item has its own author
    assert deep.mean() - shallow.mean() >= 0.15


@pytest.mark.planted
def test_full_ranking_of_cold_items_beats_what_knows_no_graph() -> None:
    world = planted_world(1)
    liked = world.likes[:, world.attribute]
    cold = np.flatnonzero(world.split.train.popularity == 0)
    users, items = np.nonzero(liked[:, cold])
    from recommender.data.interactions import Interactions

    train_ = world.split.train
    truth = Interactions.of(
        [train_.user_ids[u] for u in users],
        [train_.item_ids[cold[i]] for i in items],
        catalogue=train_.item_ids,
    )
    rng = np.random.default_rng(0)
    ours = evaluate(trained("kgat", world, 1), truth, candidates=cold)
    theirs = evaluate(trained("bpr", world, 1), truth, candidates=cold)
    gain = ours.gain_over(theirs, "ndcg", rng)
    assert gain.low > 0.3
    assert theirs.figures()["recall@20"] == pytest.approx(20 / len(cold), abs=0.06)


@pytest.mark.planted
def test_the_path_that_explains_the_taste_comes_first() -> None:
    """Cold items of a liked attribute: the first path runs through that attribute, not through noise."""
    world = planted_world(1)
    graph = JointGraph.build(world.split, world.graph, world.links)
    config, run = KGAT, Options(epochs=30, seed=1, device="cpu")
    model = train("kgat", world.split, graph, model_options=config, options=run)
    service = Service(pack(model, world.split.train, graph=graph, snapshot=world.graph.described()))
    right = shown = 0
    for pair in np.flatnonzero(world.cold.labels)[::4]:
        user, item = int(world.cold.users[pair]), int(world.cold.items[pair])
        found = service.explain(f"u{user:03d}", f"i{item:03d}")
        shown += 1
        right += found.paths[0].entities[1] == f"attribute {world.attribute[item]}"
    assert shown > 500
    print(f"first path right: {right} of {shown}")
    assert right / shown > 0.95
