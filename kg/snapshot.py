"""A snapshot: the graph at one ledger version as dense arrays, hashed. What every model trains on.

Entities are numbered in the order of their public ids and relations in the order of their names, so that the
same facts give the same arrays, and the same hash, in whatever order they were ingested.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
from numpy.typing import NDArray

from kg.columns import StringColumn, to_arrow, utf8_parts
from kg.errors import InputError
from kg.facts import Status

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger

Ints = NDArray[np.int64]
FORMAT_VERSION = 1
TRAINED_ON = frozenset({Status.EXTRACTED, Status.CURATED, Status.ACCEPTED})
"""What a model may take for true: neither what is only proposed nor what was rejected."""


@dataclass(frozen=True, slots=True, eq=False)
class AdjacencyView:
    """Edges by head (CSR). *Shape:* ``indptr`` [n_entities + 1]; the others [n_edges].

    ``relation`` is ``r``, or ``r + n_relations`` where the edge is walked against its direction; ``triple``
    is the row of the snapshot's triples that the edge comes from.
    """

    indptr: Ints
    neighbour: Ints
    relation: Ints
    triple: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The frozen graph.

    *Shape:* ``triples`` [n_triples, 3]: head, relation, tail; forward only, sorted, distinct.
    ``confidence``, ``support`` and ``edge_ids`` are [n_triples], ``entity_*`` [n_entities] and
    ``relation_names`` [n_relations]. Edges that differ only in their qualifiers are one triple, with the
    highest confidence of them. What was loaded keeps its strings in Arrow memory.
    """

    entity_ids: Sequence[str]
    entity_names: Sequence[str]
    entity_types: Sequence[str]
    relation_names: Sequence[str]
    triples: Ints
    confidence: NDArray[np.float32]
    support: NDArray[np.int32]
    edge_ids: Sequence[str]
    version: int
    hash: str

    @classmethod
    def of(cls, ledger: Ledger, *, statuses: Collection[Status] = TRAINED_ON) -> Snapshot:
        """Freeze what the ledger holds now, with facts of these statuses only."""
        arrays = ledger.arrays(statuses)
        triples = np.stack([arrays.subject, arrays.predicate, arrays.object], axis=1).reshape(-1, 3)
        order = np.lexsort((-arrays.confidence, triples[:, 2], triples[:, 1], triples[:, 0]))
        triples, confidence, support = triples[order], arrays.confidence[order], arrays.support[order]
        first = np.ones(len(triples), dtype=bool)
        first[1:] = (triples[1:] != triples[:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        folded = np.add.reduceat(support, starts) if len(starts) else support
        return cls.from_arrays(
            arrays.entity_ids,
            arrays.entity_names,
            arrays.entity_types,
            arrays.predicate_names,
            triples[starts],
            confidence[starts],
            folded.astype(np.int32),
            [arrays.edge_ids[position] for position in order[starts].tolist()],
            version=arrays.version,
        )

    @classmethod
    def from_arrays(
        cls,
        entity_ids: Sequence[str],
        entity_names: Sequence[str],
        entity_types: Sequence[str],
        relation_names: Sequence[str],
        triples: Ints,
        confidence: NDArray[np.float32],
        support: NDArray[np.int32],
        edge_ids: Sequence[str],
        *,
        version: int,
    ) -> Snapshot:
        """Make a snapshot of arrays that are already in order, and hash it.

        Nothing is copied that has its type already: leave it as it is from then on. The hash covers
        everything but the ledger version: two ledgers with the same facts have the same hash.
        """
        digest = hashlib.blake2b(digest_size=16)
        for names in (entity_ids, entity_names, entity_types, relation_names, edge_ids):
            for part in utf8_parts(names):
                digest.update(part)
        triples = np.ascontiguousarray(triples, dtype=np.int64)
        confidence = np.ascontiguousarray(confidence, dtype=np.float32)
        support = np.ascontiguousarray(support, dtype=np.int32)
        for array in (triples, confidence, support):
            digest.update(array.reshape(-1).view(np.uint8).data)
        return cls(
            entity_ids,
            entity_names,
            entity_types,
            relation_names,
            triples,
            confidence,
            support,
            edge_ids,
            version,
            digest.hexdigest(),
        )

    @property
    def n_entities(self) -> int:
        """How many entities there are."""
        return len(self.entity_ids)

    @property
    def n_relations(self) -> int:
        """How many relations there are, inverses not counted."""
        return len(self.relation_names)

    def adjacency(self, *, inverse: bool = True) -> AdjacencyView:
        """The edges by head; with ``inverse`` every triple is walked both ways."""
        head, relation, tail = self.triples.T
        row = np.arange(len(self.triples), dtype=np.int64)
        if inverse:
            head, tail = np.concatenate([head, tail]), np.concatenate([tail, head])
            relation = np.concatenate([relation, relation + self.n_relations])
            row = np.concatenate([row, row])
        order = np.lexsort((tail, relation, head))
        counts = np.bincount(head, minlength=self.n_entities)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return AdjacencyView(indptr, tail[order], relation[order], row[order])

    def save(self, path: Path) -> None:
        """Write the snapshot as a folder of Arrow files and a manifest, whole or not at all."""
        fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        fresh.mkdir(parents=True)
        names = {"id": self.entity_ids, "name": self.entity_names, "type": self.entity_types}
        _write(fresh / "entities.arrow", **{column: to_arrow(values) for column, values in names.items()})
        head, relation, tail = self.triples.T
        _write(
            fresh / "triples.arrow",
            head=head,
            relation=relation,
            tail=tail,
            confidence=self.confidence,
            support=self.support,
            edge_id=to_arrow(self.edge_ids),
        )
        manifest = {
            "format": FORMAT_VERSION,
            "version": self.version,
            "hash": self.hash,
            "relations": list(self.relation_names),
        }
        (fresh / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        former = path.with_name(f"{fresh.name}.former")
        if path.exists():
            os.replace(path, former)
        os.replace(fresh, path)
        shutil.rmtree(former, ignore_errors=True)

    @classmethod
    def load(cls, path: Path) -> Snapshot:
        """Read a saved snapshot.

        Raises :class:`~kg.errors.InputError` where it is incomplete, of another format, or was changed.
        """
        try:
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            entities = feather.read_table(path / "entities.arrow")
            edge_ids = StringColumn.copied(_column(path, "edge_id"))
            triples = np.empty((len(edge_ids), 3), dtype=np.int64)
            for place, name in enumerate(("head", "relation", "tail")):
                triples[:, place] = _column(path, name).to_numpy()
            confidence, support = (_column(path, name).to_numpy() for name in ("confidence", "support"))
        except (OSError, ValueError, pa.ArrowException) as problem:
            raise _unusable(path, f"it cannot be read: {problem}") from None
        if manifest.get("format") != FORMAT_VERSION:
            raise _unusable(
                path, f"it has format {manifest.get('format')}, this program reads {FORMAT_VERSION}"
            )
        found = cls.from_arrays(
            StringColumn(entities["id"]),
            StringColumn(entities["name"]),
            StringColumn(entities["type"]),
            manifest["relations"],
            triples,
            confidence,
            support,
            edge_ids,
            version=manifest["version"],
        )
        pa.default_memory_pool().release_unused()  # what reading took, or the process holds it until its end
        if found.hash != manifest["hash"]:
            raise _unusable(path, "its content does not have the hash that its manifest names")
        return found


def _column(path: Path, name: str) -> pa.ChunkedArray:
    """A column of the edges alone: all of them at once would take twice the room of what is kept."""
    return feather.read_table(path / "triples.arrow", columns=[name], use_threads=False)[name]


def _write(path: Path, **columns: Any) -> None:
    feather.write_feather(pa.table(columns), path, compression="zstd")


def _unusable(path: Path, why: str) -> InputError:
    return InputError(f"the snapshot cannot be used: {why}.", where=str(path), hint="Make it again.")
