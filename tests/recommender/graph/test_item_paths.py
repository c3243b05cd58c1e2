from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from recommender.graph.item_paths import ItemPaths, PathsOfRows, PathTrie
from recommender.graph.joint import JointGraph
from tests.recommender.models.test_contract import tiny
from tests.worlds import PlainGraph

Path = tuple[tuple[int, ...], tuple[int, ...]]


def by_hand(graph: JointGraph, max_length: int) -> dict[tuple[int, int], set[Path]]:
    """Depth-first search over the knowledge edges."""
    out: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for head, relation, tail in zip(graph.head, graph.relation, graph.tail, strict=True):
        if relation < 2 * graph.n_relations:
            out[int(head) - graph.n_users].append((int(relation), int(tail) - graph.n_users))
    found: dict[tuple[int, int], set[Path]] = defaultdict(set)

    def grow(entities: tuple[int, ...], relations: tuple[int, ...]) -> None:
        if relations and entities[-1] < graph.n_items:
            found[entities[0], entities[-1]].add((entities, relations))
        if len(relations) < max_length:
            for relation, tail in out[entities[-1]]:
                if tail not in entities:
                    grow((*entities, tail), (*relations, relation))

    for item in range(graph.n_items):
        grow((item,), ())
    return found


def kept(paths: ItemPaths) -> dict[tuple[int, int], set[Path]]:
    found: dict[tuple[int, int], set[Path]] = defaultdict(set)
    for key, path in zip(paths.keys.tolist(), paths.path.tolist(), strict=True):
        found[divmod(key, paths.n_items)].add(paths.trie.spell(path))
    return found


@pytest.mark.parametrize("max_length", [1, 2, 3])
def test_all_simple_paths_are_found(max_length: int) -> None:
    _, graph, _ = tiny()
    expected = by_hand(graph, max_length)
    assert kept(ItemPaths.of(graph, max_length=max_length, per_item=10**6)) == expected
    assert max_length == 1 or expected  # the longer ones are really there


def test_of_too_many_the_shortest_then_likeliest_stay() -> None:
    _, graph, _ = tiny()
    whole = kept(ItemPaths.of(graph, per_item=10**6))
    few = kept(ItemPaths.of(graph, per_item=3))
    degree = np.diff(graph.indptr)[graph.n_users :].astype(float)
    n_interactions = np.bincount(graph.interactions()[1], minlength=graph.n_items)
    degree[: graph.n_items] -= n_interactions

    def order(path: Path) -> tuple[int, float]:
        return len(path[1]), round(-float(np.prod([1 / degree[e] for e in path[0][:-1]])), 9)

    for source in range(graph.n_items):
        mine = sorted(order(p) for (s, _), ps in whole.items() for p in ps if s == source)
        assert sorted(order(p) for (s, _), ps in few.items() for p in ps if s == source) == mine[:3]


def test_a_trie_gives_back_its_paths_and_merges_equal_ones() -> None:
    entities = np.asarray([(5, 2, 7, -1), (5, 2, 8, 1), (5, 2, 7, -1), (4, 2, 7, -1), (5, 2, -1, -1)])
    relations = np.asarray([(0, 3, -1), (0, 1, 1), (0, 3, -1), (0, 3, -1), (1, -1, -1)])
    trie, ends = PathTrie.of(entities, relations)
    for row, end in enumerate(ends.tolist()):
        length = int((relations[row] >= 0).sum())
        assert trie.spell(end) == (
            tuple(entities[row, : length + 1].tolist()),
            tuple(relations[row, :length].tolist()),
        )
    assert ends[0] == ends[2]
    assert len(set(ends.tolist())) == 4
    assert trie.depth(ends).tolist() == [2, 3, 2, 2, 1]
    kind, spelled = trie.kinds()
    assert [spelled[k] for k in kind[ends]] == [(0, 3), (0, 1, 1), (0, 3), (0, 3), (1,)]
    levels = trie.levels(ends[[0, 4]])
    assert [len(level) for level in levels] == [1, 2, 1, 0]
    assert all((trie.depth(level) == depth).all() for depth, level in enumerate(levels))


def test_best_drops_duplicates_before_it_counts() -> None:
    rows = np.asarray([2, 0, 0, 0, 2, 0])
    paths = np.asarray([9, 5, 4, 5, 9, 6])
    best = PathsOfRows.best(rows, 3, paths, rank=paths * 10, limit=2)
    assert best.indptr.tolist() == [0, 2, 2, 3]
    assert best.paths.tolist() == [4, 5, 9]


def test_both_searches_agree() -> None:
    _, graph, _ = tiny()
    paths = ItemPaths.of(graph)
    sources = np.asarray([[0, 3, -1], [5, -1, -1], [-1, -1, -1], [19, 2, 7]])
    rows, items, found = paths.reached(sources, 4)
    reached = {
        (row, item): found.paths[found.indptr[n] : found.indptr[n + 1]].tolist()
        for n, (row, item) in enumerate(zip(rows.tolist(), items.tolist(), strict=True))
    }
    for row in range(4):
        asked = paths.between(np.repeat(sources[row][None], 20, axis=0), np.arange(20), 4)
        for item in range(20):
            expected = reached.get((row, item), [])
            assert asked.paths[asked.indptr[item] : asked.indptr[item + 1]].tolist() == expected
    assert all(1 <= len(found) <= 4 for found in reached.values())


def test_a_path_to_an_item_does_not_start_there() -> None:
    _, graph, _ = tiny()
    paths = ItemPaths.of(graph)
    with_it = paths.between(np.asarray([[0, 3, 7]]), np.asarray([7]), 20)
    without = paths.between(np.asarray([[0, 3, -1]]), np.asarray([7]), 20)
    assert len(without.paths)
    assert np.array_equal(with_it.paths, without.paths)


def test_a_graph_without_knowledge_has_no_paths() -> None:
    split, _, _ = tiny()
    empty = PlainGraph(["a"], ["R"], np.zeros((0, 3), dtype=np.int64))
    paths = ItemPaths.of(JointGraph.build(split, empty, {}))
    assert len(paths.path) == 0
    rows, items, found = paths.reached(np.asarray([[0, 1]]), 5)
    assert len(rows) == len(items) == len(found.paths) == 0
