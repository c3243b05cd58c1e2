"""The graph store on a Neo4j server, over Bolt.

The database is a projection of the ledger. Anyone may read and write it at the same time: appliers keep each
other out with a claim on a marker node. Neither APOC nor GDS is needed; the Community edition will do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal

import pyarrow as pa

from kg.errors import StoreError, UsageError
from kg.schema import Schema
from kg.stores.likeness import rank
from kg.stores.neo4j_connection import (
    NAME_INDEX,
    claim_database,
    connect,
    connection_lost,
    declare,
    translated,
)
from kg.stores.neo4j_gate import check_plan, check_text
from kg.stores.neo4j_reading import BASE_PROPERTIES, candidates, edge_pages, node_pages, plain
from kg.stores.neo4j_writing import MARKER, REBUILD, Writer, checked
from kg.stores.store import Delta, GraphSchema, Hit, Projection, StoreVersion

PATIENCE_SECONDS = 60.0
"""How long to wait for another process that is writing."""
FETCH_ROWS = 1_000
CANDIDATES_PER_HIT = 20
_SHOWN = (
    f"MATCH (m:{MARKER} {{key: 'projection'}}) "
    "RETURN CASE WHEN m.loading THEN 0 ELSE m.version END AS version, "
    "CASE WHEN m.loading THEN '' ELSE m.token END AS token"
)


class Neo4jStore:
    """A graph on a Neo4j server: the :class:`~kg.stores.store.GraphStore` that many processes share.

    ``url`` is ``bolt://host:port`` or ``neo4j://host:port`` (also ``+s``, ``+ssc``). Raises
    :class:`~kg.errors.ServiceUnavailable` where the server does not answer or refuses the login, and
    :class:`~kg.errors.StoreError` where the database holds other people's nodes under the labels used here.
    """

    def __init__(
        self, url: str, schema: Schema, *, user: str, password: str, database: str = "neo4j"
    ) -> None:
        self._url = url
        self._schema = schema
        self._database = database
        self._declare_lock = threading.Lock()
        self._declared: set[str] = set()
        self._driver: Any = connect(url, user, password)
        try:
            with self._session("WRITE") as session:
                claim_database(session, url)
            self._declare(schema.relations)
        except BaseException:
            self.close()
            raise

    def apply(self, delta: Delta) -> None:
        """Move the store forward to ``delta.version``; safe to repeat.

        Up to 10,000 rows are one transaction. More take several, during which readers see part of the
        change; the version moves with the last one. Raises :class:`~kg.errors.StoreError` where
        ``delta.since`` is above the version shown or a row names an endpoint that is not there, and
        :class:`~kg.errors.StoreLocked` where another process writes for too long.
        """
        with self._writing() as (session, writer, shown):
            if delta.since > shown.version:
                raise StoreError(
                    f"the graph shows version {shown.version}, the change starts at {delta.since}.",
                    where=self._url,
                    hint=REBUILD,
                )
            if delta.version < shown.version:
                writer.release()
                return
            if shown.version == 0 and not _is_empty(session):
                # What a broken load, or a first apply of another ledger, left behind.
                writer.wipe(self._removable(session))
            writer.apply(delta, shown)

    def load(self, projection: Projection) -> None:
        """Replace the whole content.

        The graph is emptied and filled in batches; until the end :meth:`version` is 0 and readers see part of
        the graph, since the server has no second graph to switch to.
        """
        with self._writing() as (session, writer, _):
            writer.wipe(self._removable(session))
            writer.load(projection)

    def version(self) -> StoreVersion:
        """The ledger version and token shown; version 0 and an empty token for an empty store."""
        with self._session() as session:
            found = session.execute_read(lambda tx: tx.run(_SHOWN).single())
        return StoreVersion(found["version"], found["token"]) if found else StoreVersion(0, "")

    def query(
        self,
        cypher: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int = 1000,
        timeout: float = 30.0,
    ) -> list[dict[str, Any]]:
        """Run one read-only Cypher query and return at most ``limit`` rows as plain Python values.

        The server first explains the query; it runs only where every step of the plan reads the graph.
        ``timeout`` is in seconds. Raises :class:`~kg.errors.QueryRefused`, :class:`~kg.errors.QueryFailed`,
        :class:`~kg.errors.QueryTimeout`, :class:`~kg.errors.UsageError` for parameters that are missing or
        cannot be sent, or :class:`~kg.errors.ServiceUnavailable`.
        """
        if limit < 1 or timeout <= 0:
            raise UsageError(f"limit and timeout must be positive, not {limit} and {timeout}.")
        check_text(cypher)
        values = dict(parameters or {})
        with self._session(fetch_size=min(limit, FETCH_ROWS), timeout=timeout) as session:
            try:
                return _read(session, cypher, values, limit, timeout)
            except connection_lost():
                # A pooled connection that the server ended shows only when used; nothing was written.
                return _read(session, cypher, values, limit, timeout)

    def query_untrusted(
        self,
        cypher: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int = 1000,
        timeout: float = 30.0,
    ) -> list[dict[str, Any]]:
        """The same as :meth:`query`, which trusts nobody: the server is a process of its own."""
        return self.query(cypher, parameters, limit=limit, timeout=timeout)

    def scan(self, what: Literal["nodes", "edges"], *, batch_rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """Stream entity nodes or edges with the fields of NODE_FIELDS or EDGE_FIELDS, in any order."""
        with self._session() as session:
            if what == "nodes":
                yield from node_pages(session, self._schema, batch_rows)
                return
            relations = self._schema.relations.values()
            qualifiers = sorted({name for relation in relations for name in relation.qualifiers})
            for name in self._relations(session):
                yield from edge_pages(session, name, qualifiers, batch_rows)

    def find(self, text: str, *, type: str | None = None, k: int = 10) -> list[Hit]:
        """The ``k`` entities whose name or alias is closest to ``text``, best first."""
        with self._session() as session:
            found = candidates(session, NAME_INDEX, text, type, CANDIDATES_PER_HIT * max(k, 1))
        return rank(text, ((row["id"], row["name"], row["type"], row["aliases"] or ()) for row in found), k)

    def schema(self) -> GraphSchema:
        """What is in the database, from the server's counts."""
        with self._session() as session:
            labels = self._counts(session, "MATCH (n:`{name}`)", [*BASE_PROPERTIES, *self._types(session)])
            names = [*self._relations(session), "MENTIONS", "PART_OF"]
            relationships = self._counts(session, "MATCH ()-[n:`{name}`]->()", names)
        properties = {label: dict(BASE_PROPERTIES.get(label, BASE_PROPERTIES["Entity"])) for label in labels}
        for prop in self._schema.properties.values():
            for label in labels.keys() & set(prop.domain):
                properties[label][prop.name] = (
                    prop.datatype if prop.cardinality == "one" else f"list of {prop.datatype}"
                )
        return GraphSchema(labels, relationships, properties)

    def close(self) -> None:
        """Release connections; safe to repeat."""
        self._driver.close()

    def __enter__(self) -> Neo4jStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def _session(
        self, mode: str = "READ", *, fetch_size: int = FETCH_ROWS, timeout: float = 0.0
    ) -> Iterator[Any]:
        with (
            translated(self._url, timeout=timeout),
            self._driver.session(
                database=self._database, default_access_mode=mode, fetch_size=fetch_size
            ) as session,
        ):
            yield session

    @contextmanager
    def _writing(self) -> Iterator[tuple[Any, Writer, StoreVersion]]:
        """A session that holds the claim, and the version shown; an error gives the claim back."""
        with self._session("WRITE") as session:
            writer = Writer(session, self._schema, self._declare)
            shown, loading = writer.claim(patience=PATIENCE_SECONDS)
            try:
                yield session, writer, StoreVersion(0, "") if loading else shown
            except BaseException:
                # Not in reach any more: the claim runs out by itself.
                with suppress(Exception):
                    writer.release()
                raise

    def _declare(self, relations: Iterable[str]) -> None:
        with self._declare_lock:
            missing = sorted({*relations} - self._declared)
            if missing or not self._declared:
                with self._session("WRITE") as session:
                    declare(session, missing, self._schema.entities)
                self._declared.update(missing)

    def _removable(self, session: Any) -> list[str]:
        return [*self._relations(session), "MENTIONS", "PART_OF"]

    def _relations(self, session: Any) -> list[str]:
        """The relations of the schema and those that were declared for rows outside it."""
        prefix = "lore_edge_"
        rows = session.run("SHOW CONSTRAINTS YIELD name WHERE name STARTS WITH $prefix", prefix=prefix)
        return sorted({*self._schema.relations, *(row["name"].removeprefix(prefix) for row in rows)})

    def _types(self, session: Any) -> list[str]:
        """The entity types of the schema and those that the database has beside them."""
        own = {*BASE_PROPERTIES, MARKER}
        rows = session.run("CALL db.labels() YIELD label")
        return sorted({*self._schema.entities, *(row["label"] for row in rows)} - own)

    @staticmethod
    def _counts(session: Any, pattern: str, names: Iterable[str]) -> dict[str, int]:
        counts = {}
        for name in names:
            text = f"{pattern.format(name=checked(name))} RETURN count(n) AS n"
            if n := session.run(text).single()["n"]:
                counts[name] = int(n)
        return counts


def _read(
    session: Any, cypher: str, values: dict[str, Any], limit: int, timeout: float
) -> list[dict[str, Any]]:
    with session.begin_transaction(timeout=timeout) as transaction:
        explained = _sent(transaction, "EXPLAIN " + cypher, values).consume()
        check_plan(explained.query_type, explained.plan)
        result = _sent(transaction, cypher, values)
        return [{name: plain(item) for name, item in row.items()} for row in result.fetch(limit)]


def _sent(transaction: Any, cypher: str, values: dict[str, Any]) -> Any:
    try:
        return transaction.run(cypher, values)
    except (TypeError, ValueError, OverflowError) as problem:
        raise UsageError(f"a parameter or the text cannot be sent: {problem}.") from None


def _is_empty(session: Any) -> bool:
    return session.run("MATCH (n:Entity|Document|Chunk) RETURN n.id LIMIT 1").single() is None
