"""From texts to served recommendations: a small trained bundle behind the real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.loregraph.commands import FILMS, linked_films, lore
from tests.loregraph.test_api import served

NOLAN = ["f01", "f02", "f03"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = linked_films(tmp_path_factory.mktemp("trained") / "w")
    done = lore("train", "bpr", "--epochs", "5", "--interactions", folder / "all.csv", "-w", folder)
    assert done.code == 0, done.err
    with served(folder) as found:
        yield found


def recommended(client: httpx.Client, user: str, k: int) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/users/{user}/recommendations", params={"k": k})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()
    return rows


def test_recommendations_are_ranked_and_named(client: httpx.Client) -> None:
    rows = recommended(client, "u001", 10)
    assert len({row["item"] for row in rows}) == 10
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert all(row["name"] and row["name"] != row["item"] for row in rows)
    assert rows[:3] == recommended(client, "u001", 3)


def test_an_explanation_quotes_the_sentences_behind_it(client: httpx.Client) -> None:
    for row in recommended(client, "u001", 60):
        found = client.get(f"/v1/explanations/u001/{row['item']}").json()
        assert (found["item"], found["name"]) == (row["item"], row["name"])
        steps = [step for path in found["paths"] for step in path["steps"]]
        if steps:
            break
    else:
        pytest.fail("nothing that is recommended has a path")
    spoken = [step for step in steps if step["sentence"]]
    assert spoken
    for step in spoken:
        text = (FILMS / "articles" / Path(step["document"]).name).read_text(encoding="utf-8")
        assert " ".join(step["sentence"].split()) in " ".join(text.split())


def test_somebody_new_gets_what_is_near_to_what_they_had(client: httpx.Client) -> None:
    answer = client.post("/v1/recommendations:for-history", json={"items": NOLAN, "k": 5})
    assert answer.status_code == 200, answer.text
    rows = answer.json()
    assert [sorted(row) for row in rows] == [["item", "name", "score"]] * 5
    assert not {row["item"] for row in rows} & set(NOLAN)
    other = client.post("/v1/recommendations:for-history", json={"items": ["f35"], "k": 5}).json()
    assert other != rows
    assert len(client.post("/v1/recommendations:for-history", json={"items": []}).json()) == 10


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"items": ["nosuch"]}, 404, "nosuch"),
        ({"items": NOLAN, "k": 0}, 422, "body.k"),
        ({"items": "f01"}, 422, "body.items"),
        ({"itmes": NOLAN}, 422, "items"),
    ],
)
def test_a_wrong_history_is_a_problem(
    client: httpx.Client, body: dict[str, Any], status: int, says: str
) -> None:
    answer = client.post("/v1/recommendations:for-history", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]


def test_the_card_names_the_model_and_its_figures(client: httpx.Client) -> None:
    card = client.get("/v1/model").json()
    assert (card["model"], card["n_users"], card["n_items"]) == ("bpr", 240, 77)
    assert card["metrics"]
    assert client.get("/ready").json()["bundle"] == "bpr"


def test_an_unknown_user_or_item_is_not_found(client: httpx.Client) -> None:
    for path in (
        "/v1/users/nobody/recommendations",
        "/v1/explanations/nobody/f01",
        "/v1/explanations/u001/nosuch",
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
