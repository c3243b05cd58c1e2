"""Names in a sentence: capitalised runs with particles, initials, nicknames and suffixes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from extraction.local_templates import word_set
from extraction.local_text import Sentence
from extraction.patterns import NamesTable

FUNCTION_WORDS = word_set(
    "a an the it its it's he she they his her their this that these those there in on at of for with",
    "by from as and or but nor so yet to into onto upon after before during when while where who",
    "whose which what if although though however also other others both all many most some several",
    "each every one two three not only since until because despite unlike like through throughout",
    "under over between within without is was are were be been has had have does did do then now",
    "later first second third following among together along alongside opposite plus set based i we",
    "you me my our your him us them such",
)
"""Words that never begin a name where a sentence begins with them, and never stand inside one."""
_QUOTES = frozenset("\"“”'‘’")
_CLOSING = {'"': '"', "“": "”", "'": "'", "‘": "’"}
_SMALL_IN_TITLES = word_set(
    "of the in and a an to for on at with from by de la le du",
)
_UNUSUAL_START = re.compile(r"[a-z]{1,3}['’-][A-Z]|\d+(st|nd|rd|th)$")
"""A capital after a particle that is part of the word, "d'Abo", and the ordinal of "20th Century Fox"."""
_NICKNAME_WORDS = 3


@dataclass(frozen=True, slots=True)
class Unit:
    """One name: tokens ``[start, end)``; ``possessive`` where "'s" follows."""

    start: int
    end: int
    possessive: bool


class NameFinder:
    """Finds the names of a sentence by their form, without knowing what bears them."""

    def __init__(self, table: NamesTable, cue_words: frozenset[str]) -> None:
        self._particles = frozenset(word.lower() for word in table.particles)
        self._suffixes = frozenset(word.lower() for word in table.suffixes)
        self._honorifics = frozenset(word.lower() for word in table.honorifics)
        self._not_first = FUNCTION_WORDS | frozenset(word for word in cue_words if word.isalpha())

    def units(self, sentence: Sentence) -> dict[int, Unit]:
        """All names of a sentence by their first token, left to right, without overlap."""
        found: dict[int, Unit] = {}
        position = 0
        while position < len(sentence):
            start = self._start(sentence, position)
            end = self.end(sentence, start) if start is not None else position
            if start is None or end <= start:
                position += 1
                continue
            while start < end - 1 and sentence.lowers[start] in self._honorifics:
                start += 1
            possessive = end < len(sentence) and sentence.lowers[end] in ("'s", "'")
            found[start] = Unit(start, end, possessive)
            position = end
        return found

    def _start(self, sentence: Sentence, position: int) -> int | None:
        """``position`` where a name begins there, else ``None``."""
        word, lower = sentence.words[position], sentence.lowers[position]
        if position == 0 and lower in self._not_first:
            return None
        if _is_capitalised(word):
            return None if lower in FUNCTION_WORDS and lower != "will" else position
        following = sentence.words[position + 1] if position + 1 < len(sentence) else ""
        if lower in self._particles and len(lower) > 1 and _is_capitalised(following):
            return position
        if word in _CLOSING and self._nickname(sentence, position) is not None:
            return position
        return None

    def end(self, sentence: Sentence, start: int) -> int:
        """Where the name that begins at ``start`` ends."""
        position = start
        if sentence.words[start] in _CLOSING:
            position = (self._nickname(sentence, start) or start) - 1
        position += 1
        while position < len(sentence):
            step = self._step(sentence, position)
            if step == 0:
                break
            position += step
        return position

    def _step(self, sentence: Sentence, position: int) -> int:
        """How many tokens from ``position`` continue a name; 0 where it ends."""
        word, lower = sentence.words[position], sentence.lowers[position]
        if lower in self._suffixes and word[:1].isupper():
            return 1
        if _is_capitalised(word):
            return 0 if lower in FUNCTION_WORDS and lower != "will" else 1
        if word == "." and sentence.lowers[position - 1] in ("jr", "sr"):
            return 1
        if word == "," and position + 1 < len(sentence) and sentence.lowers[position + 1] in ("jr.", "sr."):
            return 2
        if word in _CLOSING:
            after = self._nickname(sentence, position)
            return after - position if after is not None else 0
        if lower in self._particles or lower == "the":
            return self._particle_step(sentence, position)
        return 0

    def _particle_step(self, sentence: Sentence, position: int) -> int:
        end = position
        while end < len(sentence) and end - position < 3:
            if sentence.lowers[end] not in self._particles and sentence.lowers[end] != "the":
                break
            end += 1
        if end < len(sentence) and _is_capitalised(sentence.words[end]):
            return end - position + 1
        return 0

    def _nickname(self, sentence: Sentence, position: int) -> int | None:
        """The token after a quoted nickname that more of the name follows, or ``None``."""
        closing = _CLOSING.get(sentence.words[position], "")
        for end in range(position + 2, min(position + 3 + _NICKNAME_WORDS, len(sentence))):
            if sentence.words[end] == closing:
                inside = sentence.words[position + 1 : end]
                follows = end + 1 < len(sentence) and _is_capitalised(sentence.words[end + 1])
                named = all(w[:1].isupper() or w[:1].isdigit() or w.lower() in ("the", "of") for w in inside)
                return end + 1 if follows and named else None
        return None


def title_end(sentence: Sentence, start: int) -> int:
    """Where the name of a work that begins at ``start`` ends: small words inside it are part of it."""
    end = start
    position = start
    while position < len(sentence):
        word = sentence.words[position]
        small = sentence.lowers[position] in _SMALL_IN_TITLES or word in ("'s", "’s", ":", "&", "!")
        if _is_capitalised(word) or (word[:1].isdigit() and end == position):
            position += 1
            end = position
        elif position > start and small and not _opens_another(sentence, position):
            position += 1
        else:
            break
    return end


def _opens_another(sentence: Sentence, position: int) -> bool:
    """Whether "and" is followed by a new thing, "and the", and not by more of the same title."""
    following = sentence.lowers[position + 1] if position + 1 < len(sentence) else ""
    return sentence.lowers[position] == "and" and following in ("the", "a", "an")


def _is_capitalised(word: str) -> bool:
    return word[:1].isupper() or _UNUSUAL_START.match(word) is not None
