from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from kg.errors import InputError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.graph.joint import JointGraph
from tests.recommender.tiny import tiny
from tests.worlds import PlainGraph, planted_world

ENTITIES = ["alien", "blade", "far", "lonely", "ridley", "scifi"]
TRIPLES = np.asarray([(0, 0, 4), (0, 1, 5), (1, 0, 4), (4, 1, 2)])  # 2 is two hops away, 3 has no edge
GRAPH = PlainGraph(ENTITIES, ["BY", "IS"], TRIPLES)
LINKS = {"i0": "alien", "i1": "blade", "i2": "unheard of"}


def split_of(held_out: int | None = None) -> Split:
    whole = Interactions.of(["u", "u", "v"], ["i0", "i1", "i0"], catalogue=["i2"])
    mask = np.zeros(3, dtype=bool)
    if held_out is not None:
        mask[held_out] = True
    return Split(whole.select(~mask), whole.select(mask), whole.select(np.zeros(3, dtype=bool)))


def named_edges(graph: JointGraph) -> Counter[tuple[str, str, str]]:
    items, relations = ["i0", "i1", "i2"], ["BY", "IS", "BY~", "IS~", "HAD", "HAD BY"]

    def name(node: int) -> str:
        if node < graph.n_users:
            return "uv"[node]
        node -= graph.n_users
        return items[node] if node < graph.n_items else ENTITIES[graph.entity[node]]

    rows = zip(graph.head.tolist(), graph.relation.tolist(), graph.tail.tolist(), strict=True)
    return Counter((name(h), relations[r], name(t)) for h, r, t in rows)


def test_edges_read_back_are_what_went_in() -> None:
    graph = JointGraph.build(split_of(), GRAPH, LINKS)
    forward = [("i0", "BY", "ridley"), ("i0", "IS", "scifi"), ("i1", "BY", "ridley"), ("ridley", "IS", "far")]
    had = [("u", "HAD", "i0"), ("u", "HAD", "i1"), ("v", "HAD", "i0")]
    both = forward + had + [(t, r + (" BY" if r == "HAD" else "~"), h) for h, r, t in forward + had]
    assert named_edges(graph) == Counter(both)
    assert graph.indptr[-1] == graph.n_edges == 2 * len(TRIPLES) + 2 * 3
    assert graph.n_all_relations == 6
    assert (np.diff(graph.head) >= 0).all()


def test_ids_are_users_then_items_then_entities_by_distance() -> None:
    graph = JointGraph.build(split_of(), GRAPH, LINKS)
    assert [ENTITIES[e] if e >= 0 else None for e in graph.entity] == [
        "alien", "blade", None, "ridley", "scifi", "far", "lonely",
    ]  # fmt: skip
    assert graph.n_within == (5, 7, 8)  # the lonely one is reached by none
    assert graph.n_linked_items == 2


def test_triples_point_back_to_the_snapshot() -> None:
    graph = JointGraph.build(split_of(), GRAPH, LINKS)
    knowledge = graph.triple >= 0
    assert Counter(graph.triple[knowledge].tolist()) == Counter([*range(4), *range(4)])
    assert (graph.relation[~knowledge] >= 2 * graph.n_relations).all()


def test_only_training_interactions_enter() -> None:
    graph = JointGraph.build(split_of(held_out=2), GRAPH, LINKS)
    assert ("v", "HAD", "i0") not in named_edges(graph)
    user, item = graph.interactions()
    assert list(zip(user.tolist(), item.tolist(), strict=True)) == [(0, 0), (0, 1)]


def test_a_leak_into_the_graph_is_refused() -> None:
    graph = JointGraph.build(split_of(), GRAPH, LINKS)
    with pytest.raises(InputError, match="held-out interactions are edges"):
        graph._assert_no_leak(split_of(held_out=2).validation)


def test_two_items_of_one_entity_both_get_its_edges() -> None:
    graph = JointGraph.build(split_of(), GRAPH, {**LINKS, "i2": "alien"})
    edges = named_edges(graph)
    for item in ("i0", "i2"):
        assert edges[item, "BY", "ridley"] == edges["ridley", "BY~", item] == 1
    assert graph.indptr[-1] == 2 * 6 + 2 * 3


def test_what_is_further_away_can_be_left_out() -> None:
    graph = JointGraph.build(split_of(), GRAPH, LINKS, within_hops=1)
    assert [ENTITIES[e] if e >= 0 else None for e in graph.entity] == [
        "alien", "blade", None, "ridley", "scifi",
    ]  # fmt: skip
    assert graph.n_within == (5, 7)
    assert not any("far" in edge for edge in named_edges(graph))
    assert graph.n_edges == 2 * 3 + 2 * 3


def test_rows_within_reach_are_prefixes() -> None:
    world = planted_world(1, "PG-2")
    graph = JointGraph.build(world.split, world.graph, world.links)
    for inner, outer in zip(graph.n_within[:-1], graph.n_within[1:], strict=True):
        assert graph.tail[: graph.indptr[inner]].max() < outer
    knowledge = graph.triple >= 0
    assert knowledge.sum() == 2 * len(world.graph.triples)


def test_entities_beside_an_item_are_those_of_its_facts() -> None:
    split, graph, _ = tiny()
    beside = graph.item_entities().toarray()
    assert beside.shape == (split.train.n_items, graph.n_entities)
    for item in range(split.train.n_items):
        node = graph.n_users + item
        edges = slice(graph.indptr[node], graph.indptr[node + 1])
        known = graph.triple[edges] >= 0
        expected = np.unique(graph.tail[edges][known] - graph.n_users)
        assert np.flatnonzero(beside[item]).tolist() == expected.tolist()
    assert set(np.unique(beside)) <= {0.0, 1.0}
