from __future__ import annotations

import numpy as np

from recommender.graph.corruption import TripleCorrupter


def corrupter(n_nodes: int = 30) -> tuple[TripleCorrupter, set[tuple[int, int, int]]]:
    rng = np.random.default_rng(0)
    triples = np.unique(rng.integers(0, [n_nodes, 3, n_nodes], (200, 3)), axis=0)
    rng.shuffle(triples)
    heads, relations, tails = triples.T
    return TripleCorrupter(heads, relations, tails, n_nodes, 3), {tuple(row) for row in triples.tolist()}


def test_false_tails_make_no_triple_and_every_triple_is_visited_once() -> None:
    triples, known = corrupter()
    rows, tails = triples.epoch(np.random.default_rng(1))
    assert sorted(rows) == list(range(len(triples)))
    made = {
        (int(triples.heads[row]), int(triples.relations[row]), int(t))
        for row, t in zip(rows, tails, strict=True)
    }
    assert not made & known
    assert len(np.unique(tails)) == 30  # every node can be drawn


def test_a_share_and_the_same_draw_for_the_same_seed() -> None:
    triples, _ = corrupter()
    first, again = (triples.epoch(np.random.default_rng(2), 0.25) for _ in range(2))
    assert len(first[0]) == round(0.25 * len(triples))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(triples.epoch(np.random.default_rng(2), 0.0)[0]) == 1


def test_the_one_false_tail_that_is_left_is_found() -> None:
    heads, tails = np.zeros(9, dtype=np.int64), np.arange(9)
    triples = TripleCorrupter(heads, heads, tails, 10, 1)
    _, drawn = triples.epoch(np.random.default_rng(0))
    assert (drawn == 9).all()  # missed by one row in 40,000


def test_where_nothing_is_false_it_ends() -> None:
    heads, tails = np.zeros(5, dtype=np.int64), np.arange(5)
    rows, drawn = TripleCorrupter(heads, heads, tails, 5, 1).epoch(np.random.default_rng(0))
    assert len(rows) == len(drawn) == 5
