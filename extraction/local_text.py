"""A document as sentences of tokens, made with spaCy's blank English tokeniser.

Words joined by hyphens are one token ("co-written", "Day-Lewis"), a possessive "'s" is one of its own.
Sentences are those that chunks are cut at, so no sentence reaches over the edge of a chunk.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from kg.sentences import sentences

_UNNEEDED = ("torch", "cupy", "tensorflow", "mxnet", "jax")
_HYPHENS = frozenset("-‐‑")
_INITIAL_LAST = re.compile(r"(?<!\w)[A-Z]\.$")
_INITIAL_FIRST = re.compile(r"\s[A-Z]\.\s")


@dataclass(slots=True)
class Sentence:
    """The tokens of one sentence: their texts, lower-case forms and document offsets, in parallel lists."""

    document: str
    """The whole document's text, which the offsets count in."""
    words: list[str] = field(default_factory=list)
    lowers: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.words)

    def surface(self, start: int, end: int) -> str:
        """The document's text from token ``start`` up to token ``end``, exclusive."""
        return self.document[self.starts[start] : self.ends[end - 1]]

    def name(self, start: int, end: int) -> str:
        """The same on one line."""
        return " ".join(self.surface(start, end).split())


def read_sentences(text: str) -> list[Sentence]:
    """Split a document's text into sentences of tokens."""
    tokenizer = _tokenizer()
    found = []
    for start, end in _whole(text):
        sentence = _sentence(text, start, tokenizer(text[start:end].replace("\n", " ")))
        if sentence.words:
            found.append(sentence)
    return found


def tokens(phrase: str) -> list[str]:
    """A phrase, such as a title, as lower-case tokens, however many sentences it looks like."""
    return _sentence(phrase, 0, _tokenizer()(phrase)).lowers


def _whole(text: str) -> Iterator[tuple[int, int]]:
    """The sentences, with two initials in a row ("D. A. Pennebaker") kept together."""
    begin: int | None = None
    for start, end in sentences(text):
        begin = start if begin is None else begin
        if _INITIAL_LAST.search(text, max(begin, end - 3), end) and _INITIAL_FIRST.match(text, end):
            continue
        yield begin, end
        begin = None


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    with _kept_out(_UNNEEDED):
        import spacy

        return spacy.blank("en").tokenizer


@contextmanager
def _kept_out(modules: tuple[str, ...]) -> Iterator[None]:
    """Let an import find these modules missing: spaCy loads torch where it is installed, in two seconds and
    half a gigabyte, and the tokeniser has no use for it."""
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None means: do not look for it
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _sentence(text: str, offset: int, tokens: Any) -> Sentence:
    """Copy spaCy's tokens into lists, joining what hyphens join; markdown's heading signs are left out."""
    sentence = Sentence(text)
    glue = False
    for token in tokens:
        word = token.text
        if word.isspace() or (word.strip("#") == "" and not sentence.words):
            glue = False
            continue
        start = offset + token.idx
        touches = bool(sentence.ends) and sentence.ends[-1] == start
        hyphen = word in _HYPHENS
        if touches and (glue or (hyphen and sentence.words[-1][-1].isalnum())):
            if hyphen and not _goes_on(text, start + 1):
                hyphen = False
                _append(sentence, word, start)
            else:
                _extend(sentence, word)
        else:
            _append(sentence, word, start)
        glue = hyphen
    return sentence


def _goes_on(text: str, position: int) -> bool:
    return position < len(text) and text[position].isalnum()


def _append(sentence: Sentence, word: str, start: int) -> None:
    sentence.words.append(word)
    sentence.lowers.append(word.lower().replace("’", "'"))
    sentence.starts.append(start)
    sentence.ends.append(start + len(word))


def _extend(sentence: Sentence, word: str) -> None:
    sentence.words[-1] += word
    sentence.lowers[-1] += word.lower().replace("’", "'")
    sentence.ends[-1] += len(word)
