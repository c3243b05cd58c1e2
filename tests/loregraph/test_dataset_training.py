"""``lore train --dataset``: published folders, without a graph of one's own; what is explained then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kg.errors import ConfigurationError, UsageError
from kg.facts import Status
from kg.ledger.ledger import Ledger
from kg.snapshot import Snapshot
from loregraph.explaining import explain
from loregraph.training_data import Source
from loregraph.workspace import Workspace
from recommender.data.datasets import read_dataset
from recommender.models.registry import find_model
from recommender.serving.service import Service
from tests.kg.test_snapshot import SENTENCES, put
from tests.loregraph.commands import FILMS, lore
from tests.recommender.serving.test_bundle import bundle


def network(folder: Path) -> Path:
    """30 users, 20 films of 4 genres; users like two genres each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    liked = rng.integers(0, 4, (30, 2))
    rows = [
        f"{user}\t{film}\t{5 if film % 4 in liked[user] else int(rng.integers(1, 4))}"
        for user in range(30)
        for film in range(20)
        if rng.random() < 0.6
    ]
    (folder / "user_film.dat").write_text("\n".join(rows) + "\n", encoding="utf-8")
    genres = "".join(f"{film}\t{film % 4}\n" for film in range(20))
    (folder / "film_genre.dat").write_text(genres, encoding="utf-8")
    friends = "".join(f"{user}\t{(user + 1) % 30}\n" for user in range(30))
    (folder / "user_user.dat").write_text(friends, encoding="utf-8")
    (folder / "user_city.dat").write_text("1\t1\n", encoding="utf-8")
    return folder


def kgat(folder: Path) -> Path:
    folder.mkdir()
    (folder / "train.txt").write_text("0 0 1 2\n1 1 2 3\n2 0 3\n", encoding="utf-8")
    (folder / "test.txt").write_text("0 3\n1 0\n", encoding="utf-8")
    (folder / "kg_final.txt").write_text("0 0 4\n1 0 4\n2 0 5\n3 0 5\n", encoding="utf-8")
    return folder


def read(source: Source, tmp_path: Path, model: str = "bpr") -> object:
    return source.read(Workspace(tmp_path), find_model(model))


def test_from_a_folder_to_a_recommendation(tmp_path: Path) -> None:
    folder, where = network(tmp_path / "hin"), tmp_path / "w"
    assert lore("init", where, "--schema", FILMS / "schema.toml").code == 0
    done = lore(
        "train", "shine", "--dataset", folder, "--positive-from", 4, "--epochs", 2, "-w", where, "--json"
    )
    assert done.code == 0, done.err
    assert "note: user_city.dat is left out" in done.err
    assert [row["model"] for row in done.json] == ["popularity", "ease", "bpr", "shine"]
    hit = lore("recommend", "3", "-w", where, "--json").json[0]
    found = lore("explain", "3", hit["item"], "-w", where)
    assert found.code == 0, found.err
    assert "facts on these paths are not in the graph now" in found.err


def test_one_source_and_one_only(tmp_path: Path) -> None:
    file, folder = tmp_path / "x.csv", tmp_path / "hin"
    for given in (Source(None, None, None, "random", 0), Source(file, folder, None, "random", 0)):
        with pytest.raises(UsageError, match="--interactions FILE, or --dataset FOLDER"):
            read(given, tmp_path)
    with pytest.raises(UsageError, match="there is no such folder"):
        read(Source(None, folder, None, "random", 0), tmp_path)
    with pytest.raises(UsageError, match="there is no split 'half'"):
        read(Source(None, folder, None, "half", 0), tmp_path)


def test_the_published_test_part_is_the_test(tmp_path: Path) -> None:
    folder = kgat(tmp_path / "kgat")
    ground = Source(None, folder, None, "random", 0).read(Workspace(tmp_path), find_model("kgat"))
    assert ground.split_name == "published"
    assert (ground.split.test.user.tolist(), ground.split.test.item.tolist()) == ([0, 1], [3, 0])
    assert len(ground.interactions) == 10
    assert len(ground.split.train) + len(ground.split.validation) == 8
    with pytest.raises(UsageError, match="the dataset fixes its test part"):
        read(Source(None, folder, None, "cold-item", 0), tmp_path)


def test_a_dataset_whose_links_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\nu\ta\nv\tb\n", encoding="utf-8")
    (tmp_path / "x.kg").write_text("head_id\trelation_id\ttail_id\nA\tby\tP\n", encoding="utf-8")
    (tmp_path / "x.link").write_text("item_id\tentity_id\na\tQ1\n", encoding="utf-8")
    source = Source(None, tmp_path, None, "random", 0)
    with pytest.raises(ConfigurationError, match="kgat needs items that are linked to the graph, and none"):
        read(source, tmp_path, "kgat")
    assert read(source, tmp_path, "bpr")


def test_an_explanation_says_which_facts_are_gone(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        for row in SENTENCES:
            put(ledger, *row)
        made = bundle()
        assert made.graph is not None
        made.graph.edge_ids[:] = Snapshot.of(ledger).edge_ids  # type: ignore[index]
        service = Service(made)
        before = explain(service, ledger, "ann", "m3")
        assert before.paths
        assert before.warning == ""
        first = next(iter(service.explain("ann", "m3").paths)).edges[0]
        ledger.decide(first.edge_id, Status.REJECTED)
        after = explain(service, ledger, "ann", "m3")
        said = f"{first.subject} {first.predicate} {first.object}"
        assert f" facts on these paths are not in the graph now: {said}." in after.warning
        assert after.as_json()["warning"] == after.warning
        ledger.decide(first.edge_id, Status.ACCEPTED)
        assert explain(service, ledger, "ann", "m3").warning == ""
    with Ledger(tmp_path / "another") as other:
        steps = {edge.edge_id for path in service.explain("ann", "m3").paths for edge in path.edges}
        found = explain(service, other, "ann", "m3")
        assert found.warning.startswith(f"{len(steps)} of {len(steps)} facts")
        assert all(step.sentence == "" for path in found.paths for step in path.steps)


def test_a_dataset_is_written_in_another_layout_and_read_back(tmp_path: Path) -> None:
    source, made = network(tmp_path / "hin"), tmp_path / "made"
    done = lore("convert", source, made, "--to", "kgcn", "--positive-from", 4)
    assert done.code == 0, done.err
    assert "left out: 30 friendships." in done.err
    assert "ratings below 4 are written too" in done.err
    rows = (made / "interactions.dat").read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) == len((source / "user_film.dat").read_text(encoding="utf-8").splitlines())
    before, after = (read_dataset(folder, positive_from=4) for folder in (source, made))
    assert len(after.interactions) == len(before.interactions)
    assert len(after.snapshot.triples) == len(before.snapshot.triples) == 20
    again = lore("convert", source, made, "--to", "kgcn")
    assert again.code == 2
    assert "something is here already" in again.err
    assert "no layout 'csv'" in lore("convert", source, tmp_path / "other", "--to", "csv").err
