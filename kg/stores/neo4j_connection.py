"""Reaching a Neo4j server: the driver, what its errors mean, and what is declared in the database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from kg.errors import QueryFailed, QueryRefused, QueryTimeout, ServiceUnavailable, StoreError, UsageError
from kg.stores.neo4j_writing import MARKER, checked

CONNECT_SECONDS = 10.0
IDLE_CHECK_SECONDS = 30.0
NAME_INDEX = "lore_entity_names"
_OWN = {
    "lore_entity_id": "FOR (n:Entity) REQUIRE n.id IS UNIQUE",
    "lore_document_id": "FOR (n:Document) REQUIRE n.id IS UNIQUE",
    "lore_chunk_id": "FOR (n:Chunk) REQUIRE n.id IS UNIQUE",
    "lore_marker_key": f"FOR (n:{MARKER}) REQUIRE n.key IS UNIQUE",
}
_INDEXES = {
    "lore_chunk_document": "CREATE INDEX `lore_chunk_document` IF NOT EXISTS FOR (c:Chunk) ON (c.document)",
    NAME_INDEX: (
        f"CREATE FULLTEXT INDEX `{NAME_INDEX}` IF NOT EXISTS FOR (n:Entity) ON EACH [n.name, n.aliases] "
        "OPTIONS {indexConfig: {`fulltext.analyzer`: 'standard-no-stop-words'}}"
    ),
}


def connect(url: str, user: str, password: str) -> Any:
    """Open a driver and see that the server answers and takes the login.

    Raises :class:`~kg.errors.ServiceUnavailable` where it does not.
    """
    try:
        import neo4j
    except ImportError:
        raise ServiceUnavailable(
            "the Neo4j driver is not installed.", where=url, hint="Run pip install 'loregraph[neo4j]'."
        ) from None
    with translated(url):
        driver = neo4j.GraphDatabase.driver(
            url,
            auth=(user, password),
            connection_timeout=CONNECT_SECONDS,
            connection_acquisition_timeout=2 * CONNECT_SECONDS,
            liveness_check_timeout=IDLE_CHECK_SECONDS,
            notifications_min_severity="OFF",
            user_agent="loregraph",
        )
        try:
            driver.verify_connectivity()
        except BaseException:
            driver.close()
            raise
    return driver


def declare(session: Any, relations: Iterable[str], labels: Iterable[str] = ()) -> None:
    """Create the constraints and indexes that are missing; each is a transaction of its own."""
    known = {str(record["name"]) for record in session.run("SHOW CONSTRAINTS YIELD name")}
    known |= {str(record["name"]) for record in session.run("SHOW INDEXES YIELD name")}
    wanted = dict(_OWN)
    for name in relations:
        wanted[f"lore_edge_{checked(name)}"] = f"FOR ()-[r:`{name}`]-() REQUIRE r.id IS UNIQUE"
    statements = [
        f"CREATE CONSTRAINT `{name}` IF NOT EXISTS {rule}"
        for name, rule in wanted.items()
        if name not in known
    ]
    indexes = dict(_INDEXES)
    for label in labels:
        name = f"lore_name_{checked(label)}"
        indexes[name] = f"CREATE INDEX `{name}` IF NOT EXISTS FOR (n:`{label}`) ON (n.name)"
    statements += [text for name, text in indexes.items() if name not in known]
    for statement in statements:
        session.run(statement).consume()
    if statements:
        session.run("CALL db.awaitIndexes(300)").consume()


def claim_database(session: Any, where: str) -> None:
    """Put the marker into a database that is ours, or that holds none of our labels yet.

    Raises :class:`~kg.errors.StoreError` where somebody else's nodes carry our labels: a load would delete
    them.
    """
    if session.run(f"MATCH (m:{MARKER}) RETURN count(m) AS n").single()["n"]:
        return
    if session.run("MATCH (n:Entity|Document|Chunk) RETURN n.id LIMIT 1").single() is not None:
        raise StoreError(
            "the database holds :Entity, :Document or :Chunk nodes that loregraph did not write.",
            where=where,
            hint="Name an empty database in store.database, or remove these nodes yourself.",
        )
    mark = f"MERGE (m:{MARKER} {{key: 'projection'}}) ON CREATE SET m.version = 0, m.token = ''"
    session.execute_write(lambda tx: tx.run(mark).consume())


def connection_lost() -> tuple[type[Exception], ...]:
    """The driver's errors for a connection that ended while it was used."""
    from neo4j import exceptions

    return exceptions.ServiceUnavailable, exceptions.SessionExpired


@contextmanager
def translated(where: str, *, timeout: float = 0.0) -> Iterator[None]:
    """Turn the driver's errors into ours; ``where`` is the server's URL, ``timeout`` that of the query."""
    from neo4j import exceptions

    try:
        yield
    except exceptions.AuthError:
        raise ServiceUnavailable(
            "Neo4j refuses the login.",
            where=where,
            hint="Check store.user and the environment variable LORE_STORE__PASSWORD.",
        ) from None
    except exceptions.Neo4jError as problem:
        raise _meaning(problem, where, timeout) from None
    except (exceptions.ConfigurationError, exceptions.DriverError, OSError) as problem:
        raise _unreachable(problem, where) from None


def _meaning(problem: Any, where: str, timeout: float) -> Exception:
    code = str(problem.code or "")
    text = " ".join(str(problem.message or problem).split())[:500]
    if "TransactionTimedOut" in code or "LockClientStopped" in code:
        return QueryTimeout(
            f"the query took longer than {timeout:g} seconds.",
            hint="Start from fewer nodes, shorten the paths, or raise the timeout.",
        )
    if code.endswith("ParameterMissing"):
        return UsageError(f"a parameter has no value: {text}", hint="Give one for every $name in the query.")
    if "OutOfMemory" in code:
        return QueryFailed("the query needs more memory than the server allows.", hint="Add a LIMIT.")
    if code.endswith("Statement.AccessMode"):
        return QueryRefused("the query writes; only reading is allowed.", hint="Use MATCH … RETURN ….")
    if code.endswith("DatabaseNotFound"):
        return ServiceUnavailable("there is no such database.", where=where, hint="Check store.database.")
    if code.startswith("Neo.TransientError.") or ".Security." in code:
        return ServiceUnavailable(f"Neo4j cannot do this now: {text}", where=where, hint="Try again later.")
    return QueryFailed(f"Neo4j rejects the query: {text}")


def _unreachable(problem: Exception, where: str) -> ServiceUnavailable:
    cause = problem.__cause__ or problem
    reason = " ".join(str(cause).split())[:200]
    parts = urlsplit(where)
    return ServiceUnavailable(
        f"Neo4j does not answer ({reason}).",
        where=where,
        hint=f"Is it running at {parts.hostname or 'that host'}, port {parts.port or 7687}? Check store.url.",
    )
