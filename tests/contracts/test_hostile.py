"""What strangers send changes nothing, reads no file, opens no connection and ends nobody's work."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kg.errors import QueryFailed, QueryRefused
from tests.conftest import Neo4jServer
from tests.contracts.conftest import Opener
from tests.contracts.hostile import FAMILIES, HARMLESS, aimed
from tests.contracts.planted import SCHEMA, planted
from tests.kg.stores.graphs import delta

SECONDS = 1.5


@pytest.fixture(scope="module")
def films(open_shared_graph: Opener) -> Any:
    """The planted graph at version 1."""
    store = open_shared_graph(SCHEMA)
    store.apply(delta(0, 1, **planted()))
    return store


@contextmanager
def counting_port() -> Iterator[tuple[int, list[Any]]]:
    """A local port, and the list of those who came."""
    visitors: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        stopped = threading.Event()

        def watch() -> None:
            while not stopped.is_set():
                try:
                    connection, address = server.accept()
                except TimeoutError:
                    continue
                visitors.append(address)
                connection.close()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield server.getsockname()[1], visitors
        finally:
            stopped.set()
            thread.join()


@contextmanager
def somebody_else(server: Neo4jServer | None) -> Iterator[dict[str, str]]:
    """Somebody's open transaction on the server, which must still be good at the end."""
    if server is None:
        yield {"transaction": "neo4j-transaction-1", "connection": "bolt-1"}
        return
    from neo4j import GraphDatabase

    with (
        GraphDatabase.driver(server.url, auth=(server.user, server.password)) as driver,
        driver.session() as session,
        session.begin_transaction() as transaction,
    ):
        transaction.run("RETURN 1 AS victim").consume()
        with driver.session() as other:
            rows = other.run(
                "SHOW TRANSACTIONS YIELD transactionId, connectionId, currentQuery, elapsedTime "
                "RETURN transactionId, connectionId ORDER BY elapsedTime DESC"
            ).data()
        yield {"transaction": rows[0]["transactionId"], "connection": rows[0]["connectionId"]}
        assert transaction.run("RETURN 42 AS x").single(strict=True)["x"] == 42


def traces(store: Any, folder: Path) -> Any:
    """All that hostile texts might change."""
    rows = {
        what: sorted(repr(row) for batch in store.scan(what) for row in batch.to_pylist())
        for what in ("nodes", "edges")
    }
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    mentions = store.query("MATCH (:Chunk)-[m:MENTIONS]->(:Entity) RETURN count(m) AS n")
    return rows, files, store.version(), mentions, store.schema()


def test_there_are_two_hundred_different_hostile_texts() -> None:
    texts = [text for family in FAMILIES.values() for text in family]
    assert len(set(texts)) == len(texts) >= 200
    assert len(set(HARMLESS)) == 30


@pytest.mark.parametrize("family", FAMILIES)
def test_hostile_texts_leave_no_trace(
    request: pytest.FixtureRequest, films: Any, tmp_path: Path, family: str
) -> None:
    is_server = type(films).__name__ == "Neo4jStore"
    server: Neo4jServer | None = request.getfixturevalue("neo4j_server") if is_server else None
    (tmp_path / "secret.csv").write_text("id,name\nevil,a secret of the file\n")
    before = traces(films, tmp_path)
    passed: list[Any] = []
    told: list[str] = []
    with counting_port() as (port, visitors), somebody_else(server) as victim:
        for text in FAMILIES[family]:
            attack = aimed(text, port=port, folder=tmp_path, **victim)
            try:
                passed.append((attack[:120], films.query_untrusted(attack, timeout=SECONDS, limit=10)))
            except (QueryRefused, QueryFailed) as problem:
                told.append(str(problem))
    assert passed == []
    assert visitors == []
    assert not [message for message in told if "a secret of the file" in message]
    assert traces(films, tmp_path) == before


@pytest.mark.parametrize("cypher", HARMLESS)
def test_frightening_words_in_strings_comments_and_names_run(films: Any, cypher: str) -> None:
    films.query_untrusted(cypher, timeout=10)
    films.query(cypher, timeout=10)
