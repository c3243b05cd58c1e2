from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.data.interactions import Floats, Ints
from recommender.serving.walks import walks_to

Found = dict[tuple[int, ...], float]


def csr(edges: list[tuple[int, int]], n: int, weights: list[float]) -> tuple[Ints, Ints, Floats]:
    rows = sorted(
        [(a, b, w) for (a, b), w in zip(edges, weights, strict=True)]
        + [(b, a, w) for (a, b), w in zip(edges, weights, strict=True)]
    )
    head = np.asarray([a for a, _, _ in rows], dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(head, minlength=n))]).astype(np.int64)
    return (
        indptr,
        np.asarray([b for _, b, _ in rows], dtype=np.int64),
        np.asarray([w for _, _, w in rows], dtype=np.float32),
    )


def found(target: int, sources: list[int], graph: tuple[Ints, Ints, Floats], length: int) -> Found:
    walks = walks_to(target, np.asarray(sources, dtype=np.int64), *graph, max_length=length)
    assert [group.edges.shape[1] for group in walks] == list(range(1, length + 1))
    return {
        tuple(nodes): float(strength)
        for group in walks
        for nodes, strength in zip(group.nodes.tolist(), group.strength, strict=True)
    }


def by_hand(target: int, sources: set[int], graph: tuple[Ints, Ints, Floats], length: int) -> Found:
    indptr, tail, weight = graph
    paths: Found = {}

    def grow(path: tuple[int, ...], strength: float) -> None:
        if len(path) > length:
            return
        for edge in range(indptr[path[0]], indptr[path[0] + 1]):
            node = int(tail[edge])
            if node in path:
                continue
            if node in sources:
                paths[node, *path] = strength * float(weight[edge])
            else:
                grow((node, *path), strength * float(weight[edge]))

    grow((target,), 1.0)
    return paths


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_equals_a_search_by_hand(data: st.DataObject) -> None:
    pairs = st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] < pair[1])
    edges = data.draw(st.lists(pairs, unique=True, max_size=16))
    weights = [0.1 + 0.05 * n for n in range(len(edges))]
    graph = csr(edges, 8, weights)
    sources = data.draw(st.lists(st.integers(1, 7), max_size=4))
    ours, theirs = found(0, sources, graph, 3), by_hand(0, set(sources), graph, 3)
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[path] - theirs[path]) < 1e-6 for path in ours)


def test_edges_join_their_neighbours_and_several_between_two_are_several_paths() -> None:
    graph = csr([(0, 1), (0, 1), (1, 2)], 3, [0.5, 0.4, 0.3])
    (_, group) = walks_to(0, np.asarray([2]), *graph, max_length=2)
    assert group.nodes.tolist() == [[2, 1, 0]] * 2
    head = np.repeat(np.arange(3), np.diff(graph[0]))
    for nodes, edges in zip(group.nodes, group.edges, strict=True):
        for left, right, edge in zip(nodes[:-1], nodes[1:], edges, strict=True):
            assert {head[edge], graph[1][edge]} == {left, right}
    assert len({tuple(edges) for edges in group.edges.tolist()}) == 2


def test_the_strongest_survive_the_limit() -> None:
    edges = [(0, n) for n in range(1, 51)] + [(n, 51) for n in range(1, 51)] + [(51, 52)]
    graph = csr(edges, 53, [n / 100 for n in range(1, 51)] + [1.0] * 51)
    walks = walks_to(0, np.asarray([52]), *graph, max_length=3, max_walks=5)
    assert sorted(walks[-1].nodes[:, 2].tolist()) == [46, 47, 48, 49, 50]


def test_a_hub_as_last_step_costs_nothing() -> None:
    n = 200_000
    hub = [(0, 1), *((1, node) for node in range(2, n))]
    graph = csr(hub, n, [1.0] * len(hub))
    walks = walks_to(0, np.asarray([77]), *graph, max_length=2)
    assert walks[1].nodes.tolist() == [[77, 1, 0]]
