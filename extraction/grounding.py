"""Ground what a model claims in the text: quotes, names and values, with the offsets where they really are.

A quote is looked for as it stands, then with white space, case, quote marks and dashes folded, then with
small deviations. A quote that is not there is refused, and so is one that leaves out a negation or changes a
number. All offsets count characters of the whole text; ``[low, high)`` is the part that is searched.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import pairwise

from rapidfuzz import fuzz

from kg.sentences import sentences

FUZZY_CUTOFF = 88.0
"""The lowest similarity, out of 100, at which a deviating quote is accepted: about one edit in eight."""
LONGEST_SPAN = 600
"""Characters; a quote with something left out of its middle may not stretch over more than this."""
NEGATIONS = frozenset(
    {"not", "no", "never", "neither", "nor", "without", "cannot", "none", "nobody", "hardly"}
)
_FUNCTION_WORDS = """
a an the of in on at to for by and or as is was are were be been being it its his her their this that
these those he she they who which with from into has have had also
"""
_PRONOUNS = """
he she it they him her them his hers its their theirs who whom whose which this that these those i we you
himself herself itself themselves one
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
PRONOUNS = frozenset(_PRONOUNS.split())
DENIAL_WORDS = 3
"""How many words before a quote are searched for a negation: "has never been directed by" needs two."""
_NOT_ONLY = frozenset({"only", "just", "merely", "least"})
_DETERMINERS = ("the", "a", "an", "this", "that", "his", "her", "their", "its")
_FOLDED = str.maketrans(
    {
        "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "″": '"',
        "‘": "'", "’": "'", "‚": "'", "`": "'", "´": "'", "′": "'",
        "*": "",  # emphasis in Markdown, which models leave out of quotes
        "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-",
    }
)  # fmt: skip
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_ELLIPSIS = re.compile(r"\s*(?:\.{3,}|…|\[\s*(?:\.{3,}|…)\s*\])\s*")


class Quality(StrEnum):
    """How a quote was found."""

    EXACT = "exact"
    FOLDED = "folded"
    FUZZY = "fuzzy"


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a quote really is: ``text[start:end]``, on word boundaries."""

    start: int
    end: int
    quality: Quality


class _Folded:
    """A text folded for comparison, with the offset of every folded character in the original."""

    def __init__(self, text: str, low: int, high: int) -> None:
        characters: list[str] = []
        offsets: list[int] = []
        for position in range(low, high):
            for character in _fold(text[position]):
                if character == " " and (not characters or characters[-1] == " "):
                    continue
                characters.append(character)
                offsets.append(position)
        self.text = "".join(characters)
        self._offsets = offsets

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The original offsets of a folded, non-empty span."""
        return self._offsets[start], self._offsets[end - 1] + 1


@lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    if character.isspace():
        return " "
    if unicodedata.category(character) in ("Cf", "Cc"):
        return ""
    folded = unicodedata.normalize("NFKC", character).translate(_FOLDED).casefold()
    return " " if folded.isspace() else folded


def fold(text: str) -> str:
    """Fold a text for comparison: case, white space, quote marks, dashes, compatibility characters."""
    return _Folded(text, 0, len(text)).text.strip()


class Passage:
    """A part of a text in which quotes and names are looked for."""

    def __init__(self, text: str, low: int, high: int) -> None:
        self.text = text
        self.low = low
        self.high = high
        self._folded = _Folded(text, low, high)

    def align(self, quote: str) -> Alignment | None:
        """Find a quote, best quality first; ``None`` where the passage does not say it.

        A quote with an ellipsis in its middle is found when its parts stand there in order.
        """
        wanted = quote.strip()
        if not _content_words(wanted):
            return None
        position = self.text.find(wanted, self.low, self.high)
        if position >= 0:
            return Alignment(*self._whole_words(position, position + len(wanted)), Quality.EXACT)
        parts = [part for part in _ELLIPSIS.split(wanted.strip("\"'“”‘’ ")) if _WORD.search(part)]
        if len(parts) > 1:
            return self._align_parts(parts)
        return self._align_folded(fold(parts[0]), 0) or self._align_fuzzy(fold(parts[0]))

    def find(self, name: str, low: int = 0, high: int | None = None) -> Iterator[tuple[int, int]]:
        """Every place, within ``[low, high)`` if given, that holds a name as whole words, folded."""
        wanted = fold(name)
        if not _WORD.search(wanted):
            return
        position = self._folded.text.find(wanted)
        while position >= 0:
            end = position + len(wanted)
            if self._is_whole(position, end):
                first, last = self._folded.original(position, end)
                if low <= first and (high is None or last <= high):
                    yield first, last
            position = self._folded.text.find(wanted, position + 1)

    def sentences(self, start: int, end: int) -> tuple[int, int]:
        """The bounds of the sentences that a span touches, within the passage."""
        touched = [(low, high) for low, high in self._sentences if low < end and high > start]
        if not touched:
            return start, end
        return min(start, touched[0][0]), max(end, touched[-1][1])

    @cached_property
    def _sentences(self) -> list[tuple[int, int]]:
        return list(sentences(self.text, self.low, self.high))

    def denies(self, found: Alignment) -> bool:
        """Whether the words just before a quote, in its clause, turn it into its opposite: "was not ..."."""
        start, _ = self.sentences(found.start, found.end)
        clause = re.split(r"[,;:()]", self.text[start : found.start])[-1]
        words = [word.casefold() for word in _WORD.findall(clause)][-DENIAL_WORDS:]
        first = _WORD.search(self.text, found.start, found.end)
        follower = first.group().casefold() if first else ""
        pairs = pairwise([*words, follower])
        return any(_is_negation(word) and after not in _NOT_ONLY for word, after in pairs)

    def _align_folded(self, wanted: str, begin: int) -> Alignment | None:
        position = self._folded.text.find(wanted, begin)
        if position < 0:
            return None
        return Alignment(
            *self._whole_words(*self._folded.original(position, position + len(wanted))), Quality.FOLDED
        )

    def _align_parts(self, parts: list[str]) -> Alignment | None:
        position = 0
        spans: list[tuple[int, int]] = []
        for part in parts:
            wanted = fold(part)
            position = self._folded.text.find(wanted, position)
            if position < 0:
                return None
            spans.append((position, position + len(wanted)))
            position += len(wanted)
        start, end = self._folded.original(spans[0][0], spans[-1][1])
        if end - start > LONGEST_SPAN or _drops_negation(" ".join(parts), self.text[start:end]):
            return None
        return Alignment(*self._whole_words(start, end), Quality.FUZZY)

    def _align_fuzzy(self, wanted: str) -> Alignment | None:
        found = fuzz.partial_ratio_alignment(wanted, self._folded.text, score_cutoff=FUZZY_CUTOFF)
        if found is None or found.dest_end <= found.dest_start or len(wanted) > len(self._folded.text):
            return None
        start, end = self._whole_words(*self._folded.original(found.dest_start, found.dest_end))
        needed = _content_words(wanted)
        if not needed <= _content_words(self.text[start:end]):
            start, end = self._widened(start, end, len(wanted))
        present = self.text[start:end]
        if not needed <= _content_words(present) or _drops_negation(wanted, present):
            return None
        return Alignment(start, end, Quality.FUZZY)

    def _widened(self, start: int, end: int, length: int) -> tuple[int, int]:
        """The span with some room on both sides, never past its sentences: words that a quote left out."""
        first, last = self.sentences(start, end)
        room = max(8, length // 5)
        start, end = self._whole_words(max(first, start - room), min(last, end + room))
        lead = len(self.text[start:end]) - len(self.text[start:end].lstrip())
        return start + lead, start + len(self.text[start:end].rstrip())

    def _whole_words(self, start: int, end: int) -> tuple[int, int]:
        """Grow a span to whole words."""
        while start > self.low and self.text[start - 1].isalnum() and self.text[start].isalnum():
            start -= 1
        while end < self.high and self.text[end].isalnum() and self.text[end - 1].isalnum():
            end += 1
        return start, end

    def _is_whole(self, start: int, end: int) -> bool:
        text = self._folded.text
        before = start > 0 and text[start - 1].isalnum() and text[start].isalnum()
        after = end < len(text) and text[end].isalnum() and text[end - 1].isalnum()
        return not before and not after


def is_name(surface: str) -> bool:
    """Whether a surface can name a thing: no pronoun, and no description such as "the film"."""
    words = _WORD.findall(surface)
    if not words or fold(surface) in PRONOUNS:
        return False
    described = words[0].casefold() in _DETERMINERS and len(words) > 1
    return not (described and all(word == word.lower() and not word[0].isdigit() for word in words[1:]))


def surfaces_of(name: str, aliases: Iterable[str]) -> list[str]:
    """The surfaces that may name a thing: its name first, then its aliases, each once, no pronouns."""
    return list(dict.fromkeys(" ".join(s.split()) for s in (name, *aliases) if is_name(s)))


def _content_words(text: str) -> set[str]:
    words = {word.casefold().replace("’", "'").strip("_") for word in _WORD.findall(text)}
    return words - FUNCTION_WORDS


def _drops_negation(quote: str, present: str) -> bool:
    """Whether the text denies something that the quote does not."""
    return bool(_negations(present) - _negations(quote))


def _negations(text: str) -> set[str]:
    return {word for word in _content_words(text) if _is_negation(word)}


def _is_negation(word: str) -> bool:
    return word in NEGATIONS or word.replace("’", "'").endswith("n't")


def refers_back(sentence: str, entity_type: str) -> bool:
    """Whether a sentence refers to something named elsewhere: by a pronoun, or as "the film" for a Film."""
    words = [word.casefold() for word in _WORD.findall(sentence)]
    kinds = {word.casefold() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", entity_type)}
    if any(word in PRONOUNS for word in words):
        return True
    return any(first in _DETERMINERS and second in kinds for first, second in pairwise(words))
