"""Random histories of a ledger, compared with the oracle after every time a projection catches up.

Any graph store can be the projection: ``run_fuzz(seed, n_operations, store)``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pyarrow as pa

from kg.facts import Assertions, Chunk, Document, Status
from kg.ledger.ledger import Ledger
from kg.stores.store import Delta
from tests.kg.ledger.mirror import Contents, Mirror, Showing, contents
from tests.kg.ledger.oracle import Oracle
from tests.kg.ledger.world import SCHEMA, World

_TEARS = (
    "nodes", "documents", "chunks", "edges", "mentions", "gone_edges", "gone_chunks", "gone_documents",
    "gone_nodes",
)  # fmt: skip


class Broken(Exception):
    """Raised by the fuzz inside a batch, to have it rolled back."""


@dataclass
class Counts:
    """What a run did, so that a test can demand that nothing was left out."""

    operations: int = 0
    compared: int = 0
    torn: int = 0
    rolled_back: int = 0
    merges: int = 0
    undone: int = 0
    decisions: int = 0
    dropped: int = 0

    def add(self, other: Counts) -> None:
        """Add another run."""
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))


def run_fuzz(
    seed: int,
    n_operations: int,
    store: Showing | None = None,
    *,
    read: Callable[[Any], Contents] = contents,
    tear: Literal["any", "staged"] = "any",
) -> Counts:
    """Run one random history; raises AssertionError at the first difference.

    ``store`` is any graph store that shows nothing yet, made for :data:`SCHEMA`; ``None`` takes a mirror in
    memory. ``read`` tells what the store shows; kinds that it leaves out are not compared. ``tear`` says how
    a delta may be half applied: ``any`` subset of its rows, or ``staged``, no edge before its ends.
    """
    with TemporaryDirectory() as folder:
        run = Run(random.Random(seed), Path(folder) / "ledger.db", store or Mirror(), read, tear)
        try:
            run.go(n_operations)
        except BaseException as problem:
            problem.add_note(
                f"fuzz seed {seed}, after {run.counts.operations} operations: {run.history[-12:]}"
            )
            raise
        finally:
            run.close()
        return run.counts


class Run:
    """One history: two handles on one ledger file, the oracle, and a projection that lags behind."""

    def __init__(
        self,
        rng: random.Random,
        path: Path,
        store: Showing,
        read: Callable[[Any], Contents],
        tear: Literal["any", "staged"],
    ) -> None:
        self.rng = rng
        self.path = path
        self.store = store
        self.read = read
        self.tear = tear
        self.oracle = Oracle()
        self.counts = Counts()
        self.history: list[str] = []
        self.in_batch = False
        self.oracle.symmetric = SCHEMA.symmetric
        self.ledgers = [Ledger(path, symmetric=SCHEMA.symmetric), Ledger(path)]
        self.ledger = self.ledgers[0]
        self.world = World(rng)

    def close(self) -> None:
        """Close the ledger files."""
        for ledger in self.ledgers:
            ledger.close()

    def go(self, n_operations: int) -> None:
        """Run the history to its end."""
        while self.counts.operations < n_operations:
            self.ledger = self.rng.choice(self.ledgers)
            chance = self.rng.random()
            if chance < 0.04:
                self._batch(fails=False)
            elif chance < 0.08:
                self._batch(fails=True)
            else:
                self._operate()
            if self.rng.random() < 0.12:
                self._tear()
            if self.rng.random() < 0.35:
                self._catch_up()
        self._catch_up()
        self._finish()

    # ---- operations

    def _operate(self) -> None:
        operations = (
            (self._put_document, 30), (self._put_again, 6), (self._put_source, 10), (self._drop_place, 8),
            (self._drop_source, 8), (self._merge, 12), (self._undo, 9), (self._decide, 10), (self._revoke, 5),
            (self._change_symmetric, 1),
        )  # fmt: skip
        (operation,) = self.rng.choices([o for o, _ in operations], [weight for _, weight in operations])
        self.counts.operations += 1
        self.history.append(operation.__name__[1:])
        operation()

    def _batch(self, *, fails: bool) -> None:
        version = self.ledger.version
        self.in_batch = True
        with _restored(self.oracle) if fails else _nothing():
            try:
                with self.ledger.batch():
                    for _ in range(self.rng.randint(2, 4)):
                        self._operate()
                    if fails:
                        raise Broken
            except Broken:
                self.history.append("rolled back")
                self.counts.rolled_back += 1
                assert self.ledger.version == version
            else:
                assert self.ledger.version <= version + 1
        self.in_batch = False

    def _put_document(self) -> None:
        text = self.rng.choice(self.world.texts)
        uri = f"file:{self.rng.randrange(7)}"
        title = self.rng.choice(("", "", "A title"))
        self._put(Document.of(text, uri, title=title), self.world.chunks(text), self.world.assertions(text))

    def _put_again(self) -> None:
        """Put a document that is there, at another place or with nothing changed."""
        if not self.oracle.places:
            return
        uri, (identity, title) = self.rng.choice(sorted(self.oracle.places.items()))
        held = self.oracle.sources[identity]
        known = self.rng.random() < 0.5
        if not known:
            uri = f"file:{self.rng.randrange(7)}"
        document = Document.of(held.text, uri, title=title)
        version = self.ledger.version
        changed = self._put(document, held.chunks, held.assertions)
        assert not (known and changed)
        assert changed or self.ledger.version == version

    def _put(self, document: Document, chunks: list[Chunk], assertions: Assertions) -> bool:
        changed = self.ledger.put_document(document, chunks, assertions)
        self.oracle.put_document(document, chunks, assertions)
        return changed

    def _put_source(self) -> None:
        kind: Any = self.rng.choice(("run", "curated"))
        identity = f"{kind}:{self.rng.randrange(3)}"
        assertions = self.world.statements(kind)
        self.ledger.put_source(identity, kind, assertions)
        self.oracle.put_source(identity, kind, assertions)

    def _drop_place(self) -> None:
        uri = f"file:{self.rng.randrange(7)}"
        assert self.ledger.drop_place(uri) == self.oracle.drop_place(uri)
        self.counts.dropped += 1

    def _drop_source(self) -> None:
        choices = [*sorted(self.oracle.sources), "run:0", "curated:9"]
        identity = self.rng.choice(choices)
        assert self.ledger.drop_source(identity) == self.oracle.drop_source(identity)
        self.counts.dropped += 1

    def _merge(self) -> None:
        if len(self.oracle.types) < 2:
            return
        loser, winner = self.rng.sample(sorted(self.oracle.types), 2)
        assert self.ledger.merge(loser, winner) == self.oracle.merge(loser, winner)
        self.counts.merges += 1

    def _undo(self) -> None:
        standing = [number for number, merge in enumerate(self.oracle.merges, 1) if merge[2]]
        if not standing:
            return
        number = self.rng.choice(standing)
        self.ledger.undo_merge(number)
        self.oracle.undo_merge(number)
        self.counts.undone += 1

    def _decide(self) -> None:
        groups = self.oracle.groups()
        edges = sorted(key for key, (_, group) in groups.items() if group.facts)
        if not edges:
            return
        # Where decisions meet on one edge is where they can go wrong.
        decided = [key for key in edges if groups[key][1].decisions]
        edge = self.rng.choice(decided if decided and self.rng.random() < 0.5 else edges)
        status = self.rng.choice((Status.ACCEPTED, Status.REJECTED))
        identity = self.ledger.decide(edge, status)
        self.oracle.decide(identity, edge, status)
        self.counts.decisions += 1

    def _revoke(self) -> None:
        if not self.oracle.decisions:
            return
        identity = self.rng.choice(list(self.oracle.decisions))
        assert self.ledger.drop_source(identity)
        assert self.oracle.drop_source(identity)

    def _change_symmetric(self) -> None:
        """Open the file with another schema, as a process started later would."""
        if self.in_batch:
            return
        symmetric = self.rng.choice((frozenset({"KNOWS"}), frozenset[str](), frozenset({"KNOWS", "SET_IN"})))
        Ledger(self.path, symmetric=symmetric).close()
        self.oracle.symmetric = symmetric

    # ---- the projection

    def _tear(self) -> None:
        """Apply a part of a delta, as an applier that was killed would have."""
        shown = self.store.version()
        delta = self.ledger.delta(shown.version)
        self.store.apply(replace(self._part(delta), version=shown.version, token=shown.token))
        self.history.append("torn")
        self.counts.torn += 1

    def _part(self, delta: Delta) -> Delta:
        cut = self.rng.randrange(len(_TEARS) + 1)
        parts: dict[str, pa.Table] = {}
        for stage, name in enumerate(_TEARS):
            table = getattr(delta, name)
            share = 0.5 if self.tear == "any" else 1.0 if stage < cut else 0.0 if stage > cut else 0.5
            kept = [row for row in range(table.num_rows) if self.rng.random() < share]
            parts[name] = table.take(pa.array(kept, pa.int64()))
        return replace(delta, **parts)

    def _catch_up(self) -> None:
        shown = self.store.version()
        if shown.version == 0 or self.rng.random() < 0.05:
            with self.ledger.projection() as projection:
                self.store.load(projection)
        else:
            assert self.ledger.knows(shown.version, shown.token)
            self.store.apply(self.ledger.delta(shown.version))
        now = self.store.version()
        assert (now.version, now.token) == (self.ledger.version, self.ledger.token)
        self._compare(self.read(self.store), self.oracle.contents())
        self.history.append("caught up")
        self.counts.compared += 1

    def _compare(self, found: Contents, expected: Contents) -> None:
        for kind, rows in found.items():
            differences = [
                (key, rows.get(key), expected[kind].get(key))
                for key in sorted(rows.keys() | expected[kind].keys())
                if rows.get(key) != expected[kind].get(key)
            ]
            assert not differences, f"{kind}: key, shown, expected: {differences[:3]}"

    def _finish(self) -> None:
        """Compare what is read from the ledger itself, and a load with the deltas."""
        ledger, oracle = self.ledger, self.oracle
        assert ledger.check() == []
        statistics = ledger.statistics()
        counted = (statistics.documents, statistics.chunks, statistics.entities, statistics.facts,
                   statistics.evidence)  # fmt: skip
        assert counted == oracle.statistics()
        assert {
            fact.edge_id: (str(fact.status), fact.support, fact.confidence, len(fact.evidence))
            for fact in ledger.facts()
        } == oracle.facts()
        expected = oracle.contents()
        arrays = ledger.arrays()
        assert sorted(arrays.edge_ids) == sorted(expected["edges"])
        for row, edge in enumerate(arrays.edge_ids):
            shown = expected["edges"][edge]
            ends = (arrays.entity_ids[arrays.subject[row]], arrays.entity_ids[arrays.object[row]])
            assert (arrays.predicate_names[arrays.predicate[row]], *ends) == (shown[0], shown[1], shown[3])
            assert (arrays.confidence[row], arrays.support[row]) == (shown[7], shown[8])
        assert dict(zip(arrays.entity_ids, arrays.entity_names, strict=True)) == {
            key: row[1] for key, row in expected["nodes"].items()
        }
        assert {row.id: (row.type, row.name, row.aliases) for row in ledger.entities()} == {
            key: row[:3] for key, row in expected["nodes"].items()
        }
        if isinstance(self.store, Mirror):
            fresh = Mirror()
            with ledger.projection() as projection:
                fresh.load(projection)
            assert fresh.versions() == self.store.versions()


@contextmanager
def _restored(oracle: Oracle) -> Iterator[None]:
    """Forget what happens to the oracle inside, as a rolled back ledger does."""
    kept = (dict(oracle.sources), dict(oracle.places), dict(oracle.types), [list(m) for m in oracle.merges],
            dict(oracle.decisions), oracle.n_decisions, oracle.symmetric)  # fmt: skip
    yield
    (oracle.sources, oracle.places, oracle.types, oracle.merges, oracle.decisions, oracle.n_decisions,
     oracle.symmetric) = kept  # fmt: skip


@contextmanager
def _nothing() -> Iterator[None]:
    yield
