"""Literal values: bring what a model wrote into the schema's form, and check that a text states it.

Dates are ISO 8601, as far as they are known: ``1979``, ``1979-05`` or ``1979-05-25``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator

from extraction.grounding import fold
from kg.facts import Literal

_MONTH_NAMES = (
    "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
    "september sep sept", "october oct", "november nov", "december dec",
)  # fmt: skip
_MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, start=1) for name in names.split()}
_MONTH = "(?P<month>" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\.?"
_DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_ISO = re.compile(r"(?<![\d-])(?P<year>\d{4})-(?P<month>\d{2})(?:-(?P<day>\d{2}))?(?![\d-])")
_WORDED = (
    re.compile(rf"\b{_DAY}\s+(?:of\s+)?{_MONTH},?\s+{_YEAR}\b"),
    re.compile(rf"\b{_MONTH}\s+{_DAY},?\s+{_YEAR}\b"),
    re.compile(rf"\b{_MONTH},?\s+(?:of\s+)?{_YEAR}\b"),
)
_SLASHED = re.compile(r"(?<!\d)(?P<first>\d{1,2})[/.](?P<second>\d{1,2})[/.](?P<year>\d{4})(?!\d)")
_BARE_YEAR = re.compile(r"(?<![\d,.])(?P<year>\d{4})(?![\d,]\d|\d|s\b)")
_NUMBER = re.compile(r"(?<![\w.,])(-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?)(?!\d|,\d{3}|s\b)")
_SCALE = re.compile(r"\s*(thousand|million|billion|trillion)\b")
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_HOURS = re.compile(r"\b(\d{1,2})\s*h(?:ours?|rs?|r)?\.?\s*(?:and\s*)?(?:(\d{1,2})\s*m(?:in(?:ute)?s?)?\b)?")
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_NUMBER_WORDS = {word: float(number) for number, word in enumerate(_SMALL.split(" "))}
_WORD = re.compile(r"[a-z]+")
_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0"})


def normalise(value: Literal, datatype: str) -> Literal | None:
    """Bring a value into a datatype of the schema; ``None`` where it is none of that type.

    Accepts what models write: ``"1,234"``, ``"117 minutes"``, ``"May 25, 1979"``, ``"yes"``.
    """
    if isinstance(value, str):
        value = " ".join(value.split())
    if datatype == "boolean":
        return _boolean(value)
    if isinstance(value, bool) or value == "":
        return None
    if datatype == "string":
        return value if isinstance(value, str) else str(value)
    if datatype == "date":
        return _one_date(str(value))
    number = _number(value)
    if number is None:
        return None
    if datatype == "integer":
        return int(number) if number.is_integer() else None
    return number


def states(text: str, value: Literal, datatype: str) -> bool:
    """Whether a text states a normalised value.

    A number must stand there in figures, in words up to twenty, or as hours and minutes; a date in any common
    form, at least as exactly as the value; a string as whole, folded text. A boolean is not looked for: that
    a text says yes is beyond what can be checked here.
    """
    if isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return any(abs(found - value) <= 1e-9 * max(1.0, abs(value)) for found in numbers_in(text))
    if datatype == "date":
        return any(found == value or found.startswith(f"{value}-") for found in dates_in(text))
    wanted = fold(value)
    return bool(wanted) and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", fold(text)) is not None


def dates_in(text: str) -> Iterator[str]:
    """Every date in a text, in ISO form; a slashed date yields both readings that exist."""
    lowered = text.casefold()
    for pattern in (_ISO, *_WORDED):
        for found in pattern.finditer(lowered):
            parts = found.groupdict()
            month = parts["month"]
            yield from _date(parts["year"], str(_MONTHS.get(month, month)), parts.get("day"))
    for found in _SLASHED.finditer(lowered):
        yield from _date(found["year"], found["first"], found["second"])
        yield from _date(found["year"], found["second"], found["first"])
    for found in _BARE_YEAR.finditer(lowered):
        yield found["year"]


def numbers_in(text: str) -> Iterator[float]:
    """Every number in a text: figures with their scale, small number words, hours and minutes as minutes."""
    lowered = text.casefold().replace("−", "-")
    for found in _NUMBER.finditer(lowered):
        number = float(found[1].replace(",", ""))
        yield number
        if scale := _SCALE.match(lowered, found.end()):
            yield number * _SCALES[scale[1]]
    for found in _HOURS.finditer(lowered):
        yield 60.0 * float(found[1]) + float(found[2] or 0)
    for word in _WORD.findall(lowered):
        if word in _NUMBER_WORDS:
            yield _NUMBER_WORDS[word]


def _one_date(text: str) -> str | None:
    """The most exact date in a text, where there is one such date only."""
    dates = set(dates_in(text))
    exact = [date for date in dates if len(date) == max(map(len, dates))]
    return exact[0] if len(exact) == 1 else None


def _date(year: str, month: str, day: str | None) -> Iterator[str]:
    try:
        date = datetime.date(int(year), int(month), int(day or 1))
    except ValueError:
        return
    yield date.isoformat() if day else date.isoformat()[:7]


def _number(value: Literal) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    found = list(numbers_in(value))
    return (
        found[-1]
        if found and (_HOURS.search(value.casefold()) or len(found) == 1 or _is_scaled(value))
        else None
    )


def _is_scaled(value: str) -> bool:
    return any(scale in value.casefold() for scale in _SCALES)


def _boolean(value: Literal) -> bool | None:
    folded = str(value).casefold()
    return True if folded in _TRUE else False if folded in _FALSE else None
