"""What type a name is of, and the things known in advance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from extraction.local_templates import split_words
from extraction.local_text import Sentence
from extraction.patterns import GazetteerTable, Patterns

_LONGEST_PHRASE = 6


@dataclass(frozen=True, slots=True)
class Known:
    """A thing of a gazetteer found in a text, up to token ``end`` exclusive."""

    name: str
    type: str
    end: int


class Typing:
    """Tells the type of a name from words in it, whole names, and gazetteers."""

    def __init__(self, patterns: Patterns) -> None:
        self._words = {word.lower(): table.type for table in patterns.types for word in table.words}
        self._names = {name.lower(): table.type for table in patterns.types for name in table.names}
        self._titles = frozenset(table.type for table in patterns.types if table.form == "title")
        self._told = frozenset(table.type for table in patterns.types if table.words or table.names)
        self._gazetteers: Mapping[str, dict[tuple[str, ...], str]] = _by_type(patterns.gazetteers)

    def of(self, name: str, wanted: Sequence[str]) -> str:
        """The type of a name where one of ``wanted`` is expected; another one where the name tells so."""
        told = self._names.get(name.lower())
        if told is None and len(wanted) == 1 and wanted[0] in self._told:
            return wanted[0]
        if told is None:
            told = next((self._words[w] for w in reversed(name.lower().split()) if w in self._words), None)
        if told is not None:
            return told
        untold = [candidate for candidate in wanted if candidate not in self._told]
        return untold[0] if untold else wanted[0]

    def is_title(self, wanted: Sequence[str]) -> bool:
        """Whether the names wanted are those of works."""
        return len(wanted) == 1 and wanted[0] in self._titles

    def known_at(self, sentence: Sentence, position: int, wanted: Sequence[str]) -> Known | None:
        """The longest gazetteer entry of a wanted type that begins at a token."""
        for candidate in wanted:
            phrases = self._gazetteers.get(candidate)
            if not phrases:
                continue
            for end in range(min(len(sentence), position + _LONGEST_PHRASE), position, -1):
                name = phrases.get(tuple(sentence.lowers[position:end]))
                if name:
                    return Known(name, candidate, end)
        return None


def _by_type(tables: Sequence[GazetteerTable]) -> dict[str, dict[tuple[str, ...], str]]:
    found: dict[str, dict[tuple[str, ...], str]] = {}
    for table in tables:
        phrases = found.setdefault(table.type, {})
        for name, aliases in table.entries.items():
            for phrase in (name, *aliases):
                phrases.setdefault(tuple(split_words(phrase)), name)
    return found


class DescriptionReader:
    """Finds the entries of one gazetteer in a stretch of words; hyphens and slashes part words here."""

    def __init__(self, table: GazetteerTable) -> None:
        self.table = table
        self._phrases: dict[tuple[str, ...], list[str]] = {}
        for name, aliases in table.entries.items():
            for phrase in aliases:
                self._phrases.setdefault(tuple(parts(phrase)), []).append(name)
        for phrase in table.ignore:
            self._phrases[tuple(parts(phrase))] = []

    def read(self, sentence: Sentence, start: int, end: int) -> Iterator[tuple[str, int, int]]:
        """Every entry in tokens ``[start, end)``, longest first, as (name, first character, last + 1)."""
        pieces = list(_pieces(sentence, start, end))
        position = 0
        while position < len(pieces):
            step = 1
            for length in range(min(_LONGEST_PHRASE, len(pieces) - position), 0, -1):
                names = self._phrases.get(tuple(word for word, _, _ in pieces[position : position + length]))
                if names is not None:
                    begin, finish = pieces[position][1], pieces[position + length - 1][2]
                    yield from ((name, begin, finish) for name in names)
                    step = length
                    break
            position += step


def parts(phrase: str) -> list[str]:
    """A phrase in lower-case words, parted at hyphens and slashes too."""
    return phrase.lower().replace("-", " ").replace("–", " ").replace("/", " ").split()


def _pieces(sentence: Sentence, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    for index in range(start, end):
        offset = sentence.starts[index]
        word = sentence.lowers[index]
        begin = 0
        for position, character in enumerate(f"{word}-"):
            if character in "-–/‑":
                if position > begin:
                    yield word[begin:position], offset + begin, offset + position
                begin = position + 1
