"""Read interactions from the files people have them in.

=====================  =============================================================================
``.csv .tsv .parquet``  columns ``user_id, item_id`` and, where there, ``rating`` or ``weight``, and
                        ``timestamp`` (seconds, or ISO 8601)
``.inter``              RecBole: the same, tab-separated, with typed headers (``user_id:token``)
``.dat``                KGCN: tab-separated, a header, then user, item and perhaps a weight by position
``.txt``                KGAT: one line per user, ``user item item …``
=====================  =============================================================================
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from kg.errors import InputError, UsageError
from recommender.data.interactions import Floats, Interactions, Ints

USER_COLUMNS = ("user_id", "user", "userId", "userID")
ITEM_COLUMNS = ("item_id", "item", "itemId", "itemID")
WEIGHT_COLUMNS = ("rating", "weight")
TIME_COLUMNS = ("timestamp", "time")
FORMATS = (".csv", ".tsv", ".parquet", ".inter", ".dat", ".txt")
_FIRST_ROW = 2  # what an editor shows for the first row under a header


def read_interactions(
    path: Path, *, positive_from: float | None = None, catalogue: Sequence[str] = ()
) -> Interactions:
    """Read a file of any format above; the ending says which.

    ``positive_from`` keeps only rows whose rating or weight is at least that; ``catalogue`` adds items that
    nobody had. Raises what :func:`read_rated` raises.
    """
    return read_rated(path, positive_from=positive_from, catalogue=catalogue)[1]


def read_rated(
    path: Path, *, positive_from: float | None = None, catalogue: Sequence[str] = ()
) -> tuple[Interactions, Interactions]:
    """As :func:`read_interactions`, all rows and those that count, over the same ids.

    Raises :class:`~kg.errors.UsageError` for a missing file and
    :class:`~kg.errors.InputError` for a missing column, or a row that cannot be used, which it names by
    number.
    """
    if not path.is_file():
        raise UsageError("there is no such file.", where=str(path), hint="Check the path.")
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"files ending in {ending!r} are not read.", where=str(path), hint=_known())
    try:
        columns = _read_columns(path, ending)
    except UnicodeDecodeError as problem:
        raise InputError(f"the text is not UTF-8: {problem}.", where=str(path)) from None
    if not columns.user:
        raise InputError("the file holds no interaction.", where=str(path))
    _refuse_empty_ids(columns, path)
    weight = None if columns.weight is None else as_numbers(columns.weight, "weight", columns.first_row, path)
    time = None if columns.time is None else _moments(columns.time, columns.first_row, path)
    if positive_from is not None and weight is None:
        raise InputError(
            f"a threshold of {positive_from:g} needs a rating or weight, and the file has none.",
            where=str(path),
            hint=f"Name the column one of {', '.join(WEIGHT_COLUMNS)}, or give no threshold.",
        )
    found = Interactions.of(columns.user, columns.item, weight=weight, time=time, catalogue=catalogue)
    return found, found if positive_from is None else positive_part(found, positive_from, path)


@dataclass(frozen=True, slots=True)
class _Columns:
    user: Sequence[str]
    item: Sequence[str]
    weight: Sequence[str] | None
    time: Sequence[str] | None
    first_row: int


def _read_columns(path: Path, ending: str) -> _Columns:
    if ending == ".txt":
        return _read_adjacency(path)
    if ending == ".parquet":
        return _read_parquet(path)
    delimiter = "," if ending == ".csv" else "\t"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE if ending == ".inter" else 0)
        try:
            header = next(rows, None)
            body = [row for row in rows if row]
        except csv.Error as problem:
            raise InputError(f"row {rows.line_num} cannot be parsed: {problem}.", where=str(path)) from None
    if header is None:
        raise InputError("the file is empty.", where=str(path))
    names = [name.split(":")[0].strip() for name in header]
    _refuse_ragged(body, len(names), path)
    by_name = {name: position for position, name in enumerate(names)}
    if ending == ".dat":
        by_name |= dict(zip(("user_id", "item_id", "weight"), range(len(names)), strict=False))
    table = list(zip(*body, strict=True)) if body else [()] * len(names)
    return _named({name: table[position] for name, position in by_name.items()}, path)


def _read_parquet(path: Path) -> _Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"this is no Parquet file: {problem}.", where=str(path)) from None
    return _named(
        {
            name: ["" if value is None else str(value) for value in table.column(name).to_pylist()]
            for name in table.column_names
        },
        path,
    )


def _named(table: dict[str, Sequence[str]], path: Path) -> _Columns:
    def pick(names: tuple[str, ...]) -> Sequence[str] | None:
        return next((table[name] for name in names if name in table), None)

    user, item = pick(USER_COLUMNS), pick(ITEM_COLUMNS)
    for column, names in ((user, USER_COLUMNS), (item, ITEM_COLUMNS)):
        if column is None:
            raise InputError(
                f"column {names[0]!r} is missing; there are {', '.join(map(repr, table)) or 'none'}.",
                where=str(path),
                hint=f"Name it {' or '.join(names)}.",
            )
    assert user is not None
    assert item is not None
    return _Columns(user, item, pick(WEIGHT_COLUMNS), pick(TIME_COLUMNS), _FIRST_ROW)


def _read_adjacency(path: Path) -> _Columns:
    users: list[str] = []
    items: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        user, *had = line.split() or [""]
        if not user and line:
            raise InputError(f"row {number} names no user.", where=str(path))
        users += [user] * len(had)
        items += had
    return _Columns(users, items, None, None, 1)


def _refuse_ragged(body: list[list[str]], n_columns: int, path: Path) -> None:
    for number, row in enumerate(body, _FIRST_ROW):
        if len(row) != n_columns:
            raise InputError(
                f"row {number} has {len(row)} fields where the header has {n_columns}.", where=str(path)
            )


def _refuse_empty_ids(columns: _Columns, path: Path) -> None:
    for number, (user, item) in enumerate(zip(columns.user, columns.item, strict=True), columns.first_row):
        if not user.strip() or not item.strip():
            raise InputError(f"row {number} has no {'item' if user.strip() else 'user'} id.", where=str(path))


def as_numbers(values: Sequence[str], name: str, first_row: int, path: Path) -> Floats:
    """The numbers of a column; raises :class:`~kg.errors.InputError` for the first cell that is none."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except ValueError:
        number, value = next((n, v) for n, v in enumerate(values, first_row) if not _is_number(v))
        raise InputError(f"row {number}: {name} {value!r} is no number.", where=str(path)) from None
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise InputError(f"row {first_row + int(bad[0])}: {name} is not finite.", where=str(path))
    return numbers.astype(np.float32)


def _moments(values: Sequence[str], first_row: int, path: Path) -> Ints:
    moments = np.empty(len(values), dtype=np.int64)
    for position, value in enumerate(values):
        try:
            moments[position] = int(float(value)) if _is_number(value) else _from_iso(value)
        except (ValueError, OverflowError):
            raise InputError(
                f"row {first_row + position}: timestamp {value!r} is neither seconds nor ISO 8601.",
                where=str(path),
            ) from None
    return moments


def _from_iso(value: str) -> int:
    moment = datetime.fromisoformat(value.strip())
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def positive_part(found: Interactions, threshold: float, path: Path) -> Interactions:
    """The rows that reach the threshold; raises :class:`~kg.errors.InputError` where there is none."""
    kept = found.at_least(threshold)
    if not len(kept):
        raise InputError(
            f"no row reaches {threshold:g}; the highest is {found.weight.max():g}.",
            where=str(path),
            hint="Choose a lower threshold.",
        )
    return kept


def _known() -> str:
    return f"Give one of {', '.join(FORMATS)}."
