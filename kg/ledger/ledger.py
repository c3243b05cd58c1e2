"""The ledger: the truth under the graph, in one SQLite file.

Whatever asserts is a source: a document, a run's proposals, a curated file, one decision of a user.
Withdrawing a source takes all it asserted along. A graph store is a projection: it holds the version of the
ledger that it shows, and :meth:`Ledger.delta` says what changed since.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from kg.errors import LedgerError, UsageError
from kg.facts import Assertions, Chunk, Document, Entity, Status
from kg.ledger.arrays import make_arrays
from kg.ledger.audit import audit
from kg.ledger.connection import Database, head_of
from kg.ledger.delta import LedgerProjection, make_delta
from kg.ledger.edges import Edges
from kg.ledger.merges import Merger
from kg.ledger.provenance import Provenance
from kg.ledger.reads import Reader
from kg.ledger.rows import (
    DecisionRow,
    DocumentRow,
    EntityRow,
    FactRow,
    LedgerArrays,
    MergeRow,
    PlaceRow,
    ProvenanceRow,
    Statistics,
)
from kg.ledger.writes import Writer
from kg.stores.store import Delta

SHOWN_STATUSES = frozenset(Status) - {Status.REJECTED}
"""The statuses that a graph shows."""


class Ledger:
    """An open ledger file.

    Several processes may have it open and write by turns; a writer waits for another's commit up to 30
    seconds. Within a process one thread writes; any thread may read, and waits while a write is under way.
    Errors: :class:`~kg.errors.LedgerError` where the file is damaged, no ledger, or of another format;
    :class:`~kg.errors.StoreLocked` where another process kept it locked.
    """

    def __init__(self, path: Path, *, symmetric: Collection[str] | None = None) -> None:
        """Open the file, or create it.

        ``symmetric`` names the predicates whose two ends mean the same; where it differs from what the file
        was written with, edges are derived again. ``None`` keeps what the file says.
        """
        self.path = Path(path)
        self._database = Database(self.path)
        try:
            edges = Edges(self._database.connection, self._database.memory)
            self._writer = Writer(self._database, edges)
            self._merger = Merger(self._database, edges)
            self._reader = Reader(self._database)
            self._provenance = Provenance(self._database)
            if symmetric is not None and frozenset(symmetric) != edges.symmetric:
                self._merger.change_symmetric(frozenset(symmetric))
        except BaseException:
            self._database.close()
            raise

    @property
    def version(self) -> int:
        """The version of the last commit; 1 for an empty ledger."""
        with self._database.reading() as connection:
            return head_of(connection)[0]

    @property
    def token(self) -> str:
        """What tells this history from any other that reached the same version."""
        with self._database.reading() as connection:
            return head_of(connection)[1]

    def knows(self, version: int, token: str) -> bool:
        """Whether a projection at this version and token can be moved forward; if not, load it anew."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT token FROM log WHERE version = ?", (version,)).fetchone()
            return (version, token) == (0, "") or (row is not None and row[0] == token)

    def batch(self) -> AbstractContextManager[int]:
        """Make everything inside one commit and one version; all of it is undone on an exception."""
        return self._database.writing()

    def put_document(self, document: Document, chunks: Sequence[Chunk], assertions: Assertions) -> bool:
        """Store a document at its place with all it asserts, replacing what it asserted before.

        Returns ``False`` when nothing changed: same text, same assertions, place known. A place that held
        another text is moved; that text's document goes with its last place. Raises
        :class:`~kg.errors.LedgerError` where a quote, mention or chunk is not in the text: nothing is stored.
        """
        return self._writer.put_document(document, chunks, assertions)

    def put_source(self, identity: str, kind: Literal["run", "curated"], assertions: Assertions) -> bool:
        """Store what a run or a curated source asserts, replacing what the source of that id asserted before.

        Facts of a run need an inference. A curated source also keeps entities alive that it merely lists.
        Returns ``False`` when nothing changed.
        """
        return self._writer.put_source(identity, kind, assertions)

    def has_document(self, identity: str) -> bool:
        """Whether a document is stored."""
        return self._reader.has_document(identity)

    def holds(self, uri: str) -> str | None:
        """The id of the document at this place."""
        return self._reader.holds(uri)

    def place(self, uri: str) -> PlaceRow | None:
        """What is stored at this place, with the title and the metadata it has there."""
        return self._reader.place(uri)

    def document(self, identity: str) -> Document:
        """A stored document; its ``uri`` is the first of its places. Raises :class:`~kg.errors.NotFound`."""
        return self._reader.document(identity)

    def documents(self) -> Iterator[DocumentRow]:
        """All documents in the order they were first stored, streamed from one snapshot."""
        return self._reader.documents()

    def drop_place(self, uri: str) -> bool:
        """Forget a place, and its document where that was the last one; ``False`` where nothing is there."""
        return self._writer.drop_place(uri)

    def drop_document(self, identity: str) -> bool:
        """Delete a document with all its places and assertions; ``False`` where there is none."""
        return self._writer.drop_source(identity, ("document",))

    def drop_source(self, identity: str) -> bool:
        """Withdraw a run, a curated source, a decision or a document; ``False`` where there is none."""
        return self._writer.drop_source(identity, ("document", "run", "curated", "decision"))

    def merge(self, loser: str, winner: str, *, reason: str = "") -> int:
        """Let ``winner`` stand for ``loser`` from now on; returns the number to undo it by.

        Raises :class:`~kg.errors.NotFound` for an unknown entity id.
        """
        return self._merger.merge_many([(loser, winner)], reason)[0]

    def merge_many(self, pairs: Sequence[tuple[str, str]], *, reason: str) -> list[int]:
        """Merge each (loser, winner) in one commit; returns the numbers in the same order."""
        return self._merger.merge_many(pairs, reason)

    def undo_merge(self, number: int) -> None:
        """Take a merge back, whatever was merged after it.

        Raises :class:`~kg.errors.NotFound`, or :class:`~kg.errors.UsageError` where it is already undone.
        """
        self._merger.undo(number)

    def merges(self) -> list[MergeRow]:
        """All merges ever made, oldest first; what was undone should not be proposed again."""
        return self._merger.rows()

    def decide(self, edge_id: str, status: Status, *, by: str = "user") -> str:
        """Accept or reject an edge; returns the id of the decision, which :meth:`drop_source` revokes.

        The decision holds for every assertion now in the edge, outlives re-ingest and follows merges; of
        several the newest holds. It keeps what it decides on, even when the sources go. Raises
        :class:`~kg.errors.NotFound` where no source asserts the edge.
        """
        return self._writer.decide(edge_id, status, by)

    def decisions(self, edge_id: str) -> list[DecisionRow]:
        """The decisions on an edge, newest first."""
        return self._reader.decisions(edge_id)

    def delta(self, since: int) -> Delta:
        """All that changed after version ``since``, folded at the last commit.

        Raises :class:`~kg.errors.LedgerError` where ``since`` lies ahead of the ledger.
        """
        self._refuse_in_batch("a delta")
        with self._database.reading() as connection:
            head, _ = head_of(connection)
            if not 0 <= since <= head:
                raise LedgerError(
                    f"there is no version {since}; the ledger is at {head}.",
                    where=str(self.path),
                    hint="The store shows another ledger or a later one: run `lore store rebuild`.",
                )
            return make_delta(connection, since)

    def projection(self) -> LedgerProjection:
        """Everything the graph shows, streamed from one read snapshot."""
        self._refuse_in_batch("a projection")
        return LedgerProjection(self._database)

    def entity(self, identity: str) -> Entity | None:
        """One entity as its own sources declare it, merged or not; ``None`` where none does."""
        return self._reader.entity(identity)

    def canonical(self, identity: str) -> str:
        """The id of the entity that stands for this one. Raises :class:`~kg.errors.NotFound`."""
        return self._reader.canonical(identity)

    def entities(self, *, type: str | None = None) -> Iterator[EntityRow]:
        """All canonical entities that something speaks of, streamed from one snapshot."""
        return self._reader.entities(type)

    def entities_named(self, name: str, *, type: str | None = None) -> list[EntityRow]:
        """The canonical entities with exactly this name or alias, once normalised; most mentioned first."""
        return self._reader.entities_named(name, type)

    def provenance(self, edge_id: str) -> list[ProvenanceRow]:
        """All evidence for an edge, oldest source first; empty where no source asserts it."""
        return self._provenance.of_edge(edge_id)

    def facts(self, *, statuses: Collection[Status] | None = None) -> Iterator[FactRow]:
        """Every edge, literal ones included, with its evidence; all but the rejected ones unless told."""
        return self._provenance.facts(statuses)

    def statistics(self) -> Statistics:
        """How much there is, at the last commit."""
        return self._reader.statistics()

    def arrays(self, statuses: Collection[Status] = SHOWN_STATUSES) -> LedgerArrays:
        """The graph of edges with these statuses as arrays, at the last commit."""
        self._refuse_in_batch("arrays")
        with self._database.snapshot() as connection:
            return make_arrays(connection, statuses)

    def check(self) -> list[str]:
        """Look for damage, and recompute all that is derived; one sentence for each thing that is wrong."""
        with self._database.snapshot() as connection:
            return audit(connection)

    def backup(self, path: Path) -> None:
        """Copy the ledger, as of the last commit, to a new file. Raises UsageError where it exists."""
        if path.exists():
            raise UsageError("the file exists already.", where=str(path), hint="Name a new file.")
        with self._database.snapshot() as connection, closing(sqlite3.connect(path)) as copy:
            connection.backup(copy)

    def checkpoint(self) -> None:
        """Empty the write-ahead log into the file, so that no deleted text is left in it."""
        self._refuse_in_batch("a checkpoint")
        with self._database.lock, self._database.translated():
            self._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file; the last one to close it empties the write-ahead log."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refuse_in_batch(self, what: str) -> None:
        if self._database.writing_now:
            raise UsageError(f"{what} cannot be made inside a batch.", hint="Leave the batch first.")
