from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kg.errors import InputError, UsageError
from recommender.data.dataset_files import Layout, write_dataset
from recommender.data.datasets import Dataset, read_dataset, snapshot_of
from recommender.data.interactions import Interactions
from tests.recommender.data.test_datasets import DATA, KGAT, KGCN, RECBOLE, needs_data, write
from tests.recommender.data.test_hin import FILES

LAYOUTS: list[Layout] = ["recbole", "kgcn", "kgat"]


def pairs(part: Interactions | None, *, weights: bool) -> set[tuple[object, ...]] | None:
    if part is None:
        return None
    return {
        (part.user_ids[user], part.item_ids[item], weight if weights else 1.0)
        for user, item, weight in zip(
            part.user.tolist(), part.item.tolist(), part.weight.tolist(), strict=True
        )
    }


def triples(found: Dataset) -> set[tuple[str, str, str]]:
    ids, relations = found.snapshot.entity_ids, found.snapshot.relation_names
    return {(ids[head], relations[kind], ids[tail]) for head, kind, tail in found.snapshot.triples.tolist()}


def same(one: Dataset, other: Dataset, layout: Layout) -> None:
    weights = layout != "kgat"
    assert pairs(one.interactions, weights=weights) == pairs(other.interactions, weights=weights)
    assert triples(one) == triples(other)
    assert one.links == other.links
    if layout == "kgat":
        assert pairs(one.test, weights=False) == pairs(other.test, weights=False)
        return
    assert one.rated is not None
    assert pairs(one.rated, weights=True) == pairs(other.rated, weights=True)
    if one.interactions.time is not None:
        assert other.interactions.time is not None
        assert one.interactions.time.tolist() == other.interactions.time.tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("files", [RECBOLE, KGCN], ids=["recbole", "kgcn"])
def test_there_and_back(tmp_path: Path, files: dict[str, str], layout: Layout) -> None:
    (tmp_path / "first").mkdir()
    for threshold in (None, 4):
        found = read_dataset(write(tmp_path / "first", **files), positive_from=threshold)
        folder = tmp_path / f"second-{threshold}"
        lost = write_dataset(found, folder, layout)
        read = read_dataset(folder, positive_from=None if layout == "kgat" else threshold)
        same(found, read, layout)
        assert any("test part" in line for line in lost) == (layout == "kgat")


def test_numbers_stay_what_they_stand_for(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    found = read_dataset(write(tmp_path / "first", **KGAT))
    assert write_dataset(found, tmp_path / "second", "kgat") == ()
    same(found, read_dataset(tmp_path / "second"), "kgat")
    assert len(found.whole) == 4
    assert "test part, 1 interactions" in write_dataset(found, tmp_path / "third", "recbole")[0]


def test_friends_go_with_recbole_only(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    files = {name: text for name, text in FILES.items() if name != "user_city__dat"}
    found = read_dataset(write(tmp_path / "first", **files), positive_from=4)
    assert write_dataset(found, tmp_path / "second", "recbole") == ()
    read = read_dataset(tmp_path / "second", positive_from=4)
    same(found, read, "recbole")
    assert read.friends is not None
    assert found.friends is not None
    assert read.friends.tolist() == found.friends.tolist()
    assert "1 friendships" in write_dataset(found, tmp_path / "third", "kgcn")


def test_items_without_an_entity(tmp_path: Path) -> None:
    known = Interactions.of(["u", "u", "v"], ["a", "P", "P"])
    found = Dataset(known, snapshot_of([("A", "by", "P")]), {"a": "A"})
    lost = write_dataset(found, tmp_path / "kgcn", "kgcn")
    assert "1 items without an entity" in lost[0]
    assert read_dataset(tmp_path / "kgcn").interactions.item_ids == ("a",)
    write_dataset(found, tmp_path / "kgat", "kgat")
    read = read_dataset(tmp_path / "kgat")
    assert read.links == {"a": "A", "P": "item/P"}  # not the person of the same name
    assert triples(read) == triples(found)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    known = Interactions.of(["u", "v"], ["a", "b"])
    found = Dataset(known, snapshot_of([("A", "by", "P")]), {"a": "A", "b": "A"})
    with pytest.raises(InputError, match="several items are the entity 'A'"):
        write_dataset(found, tmp_path / "x", "kgat")
    write_dataset(found, tmp_path / "y", "recbole")
    with pytest.raises(UsageError, match="something is here already"):
        write_dataset(found, tmp_path / "y", "recbole")
    with pytest.raises(UsageError, match="no layout 'csv'"):
        write_dataset(found, tmp_path / "z", "csv")  # type: ignore[arg-type]
    for bad in ("a\tb", "a ", "", 'a"b', "a\u2028b"):
        named = replace(found, interactions=Interactions.of(["u"], [bad]))
        with pytest.raises(InputError, match="does not fit"):
            write_dataset(named, tmp_path / "z", "recbole")


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_datasets_there_and_back(tmp_path: Path, layout: Layout) -> None:
    found = read_dataset(DATA / "music-kgcn")
    write_dataset(found, tmp_path / "x", layout)
    read = read_dataset(tmp_path / "x")
    if layout == "kgat":  # which links the items of its interactions
        found = replace(found, links={item: found.links[item] for item in found.interactions.item_ids})
    same(found, read, layout)
    assert np.array_equal(found.interactions.popularity, read.interactions.popularity)
