"""Read what stands beside interactions: a text for each item, and who knows whom."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from kg.errors import InputError, UsageError
from recommender.data.interactions import Ints
from recommender.data.readers import ITEM_COLUMNS, USER_COLUMNS

TEXT_COLUMNS = ("text", "description", "title", "name")
FRIEND_COLUMNS = ("friend_id", "friend", "friendId", "friendID")


def read_item_texts(path: Path, item_ids: Sequence[str]) -> tuple[str, ...]:
    """The text of each item, empty where the file has none: [n_items].

    ``.csv`` or ``.tsv`` with a header, or ``.jsonl``; the item's column is as for interactions, the text's
    one of ``TEXT_COLUMNS``, the first that is there. Raises :class:`~kg.errors.UsageError` for a missing file
    and :class:`~kg.errors.InputError` for a file that cannot be used, or one without any of these items.
    """
    texts: dict[str, str] = {}
    for number, row in _rows(path):
        item, text = _pick(row, ITEM_COLUMNS), _pick(row, TEXT_COLUMNS)
        if item is None or text is None:
            missing = "an item" if item is None else "a text"
            raise InputError(
                f"row {number} has no column for {missing}; it has {', '.join(map(repr, row))}.",
                where=str(path),
                hint=f"Name it {' or '.join(ITEM_COLUMNS if item is None else TEXT_COLUMNS)}.",
            )
        texts[item] = text
    found = tuple(texts.get(item, "") for item in item_ids)
    if not any(found):
        raise InputError(
            f"none of its {len(texts)} items is an item of the interactions.",
            where=str(path),
            hint="Check that both use the same ids.",
        )
    return found


def read_friends(path: Path, user_ids: Sequence[str]) -> Ints:
    """Pairs of users who know each other, each once, in dense ids: [n_friendships, 2].

    ``.csv`` or ``.tsv`` with a header, ``.jsonl``, or ``.dat`` of two or three columns without one. Users
    without interactions are left out. Raises as :func:`read_item_texts`.
    """
    return pair_friends(_named_pairs(path), user_ids, path)


def pair_friends(rows: Iterable[tuple[str, ...]], user_ids: Sequence[str], path: Path) -> Ints:
    """As :func:`read_friends`, from rows of two ids that were read from ``path`` already."""
    dense = {identity: number for number, identity in enumerate(user_ids)}
    pairs = {
        (min(dense[one], dense[other]), max(dense[one], dense[other]))
        for one, other in rows
        if one in dense and other in dense and one != other
    }
    if not pairs:
        raise InputError(
            "no two of its users are in the interactions.", where=str(path), hint="Check the ids."
        )
    return np.asarray(sorted(pairs), dtype=np.int64)


def _named_pairs(path: Path) -> Iterator[tuple[str, str]]:
    for number, row in _rows(path):
        one, other = _pick(row, USER_COLUMNS), _pick(row, FRIEND_COLUMNS)
        if one is None or other is None:
            raise InputError(
                f"row {number} names no two users; it has {', '.join(map(repr, row))}.",
                where=str(path),
                hint=f"Name the columns {USER_COLUMNS[0]} and {FRIEND_COLUMNS[0]}.",
            )
        yield one, other


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    if not path.is_file():
        raise UsageError("there is no such file.", where=str(path), hint="Check the path.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                for number, line in enumerate(file, 1):
                    yield number, {name: str(value) for name, value in json.loads(line).items()}
            elif path.suffix == ".dat":
                for number, line in enumerate(file, 1):
                    names = (USER_COLUMNS[0], FRIEND_COLUMNS[0])
                    yield number, dict(zip(names, line.replace(",", " ").split(), strict=False))
            else:
                delimiter = "\t" if path.suffix == ".tsv" else ","
                for number, row in enumerate(csv.DictReader(file, delimiter=delimiter), 2):
                    yield number, {name: value or "" for name, value in row.items() if name is not None}
    except UnicodeDecodeError as problem:
        raise InputError(f"the text is not UTF-8: {problem}.", where=str(path)) from None
    except (json.JSONDecodeError, AttributeError, csv.Error) as problem:
        raise InputError(f"a row cannot be parsed: {problem}.", where=str(path)) from None


def _pick(row: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((row[name] for name in names if name in row), None)
