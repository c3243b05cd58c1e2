"""What a document is about, where a sentence refers to it, and where a sentence speaks of something else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from extraction.local_lists import Line
from extraction.local_names import FUNCTION_WORDS
from extraction.local_templates import word_set
from extraction.local_text import Sentence, tokens
from extraction.local_types import parts
from extraction.patterns import Patterns, Subject
from kg.facts import Document

_COPULAS = frozenset({"is", "was", "are", "were"})
_DETERMINERS = frozenset({"a", "an", "the", "one", "another", "this"})
_PHRASE_ENDS = word_set(
    "that which who whose where when about by of in on at from for with to into set based following",
    "is was are were has had starring featuring as after during and/or",
)
_RELATIVE = frozenset({"which", "that", "who", "whose"})
_SLUG = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_QUALIFIER = re.compile(r"\s*\([^()]*\)\s*$")
_LATEST_COPULA = 80
_SENTENCES_TO_LOOK_IN = 3


@dataclass(frozen=True, slots=True)
class Description:
    """The noun phrase of "NAME is a NOUN PHRASE": tokens ``[start, end)`` of a line."""

    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Topic:
    """The main entity of a document."""

    subject: Subject
    name: str
    names: tuple[tuple[str, ...], ...]
    """Every way it is named, as lower-case tokens."""
    description: Description | None


def find_topic(document: Document, lines: Sequence[Line], patterns: Patterns) -> Topic | None:
    """Recognise what a document is about from its title and the first sentence that says "NAME is a NOUN"."""
    title = _QUALIFIER.sub("", document.title).strip() or document.title.strip()
    for index, line in enumerate(lines[:_SENTENCES_TO_LOOK_IN]):
        found = _copular(line.sentence, index, patterns)
        if found is None and _is_other(line.sentence, title, patterns):
            return None
        if found is None:
            continue
        subject, named, description = found
        name = title if title and not (_SLUG.fullmatch(title) and named) else named
        if name:
            return Topic(subject, name, _ways(name, named), description)
    assumed = next((subject for subject in patterns.subjects if subject.table.assume), None)
    if assumed is None or not title:
        return None
    return Topic(assumed, title, _ways(title), None)


def _ways(*names: str) -> tuple[tuple[str, ...], ...]:
    return tuple({tuple(tokens(name)): None for name in names if name})


def _copular(sentence: Sentence, index: int, patterns: Patterns) -> tuple[Subject, str, Description] | None:
    """Read "NAME (…) is a NOUN PHRASE"; the nouns of the phrase tell which kind of subject it is."""
    depth = 0
    for position in range(1, min(len(sentence) - 1, _LATEST_COPULA)):
        word = sentence.lowers[position]
        depth += (word == "(") - (word == ")")
        if depth > 0 or word not in _COPULAS or sentence.lowers[position + 1] not in _DETERMINERS:
            continue
        for subject in patterns.subjects:
            end = _phrase_end(sentence, position + 1, subject)
            if end is not None:
                return subject, _named(sentence, position), Description(index, position + 1, end)
    return None


def _is_other(sentence: Sentence, title: str, patterns: Patterns) -> bool:
    """Whether a sentence says that the thing of the title is of another kind: "TITLE is a novel"."""
    name = tuple(tokens(title))
    end = len(name)
    if not name or tuple(sentence.lowers[:end]) != name or end + 2 > len(sentence):
        return False
    if sentence.lowers[end] not in _COPULAS or sentence.lowers[end + 1] not in _DETERMINERS:
        return False
    for word in sentence.lowers[end + 2 :]:
        if word in _PHRASE_ENDS or word in (",", "("):
            return False
        if word in patterns.other_nouns:
            return True
    return False


def _phrase_end(sentence: Sentence, start: int, subject: Subject) -> int | None:
    """Where the noun phrase ends; ``None`` where it has none of the subject's nouns."""
    end: int | None = None
    for position in range(start, len(sentence)):
        word = sentence.lowers[position]
        if word in _PHRASE_ENDS or word in ("(", ";", ":", ".", "—", "–"):
            break
        if word in (",", "and") and end is not None:
            break
        if word in subject.nouns or any(part in subject.nouns for part in parts(word)):
            end = position + 1
    return end


def description_at(sentence: Sentence, line: int, position: int, subject: Subject) -> Description | None:
    """The noun phrase after a copula at ``position - 1``, as in "it is an American thriller"."""
    if position >= len(sentence) or sentence.lowers[position] not in _DETERMINERS:
        return None
    end = _phrase_end(sentence, position, subject)
    return None if end is None else Description(line, position, end)


def _named(sentence: Sentence, copula: int) -> str:
    """What stands before the copula, without parentheses and what follows a comma."""
    end = 0
    while end < copula and sentence.words[end] not in ("(", ",", ";"):
        end += 1
    words = sentence.name(0, end).strip("\"'“”‘’ ") if end else ""
    return words if words[:1].isupper() or words[:1].isdigit() or words[:1] in "(¡¿" else ""


class Scope:
    """Where one sentence refers to the main entity, and where it speaks of something else."""

    def __init__(self, line: Line, topic: Topic, patterns: Patterns, forms: frozenset[str]) -> None:
        self._sentence = line.sentence
        self.starts: dict[int, int] = {}
        """Past the reference by its first token."""
        self.ends: dict[int, int] = {}
        """First token of a reference by the token past it."""
        self.cues: list[int] = []
        """The tokens that a pattern may begin to look at: none inside the entity's name or another name."""
        self._find_references(topic)
        self._regions = _regions(line.sentence, patterns, forms)
        self.cues = [i for i in range(len(line.sentence)) if self._may_be_cue(i)]

    def is_elsewhere(self, position: int) -> bool:
        """Whether a token belongs to a clause about something else."""
        return any(start <= position < end for start, end in self._regions)

    def _may_be_cue(self, position: int) -> bool:
        if position and self._sentence.words[position][0].isupper():
            return False
        return not any(start <= position < end for start, end in self.named)

    def _find_references(self, topic: Topic) -> None:
        sentence = self._sentence
        self.named: list[tuple[int, int]] = []
        """Where the entity's own name stands."""
        for position, word in enumerate(sentence.lowers):
            end = topic.subject.references.end(sentence.lowers, position)
            for name in topic.names:
                stop = position + len(name)
                if name and word == name[0] and tuple(sentence.lowers[position:stop]) == name:
                    end = max(end or 0, stop)
                    self.named.append((position, stop))
            if end is not None:
                self.starts[position] = end
                self.ends.setdefault(end, position)


def _regions(sentence: Sentence, patterns: Patterns, forms: frozenset[str]) -> list[tuple[int, int]]:
    """The stretches of a sentence that are about something else."""
    for start in (0, 1):
        if start < len(sentence) and patterns.openings.end(sentence.lowers, start) is not None:
            return [(0, len(sentence))]
    found: list[tuple[int, int]] = []
    for position in range(len(sentence)):
        end = patterns.elsewhere.end(sentence.lowers, position)
        if end is not None:
            found.append((end, _region_end(sentence, end, forms, patterns.finite)))
        if patterns.rest.end(sentence.lowers, position) is not None:
            found.append((position, len(sentence)))
    return found


def _region_end(sentence: Sentence, start: int, forms: frozenset[str], finite: frozenset[str]) -> int:
    """A clause about something else ends at a comma, unless "which" follows, or at "and" before a verb."""
    has_verb = False
    for position in range(start, len(sentence) - 1):
        word, following = sentence.lowers[position], sentence.lowers[position + 1]
        if word in (",", ";", "—", "–") and following not in _RELATIVE:
            return position
        if word in ("and", "but", "while"):
            goes_on = following in forms and not has_verb
            if goes_on or (following in finite and following not in FUNCTION_WORDS):
                return position
        has_verb = has_verb or word in forms
    return len(sentence)
