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
from typing import cast

import httpx
import pytest

from kg.ledger.ledger import Ledger
from kg.stores.store import GraphStore, Projection, StoreVersion
from loregraph.api.serving import Serving
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


def test_without_a_model_the_service_is_unavailable(client: httpx.Client) -> None:
    for path in ("/v1/users/u1/recommendations", "/v1/explanations/u1/f01", "/v1/model"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "lore train" in answer.json()["detail"]


def test_unknown_routes_and_wrong_methods_are_problems(client: httpx.Client) -> None:
    unknown = client.get("/v1/nothing")
    assert (unknown.status_code, unknown.json()["title"]) == (404, "Not Found")
    assert "/v1/nothing" in unknown.json()["detail"]
    wrong = client.get("/v1/graph/query")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["detail"] == "/v1/graph/query takes POST, not GET."
    for answer in (unknown, wrong):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


def test_the_description_is_served_and_no_page_that_needs_the_internet(client: httpx.Client) -> None:
    assert "/v1/graph/query" in client.get("/openapi.json").json()["paths"]
    assert client.get("/docs").status_code == 404


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_cannot_be_is_a_usage_error(folder: Path, port: str) -> None:
    done = lore("serve", "-w", folder, "--port", port)
    assert done.code == 2
    assert "--port" in done.err
    assert "Traceback" not in done.err


def test_new_facts_show_within_a_second(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w", "alien.md")
    question = {"cypher": "MATCH (f:Film) RETURN f.name AS film ORDER BY film"}
    with served(folder) as client:
        assert client.post("/v1/graph/query", json=question).json() == {"rows": [{"film": "Alien"}]}
        done = lore("ingest", "-w", folder, FILMS / "articles" / "ponyo.md")
        assert done.code == 0, done.err
        deadline = time.monotonic() + 20
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


def test_made_up_keys_do_not_widen_the_rate(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w")
    with served(folder, LORE_SERVER__REQUESTS_PER_MINUTE="3") as client:
        codes = [client.get("/metrics", headers={"x-api-key": str(n)}).status_code for n in range(4)]
        assert codes == [200, 200, 200, 429]
    key_hash = hashlib.sha256(b"open sesame").hexdigest()
    with served(folder, LORE_SERVER__KEY_HASHES=key_hash, LORE_SERVER__REQUESTS_PER_MINUTE="3") as client:
        codes = [client.get("/metrics", headers={"x-api-key": str(n)}).status_code for n in range(4)]
        assert codes == [401, 401, 401, 429]
        assert client.get("/metrics", headers={"x-api-key": "open sesame"}).status_code == 200


class FailingStore:
    """A store that cannot be written until its disk is mended."""

    def __init__(self) -> None:
        self.is_mended = False
        self.shown = StoreVersion(0, "")

    def version(self) -> StoreVersion:
        return self.shown

    def load(self, projection: Projection) -> None:
        if not self.is_mended:
            raise RuntimeError("the disk is gone")
        self.shown = StoreVersion(projection.version, projection.token)


def test_following_goes_on_after_any_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loregraph.api.serving.FOLLOW_EVERY_S", 0.01)
    store = FailingStore()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    serving = Serving(ledger, cast(GraphStore, store), None, bundle=None)

    def trouble_becomes(wanted: str | None) -> bool:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if serving.readiness()[1]["trouble"] == wanted:
                return True
            time.sleep(0.01)
        return False

    serving.start()
    try:
        assert trouble_becomes("RuntimeError: the disk is gone")
        assert serving.readiness()[0] is False
        store.is_mended = True
        assert trouble_becomes(None)
        assert serving.readiness()[0] is True
    finally:
        serving.close()
        ledger.close()
