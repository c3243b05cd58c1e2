"""Names compared: folded forms, initials, slips of the pen, numbers that must agree."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from rapidfuzz.distance import OSA

ARTICLES = frozenset({"the", "a", "an"})
SUFFIXES = frozenset({"jr", "sr"})

SLIP_NAME = 8
"""Names shorter than this, in letters, differ in earnest when they differ by one letter."""

SLIP_WORD = 5
"""So do words shorter than this: Jan and Jane, Cruz and Cruise."""

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "&": " and "}
)
"""Letters that have no accent to take off; ``ß`` is folded with the case."""

_QUOTES = re.compile(r"['’‘`´]")
_NO_WORD = re.compile(r"[^\w]|_")
_NUMBER = re.compile(r"\d+|\b[ivx]+\b")


@dataclass(frozen=True, slots=True)
class NameForm:
    """A folded name in parts: ``core`` has neither article nor suffix, and initials run together.

    ``words`` are the words of the core with initials apart; ``turned`` is the core of a name that is written
    "Nolan, Christopher", read the other way round, else empty.
    """

    core: str
    words: tuple[str, ...]
    article: str = ""
    suffix: str = ""
    turned: str = ""


def name_form(name: str) -> NameForm:
    """Fold a name: no accents, case or punctuation. A name of nothing else is kept as it is."""
    words = _words(name)
    suffix = article = ""
    while len(words) > 1 and words[-1] in SUFFIXES:
        suffix = words.pop()
    before, comma, after = name.partition(",")
    if len(words) > 1 and words[0] in ARTICLES and _starts_with_article(name, words):
        article = words.pop(0)
    elif len(words) > 1 and words[-1] in ARTICLES and _words(after) == words[-1:]:
        article = words.pop()
    turned = ""
    if comma and not suffix and not article and "," not in after:
        turned = _core(_words(after) + _words(before)) if _words(after) and _words(before) else ""
    return NameForm(_core(words) or name, tuple(words) or (name,), article, suffix, turned)


def fold(name: str) -> str:
    """A name without accents, case, punctuation, a leading article and a trailing Jr. or Sr."""
    return _core(name_form(name).words) if _words(name) else ""


def abbreviates(short: NameForm, full: NameForm) -> bool:
    """Whether ``short`` has initials where ``full`` has given names: J. Lasseter, John Lasseter."""
    one, other = short.words, full.words
    if len(one) != len(other) or len(one) < 2 or one[-1] != other[-1] or one == other:
        return False
    return any(len(word) == 1 for word in one[:-1]) and all(
        part == whole or (len(part) == 1 and len(whole) > 1 and whole.startswith(part))
        for part, whole in zip(one[:-1], other[:-1], strict=True)
    )


def shares_given_name(one: NameForm, other: NameForm) -> bool:
    """Whether two names have a given name in common that is more than an initial."""
    return any(len(word) > 1 and word in other.words[:-1] for word in one.words[:-1])


def leaves_out_middle(short: NameForm, full: NameForm) -> bool:
    """Whether ``short`` is ``full`` without its middle initials: Samuel Jackson, Samuel L. Jackson."""
    one, other = short.words, full.words
    return (
        len(one) == 2
        and len(other) > 2
        and min(map(len, one)) > 1
        and one == (other[0], other[-1])
        and all(len(word) == 1 and word.isalpha() for word in other[1:-1])
    )


def same_numbers(one: NameForm, other: NameForm) -> bool:
    """Whether two names hold the same numbers, Roman ones as letters: Rocky II is not Rocky III."""
    return _NUMBER.findall(one.core) == _NUMBER.findall(other.core)


def is_slip(one: NameForm, other: NameForm) -> bool:
    """Whether two names differ by one letter left out, put in, changed or swapped, or by one space.

    Numbers must be equal, and so must first letters; a difference in the last letter of a word is a plural or
    another given name (Alien, Aliens; Christina, Christine).
    """
    a, b = one.core, other.core
    if a == b or min(len(a), len(b)) < SLIP_NAME or OSA.distance(a, b, score_cutoff=1) > 1:
        return False
    if not same_numbers(one, other):
        return False
    if a.replace(" ", "") == b.replace(" ", ""):
        return True
    left, right = a.split(), b.split()
    if len(left) != len(right):
        return False
    different = [(x, y) for x, y in zip(left, right, strict=True) if x != y]
    return len(different) == 1 and _one_word_slip(*different[0])


def _starts_with_article(name: str, words: list[str]) -> bool:
    """Not the initial of A. J. Bowen."""
    return len(words[1]) > 1 and name.strip()[len(words[0]) :][:1].isspace()


def _one_word_slip(one: str, other: str) -> bool:
    if min(len(one), len(other)) < SLIP_WORD or one[0] != other[0]:
        return False
    shorter = min(len(one), len(other))
    return one[: shorter - (len(one) == len(other))] != other[: shorter - (len(one) == len(other))]


def _words(name: str) -> list[str]:
    plain = _QUOTES.sub("", name.casefold().translate(_LETTERS))
    decomposed = unicodedata.normalize("NFKD", plain)
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return _NO_WORD.sub(" ", letters).split()


def _core(words: list[str] | tuple[str, ...]) -> str:
    """Words with runs of single letters joined: J. J. Abrams and JJ Abrams are one name."""
    core = ""
    for index, word in enumerate(words):
        single = len(word) == 1 and word.isalpha()
        joined = single and index > 0 and len(words[index - 1]) == 1 and words[index - 1].isalpha()
        core += word if joined or not core else f" {word}"
    return core
