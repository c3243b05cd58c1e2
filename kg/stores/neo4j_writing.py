"""Writing to Neo4j: the statements, their rows, and the fence that keeps two appliers apart.

Every transaction locks the marker first and goes on only where the marker still shows the version that the
work started from and nobody else holds the claim. Statements are idempotent (``MERGE`` by id,
``SET n = row``), upserts come first and deletions last, and the marker moves in the last transaction, so a
killed apply is repeated without harm.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from kg.errors import StoreError, StoreLocked
from kg.schema import Property, Schema
from kg.stores.store import Delta, Kind, Projection, StoreVersion

ROWS_PER_STATEMENT = 5_000
ROWS_PER_TRANSACTION = 10_000
LEASE_MILLISECONDS = 10_000
REBUILD = "Run `lore store rebuild`."
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_INTEGERS = range(-(2**63), 2**63)

MARKER = "LoreMarker"
_LOCK = f"MATCH (m:{MARKER} {{key: 'projection'}}) SET m.locked = true REMOVE m.locked WITH m "
_CLAIM = (
    f"MERGE (m:{MARKER} {{key: 'projection'}}) ON CREATE SET m.version = 0, m.token = '' "
    "SET m.locked = true REMOVE m.locked "
    "WITH m, m.claim IS NULL OR m.claim = $claim OR m.claimed_until < timestamp() AS free "
    "FOREACH (_ IN CASE WHEN free THEN [1] ELSE [] END | "
    "SET m.claim = $claim, m.claimed_until = timestamp() + $lease) "
    "RETURN free, m.version AS version, m.token AS token, m.loading AS loading"
)
_FENCE = (
    _LOCK + "WHERE m.claim = $claim AND m.version = $version "
    "SET m.claimed_until = timestamp() + $lease RETURN count(m) AS held"
)
_SHOWS_DONE = (
    f"MATCH (m:{MARKER} {{key: 'projection', version: $version, token: $token}}) WHERE m.claim IS NULL "
    "RETURN count(m) AS done"
)
_MOVE = (
    f"MATCH (m:{MARKER} {{key: 'projection'}}) SET m.version = $version, m.token = $token "
    "REMOVE m.claim, m.claimed_until, m.loading"
)
_RELEASE = f"MATCH (m:{MARKER} {{key: 'projection'}}) WHERE m.claim = $claim REMOVE m.claim, m.claimed_until"
_BEGIN_LOAD = f"MATCH (m:{MARKER} {{key: 'projection'}}) SET m.version = 0, m.token = '', m.loading = true"

_NODE = "UNWIND $rows AS row MERGE (n:Entity {{id: row.id}}) SET n = row, n:`{name}` RETURN count(*) AS done"
_EDGE = (
    "UNWIND $rows AS row MATCH (a:Entity {{id: row.source}}) MATCH (b:Entity {{id: row.target}}) "
    "MERGE (a)-[r:`{name}` {{id: row.properties.id}}]->(b) SET r = row.properties RETURN count(*) AS done"
)
_DOCUMENT = "UNWIND $rows AS row MERGE (d:Document {id: row.id}) SET d = row RETURN count(*) AS done"
_CHUNK = (
    "UNWIND $rows AS row MATCH (d:Document {id: row.document}) MERGE (c:Chunk {id: row.id}) SET c = row "
    "MERGE (c)-[:PART_OF]->(d) RETURN count(*) AS done"
)
_MENTION = (
    "UNWIND $rows AS row MATCH (c:Chunk {id: row.chunk}) MATCH (e:Entity {id: row.entity}) "
    "MERGE (c)-[m:MENTIONS]->(e) SET m.count = row.count RETURN count(*) AS done"
)
_STALE_MENTIONS = (
    "UNWIND $rows AS row MATCH (c:Chunk {document: row.document})-[m:MENTIONS]->(e:Entity) "
    "WHERE NOT e.id IN coalesce(row.keep[c.id], []) DELETE m"
)
_GONE_EDGE = "UNWIND $rows AS row MATCH ()-[r:`{name}` {{id: row.id}}]->() DELETE r"
_GONE_NODE = "UNWIND $rows AS row MATCH (n:{label} {{id: row.id}}) DETACH DELETE n"


@dataclass(slots=True)
class Work:
    """One statement and its rows; where ``counted``, each row must find what it names."""

    statement: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    counted: str = ""


class Writer:
    """Writes rows through one session of the driver."""

    def __init__(self, session: Any, schema: Schema, declare: Callable[[Iterable[str]], None]) -> None:
        """``declare`` is told the relations of rows at hand, before they are written."""
        self._session = session
        self._declare = declare
        self._properties = dict(schema.properties)
        self._qualifiers = sorted({q for relation in schema.relations.values() for q in relation.qualifiers})
        self._claim = secrets.token_hex(8)

    def claim(self, *, patience: float) -> tuple[StoreVersion, bool]:
        """Claim the right to write; return the version shown and whether a load was left half done.

        Raises :class:`~kg.errors.StoreLocked` where somebody else still writes after ``patience`` seconds.
        """
        end = time.monotonic() + patience
        while True:
            found = self._session.execute_write(self._single, _CLAIM, {})
            if found["free"]:
                return StoreVersion(found["version"], found["token"]), bool(found["loading"])
            if time.monotonic() > end:
                raise StoreLocked(
                    "another process is bringing the graph up to date.", hint="Try again when it is done."
                )
            time.sleep(0.1)

    def release(self) -> None:
        """Give the claim back, after an error."""
        self._session.execute_write(lambda tx: tx.run(_RELEASE, claim=self._claim).consume())

    def apply(self, delta: Delta, shown: StoreVersion) -> None:
        """Write a delta on top of the version shown, and move the marker with the last rows."""
        self._declare({*delta.edges["predicate"].to_pylist(), *delta.gone_edges["predicate"].to_pylist()})
        last: list[Work] = []
        for work in packed(self._delta_work(delta)):
            if last:
                self._session.execute_write(self._unit, last, shown.version, None)
            last = work
        target = StoreVersion(delta.version, delta.token)
        self._session.execute_write(self._unit, last, shown.version, target)

    def load(self, projection: Projection) -> None:
        """Write everything into an emptied graph, and move the marker at the end."""
        kinds: tuple[Kind, ...] = ("documents", "nodes", "chunks", "edges", "mentions")
        for kind in kinds:
            for batch in projection.batches(kind):
                if kind == "edges":
                    self._declare(batch["predicate"].to_pylist())
                for work in packed(self.upserts(kind, batch)):
                    self._session.execute_write(self._unit, work, 0, None)
        target = StoreVersion(projection.version, projection.token)
        self._session.execute_write(self._unit, [], 0, target)

    def wipe(self, relationships: Iterable[str]) -> None:
        """Say that a load has begun, then remove all that the store shows, in batches."""
        self._session.execute_write(lambda tx: tx.run(_BEGIN_LOAD).consume())
        patterns = [f"MATCH ()-[x:`{checked(name)}`]->()" for name in relationships]
        patterns += [f"MATCH (x:{label})" for label in ("Chunk", "Document", "Entity")]
        for pattern in patterns:
            delete = "DETACH DELETE" if pattern.startswith("MATCH (x") else "DELETE"
            text = f"{pattern} WITH x LIMIT {ROWS_PER_TRANSACTION} {delete} x RETURN count(*) AS done"
            while self._session.execute_write(self._fenced, text) == ROWS_PER_TRANSACTION:
                pass

    def upserts(self, kind: Kind, rows: pa.Table | pa.RecordBatch) -> Iterator[Work]:
        """The statements that write rows of one kind."""
        if kind == "nodes":
            yield from self._grouped(rows, "type", _NODE, self._node, counted="entity")
        elif kind == "edges":
            yield from self._grouped(rows, "predicate", _EDGE, self._edge, counted="relationship")
        else:
            statement = {"documents": _DOCUMENT, "chunks": _CHUNK, "mentions": _MENTION}[kind]
            yield Work(statement, rows.to_pylist(), kind.removesuffix("s"))

    def _delta_work(self, delta: Delta) -> Iterator[Work]:
        yield from self.upserts("documents", delta.documents)
        yield from self.upserts("nodes", delta.nodes)
        yield from self.upserts("chunks", delta.chunks)
        yield from self.upserts("edges", delta.edges)
        yield from self.upserts("mentions", delta.mentions)
        yield Work(_STALE_MENTIONS, _kept_mentions(delta))
        yield from self._grouped(delta.gone_edges, "predicate", _GONE_EDGE, lambda row: {"id": row["id"]})
        for label, gone in (
            ("Chunk", delta.gone_chunks), ("Document", delta.gone_documents), ("Entity", delta.gone_nodes)
        ):  # fmt: skip
            yield Work(_GONE_NODE.format(label=label), gone.select(["id"]).to_pylist())

    @staticmethod
    def _grouped(
        rows: pa.Table | pa.RecordBatch, column: str, statement: str, shape: Any, *, counted: str = ""
    ) -> Iterator[Work]:
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows.to_pylist():
            groups.setdefault(row[column], []).append(shape(row))
        for name in sorted(groups):
            yield Work(statement.format(name=checked(name)), groups[name], counted)

    def _node(self, row: dict[str, Any]) -> dict[str, Any]:
        values = json.loads(row.pop("properties") or "{}")
        for name in values.keys() & self._properties.keys():
            row[name] = shown_value(self._properties[name], values[name])
        return row

    def _edge(self, row: dict[str, Any]) -> dict[str, Any]:
        qualifiers = json.loads(row["qualifiers"] or "{}")
        properties = {name: qualifiers.get(name) for name in self._qualifiers}
        for name in ("id", "status", "confidence", "support", "documents", "version"):
            properties[name] = row[name]
        return {"source": row["source"], "target": row["target"], "properties": properties}

    def _single(self, tx: Any, statement: str, parameters: Mapping[str, Any]) -> Any:
        values = {"claim": self._claim, "lease": LEASE_MILLISECONDS, **parameters}
        return tx.run(statement, values).single(strict=True)

    def _fenced(self, tx: Any, statement: str) -> int:
        self._hold(tx, 0)
        return int(tx.run(statement).single(strict=True)["done"])

    def _hold(self, tx: Any, version: int) -> None:
        if not self._single(tx, _FENCE, {"version": version})["held"]:
            raise StoreLocked(
                "another process took over bringing the graph up to date.",
                hint="Nothing is lost: try again when it is done.",
            )

    def _is_done(self, tx: Any, target: StoreVersion) -> bool:
        """Whether a commit whose answer was lost did arrive: the claim is gone then, the marker moved."""
        found = self._single(tx, _SHOWS_DONE, {"version": target.version, "token": target.token})
        return bool(found["done"])

    def _unit(self, tx: Any, works: list[Work], version: int, target: StoreVersion | None) -> None:
        if target is not None and self._is_done(tx, target):
            return
        self._hold(tx, version)
        for work in works:
            result = tx.run(work.statement, rows=work.rows)
            if not work.counted:
                result.consume()
            elif (done := result.single(strict=True)["done"]) != len(work.rows):
                raise StoreError(
                    f"{len(work.rows) - done} {work.counted} row(s) name what the graph does not hold.",
                    hint=REBUILD,
                )
        if target is not None:
            tx.run(_MOVE, version=target.version, token=target.token).consume()


def packed(works: Iterable[Work]) -> Iterator[list[Work]]:
    """Cut work into statements of ROWS_PER_STATEMENT and transactions of about ROWS_PER_TRANSACTION rows."""
    transaction: list[Work] = []
    n_rows = 0
    for work in works:
        for start in range(0, len(work.rows), ROWS_PER_STATEMENT):
            part = work.rows[start : start + ROWS_PER_STATEMENT]
            if transaction and n_rows + len(part) > ROWS_PER_TRANSACTION:
                yield transaction
                transaction, n_rows = [], 0
            transaction.append(Work(work.statement, part, work.counted))
            n_rows += len(part)
    if transaction:
        yield transaction


def checked(name: str) -> str:
    """A label or relationship type that may stand between back-ticks.

    Raises :class:`~kg.errors.StoreError` for any other name.
    """
    if _NAME.fullmatch(name) is None:
        raise StoreError(f"{name[:80]!r} is no name of an entity type or relation.", hint="Check the schema.")
    return name


def shown_value(prop: Property, values: list[Any]) -> Any:
    """What a node shows for a property: the first fitting value, or all of them where there may be many."""
    fitting = [found for value in values if (found := _fitting(prop.datatype, value)) is not None]
    if prop.cardinality == "many":
        return fitting or None
    return fitting[0] if fitting else None


def _fitting(datatype: str, value: Any) -> Any:
    """The value where it is of this type; facts from before a change of the schema may not be."""
    if datatype in ("string", "date"):
        return value if isinstance(value, str) else None
    if datatype == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if datatype == "number":
        return float(value)
    return int(value) if float(value).is_integer() and int(value) in _INTEGERS else None


def _kept_mentions(delta: Delta) -> list[dict[str, Any]]:
    keep: dict[str, dict[str, list[str]]] = {row: {} for row in delta.documents["id"].to_pylist()}
    for chunk, entity in zip(
        delta.mentions["chunk"].to_pylist(), delta.mentions["entity"].to_pylist(), strict=True
    ):
        document = chunk.rpartition("#")[0]
        if document in keep:
            keep[document].setdefault(chunk, []).append(entity)
    return [{"document": document, "keep": found} for document, found in keep.items()]
