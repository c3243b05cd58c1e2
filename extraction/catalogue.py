"""Reading the items that are recommended: a catalogue in CSV, TSV, Parquet, RecBole or MovieLens form."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kg.errors import InputError, UsageError
from kg.facts import Literal

ID_COLUMNS = ("item_id", "id", "item", "itemid", "movieid", "movie_id", "movielens_id", "book_id", "isbn")
NAME_COLUMNS = ("name", "title", "item_name", "movie_title", "item_title", "book_title", "label")
YEAR_COLUMNS = ("year", "release_year", "publication_year", "release_date", "date")
"""Columns that are looked for when none is named, in this order; letter case does not count."""

_HEADERLESS = {
    "u.item": ("|", ("item_id", "title", "release_date")),
    "movies.dat": ("::", ("item_id", "title", "genres")),
}
_TRAILING_YEAR = re.compile(r"\s*[\[(](\d{4})(?:[-–]\d{0,4})?[\])]\s*$")
_NO_YEAR = frozenset({"", "-", "?", "n/a", "na", "nan", "none", "null", "unknown"})
"""What stands where a year is not known."""
_YEAR = re.compile(r"(?<!\d)(1\d{3}|20\d{2})(?!\d)")
_ARTICLE_LAST = re.compile(
    r"^(.*\S), (The|A|An|Le|La|Les|L'|Un|Une|Der|Die|Das|Ein|Eine|El|Los|Las|Il|Lo|Gli|I|O|Os|As|De|Het)$"
)
_IN_BRACKETS = re.compile(r"\(([^()]+)\)")
_ALSO_KNOWN = re.compile(r"^(?:a\.?\s*k\.?\s*a\.?|aka|or)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of the catalogue. ``year`` tells namesakes apart; ``extra`` holds every other column."""

    id: str
    name: str
    year: int | None = None
    extra: Mapping[str, Literal] = field(default_factory=dict)


def read_items(
    path: Path,
    *,
    id_column: str | None = None,
    name_column: str | None = None,
    year_column: str | None = None,
    encoding: str = "utf-8",
) -> list[Item]:
    """Read a catalogue; a year at the end of a name ("Fargo (1996)") is taken off it.

    Understood: CSV and TSV with a header, Parquet, RecBole ``.item`` files, MovieLens ``movies.csv``,
    ``movies.dat`` and ``u.item``. Raises :class:`~kg.errors.InputError` for a file that cannot be read, a
    missing column (naming those that exist), an id that is empty or comes twice, and a year that is none;
    only in a ``.item`` file does that count as unknown, since RecBole cuts its years out of titles.
    """
    columns, rows = _rows(path, encoding)
    id_name = _column(columns, id_column, ID_COLUMNS, "id", path)
    title = _column(columns, name_column, NAME_COLUMNS, "name", path)
    year = _column(columns, year_column, YEAR_COLUMNS, "year", path, needed=year_column is not None)
    strict = path.suffix.casefold() != ".item"
    items: dict[str, Item] = {}
    for number, row in rows:
        item = _item(row, id_name, title, year, where=f"{path}:{number}", strict=strict)
        if item.id in items:
            raise InputError(
                f"the id {item.id!r} comes twice: {items[item.id].name!r} and {item.name!r}.",
                where=str(path),
                hint="Every item needs an id of its own.",
            )
        items[item.id] = item
    if not items:
        raise InputError("the catalogue holds no item.", where=str(path), hint="Check the file.")
    return list(items.values())


def name_forms(name: str) -> list[str]:
    """The names that a catalogue's title may stand for, the whole title first.

    A library's form is turned round ("Godfather, The" is "The Godfather"), and a name in brackets is
    another name of the same thing ("Shanghai Triad (Yao a yao)", "Seven (a.k.a. Se7en)").
    """
    forms = [_article_first(name)]
    inside = [_ALSO_KNOWN.sub("", part.strip()) for part in _IN_BRACKETS.findall(name)]
    outside = " ".join(_IN_BRACKETS.sub(" ", name).split())
    if inside and outside:
        forms += [_article_first(form) for form in (outside, *inside)]
    return list(dict.fromkeys(forms))


def _article_first(name: str) -> str:
    found = _ARTICLE_LAST.match(name)
    if found is None:
        return name
    return found[2] + ("" if found[2].endswith("'") else " ") + found[1]


def _item(
    row: Mapping[str, Any], id_name: str, title: str, year_name: str | None, *, where: str, strict: bool
) -> Item:
    identity = "" if row[id_name] is None else str(row[id_name]).strip()
    if not identity:
        raise InputError("the item has no id.", where=where, hint="Every item needs an id of its own.")
    name = " ".join(str(row[title] or "").split())
    trailing = _TRAILING_YEAR.search(name)
    year = _year(row[year_name], where, strict=strict) if year_name is not None else None
    if trailing is not None:
        name = name[: trailing.start()]
        year = int(trailing[1]) if year is None else year
    extra = {
        column: value
        for column, value in row.items()
        if column not in (id_name, title, year_name) and isinstance(value, str | int | float | bool)
    }
    return Item(identity, name, year, extra)


def _year(value: object, where: str, *, strict: bool) -> int | None:
    """The year that a cell says, if it says one; some catalogues write 0 or a word where they know none."""
    text = "" if value is None or value != value else str(value).strip()  # a missing cell may be NaN
    found = _YEAR.search(text)
    if found:
        return int(found[1])
    if strict and text.casefold() not in _NO_YEAR and not re.fullmatch(r"[+-]?\d+(\.0*)?", text):
        raise InputError(f"the year {text!r} is no year.", where=where, hint="Mend it, or leave it empty.")
    return None


def _column(
    columns: list[str],
    wanted: str | None,
    usual: tuple[str, ...],
    what: str,
    path: Path,
    *,
    needed: bool = True,
) -> Any:
    known = {column.casefold(): column for column in reversed(columns)}
    for name in (wanted,) if wanted is not None else usual:
        if name is not None and name.casefold() in known:
            return known[name.casefold()]
    if not needed:
        return None
    missing = f"no column {wanted!r}" if wanted is not None else f"no column that looks like an item's {what}"
    raise InputError(
        f"there is {missing}.",
        where=str(path),
        hint=f"It has: {', '.join(columns)}. Name the one with the {what} of an item.",
    )


def _rows(path: Path, encoding: str) -> tuple[list[str], Iterable[tuple[int, dict[str, Any]]]]:
    """The columns, and each row with its number."""
    if not path.is_file():
        raise UsageError("there is no such file.", where=str(path), hint="Check the spelling of the path.")
    if path.suffix.casefold() == ".parquet":
        return _parquet(path)
    text = _text(path, encoding)
    lines = [line for line in text.split("\n") if line]
    if not lines:
        raise InputError("the file is empty.", where=str(path), hint="Check the file.")
    if path.name in _HEADERLESS:
        separator, columns = _HEADERLESS[path.name]
        cells = (line.split(separator) for line in lines)
        return list(columns), enumerate((dict(zip(columns, row, strict=False)) for row in cells), start=1)
    if path.suffix.casefold() == ".item":
        names = [name.partition(":")[0] for name in lines[0].split("\t")]
        return names, _checked(names, (line.split("\t") for line in lines[1:]), path)
    usual = "\t" if path.suffix.casefold() in (".tsv", ".tab") else ","
    delimiter = max((usual, ",", "\t", ";", "|"), key=lines[0].count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    names = [name.strip() for name in next(rows)]
    return names, _checked(names, rows, path)


def _text(path: Path, encoding: str) -> str:
    """The text of a file; MovieLens wrote its older files in Latin-1."""
    encodings = ["utf-8-sig" if encoding == "utf-8" else encoding]
    encodings += ["latin-1"] if path.name in _HEADERLESS else []
    problem: UnicodeDecodeError | None = None
    for tried in encodings:
        try:
            return path.read_text(encoding=tried)
        except UnicodeDecodeError as found:
            problem = found
    assert problem is not None
    raise InputError(
        f"byte 0x{problem.object[problem.start]:02x} at offset {problem.start:,} is not {encoding} text.",
        where=str(path),
        hint="Convert it: iconv -f latin1 -t utf-8 FILE > NEW.",
    )


def _checked(names: list[str], rows: Iterable[list[str]], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, cells in enumerate(rows, start=2):
        if not any(cells):
            continue
        if len(cells) != len(names):
            raise InputError(
                f"the row has {len(cells)} cells, the header {len(names)}.",
                where=f"{path}:{number}",
                hint="A cell that holds the delimiter has to be quoted.",
            )
        yield number, dict(zip(names, cells, strict=True))


def _parquet(path: Path) -> tuple[list[str], Iterable[tuple[int, dict[str, Any]]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as problem:
        raise InputError(f"this is no readable Parquet file: {problem}.", where=str(path)) from None
    return table.column_names, enumerate(table.to_pylist(), start=1)
