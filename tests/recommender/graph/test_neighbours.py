from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import sparse

from recommender.graph.joint import JointGraph
from recommender.graph.neighbours import Field, NeighbourTable, SecondOrder
from tests.worlds import planted_world


def graph() -> JointGraph:
    """Attributes have about 50 edges, items two; the last item has no link and so no edge."""
    world = planted_world(0)
    links = dict(list(world.links.items())[:-1])
    return JointGraph.build(world.split, world.graph, links)


def edges(joint: JointGraph) -> dict[int, list[tuple[int, int]]]:
    """(relation, tail) of every edge of the knowledge graph by entity."""
    found: dict[int, list[tuple[int, int]]] = {entity: [] for entity in range(joint.n_entities)}
    for head, relation, tail in zip(joint.head, joint.relation, joint.tail, strict=True):
        if relation < 2 * joint.n_relations:
            found[int(head) - joint.n_users].append((int(relation), int(tail) - joint.n_users))
    return found


@pytest.mark.parametrize("k", [1, 2, 7])
def test_rows_are_distinct_edges_and_the_rest_is_padding(k: int) -> None:
    joint = graph()
    table, known = NeighbourTable.draw(joint, k, np.random.default_rng(0)), edges(joint)
    assert table.near.shape == table.relation.shape == table.mask.shape == (joint.n_entities, k)
    assert table.n_relations == 2 * joint.n_relations + 1
    for entity, out in known.items():
        n = min(k, len(out))
        row = list(zip(table.relation[entity].tolist(), table.near[entity].tolist(), strict=True))
        assert table.mask[entity].tolist() == [True] * n + [False] * (k - n)
        assert len(set(row[:n])) == n
        assert set(row[:n]) <= set(out)
        assert row[n:] == [(2 * joint.n_relations, entity)] * (k - n)


def test_an_entity_without_edges_has_itself_masked() -> None:
    joint = graph()
    table, alone = NeighbourTable.draw(joint, 3, np.random.default_rng(0)), joint.n_items - 1
    assert not edges(joint)[alone]
    assert table.near[alone].tolist() == [alone] * 3
    assert table.relation[alone].tolist() == [2 * joint.n_relations] * 3
    assert not table.mask[alone].any()


def test_interactions_are_no_neighbours() -> None:
    joint = graph()
    for repeat in (False, True):
        table = NeighbourTable.draw(joint, 5, np.random.default_rng(0), with_replacement=repeat)
        assert (table.relation[table.mask] < 2 * joint.n_relations).all()
        assert ((table.near >= 0) & (table.near < joint.n_entities)).all()


def test_sampling_is_even_and_repeats_with_its_seed() -> None:
    joint = graph()
    entity, out = max(edges(joint).items(), key=lambda pair: len(pair[1]))
    seen: Counter[int] = Counter()
    rng = np.random.default_rng(0)
    for _ in range(300):
        seen.update(NeighbourTable.draw(joint, 10, rng).near[entity].tolist())
    expected = 300 * 10 / len(out)
    assert set(seen) == {tail for _, tail in out}
    assert all(abs(n - expected) < 6 * np.sqrt(expected) for n in seen.values())
    one, again, other = (NeighbourTable.draw(joint, 4, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one.near, again.near)
    assert not np.array_equal(one.near, other.near)


def test_with_replacement_fills_short_rows_with_their_own_edges() -> None:
    joint = graph()
    table = NeighbourTable.draw(joint, 5, np.random.default_rng(0), with_replacement=True)
    full = NeighbourTable.draw(joint, 5, np.random.default_rng(0))
    for entity, out in edges(joint).items():
        row = list(zip(table.relation[entity].tolist(), table.near[entity].tolist(), strict=True))
        if not out:
            assert not table.mask[entity].any()
        elif len(out) < 5:
            assert table.mask[entity].all()
            assert set(row) <= set(out)
        else:  # long rows are the same, without repeats
            assert np.array_equal(table.near[entity], full.near[entity])


def test_a_field_holds_what_the_hops_reach_each_once() -> None:
    joint = graph()
    table = NeighbourTable.draw(joint, 3, np.random.default_rng(0))
    nodes = np.asarray([7, 2, 2, joint.n_items - 1])
    field = Field.of(table, nodes, 2)
    inner = np.unique(np.concatenate([nodes, table.near[nodes].ravel()]))
    assert np.array_equal(field.farthest, np.unique(np.concatenate([inner, table.near[inner].ravel()])))
    for hop, below, level in zip(field.hops, (field.farthest, inner), (inner, nodes), strict=True):
        assert np.array_equal(below[hop.own], level)
        assert np.array_equal(below[hop.near], table.near[level])
        assert np.array_equal(hop.relation[hop.pattern], table.relation[level])
        assert np.array_equal(hop.mask[hop.pattern], table.mask[level])
        rows = {tuple(r) + tuple(m) for r, m in zip(hop.relation.tolist(), hop.mask.tolist(), strict=True)}
        assert len(rows) == len(hop.relation)
    empty = Field.of(table, nodes[:0], 1)
    assert len(empty.farthest) == len(empty.hops[0].own) == 0


def incidence(seed: int = 0) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 4, (10, 7)) * (rng.random((10, 7)) < 0.4)
    dense[3] = 0  # shares nothing
    dense[:, 0] = 1  # shared by all
    dense[3, 0] = 0
    return sparse.csr_matrix(dense.astype(np.int64))


def brute_force(matrix: sparse.csr_matrix, max_degree: int) -> dict[int, dict[int, int]]:
    """Pair by pair and thing by thing."""
    dense = matrix.toarray()
    usable = [c for c in range(dense.shape[1]) if (dense[:, c] > 0).sum() <= max_degree]
    found: dict[int, dict[int, int]] = {row: {} for row in range(len(dense))}
    for one in range(len(dense)):
        for other in range(len(dense)):
            shared = sum(int(dense[one, c]) * int(dense[other, c]) for c in usable)
            if one != other and shared:
                found[one][other] = shared
    return found


@pytest.mark.parametrize("max_degree", [3, 5, 10])
@pytest.mark.parametrize("k", [1, 2, 9])
@pytest.mark.parametrize("at_once", [1, 20, 1 << 24])
def test_projection_equals_counting_pairs(
    k: int, max_degree: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.graph.neighbours._PRODUCTS_AT_ONCE", at_once)
    matrix = incidence()
    links = SecondOrder.of(matrix, k, np.random.default_rng(0), max_degree=max_degree)
    degree = np.bincount(matrix.indices, minlength=7)
    assert links.n_skipped == (degree > max_degree).sum()
    for row, shared in brute_force(matrix, max_degree).items():
        part = slice(links.indptr[row], links.indptr[row + 1])
        near, count = links.near[part].tolist(), links.count[part].tolist()
        assert near == sorted(set(near))
        assert all(shared[other] == n for other, n in zip(near, count, strict=True))
        assert sorted(count, reverse=True) == sorted(shared.values(), reverse=True)[:k]


def test_what_too_many_share_is_skipped_and_counted() -> None:
    matrix = incidence()
    wide = SecondOrder.of(matrix, 9, np.random.default_rng(0), max_degree=9)
    narrow = SecondOrder.of(matrix, 9, np.random.default_rng(0), max_degree=8)
    assert (wide.n_skipped, narrow.n_skipped) == (0, 1)
    assert len(narrow.near) < len(wide.near)
    assert not len(SecondOrder.of(matrix, 9, np.random.default_rng(0), max_degree=1).near)


def test_equals_are_kept_in_random_order() -> None:
    everyone = sparse.csr_matrix(np.ones((30, 1), dtype=np.int64))
    links = SecondOrder.of(everyone, 3, np.random.default_rng(0), max_degree=30)
    assert np.diff(links.indptr).tolist() == [3] * 30
    assert len(np.unique(links.near)) > 20


def test_pairs_link_both_ways_up_to_k() -> None:
    pairs = np.asarray([[0, 1], [1, 0], [2, 2], *[[3, other] for other in range(4, 9)]])
    links = SecondOrder.of_pairs(pairs, 10, 3, np.random.default_rng(0))
    rows = [links.near[a:b].tolist() for a, b in zip(links.indptr, links.indptr[1:], strict=False)]
    assert rows[:3] == [[1], [0], []]
    assert len(rows[3]) == 3
    assert rows[4:] == [[3]] * 5 + [[]]
