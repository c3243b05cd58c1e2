"""Cypher as tokens: what the gate judges and what the dialect of the embedded engine is made from.

The tokeniser knows comments, both kinds of strings, back-ticked names and parameters, so that a frightening
word inside one of these is never mistaken for a clause. What it does not know, it refuses: nothing reaches an
engine that was not understood here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kg.errors import QueryRefused

Kind = Literal["word", "name", "string", "number", "parameter", "symbol"]

_SPACE = re.compile(r"(?:\s|//[^\n\r]*|/\*.*?\*/)+", re.DOTALL)
_TOKEN = re.compile(
    r"""
      (?P<word>[^\W\d]\w*)
    | `(?P<name>[^`]+)`(?!`)
    | '(?P<single>(?:[^'\\]|\\.)*)'
    | "(?P<double>(?:[^"\\]|\\.)*)"
    | \$(?:(?P<parameter>\w+)|`(?P<quoted>[^`]+)`)
    | (?P<number>0[xX][0-9a-fA-F]+ | (?:\d+(?:\.(?!\.)\d+)? | \.\d+)(?:[eE][+-]?\d+)?)
    | (?P<symbol><=|>=|<>|=~|->|<-|\.\.|\|\||::|[-()\[\]{},.:;|=<>+*/%^!&])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\\": "\\", "'": "'", '"': '"', "`": "`"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``text`` is a string's value, a name without back-ticks, a parameter without ``$``.

    ``start`` and ``end`` are its place in the text.
    """

    kind: Kind
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words (given in capitals), in any case."""
        return self.kind == "word" and self.text.upper() in words

    def is_symbol(self, *symbols: str) -> bool:
        """Whether it is one of these symbols."""
        return self.kind == "symbol" and self.text in symbols


@dataclass(frozen=True, slots=True)
class Group:
    """What stands between a pair of brackets; ``opening`` is ``(``, ``[`` or ``{``."""

    opening: str
    items: tuple[Token | Group, ...]
    start: int
    end: int


Item = Token | Group
Items = Sequence[Item]


def tokenise(cypher: str) -> list[Token]:
    """Split a text into tokens, without comments and white space.

    Raises :class:`~kg.errors.QueryRefused` at anything that is no token of Cypher.
    """
    return list(_tokens(cypher))


def group(tokens: Sequence[Token], *, deepest: int) -> list[Item]:
    """Nest tokens by their brackets.

    Raises :class:`~kg.errors.QueryRefused` where brackets do not pair, or nest deeper than ``deepest``.
    """
    stack: list[list[Item]] = [[]]
    opened: list[Token] = []
    for token in tokens:
        if token.is_symbol("(", "[", "{"):
            opened.append(token)
            stack.append([])
            if len(opened) > deepest:
                raise QueryRefused(
                    f"the query nests brackets more than {deepest} deep.", where=_place(token.start)
                )
        elif token.is_symbol(")", "]", "}"):
            if not opened or _PAIRS[opened[-1].text] != token.text:
                raise QueryRefused(f"{token.text!r} closes nothing.", where=_place(token.start))
            first, items = opened.pop(), stack.pop()
            stack[-1].append(Group(first.text, tuple(items), first.start, token.end))
        else:
            stack[-1].append(token)
    if opened:
        raise QueryRefused(f"{opened[-1].text!r} is never closed.", where=_place(opened[-1].start))
    return stack[0]


def split_at(items: Items, symbol: str) -> list[list[Item]]:
    """Split at a symbol on this level of nesting; nothing gives no parts."""
    if not items:
        return []
    parts: list[list[Item]] = [[]]
    for item in items:
        if isinstance(item, Token) and item.is_symbol(symbol):
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


def is_word(item: Item | None, *words: str) -> bool:
    """Whether it is one of these words (given in capitals), in any case."""
    return isinstance(item, Token) and item.is_word(*words)


def is_symbol(item: Item | None, *symbols: str) -> bool:
    """Whether it is one of these symbols."""
    return isinstance(item, Token) and item.is_symbol(*symbols)


def is_group(item: Item | None, opening: str) -> bool:
    """Whether it is a group in this kind of brackets."""
    return isinstance(item, Group) and item.opening == opening


def string_literal(value: str) -> str:
    """The value as a Cypher string that every engine reads alike."""
    text = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{text}'"


def _tokens(cypher: str) -> Iterator[Token]:
    at = 0
    while at < len(cypher):
        space = _SPACE.match(cypher, at)
        if space is not None:
            at = space.end()
            continue
        match = None if cypher.startswith("/*", at) else _TOKEN.match(cypher, at)
        if match is None:
            raise QueryRefused(f"{_complaint(cypher, at)}.", where=_place(at), hint=_advice(cypher, at))
        yield _token(match)
        at = match.end()


def _token(match: re.Match[str]) -> Token:
    kind = match.lastgroup
    start, end = match.span()
    if kind in ("single", "double"):
        return Token("string", _ESCAPE.sub(_unescape, match[kind]), start, end)
    if kind == "quoted":
        return Token("parameter", match["quoted"], start, end)
    for known in ("word", "name", "number", "parameter", "symbol"):
        if kind == known:
            return Token(known, match[known], start, end)
    raise AssertionError(kind)


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code:
        number = int(code, 16)
        if number == 0 or number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise QueryRefused(f"\\u{code} is no character.")
        return chr(number)
    known = _ESCAPES.get(match[3])
    if known is None:
        raise QueryRefused(f"\\{match[3]} is no escape in a string.", hint="Write \\\\ for a backslash.")
    return known


def _complaint(cypher: str, at: int) -> str:
    character = cypher[at]
    if character in "'\"":
        return f"the string that starts with {character} never ends"
    if character == "`":
        return "a name in back-ticks never ends, is empty, or contains a back-tick"
    if cypher.startswith("/*", at):
        return "the comment that starts here never ends"
    return f"{character!r} does not belong into Cypher"


def _advice(cypher: str, at: int) -> str:
    if cypher[at] == "$":
        return "A parameter is $name; labels and types are written out, as in :Film|Person."
    if cypher[at] == "\\":
        return "A backslash stands in strings only."
    return "Text goes into quotes, odd names into back-ticks."


def _place(at: int) -> str:
    return f"character {at + 1}"
