"""A trained model as a folder that can be audited and served without torch.

========================  =================================================================================
``model.safetensors``      vectors or lists, popularity, every user's history, the graph for explanations
``config.json``            format version, model and its settings, relation names, hash of the snapshot
``users.arrow`` …          ids and names by dense id: users, items, entities, edges
``metrics.json``           the test figures, those of the baselines beside them, with intervals
``README.md``              the card, for people
``checksums.json``         SHA-256 of every other file
========================  =================================================================================

Nothing in it is executed on loading. It is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kg.columns import StringColumn, to_arrow
from kg.errors import BundleError, NotFound
from recommender.data.interactions import Floats, Ints
from recommender.serving.tensors import map_tensors

FORMAT_VERSION = 2
"""2 added rows of items: item-to-item weights, and lists for models without vectors."""


@dataclass(frozen=True, slots=True, eq=False)
class ExplanationGraph:
    """The knowledge graph of a bundle as CSR over entity nodes, items first, both directions of every edge.

    *Shape:* ``indptr`` [n_entities + 1]; ``tail``, ``relation``, ``edge``, ``weight`` [n_edges].
    ``relation`` is ``r``, or ``r + n_relations`` where an edge is walked against its direction; ``edge``
    counts ``edge_ids``; ``weight`` is what the model gives the edge.
    """

    indptr: Ints
    tail: Ints
    relation: Ints
    edge: Ints
    weight: Floats
    entity_names: Sequence[str]
    entity_types: Sequence[str]
    edge_ids: Sequence[str]
    relation_names: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class ItemRows:
    """Some items with a number each, per row.

    *Shape:* ``indptr`` [n_rows + 1]; ``items`` (dense ids) and ``values`` [n_entries].
    """

    indptr: Ints
    items: Ints
    values: Floats

    def dense(self, rows: Ints, n_items: int, absent: float) -> Floats:
        """The rows as a table, ``absent`` where an item is not in one: [len(rows), n_items]."""
        table = np.full((len(rows), n_items), absent, dtype=np.float32)
        for place, row in enumerate(rows):
            inside = slice(self.indptr[row], self.indptr[row + 1])
            table[place, self.items[inside]] = self.values[inside]
        return table

    def total(self, rows: Ints, n_items: int) -> Floats:
        """The sum of the rows, 0 where an item is in none: [n_items]."""
        total = np.zeros(n_items, dtype=np.float32)
        for row in rows:
            inside = slice(self.indptr[row], self.indptr[row + 1])
            total[self.items[inside]] += self.values[inside]
        return total


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """What a bundle holds. How it scores is one of four: vectors of users and items; ``item_weights``, a row
    for each item had; ``lists``, the best items of each user and what they had, scored when the bundle was
    made; or ``item_scores``, the same for everyone.
    """

    model: str
    settings: Mapping[str, Any]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    item_names: Sequence[str]
    popularity: Ints
    history_indptr: Ints
    history_items: Ints
    user_vectors: Floats | None = None
    item_vectors: Floats | None = None
    item_weights: ItemRows | None = None
    lists: ItemRows | None = None
    item_scores: Floats | None = None
    graph: ExplanationGraph | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    def write(self, path: Path) -> None:
        """Write the folder; an earlier one of the same name is replaced once the new one is complete."""
        fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        fresh.mkdir(parents=True)
        try:
            self._write_files(fresh)
            _put_in_place(fresh, path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _write_files(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(array) for name, array in self._arrays().items()}
        save_file(arrays, folder / "model.safetensors")
        _write_table(folder / "users.arrow", id=self.user_ids)
        _write_table(folder / "items.arrow", id=self.item_ids, name=self.item_names)
        config: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "model": self.model,
            "settings": dict(self.settings),
            "n_users": len(self.user_ids),
            "n_items": len(self.item_ids),
        }
        if self.graph is not None:
            _write_table(
                folder / "entities.arrow", name=self.graph.entity_names, type=self.graph.entity_types
            )
            _write_table(folder / "edges.arrow", id=self.graph.edge_ids)
            config["relation_names"] = list(self.graph.relation_names)
        _write_json(folder / "config.json", config)
        _write_json(folder / "metrics.json", dict(self.metrics))
        (folder / "README.md").write_text(self.card, encoding="utf-8")
        _write_json(folder / "checksums.json", {name: _digest(folder / name) for name in _files(folder)})
        for name in _files(folder):
            with (folder / name).open("rb") as file:
                os.fsync(file.fileno())

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any] | None] = {
            "popularity": self.popularity,
            "history/indptr": self.history_indptr,
            "history/items": self.history_items,
            "user_vectors": self.user_vectors,
            "item_vectors": self.item_vectors,
            "item_scores": self.item_scores,
        }
        for rows_name, rows in (("item_weights", self.item_weights), ("lists", self.lists)):
            if rows is not None:
                for name in ("indptr", "items", "values"):
                    arrays[f"{rows_name}/{name}"] = getattr(rows, name)
        if self.graph is not None:
            for name in ("indptr", "tail", "relation", "edge", "weight"):
                arrays[f"graph/{name}"] = getattr(self.graph, name)
        return {name: array for name, array in arrays.items() if array is not None}


def open_bundle(path: Path) -> Bundle:
    """Open a bundle; arrays and names stay on disk until they are used.

    Raises :class:`~kg.errors.NotFound` where there is none and :class:`~kg.errors.BundleError` where it is
    incomplete, of another format version, damaged, or does not agree with itself.
    """
    if not path.exists():
        raise NotFound(
            f"there is no bundle {path.name!r}.", where=str(path), hint=_what_there_is(path.parent)
        )
    config = _read_json(path, "config.json")
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"the bundle has format version {version}, this program reads version {FORMAT_VERSION}.",
            where=str(path),
            hint="Train the model again with `lore train`, or install the version that wrote it.",
        )
    _verify(path)
    arrays = map_tensors(path / "model.safetensors")
    users, items = _read_table(path / "users.arrow", "id"), _read_table(path / "items.arrow", "id", "name")
    try:
        bundle = Bundle(
            model=config["model"],
            settings=config["settings"],
            user_ids=users["id"],
            item_ids=items["id"],
            item_names=items["name"],
            popularity=arrays["popularity"],
            history_indptr=arrays["history/indptr"],
            history_items=arrays["history/items"],
            user_vectors=arrays.get("user_vectors"),
            item_vectors=arrays.get("item_vectors"),
            item_weights=_open_rows(arrays, "item_weights"),
            lists=_open_rows(arrays, "lists"),
            item_scores=arrays.get("item_scores"),
            graph=_open_graph(path, config, arrays),
            metrics=_read_json(path, "metrics.json"),
            card=(path / "README.md").read_text(encoding="utf-8"),
        )
    except KeyError as missing:
        raise BundleError(f"{missing} is missing.", where=str(path), hint=_TRAIN_AGAIN) from None
    _check_sizes(bundle, path)
    return bundle


_TRAIN_AGAIN = "Train the model again with `lore train`."


def _what_there_is(folder: Path) -> str:
    names = sorted(found.parent.name for found in folder.glob("[!.]*/config.json"))
    return f"There is: {', '.join(names)}." if names else "Train a model with `lore train`."


def _open_graph(
    path: Path, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> ExplanationGraph | None:
    if "graph/indptr" not in arrays:
        return None
    entities = _read_table(path / "entities.arrow", "name", "type")
    return ExplanationGraph(
        arrays["graph/indptr"],
        arrays["graph/tail"],
        arrays["graph/relation"],
        arrays["graph/edge"],
        arrays["graph/weight"],
        entities["name"],
        entities["type"],
        _read_table(path / "edges.arrow", "id")["id"],
        config["relation_names"],
    )


def _open_rows(arrays: Mapping[str, NDArray[Any]], name: str) -> ItemRows | None:
    if f"{name}/indptr" not in arrays:
        return None
    return ItemRows(arrays[f"{name}/indptr"], arrays[f"{name}/items"], arrays[f"{name}/values"])


def _check_sizes(bundle: Bundle, path: Path) -> None:
    n_users, n_items = len(bundle.user_ids), len(bundle.item_ids)
    problems = []
    vectors = None if bundle.user_vectors is None else bundle.item_vectors
    if all(found is None for found in (vectors, bundle.item_weights, bundle.lists, bundle.item_scores)):
        problems.append("it holds nothing to score with")
    for name, array, n in (
        ("user_vectors", bundle.user_vectors, n_users),
        ("item_vectors", bundle.item_vectors, n_items),
        ("item_scores", bundle.item_scores, n_items),
        ("popularity", bundle.popularity, n_items),
        ("history", bundle.history_indptr, n_users + 1),
        ("item_weights", None if bundle.item_weights is None else bundle.item_weights.indptr, n_items + 1),
        ("lists", None if bundle.lists is None else bundle.lists.indptr, n_users + 1),
    ):
        if array is not None and len(array) != n:
            problems.append(f"{name} has {len(array)} rows where {n} are due")
    if problems:
        raise BundleError(
            f"the bundle contradicts itself: {problems[0]}.", where=str(path), hint=_TRAIN_AGAIN
        )


def _verify(path: Path) -> None:
    for name, expected in _read_json(path, "checksums.json").items():
        if Path(name).name != name:
            raise BundleError(f"the checksums name {name!r}, outside the folder.", where=str(path))
        if not (path / name).is_file():
            raise BundleError(f"{name} is missing.", where=str(path), hint=_TRAIN_AGAIN)
        if _digest(path / name) != expected:
            raise BundleError(
                f"{name} is not the file that was written: its checksum differs.",
                where=str(path),
                hint="Copy the bundle again, or train the model again.",
            )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = f"{name} is missing: this is no bundle."
        raise BundleError(what, where=str(path), hint=_TRAIN_AGAIN) from None
    except (OSError, ValueError) as problem:
        raise BundleError(f"{name} cannot be read: {problem}.", where=str(path), hint=_TRAIN_AGAIN) from None
    if not isinstance(found, dict):
        raise BundleError(f"{name} is no table.", where=str(path), hint=_TRAIN_AGAIN)
    return found


def _write_table(path: Path, **columns: Sequence[str]) -> None:
    table = pa.table({name: to_arrow(values) for name, values in columns.items()})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _read_table(path: Path, *names: str) -> dict[str, Sequence[str]]:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        return {name: StringColumn(table.column(name)) for name in names}
    except (OSError, KeyError, pa.ArrowInvalid) as problem:
        raise BundleError(
            f"the table cannot be read: {problem}.", where=str(path), hint=_TRAIN_AGAIN
        ) from None


def _put_in_place(fresh: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    if path.exists():
        path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)
