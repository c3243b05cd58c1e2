"""Published datasets that bring their own knowledge graph: interactions, graph and links of one folder.

==========  =========================================================================================
RecBole     ``*.inter``, ``*.kg`` (head, relation, tail) and ``*.link`` (item, entity), typed headers;
            ``*.net`` (two users), where there, holds friends
KGCN, MKR   ``kg.txt`` (head, relation, tail), ``item_index2entity_id.txt`` (item, entity) and one
            ``.dat`` or ``.csv`` file of interactions
KGAT        ``train.txt`` and ``test.txt`` (user, items …), ``kg_final.txt`` (head, relation, tail);
            an item is the entity of the same number. Where ``user_list.txt``, ``item_list.txt``,
            ``entity_list.txt`` and ``relation_list.txt`` all are there, they say what the numbers stand
            for. Without ``test.txt`` there is no test part
HIN         ``user_<item>.dat``, ``user_user.dat``, ``<item>_<attribute>.dat``: :mod:`recommender.data.hin`
==========  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kg.errors import InputError, UsageError
from kg.facts import content_hash
from kg.snapshot import Snapshot
from recommender.data.hin import is_network, read_network
from recommender.data.interactions import Interactions, Ints
from recommender.data.readers import positive_part, read_interactions, read_rated
from recommender.data.side import pair_friends

Rows = Sequence[tuple[str, ...]]
KGAT_LISTS = ("user", "item", "entity", "relation")


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Interactions, a graph, and which entity each item is.

    ``test`` holds the published test part, over the same ids, where the dataset fixes one. ``rated`` holds
    every rated pair over the same ids, those below the threshold too, ``friends`` [n_friendships, 2] pairs of
    users in dense ids. ``notes`` says what of the folder was not read.
    """

    interactions: Interactions
    snapshot: Snapshot
    links: Mapping[str, str]
    test: Interactions | None = None
    rated: Interactions | None = None
    friends: Ints | None = None
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> Interactions:
        """All interactions, the published test part too."""
        return self.interactions if self.test is None else self.interactions.joined(self.test)


def read_dataset(folder: Path, *, positive_from: float | None = None) -> Dataset:
    """Read a folder in any of the layouts above; ``positive_from`` is the lowest rating that counts.

    Raises :class:`~kg.errors.UsageError` where there is no such folder and
    :class:`~kg.errors.InputError` where the folder is of no known layout, or a file cannot be used.
    """
    if not folder.is_dir():
        raise UsageError("there is no such folder.", where=str(folder), hint="Check the path.")
    if (folder / "kg_final.txt").is_file():
        if positive_from is not None:
            raise InputError(
                "this layout, KGAT, holds no ratings to compare with a threshold.",
                where=str(folder),
                hint="Give no threshold.",
            )
        return _read_kgat(folder)
    if (folder / "item_index2entity_id.txt").is_file():
        return _read_kgcn(folder, positive_from)
    if any(folder.glob("*.kg")):
        return _read_recbole(folder, positive_from)
    if is_network(folder):
        return _read_hin(folder, positive_from)
    raise InputError(
        "the folder is of no known layout.",
        where=str(folder),
        hint="It needs kg_final.txt (KGAT), item_index2entity_id.txt (KGCN), a .kg file (RecBole) or"
        " user_<item>.dat (HIN).",
    )


def snapshot_of(
    triples: Rows, entities: Sequence[str] = (), types: Mapping[str, str] | None = None
) -> Snapshot:
    """A snapshot of (head, relation, tail) names; ``entities`` adds some that no triple names.

    ``types`` says of what type an entity is: ``Entity`` where it does not.
    """
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
        [(types or {}).get(name, "Entity") for name in names],
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
    rated, interactions = read_rated(_only(folder, "*.inter"), positive_from=positive_from)
    friends = None
    if any(folder.glob("*.net")):
        path = _only(folder, "*.net")
        friends = pair_friends(_rows(path, 2, has_header=True), rated.user_ids, path)
    return Dataset(interactions, snapshot_of(triples), links, rated=rated, friends=friends)


def _read_kgcn(folder: Path, positive_from: float | None) -> Dataset:
    links = _links(_rows(folder / "item_index2entity_id.txt", 2))
    snapshot = snapshot_of(_rows(folder / "kg.txt", 3), list(links.values()))
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".dat", ".csv")]
    if len(files) != 1:
        raise InputError(
            f"expected one .dat or .csv file of interactions, found {len(files)}.", where=str(folder)
        )
    rated = read_rated(files[0])[0]
    # The published protocol keeps the items that are in the graph.
    known = np.asarray([item in links for item in rated.item_ids])
    if not known.any():
        raise InputError(
            "none of its items has an entity.", where=str(files[0]), hint="Check item_index2entity_id.txt."
        )
    rated = rated.select(known[rated.item]).used()
    interactions = rated if positive_from is None else positive_part(rated, positive_from, files[0])
    return Dataset(interactions, snapshot, links, rated=rated)


def _read_kgat(folder: Path) -> Dataset:
    called = _names_of_numbers(folder)
    files = [path for name in ("train.txt", "test.txt") if (path := folder / name).is_file()]
    parts = [_renamed(read_interactions(path), called) for path in files]
    if not parts or files[0].name != "train.txt":
        raise InputError("train.txt is missing.", where=str(folder))
    items = sorted({item for part in parts for item in part.item_ids}.union(called.get("item", {}).values()))
    users = sorted({user for part in parts for user in part.user_ids}.union(called.get("user", {}).values()))
    train, *rest = (part.over(users, items) for part in parts)
    entity, relation = called.get("entity", {}), called.get("relation", {})
    number_of = {name: number for number, name in called.get("item", {}).items()}
    links = {item: entity.get(number_of.get(item, item), item) for item in items}
    triples = [
        (entity.get(head, head), relation.get(kind, kind), entity.get(tail, tail))
        for head, kind, tail in _rows(folder / "kg_final.txt", 3)
    ]
    snapshot = snapshot_of(triples, list(links.values()))
    return Dataset(train, snapshot, links, rest[0] if rest else None)


def _names_of_numbers(folder: Path) -> dict[str, dict[str, str]]:
    """What the numbers of a KGAT folder stand for, by user, item, entity and relation; empty where untold."""
    paths = {kind: folder / f"{kind}_list.txt" for kind in KGAT_LISTS}
    if not all(path.is_file() for path in paths.values()):
        return {}
    called = {}
    for kind, path in paths.items():
        rows = _rows(path, 3 if kind == "item" else 2, has_header=True)
        called[kind] = {number: name for name, number, *_ in rows}
        if len(set(called[kind].values())) < len(rows):
            raise InputError(
                "a name or a number comes twice.",
                where=str(path),
                hint="Move the four lists away to use the numbers as names.",
            )
    return called


def _renamed(part: Interactions, called: Mapping[str, Mapping[str, str]]) -> Interactions:
    if not called:
        return part
    users = [called["user"].get(user, user) for user in part.user_ids]
    items = [called["item"].get(item, item) for item in part.item_ids]
    return Interactions.of([users[u] for u in part.user], [items[i] for i in part.item])


def _read_hin(folder: Path, positive_from: float | None) -> Dataset:
    found = read_network(folder, positive_from=positive_from)
    return Dataset(
        found.positive,
        snapshot_of(found.triples, list(found.kinds), found.kinds),
        found.links,
        rated=found.rated,
        friends=found.friends,
        notes=found.notes,
    )


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
