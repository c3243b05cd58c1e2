"""Paths: all of them, simple, scored as documented, and in an order that does not depend on the search."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from kg.errors import UsageError
from kg.paths import Path, PathFinder
from kg.snapshot import Snapshot


def snapshot_of(
    n: int, triples: list[tuple[int, int, int]], confidence: list[float] | None = None
) -> Snapshot:
    rows = sorted(set(triples))
    return Snapshot.from_arrays(
        [f"{number:04}" for number in range(n)],
        [f"e{number}" for number in range(n)],
        ["Thing"] * n,
        sorted({f"R{relation}" for _, relation, _ in rows}),
        np.array(rows, dtype=np.int64).reshape(-1, 3),
        np.array(confidence or [1.0] * len(rows), dtype=np.float32),
        np.ones(len(rows), dtype=np.int32),
        [f"edge{row}" for row in range(len(rows))],
        version=1,
    )


def random_snapshot(seed: int, n: int = 14, m: int = 34) -> Snapshot:
    rng = np.random.default_rng(seed)
    rows = {
        (int(head), int(relation), int(tail))
        for head, relation, tail in zip(
            rng.integers(0, n, m), rng.integers(0, 3, m), rng.integers(0, n, m), strict=True
        )
        if head != tail
    }
    return snapshot_of(n, sorted(rows), rng.uniform(0.3, 1.0, len(rows)).tolist())


def brute_force(
    found: Snapshot, sources: set[int], target: int, longest: int
) -> dict[tuple[int, ...], float]:
    """(entities, triples) of every simple path that meets no second source, with its score."""
    edges: dict[int, list[tuple[int, int]]] = {}
    for row, (head, _, tail) in enumerate(found.triples.tolist()):
        edges.setdefault(head, []).append((tail, row))
        edges.setdefault(tail, []).append((head, row))
    answer: dict[tuple[int, ...], float] = {}
    sources = sources - {target}

    def walk(nodes: list[int], rows: list[int]) -> None:
        if nodes[-1] == target:
            score = math.prod(float(found.confidence[row]) for row in rows)
            score *= math.prod(1 / math.log2(2 + len(edges[node])) for node in nodes[1:-1])
            answer[(*nodes, *rows)] = score
            return
        if len(rows) == longest:
            return
        for node, row in edges.get(nodes[-1], []):
            if node not in nodes and node not in sources:
                walk([*nodes, node], [*rows, row])

    for source in sources:
        walk([source], [])
    return answer


@pytest.mark.parametrize(("seed", "longest"), list(product(range(6), (1, 2, 3, 4))))
def test_it_finds_what_brute_force_finds(seed: int, longest: int) -> None:
    found = random_snapshot(seed)
    finder = PathFinder(found)
    for sources, target in (({0}, 5), ({1, 2, 3}, 7), ({4, 9}, 4)):
        search = finder.between(sources, target, max_length=longest, limit=100_000)
        assert search.complete
        wanted = brute_force(found, sources, target, longest)
        got = {(*path.entities, *path.triples): path.score for path in search.paths}
        assert got == pytest.approx(wanted)
        assert len(got) == len(search.paths)
        assert [path.score for path in search.paths] == sorted(got.values(), reverse=True)


def test_relations_say_the_direction() -> None:
    finder = PathFinder(snapshot_of(3, [(0, 0, 1), (2, 1, 1)]))
    (path,) = finder.between([0], 2).paths
    assert path == Path((0, 1, 2), (0, 1 + 2), (0, 1), pytest.approx(1 / math.log2(4)))
    assert finder.spell(path) == "e0 -R0-> e1 <-R1- e2"


def test_a_hub_is_worth_less_than_a_rare_neighbour() -> None:
    to_hub = [(0, 0, 2), (1, 0, 2), *((film, 0, 2) for film in range(4, 40))]
    finder = PathFinder(snapshot_of(40, [*to_hub, (0, 1, 3), (1, 1, 3)]))
    rare, hub = finder.between([0], 1, max_length=2).paths
    assert (rare.entities[1], hub.entities[1]) == (3, 2)
    assert rare.score > 2 * hub.score


def test_a_fact_can_be_left_out_and_one_path_kept_per_signature() -> None:
    finder = PathFinder(snapshot_of(5, [(0, 0, 1), (0, 1, 2), (2, 0, 1), (0, 1, 3), (3, 0, 1)]))
    every = finder.between([0], 1)
    assert [path.entities for path in every.paths] == [(0, 1), (0, 2, 1), (0, 3, 1)]
    without = finder.between([0], 1, without=[0])
    assert [path.entities for path in without.paths] == [(0, 2, 1), (0, 3, 1)]
    kinds = finder.between([0], 1, one_per_signature=True)
    assert [path.entities for path in kinds.paths] == [(0, 1), (0, 2, 1)]
    assert len(finder.between([0], 1, limit=1).paths) == 1


def test_a_search_that_is_cut_short_says_so_and_keeps_the_strong() -> None:
    rows = [(0, 0, middle) for middle in range(2, 60)] + [(1, 0, middle) for middle in range(2, 60)]
    confidence = [1.0 if row[2] == 30 else 0.5 for row in sorted(rows)]
    finder = PathFinder(snapshot_of(60, rows, confidence))
    assert finder.between([0], 1).complete
    short = finder.between([0], 1, max_walks=70)
    assert not short.complete
    assert short.paths[0].entities == (0, 30, 1)


def test_the_shortest_path_is_the_best_of_the_shortest() -> None:
    for seed in range(6):
        found = random_snapshot(seed)
        finder = PathFinder(found)
        for target in range(1, found.n_entities):
            every = brute_force(found, {0}, target, 4)
            path = finder.shortest(0, target, max_length=4)
            if not every:
                assert path is None
                continue
            fewest = min(len(key) for key in every)
            assert path is not None
            assert len(path.entities) + len(path.triples) == fewest
            assert path.score == pytest.approx(
                max(score for key, score in every.items() if len(key) == fewest)
            )
    assert finder.shortest(3, 3) == Path((3,), (), (), 1.0)


def test_what_is_not_there_is_refused() -> None:
    finder = PathFinder(snapshot_of(3, [(0, 0, 1)]))
    assert finder.between([0], 2).paths == ()
    assert finder.between([], 2).paths == ()
    assert finder.shortest(0, 2) is None
    with pytest.raises(UsageError, match="0 to 2"):
        finder.between([7], 1)
    with pytest.raises(UsageError, match="1 to 4"):
        finder.between([0], 1, max_length=5)
