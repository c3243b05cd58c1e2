"""Both graph stores behind one fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kg.schema import Schema
from kg.stores.opening import open_store
from tests.conftest import Neo4jServer
from tests.kg.stores.graphs import EVERYTHING, FILMS, delta

Opener = Callable[[Schema], Any]
ENGINES = ["embedded", pytest.param("neo4j", marks=pytest.mark.neo4j)]


def _opener(request: pytest.FixtureRequest, engine: str, folder: Path) -> Iterator[Opener]:
    stores: list[Any] = []
    if engine == "neo4j":
        server: Neo4jServer = request.getfixturevalue("neo4j_server")
        request.getfixturevalue("wipe_neo4j")()
        url, user, password = server
    else:
        url, user, password = str(folder / "graph"), "", ""

    def opener(schema: Schema) -> Any:
        for store in stores:
            store.close()
        stores[:] = [open_store(url, schema, user=user, password=password)]
        return stores[0]

    yield opener
    for store in stores:
        store.close()


@pytest.fixture(params=ENGINES)
def open_graph(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open an empty store of a schema; a second call closes it and opens it again."""
    yield from _opener(request, request.param, tmp_path)


@pytest.fixture
def store(open_graph: Opener) -> Any:
    """A store that shows EVERYTHING at version 1."""
    opened = open_graph(FILMS)
    opened.apply(delta(0, 1, **EVERYTHING))
    return opened


@pytest.fixture(scope="module", params=ENGINES)
def open_shared_graph(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opener]:
    """As ``open_graph``, once for all tests of a module that only read."""
    yield from _opener(request, request.param, tmp_path_factory.mktemp("shared"))
