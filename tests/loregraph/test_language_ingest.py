"""``lore ingest --extractor llm`` against a scripted OpenAI-compatible server: facts, cost, replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.language_server import LanguageServer
from tests.loregraph.commands import films_workspace, lore

TEXT = "Stalker, made in 1979, was directed by Andrei Tarkovsky."
ANSWER = {
    "entities": [
        {"id": "f", "type": "Film", "name": "Stalker", "aliases": []},
        {"id": "p", "type": "Person", "name": "Andrei Tarkovsky", "aliases": []},
    ],
    "facts": [
        {
            "quote": "was directed by Andrei Tarkovsky",
            "subject": "f",
            "predicate": "DIRECTED_BY",
            "object": "p",
            "value": None,
            "qualifiers": [],
        },
        {
            "quote": "was written by the Strugatsky brothers",
            "subject": "f",
            "predicate": "WRITTEN_BY",
            "object": "p",
            "value": None,
            "qualifiers": [],
        },
    ],
}


def scripted(_: dict[str, Any]) -> str:
    return json.dumps(ANSWER)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "stalker.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_model_s_claims_enter_only_with_their_quote_and_are_paid_once(
    tmp_path: Path, document: Path
) -> None:
    folder = films_workspace(tmp_path / "w")
    with LanguageServer(scripted) as server:
        settings = {
            "LORE_LANGUAGE__BASE_URL": server.base_url,
            "LORE_LANGUAGE__API_KEY": "sk-secret",
            "LORE_LANGUAGE__DOLLARS_PER_MILLION_PROMPT_TOKENS": "1",
        }
        plan = lore("ingest", "-w", folder, document, "--extractor", "llm", "--dry-run", "--json", **settings)
        assert plan.json["calls"] == 1
        assert plan.json["dollars"] > 0
        assert server.n_chats == 0
        done = lore("ingest", "-w", folder, document, "--extractor", "llm", "--json", **settings)
        assert done.code == 0, done.err
        assert done.json["calls"] == server.n_chats == 1
        assert sum(done.json["refused"].values()) == 1
        assert "sk-secret" not in done.out + done.err
        rows = lore(
            "query", "-w", folder, "MATCH (f:Film)-[r]->(p:Person) RETURN type(r) AS r", "--json"
        ).json
        assert rows == [{"r": "DIRECTED_BY"}]
        listed = lore("documents", "list", "-w", folder, "--json").json
        assert lore("documents", "delete", "-w", folder, listed[0]["id"]).code == 0
        again = lore("ingest", "-w", folder, document, "--extractor", "llm", "--json", **settings)
        assert again.json["stored"] == 1
        assert again.json["cached_calls"] == 1
        assert server.n_chats == 1


def test_no_server_is_said_and_nothing_is_lost(tmp_path: Path, document: Path) -> None:
    folder = films_workspace(tmp_path / "w", "alien.md")
    before = lore("stats", "-w", folder, "--json").json
    done = lore(
        "ingest",
        "-w",
        folder,
        document,
        "--extractor",
        "llm",
        LORE_LANGUAGE__BASE_URL="http://127.0.0.1:9/v1",
        LORE_LANGUAGE__API_KEY="sk-secret",
    )
    assert done.code == 69
    assert "127.0.0.1:9" in done.err
    assert "Traceback" not in done.err
    assert "sk-secret" not in done.err
    assert lore("stats", "-w", folder, "--json").json == before
