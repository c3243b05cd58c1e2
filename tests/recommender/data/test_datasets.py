from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kg.errors import InputError
from recommender.data.datasets import Dataset, read_dataset
from recommender.data.interactions import Interactions
from recommender.data.splits import random_split
from recommender.evaluation.evaluate import pair_auc
from recommender.graph.joint import JointGraph
from recommender.models.base import TrainingData
from recommender.models.popularity import Config, Popularity

DATA = Path(os.environ.get("LORE_DATA", Path(__file__).parents[3] / ".." / "shared" / "data")) / "rec"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


RECBOLE = {
    "x__inter": "user_id:token\titem_id:token\trating:float\nu\ta\t5\nu\tb\t2\nv\ta\t4\n",
    "x__kg": "head_id:token\trelation_id:token\ttail_id:token\nA\tby\tP\nB\tby\tP\n",
    "x__link": "item_id:token\tentity_id:token\na\tA\nb\tB\n",
}
KGCN = {
    "user_artists__dat": "userID\tartistID\tweight\nu\ta\t5\nu\tb\t2\nv\ta\t4\nv\tz\t9\n",
    "kg__txt": "A\tby\tP\nB\tby\tP\n",
    "item_index2entity_id__txt": "a\tA\nb\tB\n",
}
KGAT = {"train__txt": "0 0\n1 0 1\n", "test__txt": "0 1\n1\n", "kg_final__txt": "0 0 2\n1 0 2\n"}


def check(found: Dataset, n_interactions: int) -> None:
    assert len(found.interactions) == n_interactions
    assert found.interactions.n_items == 2
    assert found.snapshot.n_entities == 3
    assert len(found.snapshot.triples) == 2
    assert set(found.links) == set(found.interactions.item_ids)
    graph = JointGraph.build(
        random_split(found.interactions, np.random.default_rng(0)), found.snapshot, found.links
    )
    assert graph.n_linked_items == 2
    assert (graph.triple >= 0).sum() == 4


def test_recbole(tmp_path: Path) -> None:
    check(read_dataset(write(tmp_path, **RECBOLE)), 3)
    assert len(read_dataset(tmp_path, positive_from=4).interactions) == 2


def test_kgcn_keeps_items_of_the_graph(tmp_path: Path) -> None:
    check(read_dataset(write(tmp_path, **KGCN)), 3)


def test_kgat_with_its_own_test_part(tmp_path: Path) -> None:
    found = read_dataset(write(tmp_path, **KGAT))
    check(found, 3)
    assert found.test is not None
    assert found.test.item_ids == found.interactions.item_ids
    assert (found.test.user.tolist(), found.test.item.tolist()) == ([0], [1])


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no known layout"):
        read_dataset(tmp_path)
    write(tmp_path, **{**RECBOLE, "x__kg": "h\tr\tt\nA\tby\tP\nB\tby\n"})
    with pytest.raises(InputError, match="row 3 has 2 fields, not 3"):
        read_dataset(tmp_path)
    (tmp_path / "x.link").unlink()
    with pytest.raises(InputError):
        read_dataset(tmp_path)


@needs_data
@pytest.mark.data
def test_shapes_of_movielens() -> None:
    found = read_dataset(DATA / "ml-100k", positive_from=4)
    assert (found.interactions.n_users, found.interactions.n_items, len(found.interactions)) == (
        943,
        1682,
        55375,
    )
    assert found.interactions.time is not None
    assert found.snapshot.n_entities == 34_628
    assert found.snapshot.n_relations == 24
    assert len(found.snapshot.triples) == 91_631


@needs_data
@pytest.mark.data
def test_popularity_explains_most_of_a_published_table() -> None:
    """Last.FM of KGCN by its own protocol: popularity alone reaches what graph models report."""
    found = read_dataset(DATA / "music-kgcn")
    whole = found.interactions
    assert (whole.n_users, whole.n_items, len(whole)) == (1872, 3846, 21_173)
    assert (found.snapshot.n_entities, found.snapshot.n_relations) == (9366, 60)
    assert len(found.snapshot.triples) == 15_518
    aucs = [popularity_auc(whole, np.random.default_rng(seed)) for seed in range(3)]
    assert all(0.785 < value < 0.808 for value in aucs)


def popularity_auc(whole: Interactions, rng: np.random.Generator) -> float:
    """One sampled negative per positive, the pooled pairs split 6:2:2, AUC of the last part."""
    n = len(whole)
    indptr, had = whole.by_user()
    everything = np.arange(whole.n_items)
    negatives = np.concatenate(
        [
            rng.choice(np.delete(everything, had[start:end]), end - start, replace=False)
            for start, end in pairwise(indptr)
        ]
    )
    users = np.concatenate([whole.user, whole.user])
    items = np.concatenate([whole.item, negatives])
    labels = np.repeat([True, False], n)
    order = rng.permutation(2 * n)
    train, test = order[: int(1.2 * n)], order[int(1.6 * n) :]
    kept = np.zeros(n, dtype=bool)
    kept[train[train < n]] = True
    model = Popularity(TrainingData(whole.select(kept)), Config())
    return pair_auc(model, users[test], items[test], labels[test])
