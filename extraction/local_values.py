"""Literal values in a sentence: years, dates, numbers, as they stand in tokens."""

from __future__ import annotations

import re

from extraction.literals import dates_in, normalise
from extraction.local_text import Sentence
from kg.facts import Literal
from kg.schema import Property

_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_NUMBER = re.compile(r"[-−]?\d[\d,]*(\.\d+)?")
_DAY = re.compile(r"[0-3]?\d(st|nd|rd|th)?")
_SCALES = frozenset({"thousand", "million", "billion", "trillion"})
_LONGEST_DATE = 5
FORM_OF_DATATYPE = {"integer": "integer", "number": "number", "date": "date", "string": "text"}


def value_at(sentence: Sentence, position: int, form: str) -> tuple[str, int, int] | None:
    """The value of a form that begins at a token, as (text, token start, token end)."""
    if position >= len(sentence):
        return None
    word = sentence.lowers[position]
    if form == "year":
        return (word, position, position + 1) if _YEAR.fullmatch(word) else None
    if form == "date":
        return _date_at(sentence, position)
    if form == "text":
        return sentence.words[position], position, position + 1
    if not _NUMBER.fullmatch(word):
        return None
    end = position + 1
    if end < len(sentence) and sentence.lowers[end] in _SCALES:
        end += 1
    return sentence.name(position, end), position, end


def _date_at(sentence: Sentence, position: int) -> tuple[str, int, int] | None:
    """The longest run of tokens that is one date and nothing else."""
    word = sentence.lowers[position]
    if not (word[:1].isalpha() or _DAY.fullmatch(word) or _YEAR.fullmatch(word) or "-" in word):
        return None
    for end in range(min(len(sentence), position + _LONGEST_DATE), position, -1):
        last = sentence.lowers[end - 1]
        if not last[-1:].isdigit():
            continue
        text = sentence.name(position, end)
        if next(dates_in(text), None) is not None and _only_date(sentence, position, end):
            return text, position, end
    return None


def _only_date(sentence: Sentence, start: int, end: int) -> bool:
    """Whether every token takes part in the date: it is one no more without the first."""
    whole = max(dates_in(sentence.name(start, end)), key=len)
    if end - start == 1:
        return True
    rest = max(dates_in(sentence.name(start + 1, end)), key=len, default="")
    return len(whole) > len(rest)


def literal(text: str, found: Property) -> Literal | None:
    """A value's text in the datatype of a property; ``None`` where it is none of that type."""
    return normalise(text, found.datatype)
