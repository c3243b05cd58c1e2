from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kg.errors import BundleError, NotFound
from recommender.serving.bundle import FORMAT_VERSION, Bundle, ExplanationGraph, open_bundle


def bundle(**changes: object) -> Bundle:
    """Two users, four items; m0 and m1 share a director, m1 and m3 a genre, m2 stands alone."""
    graph = ExplanationGraph(
        indptr=np.asarray([0, 1, 3, 3, 4, 6, 8]),
        tail=np.asarray([4, 4, 5, 5, 0, 1, 1, 3]),
        relation=np.asarray([0, 0, 1, 1, 2, 2, 3, 3]),
        edge=np.asarray([0, 1, 2, 3, 0, 1, 2, 3]),
        weight=np.asarray([0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1], dtype=np.float32),
        entity_names=["Alien", "Blade Runner", "Cube", "Dune", "Ridley Scott", "science fiction"],
        entity_types=["Film"] * 4 + ["Person", "Genre"],
        edge_ids=["e-alien-by", "e-blade-by", "e-blade-genre", "e-dune-genre"],
        relation_names=["DIRECTED_BY", "HAS_GENRE"],
    )
    made = Bundle(
        model="kgat",
        settings={"config": {"dim": 2}},
        user_ids=["ann", "bob"],
        item_ids=["m0", "m1", "m2", "m3"],
        item_names=["Alien", "Blade Runner", "Cube", "Dune"],
        popularity=np.asarray([2, 1, 0, 0]),
        history_indptr=np.asarray([0, 2, 3]),
        history_items=np.asarray([0, 1, 0]),
        user_vectors=np.asarray([[1, 0], [0, 1]], dtype=np.float32),
        item_vectors=np.asarray([[4, 1], [3, 2], [2, 4], [1, 3]], dtype=np.float32),
        graph=graph,
        metrics={"ndcg@20": 0.5},
        card="# a model\n",
    )
    return dataclasses.replace(made, **changes)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    before = bundle()
    before.write(tmp_path / "b")
    after = open_bundle(tmp_path / "b")
    for field in dataclasses.fields(Bundle):
        one, other = getattr(before, field.name), getattr(after, field.name)
        if field.name == "graph":
            for part in dataclasses.fields(ExplanationGraph):
                assert list(getattr(one, part.name)) == list(getattr(other, part.name))
        elif isinstance(one, np.ndarray):
            assert np.array_equal(one, other)
            assert one.dtype == other.dtype
        elif isinstance(one, list):
            assert one == list(other)
        else:
            assert one == other


def test_arrays_stay_on_disk_and_cannot_be_written(tmp_path: Path) -> None:
    bundle().write(tmp_path / "b")
    vectors = open_bundle(tmp_path / "b").user_vectors
    assert vectors is not None
    assert not vectors.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1


def test_files_are_named_and_nothing_is_pickled(tmp_path: Path) -> None:
    bundle().write(tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == [
        "README.md", "checksums.json", "config.json", "edges.arrow", "entities.arrow", "items.arrow",
        "metrics.json", "model.safetensors", "users.arrow",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_a_new_one_replaces_the_old_one_whole(tmp_path: Path) -> None:
    bundle().write(tmp_path / "b")
    bundle(graph=None, model="bpr").write(tmp_path / "b")
    assert open_bundle(tmp_path / "b").model == "bpr"
    assert not (tmp_path / "b" / "edges.arrow").exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    bundle().write(tmp_path / "b")
    with pytest.raises(TypeError):
        bundle(metrics={"x": object()}).write(tmp_path / "b")
    assert open_bundle(tmp_path / "b").metrics == {"ndcg@20": 0.5}
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_another_format_version_is_named_with_the_remedy(tmp_path: Path) -> None:
    bundle().write(tmp_path / "b")
    path = tmp_path / "b" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(BundleError) as caught:
        open_bundle(tmp_path / "b")
    said = caught.value.message
    assert "version 99" in said
    assert f"version {FORMAT_VERSION}" in said
    assert "lore train" in said


@pytest.mark.parametrize(
    "name", ["model.safetensors", "users.arrow", "items.arrow", "edges.arrow", "metrics.json", "README.md"]
)
def test_every_changed_or_missing_file_is_named(tmp_path: Path, name: str) -> None:
    bundle().write(tmp_path / "b")
    path = tmp_path / "b" / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match=rf"{name} is not the file that was written"):
        open_bundle(tmp_path / "b")
    path.unlink()
    with pytest.raises(BundleError, match=rf"{name} is missing"):
        open_bundle(tmp_path / "b")


def forget_checksums(path: Path) -> None:
    (path / "checksums.json").write_text("{}")


@pytest.mark.parametrize("n_bytes", [0, 4, 60, 400])
def test_a_cut_file_is_refused_also_without_checksums(tmp_path: Path, n_bytes: int) -> None:
    bundle().write(tmp_path / "b")
    forget_checksums(tmp_path / "b")
    path = tmp_path / "b" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(BundleError, match="cannot be read"):
        open_bundle(tmp_path / "b")


def test_sizes_that_disagree_are_refused(tmp_path: Path) -> None:
    bundle(user_ids=["ann"]).write(tmp_path / "b")
    with pytest.raises(BundleError, match=r"user_vectors has 2 rows where 1 are due"):
        open_bundle(tmp_path / "b")
    bundle(user_vectors=None).write(tmp_path / "b")
    with pytest.raises(BundleError, match="holds nothing to score with"):
        open_bundle(tmp_path / "b")


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no bundle 'nowhere'. Train a model") as caught:
        open_bundle(tmp_path / "nowhere")
    assert caught.value.exit_code == 4
    for name in ("bpr", "kgat"):
        bundle().write(tmp_path / name)
    with pytest.raises(NotFound, match=r"There is: bpr, kgat\."):
        open_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"config\.json is missing"):
        open_bundle(tmp_path)
    bundle().write(tmp_path / "b")
    (tmp_path / "b" / "checksums.json").write_text('{"../b/config.json": ""}')
    with pytest.raises(BundleError, match="outside the folder"):
        open_bundle(tmp_path / "b")
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_text("[1]")
    with pytest.raises(BundleError, match="no table"):
        open_bundle(tmp_path / "b")
