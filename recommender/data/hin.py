"""Heterogeneous information networks: a folder of ``<left>_<right>.dat`` files, a link a row.

A row is ``left right`` or ``left right weight``, without a header, separated by tabs, commas or spaces.

======================  ============================================================================
``user_<item>``         who had what; the weight is a rating. ``<item>`` is the kind that also stands
                        left of other files
``user_user``           friends
``<item>_<attribute>``  triples (item, HAS_<ATTRIBUTE>, attribute); so are links between other kinds
``user_<attribute>``    left out: attributes of users do not enter the graph
======================  ============================================================================

Ids of different kinds may be the same numbers, so an entity is called ``<kind>/<id>``. Weights are read of
the interactions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kg.errors import InputError
from recommender.data.interactions import Interactions, Ints
from recommender.data.readers import as_numbers, positive_part
from recommender.data.side import pair_friends

USER = "user"


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """What such a folder holds.

    ``rated`` is every pair of user and item, ``positive`` those that count. ``kinds`` is the kind of every
    entity, ``links`` the entity of every item of either. ``notes`` names the files that were left out.
    """

    rated: Interactions
    positive: Interactions
    triples: list[tuple[str, ...]]
    kinds: Mapping[str, str]
    links: Mapping[str, str]
    friends: Ints | None
    notes: tuple[str, ...]


def is_network(folder: Path) -> bool:
    """Whether the folder has files of this layout."""
    return any(folder.glob(f"{USER}_*.dat"))


def read_network(folder: Path, *, positive_from: float | None = None) -> Network:
    """Read the folder; ``positive_from`` is the lowest rating that counts.

    Raises :class:`~kg.errors.InputError` for a file name or a row that cannot be used, and where no or more
    than one file may hold the interactions.
    """
    files = _files(folder)
    item = _item_kind(files, folder)
    rated, positive = _interactions(files.pop((USER, item)), positive_from)
    friends_file = files.pop((USER, USER), None)
    friends = None
    if friends_file is not None:
        friends = pair_friends((row[:2] for row in _rows(friends_file)), rated.user_ids, friends_file)
    triples: list[tuple[str, ...]] = []
    links = {identity: f"{item}/{identity}" for identity in rated.item_ids}
    kinds = dict.fromkeys(links.values(), item)
    notes = []
    for (left, right), path in files.items():
        if USER in (left, right):
            notes.append(f"{path.name} is left out: what users are like does not enter the graph")
            continue
        relation = f"HAS_{right.upper()}"
        for row in _rows(path):
            head, tail = f"{left}/{row[0]}", f"{right}/{row[1]}"
            triples.append((head, relation, tail))
            kinds[head], kinds[tail] = left, right
    links |= {name.removeprefix(f"{item}/"): name for name, kind in kinds.items() if kind == item}
    return Network(rated, positive, triples, kinds, links, friends, tuple(notes))


def _files(folder: Path) -> dict[tuple[str, str], Path]:
    found = {}
    for path in sorted(folder.glob("*.dat")):
        kinds = path.stem.split("_")
        if len(kinds) != 2 or not all(kinds):
            raise InputError(
                "the name of the file does not say what it links.",
                where=str(path),
                hint="Call it <left>_<right>.dat, as user_movie.dat, or move it away.",
            )
        found[kinds[0], kinds[1]] = path
    return found


def _item_kind(files: Mapping[tuple[str, str], Path], folder: Path) -> str:
    """What users have: the kind that has links of its own; the only one where none has."""
    possible = [right for left, right in files if left == USER and right != USER]
    linked = [kind for kind in possible if any(left == kind for left, _ in files)]
    chosen = linked or possible
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(f"{USER}_{kind}.dat" for kind in chosen) or "none"
    raise InputError(
        f"one file must hold the interactions; it may be: {names}.",
        where=str(folder),
        hint=f"Keep one {USER}_<item>.dat whose <item> also stands left of another file.",
    )


def _interactions(path: Path, positive_from: float | None) -> tuple[Interactions, Interactions]:
    rows = _rows(path)
    if not rows:
        raise InputError("the file holds no interaction.", where=str(path))
    users, items, *weights = zip(*rows, strict=True)
    if not weights and positive_from is not None:
        raise InputError(
            f"a threshold of {positive_from:g} needs a third column, and the file has none.",
            where=str(path),
            hint="Give no threshold.",
        )
    weight = as_numbers(weights[0], "weight", 1, path) if weights else None
    rated = Interactions.of(users, items, weight=weight)
    return rated, rated if positive_from is None else positive_part(rated, positive_from, path)


def _rows(path: Path) -> list[tuple[str, ...]]:
    """The rows of a file, all of two or all of three cells."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as problem:
        raise InputError(f"the text is not UTF-8: {problem}.", where=str(path)) from None
    rows: list[tuple[str, ...]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        separator = next((mark for mark in "\t," if mark in line), None)
        row = tuple(cell.strip() for cell in line.split(separator))
        if len(row) not in (2, 3) or not all(row):
            raise InputError(
                f"row {number} is not `left right` or `left right weight`: {line!r}.", where=str(path)
            )
        if rows and len(row) != len(rows[0]):
            raise InputError(
                f"row {number} has {len(row)} cells where the first has {len(rows[0])}.", where=str(path)
            )
        rows.append(row)
    return rows
