from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.graph import metapaths
from recommender.graph.joint import JointGraph
from recommender.graph.metapaths import (
    commuting_matrix,
    inverse_of,
    item_rows,
    nearest_by_path,
    path_sim,
    path_steps,
    reachability,
    relation_matrix,
    symmetric,
    symmetric_item_paths,
)
from tests.worlds import PlainGraph

GENRES = sparse.csr_array(
    np.asarray([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], float)
)


def joint(triples: list[tuple[int, int, int]], n_entities: int = 12, n_relations: int = 3) -> JointGraph:
    """Four items, which are the first four entities, and two users."""
    train = Interactions.of(["a", "a", "b"], ["i0", "i1", "i2"], catalogue=["i3"])
    nothing = train.select(np.zeros(3, dtype=bool))
    entities = [f"e{n:02d}" for n in range(n_entities)]
    names = [f"r{n}" for n in range(n_relations)]
    links = {f"i{n}": entities[n] for n in range(4)}
    graph = PlainGraph(entities, names, np.asarray(triples, dtype=np.int64).reshape(-1, 3))
    return JointGraph.build(Split(train, nothing, nothing), graph, links)


def node(graph: JointGraph, entity: int) -> int:
    return graph.n_users + int(np.flatnonzero(graph.entity == entity)[0])


def test_path_sim_is_exact() -> None:
    """Two items that share 2 of their 3 genres each: 2 * 2 / (3 + 3)."""
    found = path_sim(commuting_matrix([GENRES, GENRES.T])).toarray()
    assert found[0, 1] == pytest.approx(2 / 3)
    assert np.array_equal(found, found.T)
    assert np.diag(found) == pytest.approx(1)  # of the item without any genre too
    assert found[0, 2] == found[3, 0] == 0
    assert np.isfinite(found).all()


@pytest.mark.parametrize("block", [1, 7, 1 << 22])
def test_the_nearest_are_those_of_the_whole_matrix(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metapaths, "_PRODUCTS_PER_BLOCK", block)
    rng = np.random.default_rng(0)
    halves = [sparse.csr_array((rng.random((23, 9)) < 0.3) * rng.integers(1, 4, (23, 9))) for _ in range(3)]
    whole = path_sim(sum((half @ half.T for half in halves[1:]), halves[0] @ halves[0].T)).toarray()
    np.fill_diagonal(whole, 0)
    found = nearest_by_path(halves, 100).toarray()
    assert found == pytest.approx(whole, abs=1e-6)
    few = nearest_by_path(halves, 4).toarray()
    assert ((few > 0).sum(axis=1) <= 4).all()
    assert few[few > 0] == pytest.approx(whole[few > 0], abs=1e-6)
    assert np.sort(few, axis=1)[:, -4:] == pytest.approx(np.sort(whole, axis=1)[:, -4:], abs=1e-6)


def test_ties_are_not_kept_by_the_order_of_ids() -> None:
    same = sparse.csr_array(np.ones((200, 1)))
    kept = nearest_by_path([same], 5)
    assert kept.nnz == 1000
    assert kept.indices.mean() > 20  # the first five would be 2
    assert (symmetric(kept) != symmetric(kept).T).nnz == 0


def test_a_path_multiplies_its_steps() -> None:
    graph = joint([(0, 0, 5), (1, 0, 5), (1, 0, 6), (5, 1, 7), (6, 1, 7)])
    counts = commuting_matrix(path_steps(graph, (0, 1), item_rows(graph)))
    assert counts.shape == (4, graph.n_nodes)
    assert counts[0, node(graph, 7)] == 1
    assert counts[1, node(graph, 7)] == 2  # over 5 and over 6
    assert counts.nnz == 2
    back = commuting_matrix(path_steps(graph, (inverse_of(graph, 1), inverse_of(graph, 0))))
    assert (commuting_matrix(path_steps(graph, (0, 1))) != back.T).nnz == 0
    with pytest.raises(UsageError, match="at least one step"):
        commuting_matrix([])


def test_every_relation_is_the_transpose_of_its_inverse() -> None:
    graph = joint([(0, 0, 5), (1, 2, 5), (5, 1, 2), (3, 1, 0)])
    for relation in range(graph.n_all_relations):
        assert inverse_of(graph, inverse_of(graph, relation)) == relation
        there, back = (relation_matrix(graph, r) for r in (relation, inverse_of(graph, relation)))
        assert (there != back.T).nnz == 0
    assert sum(relation_matrix(graph, r).nnz for r in range(graph.n_all_relations)) == graph.n_edges


def test_reachability_is_the_chance_of_a_random_walk() -> None:
    graph = joint([(0, 0, 5), (0, 0, 6), (5, 1, 7), (5, 1, 8), (1, 0, 9)])
    found = reachability(path_steps(graph, (0, 1), item_rows(graph)))
    assert found[0, node(graph, 7)] == found[0, node(graph, 8)] == 0.25  # half the walks end at 6
    assert found[1].sum() == 0  # and all of those from the second item
    assert np.asarray(found.sum(axis=1)).max() <= 1


def test_paths_are_found_and_what_is_left_out_is_said() -> None:
    triples = [(0, 0, 5), (1, 0, 5), (5, 1, 0), (5, 1, 1), (2, 2, 6), (2, 2, 7)]
    found = symmetric_item_paths(joint(triples))
    assert [(path.relations, path.n_connected, path.n_hubs) for path in found.paths] == [((0,), 2, 0)]
    # Relation 1 is the first one written backwards; no two items share an entity over relation 2.
    assert dict(found.left_out) == {(4,): "same", (2,): "empty"}


def test_a_hub_is_left_out_and_counted() -> None:
    triples = [(item, 0, 5) for item in range(4)] + [(0, 0, 6), (1, 0, 6)]
    (path,) = symmetric_item_paths(joint(triples), max_degree=3).paths
    assert path.n_hubs == 1
    assert path.n_connected == 2
    assert path.half.nnz == 2


def test_the_paths_that_connect_the_most_items_are_kept() -> None:
    triples = [(0, 0, 5), (1, 0, 5), (0, 1, 6), (1, 1, 6), (2, 1, 6), (2, 2, 7), (3, 2, 7)]
    found = symmetric_item_paths(joint(triples), max_paths=1)
    assert [path.relations for path in found.paths] == [(1,)]
    assert dict(found.left_out) == {(0,): "many", (2,): "many"}


def test_longer_paths_do_not_turn_back() -> None:
    triples = [(0, 0, 5), (1, 0, 6), (5, 1, 7), (6, 1, 7)]  # two items, an author each, one school
    graph = joint(triples)
    assert not symmetric_item_paths(graph).paths
    (path,) = symmetric_item_paths(graph, max_length=2).paths
    assert path.relations == (0, 1)
    assert path.n_connected == 2


def test_interactions_are_no_step() -> None:
    graph = joint([(0, 0, 5)])
    found = symmetric_item_paths(graph, max_length=2)
    assert all(relation < 2 * graph.n_relations for path in found.paths for relation in path.relations)
    assert not found.paths
