from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kg.errors import NotFound, UsageError
from recommender.serving.bundle import Bundle, ItemRows
from recommender.serving.service import Service
from tests.recommender.serving.test_bundle import bundle


def items(found: list) -> list[str]:  # type: ignore[type-arg]
    return [hit.item for hit in found]


def popularity_bundle() -> Bundle:
    scores = np.asarray([2, 1, 0, 0], dtype=np.float32)
    return bundle(model="popularity", user_vectors=None, item_vectors=None, item_scores=scores)


def test_best_first_without_what_was_had() -> None:
    service = Service(bundle())
    found = service.recommend("ann", 10)
    assert [(hit.item, hit.name, hit.score) for hit in found] == [("m2", "Cube", 2.0), ("m3", "Dune", 1.0)]
    assert items(service.recommend("ann", 10, exclude_seen=False)) == ["m0", "m1", "m2", "m3"]
    assert items(service.recommend("bob", 1)) == ["m2"]


def test_a_batch_is_its_parts() -> None:
    service = Service(bundle())
    assert service.recommend_batch(["bob", "ann"], 3) == [
        service.recommend("bob", 3),
        service.recommend("ann", 3),
    ]
    assert service.recommend_batch([], 3) == []


def test_asking_changes_nothing() -> None:
    service = Service(popularity_bundle())
    first = service.recommend("ann", 4)
    service.recommend_for_history(["m2"], 4)
    service.similar = None  # type: ignore[attr-defined]
    assert service.recommend("ann", 4) == first
    assert items(service.recommend("bob", 4)) == ["m1", "m2", "m3"]


def test_somebody_new() -> None:
    service = Service(bundle())
    assert items(service.recommend_for_history(["m2"], 2)) == ["m1", "m3"]
    assert items(service.recommend_for_history([], 2)) == ["m0", "m1"]
    assert items(Service(popularity_bundle()).recommend_for_history(["m0"], 2)) == ["m1", "m2"]


def test_weights_between_items_serve_everybody() -> None:
    rows = ItemRows(np.asarray([0, 2, 3, 3, 3]), np.asarray([1, 3, 2]), np.asarray([0.5, 2, 1], np.float32))
    service = Service(bundle(model="ease", user_vectors=None, item_vectors=None, item_weights=rows))
    found = service.recommend_for_history(["m0", "m1"], 2)
    assert [(hit.item, hit.score) for hit in found] == [("m3", 2.0), ("m2", 1.0)]
    own = Service(bundle()).bundle.history_items[: bundle().history_indptr[1]].tolist()
    assert items(service.recommend("ann", 2)) == items(
        service.recommend_for_history([f"m{n}" for n in own], 2)
    )


def test_lists_serve_the_users_of_the_training_only() -> None:
    rows = ItemRows(
        np.asarray([0, 3, 5]), np.asarray([3, 2, 0, 1, 0]), np.asarray([3, 2, 9, 1, 5], np.float32)
    )
    service = Service(bundle(model="kgcn", user_vectors=None, item_vectors=None, lists=rows))
    assert items(service.recommend("ann", 10)) == ["m3", "m2"]
    assert items(service.recommend("ann", 10, exclude_seen=False)) == ["m0", "m3", "m2"]
    with pytest.raises(UsageError, match="scores only the users that it was trained with"):
        service.recommend_for_history(["m2"])
    assert items(service.recommend_for_history([], 1)) == ["m0"]


def test_similar_items_by_cosine() -> None:
    assert items(Service(bundle()).similar_items("m2", 1)) == ["m3"]
    with pytest.raises(UsageError, match="no item vectors"):
        Service(popularity_bundle()).similar_items("m2")


def test_unknown_and_senseless() -> None:
    service = Service(bundle())
    with pytest.raises(NotFound, match="user 'eve'"):
        service.recommend("eve")
    with pytest.raises(NotFound, match="item 'm9'"):
        service.recommend_for_history(["m9"])
    with pytest.raises(NotFound, match="item 'm9'"):
        service.explain("ann", "m9")
    with pytest.raises(UsageError, match="at least 1"):
        service.recommend("ann", 0)


def test_card() -> None:
    card = Service(bundle()).card()
    assert card["model"] == "kgat"
    assert card["n_items"] == 4
    assert card["metrics"] == {"ndcg@20": 0.5}


def test_serving_needs_no_torch(tmp_path: Path) -> None:
    bundle().write(tmp_path / "b")
    code = (
        "import sys, pathlib; from recommender.serving.service import Service;"
        "service = Service.open(pathlib.Path(sys.argv[1]));"
        "service.recommend('ann'); service.explain('ann', 'm3'); service.similar_items('m0');"
        "print('torch' in sys.modules, 'scipy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
