"""The template language of the local extractor: from a line of text to flat sequences of elements.

::

    (film|movie)         one of several; an alternative may hold several words
    [also]               may be there or not
    <adverb>             a word set from [extraction.words]
    ...                  up to eight words that belong to nothing
    {subject}            the document's main entity: its name, or a reference such as "the film"
    {objects} {object}   a list of things, or one thing
    {value}              the value of a property
    \\( \\) \\[ \\|      these signs themselves

Everything else is a word or a sign to be found as it stands, in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from kg.errors import SchemaError


def word_set(*lines: str) -> frozenset[str]:
    """The words of some lines, parted by spaces."""
    return frozenset(" ".join(lines).split())


SLOTS = frozenset({"subject", "objects", "object", "value"})
GAP_WORDS = 8
MAXIMUM_EXPANSIONS = 2000
NEVER_PASSED = word_set(", ; ( ) . and & by who with as")
"""What a gap in a phrase never passes over."""
_PIECE = re.compile(r"\\.|\.\.\.|[()\[\]|]|<[^>]*>|\{[^}]*\}|[^\s()\[\]|<{\\]+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Words:
    """One token that must be one of these, in lower case."""

    choices: frozenset[str]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that text fills: ``kind`` is one of :data:`SLOTS`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Up to ``limit`` tokens that are passed over."""

    limit: int = GAP_WORDS


Element = Words | Slot | Gap
Flat = tuple[Element, ...]


class Phrases:
    """Flat templates of words and gaps, looked up by their first word."""

    def __init__(self, flats: Sequence[Flat]) -> None:
        self.flats = tuple(flats)
        self._by_word: dict[str, list[Flat]] = {}
        self._by_gap = [flat for flat in self.flats if isinstance(flat[0], Gap)]
        for flat in self.flats:
            for word in flat[0].choices if isinstance(flat[0], Words) else ():
                self._by_word.setdefault(word, []).append(flat)

    @property
    def first_words(self) -> frozenset[str]:
        """Every word that one of the phrases begins with."""
        return frozenset(self._by_word)

    def end(self, lowers: Sequence[str], position: int) -> int | None:
        """Past the longest phrase that begins at a token; phrases that begin with a gap come last."""
        if position >= len(lowers):
            return None
        for flat in (*self._by_word.get(lowers[position], ()), *self._by_gap):
            end = _end(flat, lowers, position)
            if end is not None:
                return end
        return None


def _end(flat: Flat, lowers: Sequence[str], position: int) -> int | None:
    """Past a flat template if it matches at a token."""
    at = position
    for index, element in enumerate(flat):
        if isinstance(element, Gap):
            for end in range(at, min(at + element.limit, len(lowers)) + 1):
                if end > at and lowers[end - 1] in NEVER_PASSED:
                    return None
                found = _end(flat[index + 1 :], lowers, end)
                if found is not None:
                    return found
            return None
        if at >= len(lowers) or not isinstance(element, Words) or lowers[at] not in element.choices:
            return None
        at += 1
    return at


def compile_template(template: str, words: Mapping[str, Sequence[str]], *, where: str) -> list[Flat]:
    """Compile one template to the flat sequences it stands for, longest first.

    ``words`` are the named word sets. Raises :class:`SchemaError`, naming ``where``, for a template that
    cannot be read, that names an unknown slot or word set, or that holds no word to look for.
    """
    sequences = _Compiler(template, words, where).compile()
    return sorted(set(sequences), key=lambda sequence: (-len(sequence), str(sequence)))


class _Compiler:
    """A recursive-descent reader of one template."""

    def __init__(self, template: str, words: Mapping[str, Sequence[str]], where: str) -> None:
        self.template = template
        self.words = words
        self.where = where
        self.pieces: list[str] = [piece for piece in _PIECE.findall(template) if not piece.isspace()]
        self.position = 0

    def compile(self) -> list[Flat]:
        """Read the whole template."""
        sequences = self.alternatives(closing=None)
        if not sequences or any(not any(isinstance(e, Words) for e in found) for found in sequences):
            raise self.wrong("holds no word to look for; write at least one that is not optional.")
        if len(sequences) > MAXIMUM_EXPANSIONS:
            raise self.wrong(f"stands for {len(sequences)} sequences; split it or use a word set <name>.")
        return sequences

    def alternatives(self, closing: str | None) -> list[Flat]:
        """Read alternatives up to ``closing``, or up to the end of the template."""
        found: list[Flat] = []
        while True:
            found.extend(self.sequence())
            piece = self.next()
            if piece == closing:
                return _joined_words(found)
            if piece != "|" or closing is None:
                raise self.wrong(f"has {piece or 'its end'!r} where {closing or 'a word'!r} was expected.")

    def sequence(self) -> list[Flat]:
        """Read a run of elements; every optional or alternative multiplies the sequences."""
        parts: list[list[Flat]] = []
        while self.position < len(self.pieces) and self.pieces[self.position] not in ("|", ")", "]"):
            parts.append(self.element())
        return [tuple(e for part in choice for e in part) for choice in product(*parts)]

    def element(self) -> list[Flat]:
        """Read one element as the list of sequences it may stand for."""
        piece = self.next() or ""
        if piece == "(":
            return self.alternatives(closing=")")
        if piece == "[":
            return [*self.alternatives(closing="]"), ()]
        if piece == "...":
            return [(Gap(),)]
        if piece.startswith("{"):
            kind = piece[1:-1].strip()
            if kind not in SLOTS:
                raise self.wrong(f"has the unknown slot {piece}; the slots are {', '.join(sorted(SLOTS))}.")
            return [(Slot(kind),)]
        if piece.startswith("<") and len(piece) > 1:
            return self.word_set(piece[1:-1].strip())
        return [tuple(Words(frozenset({word})) for word in split_words(piece.lstrip("\\") or "\\"))]

    def word_set(self, name: str) -> list[Flat]:
        """Look up a word set; entries of several words become alternatives of their own."""
        if name not in self.words:
            known = ", ".join(sorted(self.words)) or "none"
            raise self.wrong(f"names the word set <{name}>, which [extraction.words] lacks (it has {known}).")
        entries = [tuple(Words(frozenset({w})) for w in split_words(entry)) for entry in self.words[name]]
        return _joined_words(list[Flat](entries))

    def next(self) -> str | None:
        """Take the next piece, or ``None`` at the end."""
        if self.position >= len(self.pieces):
            return None
        piece: str = self.pieces[self.position]
        self.position += 1
        return piece

    def wrong(self, what: str) -> SchemaError:
        """An error that names the template and its place in the schema."""
        return SchemaError(f"the template {self.template!r} {what}", where=self.where)


def split_words(entry: str) -> list[str]:
    """Split a phrase of the schema into lower-case tokens, the way texts are split."""
    return re.findall(r"\w[\w'’.\-]*|[^\w\s]", entry.lower().replace("’", "'"))


def _joined_words(sequences: list[Flat]) -> list[Flat]:
    """Fold the alternatives that are single words into one element."""
    single = [s[0] for s in sequences if len(s) == 1 and isinstance(s[0], Words)]
    rest = [s for s in sequences if not (len(s) == 1 and isinstance(s[0], Words))]
    if not single:
        return rest
    return [(Words(frozenset().union(*(element.choices for element in single))),), *rest]
