from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recommender.graph.joint import JointGraph
from recommender.models.registry import MODELS
from recommender.serving.bundle import open_bundle
from recommender.serving.packing import pack
from recommender.serving.service import Service
from recommender.training.train import Options, train
from tests.recommender.tiny import fitted, tiny
from tests.worlds import planted_world

WORLD = planted_world(0)
SNAPSHOT = WORLD.graph.described()
GRAPH = JointGraph.build(WORLD.split, SNAPSHOT, WORLD.links)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_served_as_it_scores(name: str, tmp_path: Path) -> None:
    split, _, _ = tiny()
    trained, history = fitted(name), split.train
    pack(trained, history).write(tmp_path / "b")
    service = Service.open(tmp_path / "b")
    scores = np.array(trained.model.score(np.arange(3)))
    indptr, items = history.by_user()
    for user in range(3):
        own = scores[user].copy()
        own[items[indptr[user] : indptr[user + 1]]] = -np.inf
        found = service.recommend(history.user_ids[user], 5)
        assert [hit.score for hit in found] == pytest.approx(sorted(own)[::-1][:5], rel=1e-5, abs=1e-6)
        again = service.recommend(history.user_ids[user], 5, exclude_seen=False)
        whole = sorted(scores[user])[::-1][:5]
        assert [hit.score for hit in again] == pytest.approx(whole, rel=1e-5, abs=1e-6)
    assert "n_items" in service.card()
    assert name in (tmp_path / "b" / "README.md").read_text()


def test_edges_of_the_bundle_are_those_of_the_snapshot(tmp_path: Path) -> None:
    trained = train("kgat", WORLD.split, GRAPH, options=Options(epochs=1, device="cpu"))
    pack(trained, WORLD.split.train, graph=GRAPH, snapshot=SNAPSHOT).write(tmp_path / "b")
    graph = open_bundle(tmp_path / "b").graph
    assert graph is not None
    head = np.repeat(np.arange(len(graph.indptr) - 1), np.diff(graph.indptr))
    forward = graph.relation < len(graph.relation_names)
    names, ids = list(graph.entity_names), list(graph.edge_ids)
    told = {
        ids[edge]: (names[h], graph.relation_names[r], names[t])
        for h, r, t, edge in zip(
            head[forward], graph.relation[forward], graph.tail[forward], graph.edge[forward], strict=True
        )
    }
    entities, relations = SNAPSHOT.entity_names, SNAPSHOT.relation_names
    expected = {
        SNAPSHOT.edge_ids[row]: (entities[h], relations[r], entities[t])
        for row, (h, r, t) in enumerate(SNAPSHOT.triples.tolist())
    }
    assert told == expected
    by_edge = np.lexsort((forward, graph.edge))
    weight = graph.weight[by_edge].reshape(-1, 2)
    assert np.array_equal(weight[:, 0], weight[:, 1])  # the same from whichever end it is walked
    assert (weight > 0).all()
    assert (weight <= 1).all()
