"""Published datasets that bring their own knowledge graph: interactions, graph and links of one folder.

==========  =========================================================================================
RecBole     ``*.inter``, ``*.kg`` (head, relation, tail) and ``*.link`` (item, entity), typed headers
KGCN, MKR   ``kg.txt`` (head, relation, tail), ``item_index2entity_id.txt`` (item, entity) and one
            ``.dat`` or ``.csv`` file of interactions
KGAT        ``train.txt`` and ``test.txt`` (user, items …), ``kg_final.txt`` (head, relation, tail);
            an item is the entity of the same number
==========  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kg.errors import InputError
from kg.facts import content_hash
from kg.snapshot import Snapshot
from recommender.data import Interactions
from recommender.readers import read_interactions

Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Interactions, a graph, and which entity each item is.

    ``test`` holds the published test part, over the same ids, where the dataset fixes one.
    """

    interactions: Interactions
    snapshot: Snapshot
    links: Mapping[str, str]
    test: Interactions | None = None


def read_dataset(folder: Path, *, positive_from: float | None = None) -> Dataset:
    """Read a folder in any of the layouts above; ``positive_from`` is the lowest rating that counts.

    Raises :class:`~kg.errors.InputError` where the folder is of no known layout, or a file cannot be used.
    """
    if (folder / "kg_final.txt").is_file():
        return _read_kgat(folder)
    if (folder / "item_index2entity_id.txt").is_file():
        return _read_kgcn(folder, positive_from)
    if any(folder.glob("*.kg")):
        return _read_recbole(folder, positive_from)
    raise InputError(
        "the folder is of no known layout.",
        where=str(folder),
        hint="It needs kg_final.txt (KGAT), item_index2entity_id.txt (KGCN) or a .kg file (RecBole).",
    )


def snapshot_of(triples: Rows, entities: Sequence[str] = ()) -> Snapshot:
    """A snapshot of (head, relation, tail) names; ``entities`` adds some that no triple names."""
    head, relation, tail = (np.asarray(column, dtype=np.str_) for column in _columns(triples))
    entity_ids = np.unique(np.concatenate([head, tail, np.asarray(entities, dtype=np.str_)]))
    relations = np.unique(relation)
    rows = np.stack(
        [
            np.searchsorted(entity_ids, head),
            np.searchsorted(relations, relation),
            np.searchsorted(entity_ids, tail),
        ],
        axis=1,
    )
    rows = np.unique(rows, axis=0).astype(np.int64)
    names = entity_ids.tolist()
    return Snapshot.from_arrays(
        names,
        names,
        ["Entity"] * len(names),
        relations.tolist(),
        rows,
        np.ones(len(rows), dtype=np.float32),
        np.ones(len(rows), dtype=np.int32),
        [content_hash("triple", names[h], relations[r], names[t]) for h, r, t in rows.tolist()],
        version=0,
    )


def _columns(triples: Rows) -> list[tuple[str, ...]]:
    return list(zip(*triples, strict=True)) if triples else [(), (), ()]


def _read_recbole(folder: Path, positive_from: float | None) -> Dataset:
    triples = _rows(_only(folder, "*.kg"), 3, has_header=True)
    links = _links(_rows(_only(folder, "*.link"), 2, has_header=True))
    interactions = read_interactions(_only(folder, "*.inter"), positive_from=positive_from)
    return Dataset(interactions, snapshot_of(triples), links)


def _read_kgcn(folder: Path, positive_from: float | None) -> Dataset:
    links = _links(_rows(folder / "item_index2entity_id.txt", 2))
    snapshot = snapshot_of(_rows(folder / "kg.txt", 3), list(links.values()))
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".dat", ".csv")]
    if len(files) != 1:
        raise InputError(
            f"expected one .dat or .csv file of interactions, found {len(files)}.", where=str(folder)
        )
    interactions = read_interactions(files[0], positive_from=positive_from)
    # The published protocol keeps the items that are in the graph.
    known = np.asarray([item in links for item in interactions.item_ids])
    return Dataset(interactions.select(known[interactions.item]).used(), snapshot, links)


def _read_kgat(folder: Path) -> Dataset:
    parts = [read_interactions(folder / name) for name in ("train.txt", "test.txt")]
    items = sorted({item for part in parts for item in part.item_ids})
    users = sorted({user for part in parts for user in part.user_ids})
    train, test = (part.over(users, items) for part in parts)
    snapshot = snapshot_of(_rows(folder / "kg_final.txt", 3), items)
    return Dataset(train, snapshot, {item: item for item in items}, test)


def _links(rows: Rows) -> dict[str, str]:
    return {row[0]: row[1] for row in rows}


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise InputError(f"expected one file {pattern}, found {len(found)}.", where=str(folder))
    return found[0]


def _rows(path: Path, n_fields: int, *, has_header: bool = False) -> list[tuple[str, ...]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError("there is no such file.", where=str(path)) from None
    except UnicodeDecodeError as problem:
        raise InputError(f"the text is not UTF-8: {problem}.", where=str(path)) from None
    rows = []
    for number, line in enumerate(lines, 1):
        fields = tuple(line.split("\t") if "\t" in line else line.split())
        if not fields or (has_header and number == 1):
            continue
        if len(fields) != n_fields:
            raise InputError(f"row {number} has {len(fields)} fields, not {n_fields}.", where=str(path))
        rows.append(fields)
    return rows
