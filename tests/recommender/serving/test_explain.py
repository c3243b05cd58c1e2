from __future__ import annotations

import itertools

import numpy as np
import pytest

from recommender.serving.explain import Explainer, is_valid, relation_words
from recommender.serving.service import Service
from tests.recommender.serving.test_bundle import bundle

ANN, BOB = np.asarray([0, 1]), np.asarray([0])


def test_path_with_its_edges_and_sentence() -> None:
    found = Explainer(bundle()).explain(BOB, 1)
    assert (found.item, found.name) == ("m1", "Blade Runner")
    assert found.reason == "the graph connects it to what the user had."
    (path,) = found.paths
    assert path.text == "You had Alien. Blade Runner, too, is directed by Ridley Scott."
    assert path.entities == ("Alien", "Ridley Scott", "Blade Runner")
    assert [(e.edge_id, e.subject, e.predicate, e.object) for e in path.edges] == [
        ("e-alien-by", "Alien", "DIRECTED_BY", "Ridley Scott"),
        ("e-blade-by", "Blade Runner", "DIRECTED_BY", "Ridley Scott"),
    ]


def test_removing_the_item_from_the_history_removes_the_explanation() -> None:
    explainer = Explainer(bundle())
    assert explainer.explain(ANN, 3).paths[0].entities[0] == "Blade Runner"
    found = explainer.explain(BOB, 3)
    assert found.paths == ()
    assert "no path of at most 3 steps" in found.reason


def test_without_a_path_it_says_what_the_score_rests_on() -> None:
    alone = Explainer(bundle()).explain(ANN, 2)
    assert alone.paths == ()
    assert "nobody had it yet" in alone.reason
    known = bundle(popularity=np.asarray([2, 1, 7, 0]))
    assert "users with a similar history (7 users had it)" in Explainer(known).explain(ANN, 2).reason
    scores = np.asarray([2, 1, 7, 0], dtype=np.float32)
    popular = bundle(
        model="popularity",
        user_vectors=None,
        item_vectors=None,
        item_scores=scores,
        popularity=scores.astype(np.int64),
        graph=None,
    )
    assert "7 of 2 users had it" in Explainer(popular).explain(ANN, 2).reason


def test_a_model_without_graph_does_not_claim_it() -> None:
    found = Explainer(bundle(model="bpr")).explain(BOB, 1)
    assert "did not look at the graph" in found.reason
    assert found.paths


def test_what_the_user_had_and_a_user_without_history() -> None:
    assert Explainer(bundle()).explain(ANN, 1).reason == "the user already had it."
    nothing = np.asarray([], dtype=np.int64)
    assert Explainer(bundle()).explain(nothing, 1).paths == ()


def random_bundle(seed: int):  # type: ignore[no-untyped-def]
    from recommender.serving.bundle import ExplanationGraph

    rng = np.random.default_rng(seed)
    n_items, n, n_relations = 12, 30, 3
    triples = np.unique(
        np.stack([rng.integers(0, 20, 90), rng.integers(0, 3, 90), rng.integers(0, n, 90)], axis=1), axis=0
    )
    triples = triples[triples[:, 0] != triples[:, 2]]
    head, relation, tail = (
        np.concatenate([triples[:, a], triples[:, b] + shift])
        for a, b, shift in ((0, 2, 0), (1, 1, 0), (2, 0, 0))
    )
    relation[len(triples) :] += n_relations
    order = np.lexsort((tail, relation, head))
    edge = np.tile(np.arange(len(triples)), 2)
    weight = np.tile(rng.random(len(triples)), 2)
    graph = ExplanationGraph(
        np.concatenate([[0], np.cumsum(np.bincount(head, minlength=n))]),
        tail[order],
        relation[order],
        edge[order],
        weight[order].astype(np.float32),
        [f"thing{number:02d}" for number in range(n)],
        ["T"] * n,
        [f"edge {h} {r} {t}" for h, r, t in triples],
        ["MADE_BY", "IS", "NEAR"],
    )
    return bundle(
        graph=graph,
        item_ids=[f"m{number}" for number in range(n_items)],
        item_names=[f"thing{number:02d}" for number in range(n_items)],
        popularity=np.zeros(n_items, dtype=np.int64),
        history_items=np.asarray([0, 1, 2]),
        item_vectors=rng.random((n_items, 2), dtype=np.float32),
    ), triples


@pytest.mark.parametrize("seed", range(5))
def test_every_path_is_made_of_facts_of_the_graph(seed: int) -> None:
    made, triples = random_bundle(seed)
    facts = {f"edge {h} {r} {t}": (h, r, t) for h, r, t in triples.tolist()}
    service = Service(made)
    n_paths = 0
    for item in range(3, 12):
        found = service.explain("ann", f"m{item}", k=5)
        kinds = []
        for path in found.paths:
            n_paths += 1
            assert path.entities[0] in ("thing00", "thing01")  # what ann had
            assert path.entities[-1] == f"thing{item:02d}"
            assert 1 <= len(path.edges) <= 3
            kind = []
            for (left, right), edge in zip(itertools.pairwise(path.entities), path.edges, strict=True):
                head, relation, tail = facts[edge.edge_id]
                assert (edge.subject, edge.object) == (f"thing{head:02d}", f"thing{tail:02d}")
                assert edge.predicate == ["MADE_BY", "IS", "NEAR"][relation]
                assert {edge.subject, edge.object} == {left, right}
                kind.append((edge.predicate, edge.subject == left))
            kinds.append(tuple(kind))
            said = {word.strip(".,") for word in path.text.split() if word.startswith("thing")}
            assert said == set(path.entities)
        assert len(set(kinds)) == len(kinds)
        assert [path.score for path in found.paths] == sorted((p.score for p in found.paths), reverse=True)
        assert found == service.explain("ann", f"m{item}", k=5)
    assert n_paths > 5


def test_corrupt_paths_are_found_out() -> None:
    made, _ = random_bundle(0)
    graph = made.graph
    assert graph is not None
    rng = np.random.default_rng(0)
    head = np.repeat(np.arange(len(graph.indptr) - 1), np.diff(graph.indptr))
    n_valid = 0
    for _ in range(200):
        first = int(rng.integers(0, len(graph.tail)))
        middle = int(graph.tail[first])
        second = int(rng.integers(graph.indptr[middle], graph.indptr[middle + 1]))
        nodes, edges = [int(head[first]), middle, int(graph.tail[second])], [first, second]
        if nodes[0] == nodes[2]:
            assert not is_valid(graph, nodes, edges)
            continue
        n_valid += 1
        assert is_valid(graph, nodes, edges)
        assert not is_valid(graph, [*nodes[:2], (nodes[2] + 1) % 30], edges)
        assert not is_valid(graph, nodes, [first, len(graph.tail)])
        assert not is_valid(graph, nodes, [first])
        other = int(rng.integers(0, len(graph.tail)))
        joins = {int(head[other]), int(graph.tail[other])} == {nodes[0], nodes[1]}
        assert is_valid(graph, nodes, [other, second]) == joins
    assert n_valid > 100


def test_relation_names_become_words() -> None:
    assert relation_words("DIRECTED_BY") == "is directed by"
    assert relation_words("HAS_GENRE") == "has genre"
    assert relation_words("STARS") == "stars"
    assert relation_words("IS_PART_OF") == "is part of"
    assert relation_words("BASED_ON") == "is based on"
