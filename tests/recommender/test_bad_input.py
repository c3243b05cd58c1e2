"""Data that is hardly any, or contradicts itself: a finite answer or a clear error, never silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kg.errors import LoreError, NotFound, TrainingError, UsageError
from recommender.data.datasets import snapshot_of
from recommender.data.interactions import Interactions
from recommender.data.readers import read_interactions
from recommender.data.report import describe
from recommender.data.sampling import PairSampler
from recommender.data.splits import Split
from recommender.graph.joint import JointGraph
from recommender.models.base import SideData
from recommender.models.registry import MODELS
from recommender.serving.bundle import ItemRows
from recommender.serving.growth import grow
from recommender.serving.packing import pack
from recommender.serving.service import Service
from recommender.training.train import Options, Trained, train
from tests.recommender.serving.test_bundle import bundle
from tests.recommender.tiny import tiny
from tests.worlds import PlainGraph

NOBODY = 0
"""The dense id of the user who has nothing; the last item of the tiny world has no link."""

NOTHING_TO_LEARN = {
    "ripplenet": "no user's items have a triple in the graph",
    "dkn": "there is no triple to learn from",
    "hetemf": "no two items share an entity",
}
"""Models that are nothing without triples, and what they say."""
WITHOUT_NEGATIVES = ("shine",)


def sparse_world(triples: list[tuple[int, int, int]]) -> tuple[Split, JointGraph, SideData]:
    """The tiny world with one more user, who has nothing, and these triples in place of its own."""
    split, _, side = tiny()
    users = ("nobody", *split.train.user_ids)
    parts = (part.over(users, part.item_ids) for part in (split.train, split.validation, split.test))
    wide = Split(*parts)
    assert side.rated is not None
    assert side.friends is not None
    vectors = side.user_vectors
    assert vectors is not None
    side = replace(
        side,
        rated=side.rated.over(users, side.rated.item_ids),
        user_vectors=np.concatenate([np.zeros_like(vectors[:1]), vectors]),
        friends=side.friends + 1,
    )
    entities = [f"e{n:02d}" for n in range(29)]
    rows = np.asarray(triples, dtype=np.int64).reshape(-1, 3)
    plain = PlainGraph(entities, ["BY", "NEVER", "OF"], rows)
    links = {item: entities[n] for n, item in enumerate(wide.train.item_ids[:19])}
    return wide, JointGraph.build(wide, plain, links), side


def once(name: str, world: tuple[Split, JointGraph, SideData]) -> Trained:
    split, graph, side = world
    return train(name, split, graph, side=side, options=Options(epochs=1, device="cpu", evaluate_every=1))


@pytest.mark.parametrize("name", MODELS)
def test_no_history_no_link_and_a_relation_of_no_triple(name: str) -> None:
    """Item 18 is linked and in no triple, item 19 not linked; relation 1 is in no triple."""
    triples = [(n, 0, 19 + n % 3) for n in range(18)] + [(19 + n, 2, 23) for n in range(3)]
    world = sparse_world(triples)
    trained = once(name, world)
    scores = trained.model.score(np.asarray([NOBODY, 1]))
    assert np.isfinite(scores).all()
    assert np.isfinite(trained.model.score_pairs(np.asarray([NOBODY, NOBODY]), np.asarray([18, 19]))).all()
    service = Service(pack(trained, world[0].train))
    popularity = world[0].train.popularity
    shown = [world[0].train.item_ids.index(hit.item) for hit in service.recommend("nobody", 3)]
    assert popularity[shown].tolist() == np.sort(popularity)[::-1][:3].tolist()


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.needs_graph])
def test_a_graph_of_no_triple(name: str) -> None:
    world = sparse_world([])
    if name in NOTHING_TO_LEARN:
        with pytest.raises(LoreError, match=NOTHING_TO_LEARN[name]) as caught:
            once(name, world)
        assert caught.value.hint
        return
    assert np.isfinite(once(name, world).model.score(np.arange(5))).all()


def test_a_snapshot_of_nothing() -> None:
    empty = snapshot_of([], ["a", "b"])
    assert (empty.n_entities, empty.n_relations, len(empty.triples)) == (2, 0, 0)
    split, _, _ = tiny()
    graph = JointGraph.build(split, empty, {})
    assert (graph.n_linked_items, graph.n_edges) == (0, 2 * len(split.train))


def test_unknown_ids_are_named() -> None:
    service = Service(bundle())
    for ask in (
        lambda: service.recommend("eve"),
        lambda: service.recommend_batch(["ann", "eve"]),
        lambda: service.explain("eve", "m0"),
    ):
        with pytest.raises(NotFound, match="user 'eve' is not in the training data"):
            ask()
    for ask_item in (
        lambda: service.similar_items("m9"),
        lambda: service.recommend_for_history(["m0", "m9"]),
    ):
        with pytest.raises(NotFound, match="item 'm9' is not in the catalogue"):
            ask_item()


def test_who_had_nothing_gets_what_most_had() -> None:
    indptr = np.asarray([0, 0, 3])
    nothing = {"history_indptr": indptr, "history_items": np.asarray([0, 1, 3])}
    rows = ItemRows(np.asarray([0, 2, 3, 3, 3]), np.asarray([1, 3, 2]), np.asarray([0.5, 2, 1], np.float32))
    lists = ItemRows(np.asarray([0, 1, 2]), np.asarray([2, 1]), np.asarray([1, 1], np.float32))
    bare = {"user_vectors": None, "item_vectors": None}
    for made in (
        bundle(**nothing),
        bundle(**nothing, **bare, item_weights=rows),
        bundle(**nothing, **bare, lists=lists),
    ):
        assert [hit.item for hit in Service(made).recommend("ann", 2)] == ["m0", "m1"]
        assert Service(made).explain("ann", "m0").paths == ()


def test_the_latest_of_contradictory_rows_counts_and_they_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text(
        "user_id,item_id,rating,timestamp\n"
        "u,a,5,10\nu,a,1,20\n"  # liked, then disliked
        "u,b,5,40\nu,b,1,30\n"  # disliked, then liked, in the other order
        "u,c,4,1\nu,c,4,2\n"  # said twice
        "v,a,1,1\nv,a,5,2\nv,a,2,3\nv,a,5,4\n",  # undecided
        encoding="utf-8",
    )
    found = read_interactions(file, positive_from=4)
    names = {(found.user_ids[u], found.item_ids[i]) for u, i in zip(found.user, found.item, strict=True)}
    assert names == {("u", "b"), ("u", "c"), ("v", "a")}
    told = describe(found)
    assert (told["duplicate_rows"], told["contradictory_pairs"]) == (6, 3)
    untimed = Interactions.of(["u", "u"], ["a", "a"], weight=[5, 1])
    assert (untimed.weight.tolist(), untimed.n_contradictory) == ([1], 1)
    assert untimed.select(np.asarray([True])).n_contradictory == 0


@pytest.mark.parametrize("warm_only", [True, False])
def test_nothing_left_to_draw(warm_only: bool) -> None:
    """v has every item: only u, who misses one, gives rows; without u there are none."""
    both = Interactions.of(["u", "v", "v"], ["a", "a", "b"])
    user, positive, negative = PairSampler(both, sample_by="interaction", warm_only=warm_only).epoch(
        np.random.default_rng(0)
    )
    assert (user.tolist(), positive.tolist(), negative.tolist()) == ([0], [0], [1])
    full = Interactions.of(["u", "u", "v", "v"], ["a", "b", "a", "b"])
    with pytest.raises(TrainingError, match="every user has every item") as caught:
        PairSampler(full, sample_by="user", warm_only=warm_only)
    assert caught.value.hint == "Add items or users."


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.by_gradient])
def test_training_without_any_negative_stops(name: str) -> None:
    _, _, side = tiny()
    users, items = np.divmod(np.arange(30 * 20), 20)
    full = Interactions.of(
        [f"u{u:02d}" for u in users],
        [f"i{i:02d}" for i in items],
        weight=np.arange(600) % 5 + 1,
        time=np.arange(600),
    )
    nothing = full.select(np.zeros(600, dtype=bool))
    split = Split(full, nothing, nothing)
    graph = PlainGraph([f"i{n:02d}" for n in range(21)], ["BY"], np.asarray([(n, 0, 20) for n in range(20)]))
    joint = JointGraph.build(split, graph, {item: item for item in full.item_ids})
    vectors = np.zeros((30, 8), dtype=np.float32)
    side = replace(side, rated=full, user_vectors=vectors)
    options = Options(epochs=1, device="cpu")
    if name in WITHOUT_NEGATIVES:
        trained = train(name, split, joint, side=side, options=options)
        assert np.isfinite(trained.model.score(np.arange(5))).all()
        return
    with pytest.raises(TrainingError, match="every user has every item"):
        train(name, split, joint, side=side, options=options)


def test_growing_on_another_graph_is_refused() -> None:
    world = sparse_world([(n, 0, 19 + n % 3) for n in range(18)])
    made = pack(once("bpr", world), world[0].train)
    other = snapshot_of([("x", "BY", "y")])
    graph = JointGraph.build(world[0], other, {})
    with pytest.raises(UsageError, match="none of the items that bpr was trained on is linked to this graph"):
        grow(made, world[0].train, graph, other)
