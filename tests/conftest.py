"""Fixtures for the whole suite: one real Neo4j server for the run, where one is to be had."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from kg.stores.opening import split_credentials

LAUNCHER = Path(__file__).resolve().parent.parent / "docker" / "neo4j" / "launch.py"
_NO_NEO4J = "no Neo4j: "


class Neo4jServer(NamedTuple):
    """A Neo4j server to test against. Tests wipe its default database."""

    url: str
    user: str
    password: str


@pytest.fixture(scope="session")
def neo4j_server() -> Iterator[Neo4jServer]:
    """The server that ``LORE_TEST_NEO4J`` names, else one started for the run."""
    named = os.environ.get("LORE_TEST_NEO4J")
    if named:
        url, user, password = split_credentials(named)
        yield Neo4jServer(url, user or "neo4j", password or "")
        return
    launcher = load_launcher()
    try:
        launching = launcher.launch()
        server = launching.__enter__()
    except launcher.CannotLaunch as problem:
        pytest.skip(f"{_NO_NEO4J}{problem}")
    try:
        yield Neo4jServer(server.url, server.user, server.password)
    finally:
        launching.__exit__(None, None, None)


@pytest.fixture(scope="session")
def wipe_neo4j(neo4j_server: Neo4jServer) -> Iterator[Callable[[], None]]:
    """Empty the server's database; constraints stay, which is what makes it cheap."""
    from neo4j import GraphDatabase

    with GraphDatabase.driver(
        neo4j_server.url, auth=(neo4j_server.user, neo4j_server.password), notifications_min_severity="OFF"
    ) as driver:

        def wipe() -> None:
            statement = "MATCH (n) WITH n LIMIT 10000 DETACH DELETE n RETURN count(*) AS n"
            while driver.execute_query(statement, database_="neo4j").records[0]["n"]:
                pass

        yield wipe


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes test: one of them has the Neo4j server, and a module stays in one process."""
    for item in items:
        group = "neo4j" if item.get_closest_marker("neo4j") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it loudly where Neo4j was left out."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    why = next((reason for reason in skipped if _NO_NEO4J in reason), None)
    if why is not None:
        terminalreporter.section("NEO4J WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(why.partition(_NO_NEO4J)[2].rstrip("')"), red=True)
        terminalreporter.line(
            "Install OpenJDK 17 or later and Maven, or set LORE_TEST_NEO4J=bolt://user:password@host:port."
        )


def load_launcher() -> ModuleType:
    """The launcher as a module; it is a script outside every package."""
    name = "neo4j_launcher"
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, LAUNCHER)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        specification.loader.exec_module(module)
    return sys.modules[name]
