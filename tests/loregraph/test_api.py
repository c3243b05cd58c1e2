"""The REST server as a client sees it: a real process on a real socket."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.loregraph.commands import FILMS, environment, films_workspace, lore


@contextmanager
def served(folder: Path, *arguments: str, **extra: str) -> Iterator[httpx.Client]:
    child = subprocess.Popen(
        [sys.executable, "-m", "loregraph.cli.main", "serve", "-w", str(folder), "--port", "0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**extra),
    )
    assert child.stderr is not None
    address = None
    for line in child.stderr:
        if found := re.search(r"serving (http://\S+)", line):
            address = found.group(1)
            break
    assert address is not None, "the server did not start"
    try:
        with httpx.Client(base_url=address, timeout=60) as client:
            for _ in range(200):
                try:
                    client.get("/health")
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            yield client
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(timeout=30)
        child.stderr.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films_workspace(tmp_path_factory.mktemp("served") / "w", "alien.md", "vertigo.md")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with served(folder) as found:
        yield found


def test_health_ready_and_stats(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json()["ready"] is True
    assert client.get("/v1/graph/stats").json()["documents"] == 2
    assert "lore_requests_total" in client.get("/metrics").text


def test_cypher_over_rest(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/graph/query",
        json={
            "cypher": "MATCH (f:Film {name: $name})-[:DIRECTED_BY]->(p:Person) RETURN p.name AS director",
            "parameters": {"name": "Alien"},
        },
    )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"rows": [{"director": "Ridley Scott"}]}


@pytest.mark.parametrize(
    ("cypher", "status"),
    [
        ("CREATE (n:Film {id: 'x'})", 400),
        ("MATCH (n) DETACH DELETE n", 400),
        ("CHECKPOINT", 400),
        ("COPY (MATCH (n:Film) RETURN n.name) TO '/tmp/stolen.csv'", 400),
        ("MATCH (n) RETURN n; MATCH (m) RETURN m", 400),
        ("RETURN " + "(" * 5000 + "1" + ")" * 5000, 400),
        ("MATCH (n", 400),
    ],
)
def test_hostile_cypher_is_a_problem_and_the_server_lives(
    client: httpx.Client, cypher: str, status: int
) -> None:
    answer = client.post("/v1/graph/query", json={"cypher": cypher})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.get("/v1/graph/stats").json()["documents"] == 2


def test_a_bad_request_names_what_is_wrong(client: httpx.Client) -> None:
    answer = client.post("/v1/graph/query", json={"cipher": "RETURN 1"})
    assert answer.status_code == 422
    assert "cypher" in answer.json()["detail"]
    assert client.get("/v1/users/u1/recommendations").status_code == 500
    assert client.get("/v1/nothing").status_code == 404


def test_new_facts_show_within_a_second(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w", "alien.md")
    question = {"cypher": "MATCH (f:Film) RETURN f.name AS film ORDER BY film"}
    with served(folder) as client:
        assert client.post("/v1/graph/query", json=question).json() == {"rows": [{"film": "Alien"}]}
        done = lore("ingest", "-w", folder, FILMS / "articles" / "ponyo.md")
        assert done.code == 0, done.err
        deadline = time.monotonic() + 5
        rows: list[dict[str, str]] = []
        while len(rows) < 2 and time.monotonic() < deadline:
            rows = client.post("/v1/graph/query", json=question).json()["rows"]
        assert rows == [{"film": "Alien"}, {"film": "Ponyo"}]


def test_off_loopback_needs_a_key(folder: Path) -> None:
    done = lore("serve", "-w", folder, "--host", "0.0.0.0", "--port", "0")
    assert done.code == 78
    assert "API key" in done.err


def test_with_a_key_only_its_holder_may_ask(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w", "alien.md")
    key_hash = hashlib.sha256(b"open sesame").hexdigest()
    with served(folder, LORE_SERVER__KEY_HASHES=key_hash, LORE_SERVER__REQUESTS_PER_MINUTE="3") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/v1/graph/stats").status_code == 401
        wrong = {"Authorization": "Bearer guess"}
        assert client.get("/v1/graph/stats", headers=wrong).status_code == 401
        right = {"Authorization": "Bearer open sesame"}
        codes = [client.get("/v1/graph/stats", headers=right).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
