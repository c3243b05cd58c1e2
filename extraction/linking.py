"""Linking the items of a catalogue to the entities of the graph, with a report of what cannot be linked.

Names are compared without letter case, accents, punctuation and a leading article. What tells namesakes
apart is a year: the item's, and the entity's key property where the schema names one. Nothing is guessed:
where several entities fit an item equally well, it is reported as ambiguous.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from extraction.catalogue import Item, name_forms, read_items
from kg.errors import InputError
from kg.facts import normalise_name
from kg.ledger.ledger import Ledger

__all__ = [
    "Ambiguous", "Item", "Link", "LinkReport", "Unlinked", "link_items", "load_links", "read_items",
    "save_links",
]  # fmt: skip

FUZZY_RATIO = 90.0
"""How alike two names of one year must be, in percent of the characters that match (rapidfuzz ``ratio``)."""

FUZZY_MARGIN = 3.0
"""How much less alike, in percent, the second best name must be."""

NEAREST_RATIO = 55.0
N_NEAREST = 3
_LINK_COLUMNS = ("item_id", "entity_id", "score", "method")
_NOT_WORD = re.compile(r"[^\w]+")
_NUMBER = re.compile(r"\b(?:\d+|[ivx]+)\b")
_ARTICLES = ("the ", "a ", "an ")
_NUMBER_WORDS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip
_PART_BREAK = re.compile(r":\s+|\s+[-–—]\s+")
_POSSESSIVE = re.compile(r"^.*?\w['’]s\s+(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Link:
    """An item id, the entity id it stands for, how sure that is (in [0, 1]), and which rule found it."""

    item: str
    entity: str
    score: float
    method: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """An item that several entities fit equally well: their ids, and their names for a reader."""

    item: Item
    candidates: tuple[str, ...]
    nearest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unlinked:
    """An item that no entity fits; ``nearest`` names the entities closest to it, with their years."""

    item: Item
    nearest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkReport:
    """What became of every item, in the order of the catalogue."""

    links: list[Link] = field(default_factory=list)
    ambiguous: list[Ambiguous] = field(default_factory=list)
    unlinked: list[Unlinked] = field(default_factory=list)

    @property
    def methods(self) -> Mapping[str, int]:
        """How many links each rule found."""
        return dict(Counter(link.method for link in self.links).most_common())


@dataclass(frozen=True, slots=True)
class _Entity:
    id: str
    name: str
    years: frozenset[int]
    spelt: frozenset[str]  # name and aliases, folded with their articles
    said: str  # name and year as shown to a reader


@dataclass(frozen=True, slots=True)
class _Rule:
    method: str
    alias: bool
    year: str
    score: float


_RULES = (
    _Rule("name and year", False, "same", 1.0),
    _Rule("name and near year", False, "near", 0.95),
    _Rule("alias and year", True, "same", 0.95),
    _Rule("alias and near year", True, "near", 0.9),
    _Rule("name alone", False, "unknown", 0.85),
    _Rule("alias alone", True, "unknown", 0.75),
)
PART_SCORE = 0.8
PART_CHARACTERS = 4
"""What a part of a name ("The Professional" of "Léon: The Professional") is worth, and its least length."""

"""The rules in the order they are tried; one year off is near, since countries release at different times."""


def link_items(
    items: Iterable[Item], ledger: Ledger, *, entity_type: str, key_property: str | None = None
) -> LinkReport:
    """Find the entity of ``entity_type`` that each item is.

    ``key_property`` is the property whose year tells entities of one name apart, the schema's key of the
    type. Several items may be the same entity, since catalogues list things twice.
    """
    index = _Index(_entities(ledger, entity_type, key_property))
    report = LinkReport()
    for item in items:
        found = index.find(item)
        if isinstance(found, Link):
            report.links.append(found)
        elif found:
            ids = tuple(entity.id for entity in found)
            report.ambiguous.append(Ambiguous(item, ids, tuple(entity.said for entity in found)))
        else:
            report.unlinked.append(Unlinked(item, index.nearest(item)))
    return report


def fold_name(name: str, *, article: bool = False) -> str:
    """A name without letter case, accents and punctuation; "two" is written 2.

    A leading English article goes too, unless ``article`` keeps it.
    """
    decomposed = unicodedata.normalize("NFKD", normalise_name(name)).replace("&", " and ").replace("'", "")
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    folded = " ".join(_NUMBER_WORDS.get(word, word) for word in _NOT_WORD.sub(" ", plain).split())
    if not article and folded.startswith(_ARTICLES):
        return folded.partition(" ")[2]
    return folded


def save_links(links: Iterable[Link], path: Path) -> None:
    """Write links as CSV with the columns item_id, entity_id, score, method."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_LINK_COLUMNS)
        writer.writerows((link.item, link.entity, f"{link.score:.4g}", link.method) for link in links)


def load_links(path: Path) -> list[Link]:
    """Read links that :func:`save_links` or a person wrote; score and method may be missing.

    Raises :class:`~kg.errors.InputError` where the file cannot be read, or lacks a column or an id.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
            columns = set(rows[0]) if rows else set(_LINK_COLUMNS)
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(
            f"the links cannot be read: {problem}.", where=str(path), hint="Make them with `lore link ITEMS`."
        ) from None
    if not columns >= {"item_id", "entity_id"}:
        raise InputError(
            "the links need the columns item_id and entity_id.",
            where=str(path),
            hint=f"It has: {', '.join(sorted(map(str, columns)))}.",
        )
    return [_link(row, number, path) for number, row in enumerate(rows, start=2)]


def _link(row: Mapping[str, str | None], number: int, path: Path) -> Link:
    try:
        score = float(row.get("score") or 1.0)
    except ValueError:
        raise InputError(f"the score {row['score']!r} is no number.", where=f"{path}:{number}") from None
    item, entity = row["item_id"] or "", row["entity_id"] or ""
    if not item.strip() or not entity.strip():
        raise InputError(f"the {'entity' if item.strip() else 'item'} has no id.", where=f"{path}:{number}")
    return Link(item, entity, score, row.get("method") or "by hand")


def _entities(
    ledger: Ledger, entity_type: str, key_property: str | None
) -> list[tuple[_Entity, tuple[str, ...]]]:
    """Every entity of the type with its aliases; sorted by id, so that no result depends on their order."""
    found = []
    with ledger.projection() as projection:
        for batch in projection.batches("nodes"):
            for row in batch.to_pylist():
                if row["type"] != entity_type:
                    continue
                values = json.loads(row["properties"] or "{}").get(key_property, []) if key_property else []
                years = _years(values)
                said = f"{row['name']} ({min(years)})" if years else row["name"]
                aliases = tuple(row["aliases"] or ())
                spelt = frozenset(_dense(fold_name(name, article=True)) for name in (row["name"], *aliases))
                found.append((_Entity(row["id"], row["name"], years, spelt, said), aliases))
    return sorted(found, key=lambda pair: pair[0].id)


def _years(values: Sequence[Any]) -> frozenset[int]:
    texts = [re.match(r"-?\d{1,4}(?!\d)", str(value)) for value in values]
    return frozenset(int(text[0]) for text in texts if text)


class _Index:
    """Entities by folded name, by folded alias and by year."""

    def __init__(self, entities: Iterable[tuple[_Entity, tuple[str, ...]]]) -> None:
        self._names: defaultdict[str, list[_Entity]] = defaultdict(list)
        self._aliases: defaultdict[str, list[_Entity]] = defaultdict(list)
        self._parts: defaultdict[str, list[_Entity]] = defaultdict(list)
        self._said: defaultdict[str, list[_Entity]] = defaultdict(list)
        self._of_year: defaultdict[int, dict[str, list[_Entity]]] = defaultdict(dict)
        for entity, aliases in entities:
            name = fold_name(entity.name)
            self._names[_dense(name)].append(entity)
            for alias in {_dense(fold_name(alias)) for alias in aliases} - {_dense(name), ""}:
                self._aliases[alias].append(entity)
            for part in _parts(entity.name):
                self._parts[part].append(entity)
            self._said[name].append(entity)
            for year in entity.years:
                self._of_year[year].setdefault(name, []).append(entity)
        self._all_names = list(self._said)

    def find(self, item: Item) -> Link | list[_Entity]:
        """The link of an item, else the entities that fit it equally well."""
        forms = [folded for form in name_forms(item.name) if (folded := fold_name(form))]
        if not forms:
            return []
        named = self._fitting(forms[:1], alias=False)
        known_otherwise = self._fitting(forms, alias=True)
        spelt = {_dense(fold_name(form, article=True)) for form in name_forms(item.name)}
        for rule in _RULES:
            fitting = [
                entity
                for entity in (known_otherwise if rule.alias else named)
                if _year_fits(rule.year, item.year, entity.years)
                # "The Fear" of one year is not "Fear" of the next.
                and (rule.year != "near" or entity.spelt & spelt)
            ]
            if len(fitting) == 1:
                return Link(item.id, fitting[0].id, rule.score, rule.method)
            if fitting:
                return fitting
        return self._alike(item, forms) or self._in_part(item)

    def nearest(self, item: Item) -> tuple[str, ...]:
        """The names closest to an item's, whatever their year."""
        from rapidfuzz import fuzz, process

        forms = [folded for form in name_forms(item.name) if (folded := fold_name(form))]
        close = process.extract(
            forms[0] if forms else "",
            self._all_names,
            scorer=fuzz.ratio,
            score_cutoff=NEAREST_RATIO,
            limit=N_NEAREST,
        )
        return tuple(entity.said for name, _, _ in close for entity in self._said[name])[:N_NEAREST]

    def _fitting(self, forms: Sequence[str], *, alias: bool) -> list[_Entity]:
        """Entities with one of these names; with ``alias``, names in brackets and aliases count too."""
        found: dict[str, _Entity] = {}
        for form in map(_dense, forms):
            for entity in [*self._names.get(form, ()), *(self._aliases.get(form, ()) if alias else ())]:
                found[entity.id] = entity
        return list(found.values())

    def _in_part(self, item: Item) -> Link | list[_Entity]:
        """The one entity of the same year whose name is a part of the item's, or the other way round."""
        found: dict[str, _Entity] = {}
        for form in map(_dense, map(fold_name, name_forms(item.name))):
            found.update((entity.id, entity) for entity in self._parts.get(form, ()))
        for part in _parts(name_forms(item.name)[0]):
            found.update((entity.id, entity) for entity in self._names.get(part, ()))
        fitting = [entity for entity in found.values() if _year_fits("same", item.year, entity.years)]
        if len(fitting) == 1:
            return Link(item.id, fitting[0].id, PART_SCORE, "part of the name and year")
        return fitting

    def _alike(self, item: Item, forms: Sequence[str]) -> Link | list[_Entity]:
        """The one entity of the same year whose name is spelt almost the same."""
        if item.year is None:
            return []
        from rapidfuzz import fuzz, process

        choices = self._of_year.get(item.year, {})
        best: dict[str, tuple[float, _Entity]] = {}
        for form in forms:
            for name, ratio, _ in process.extract(
                form, list(choices), scorer=fuzz.ratio, score_cutoff=FUZZY_RATIO - FUZZY_MARGIN, limit=5
            ):
                # "Part II" and "Part III" are spelt alike and are never the same.
                if _NUMBER.findall(name) == _NUMBER.findall(form):
                    for entity in choices[name]:
                        best[entity.id] = max((ratio, entity), best.get(entity.id, (0.0, entity)), key=_ratio)
        ranked = sorted(best.values(), key=lambda pair: (-pair[0], pair[1].id))
        if not ranked or ranked[0][0] < FUZZY_RATIO:
            return []
        close = [entity for ratio, entity in ranked if ranked[0][0] - ratio < FUZZY_MARGIN]
        if len(close) > 1:
            return close
        return Link(item.id, close[0].id, round(0.9 * ranked[0][0] / 100, 4), "spelling and year")


def _dense(folded: str) -> str:
    """A folded name without its spaces: "Mouse Hunt" and "MouseHunt" are one."""
    return folded.replace(" ", "")


def _parts(name: str) -> set[str]:
    """What a longer name may be called for short: before and after a colon or dash, and without an owner."""
    parts = [*_PART_BREAK.split(name), _POSSESSIVE.sub("", name)]
    dense = {_dense(fold_name(part)) for part in parts} - {_dense(fold_name(name))}
    return {part for part in dense if len(part) >= PART_CHARACTERS}


def _ratio(pair: tuple[float, _Entity]) -> float:
    return pair[0]


def _year_fits(wanted: str, year: int | None, years: frozenset[int]) -> bool:
    if year is None or not years:
        return wanted == "unknown"
    if wanted == "same":
        return year in years
    return wanted == "near" and (year - 1 in years or year + 1 in years)
