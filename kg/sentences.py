"""Sentence boundaries by rule: abbreviations, initials and numbers do not end a sentence.

Nothing here depends on a trained model, so the same text is cut in the same way everywhere and for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_BLOCK = re.compile(
    r"\n[ \t]*\n\s*"  # a blank line
    r"|\n(?=[ \t]*(?:#{1,6}[ \t]|[-*+•][ \t]|\d{1,3}[.)][ \t]))"  # before a heading or a list item
)
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t][^\n]*")
_STOP = re.compile(r"(?:[.!?…]+|[。！？]+)[\"'”’»)\]*_]*")
_CLOSERS = "\"'”’»)]*_"
_FULL_WIDTH = "。！？"
_WORD_BEFORE = re.compile(r"[^\s(\[\"“”'‘«—–-]+$")
_WORD_AFTER = re.compile(r"\s+[\"'“‘«(\[*_]*([^\s,;:.!?)\]\"”]*)")
_LETTERS = re.compile(r"\w(?:\.\w)*")
_LOOK_BACK = 40


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_NEVER_LAST = _words(
    "mr mrs ms messrs mme mlle dr prof ste mt ft gen lt col capt cpt cmdr adm sgt cpl pvt maj rev fr hon gov",
    "sen rep pres supt det insp vs cf ie eg viz approx ca eds trans dir prod feat ph.d",
)
"""Abbreviations that something always follows."""

_MAYBE_LAST = _words(
    "jr sr st inc ltd co corp bros llc plc dept univ assn etc esq est ave blvd rd sq ed al",
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun",
)
"""Abbreviations that may end a sentence: they do where the next word is one that opens sentences."""

_BEFORE_NUMBER = _words("no nos pp fig figs eq vol vols chap sec")
"""Abbreviations that a number follows; before anything else they are words."""

_OPENERS = _words(
    "the a an it its it's he she they we you his her their our this that these those there here in",
    "on at by for from with as after before during when while since although though however but and or so if",
    "to of both all many most some several one two among later then also despite produced directed written",
    "starring set based released filmed critics",
)


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Find the sentences of ``text[start:end]`` as spans ``(start, end)`` of the text, in order.

    Spans are disjoint, neither start nor end with white space, and cover every other character. A blank
    line, a heading and a list item end a sentence too.
    """
    for block_start, block_end in _blocks(text, start, len(text) if end is None else end):
        begin = block_start
        for stop in _STOP.finditer(text, block_start, block_end):
            if _ends(text, stop, begin, block_end):
                yield from _trimmed(text, begin, stop.end())
                begin = stop.end()
        yield from _trimmed(text, begin, block_end)


def _blocks(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for found in _BLOCK.finditer(text, start, end):
        yield from _without_heading(text, begin, found.start())
        begin = found.end()
    yield from _without_heading(text, begin, end)


def _without_heading(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    heading = _HEADING.match(text, start, end)
    if heading is not None:
        yield start, heading.end()
        start = heading.end()
    yield start, end


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end


def _ends(text: str, stop: re.Match[str], begin: int, end: int) -> bool:
    """Whether the punctuation mark ``stop`` ends the sentence that began at ``begin``."""
    marks = stop[0].rstrip(_CLOSERS)
    if marks[0] in _FULL_WIDTH:
        return True
    following = _WORD_AFTER.match(text, stop.end(), end)
    if following is None:
        return False
    after = following[1]
    if after[:1].islower():
        return False
    is_initial = len(after) == 1 and text[following.end() : following.end() + 1] == "."
    opens = after.casefold() in _OPENERS and not is_initial
    return marks != "." or _full_stop_ends(text, stop.start(), begin, after, opens)


def _full_stop_ends(text: str, place: int, begin: int, after: str, opens: bool) -> bool:
    """Whether a single full stop ends a sentence; ``opens`` says that the next word usually begins one."""
    found = _WORD_BEFORE.search(text, max(begin, place - _LOOK_BACK), place)
    before = found[0].casefold() if found else ""
    if before in _BEFORE_NUMBER:
        return not after[:1].isdigit()
    if before in _NEVER_LAST:
        return False
    if found is not None and before.isdigit():
        return not text[begin : found.start()].isspace() and found.start() > begin
    if before in _MAYBE_LAST or (_LETTERS.fullmatch(before) and not before.isdigit()):
        return opens
    return True
