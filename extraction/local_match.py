"""Matching flat templates against a sentence, and verbs in their active and passive constructions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from extraction.local_lists import Item, Line, Listing, ListReader
from extraction.local_templates import Flat, Gap, Slot, Words
from extraction.local_topic import Scope
from extraction.local_values import value_at
from extraction.patterns import Rule

_PREPOSITIONS = frozenset({"in", "at", "on", "of", "from", "to", "for", "during"})


@dataclass(frozen=True, slots=True)
class Match:
    """Tokens ``[start, end)`` match; what the slots were filled with."""

    start: int
    end: int
    listing: Listing | None = None
    value: tuple[str, int, int] | None = None
    subject: tuple[int, int] | None = None


class View:
    """One sentence as patterns see it: names, references, and lists found from either end."""

    def __init__(self, line: Line, scope: Scope, reader: ListReader) -> None:
        self.line = line
        self.sentence = line.sentence
        self.scope = scope
        self.reader = reader
        self.parentheses: list[tuple[int, int]] = []
        """Characters of the parentheses that follow a thing in a list: a role or a year, nobody else."""
        self._read: dict[tuple[int, tuple[str, ...]], Listing | None] = {}
        self._ending: dict[tuple[str, ...], dict[int, Listing]] = {}

    def listing(self, position: int, wanted: tuple[str, ...], loose: bool) -> Listing | None:
        """The list that begins at a token; without its roles and loose separators unless ``loose``."""
        key = position, wanted
        if key not in self._read:
            self._read[key] = self.reader.read(self.line, position, wanted)
        found = self._read[key]
        return found if loose or found is None else found.strict()

    def listing_before(self, position: int, wanted: tuple[str, ...]) -> Listing | None:
        """The list that ends right before a token."""
        if wanted not in self._ending:
            self._ending[wanted] = self._lists_by_end(wanted)
        return self._ending[wanted].get(position)

    def _lists_by_end(self, wanted: tuple[str, ...]) -> dict[int, Listing]:
        found: dict[int, Listing] = {}
        position = 0
        while position < len(self.sentence):
            listing = self.listing(position, wanted, True)
            if listing is None:
                position += 1
                continue
            place = position > 0 and self.sentence.lowers[position - 1] in _PREPOSITIONS
            if place and len(listing.items) > 1 and self.sentence.words[listing.items[0].stop] == ",":
                listing = replace(listing, items=listing.items[1:], start=listing.items[1].start)
            position = max(listing.name_end, position + 1)
            items = self._after_topic(listing.items)
            if items:
                listing = replace(listing, items=items, start=items[0].start)
                found[listing.end] = found[listing.name_end] = listing
        return found

    def _after_topic(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """The entries after the main entity's own name, which no list of other things goes on over."""
        for start, end in self.scope.named:
            if items and items[0].start <= start < items[-1].end:
                items = tuple(item for item in items if item.start >= end)
        return items


class TemplateIndex:
    """Rules by the first literal word of each of their flat templates."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._by_word: dict[str, list[tuple[Rule, Flat, int]]] = {}
        for rule in rules:
            for flat in rule.templates:
                anchor = next(i for i, element in enumerate(flat) if isinstance(element, Words))
                element = flat[anchor]
                for word in element.choices if isinstance(element, Words) else ():
                    self._by_word.setdefault(word, []).append((rule, flat, anchor))

    def at(self, word: str) -> list[tuple[Rule, Flat, int]]:
        """The rules with a template whose first literal word is this one."""
        return self._by_word.get(word, [])


class Matcher:
    """Matches one flat template around its anchor word."""

    def __init__(
        self,
        view: View,
        flat: Flat,
        wanted: tuple[str, ...],
        form: str,
        loose: bool = False,
        named: tuple[str, ...] | None = None,
    ) -> None:
        self._view = view
        self._flat = flat
        self._wanted = wanted
        self._form = form
        self._loose = loose
        self._named = named
        """Types of names that may fill ``{subject}``; ``None`` where only the main entity may."""

    def match(self, position: int, anchor: int) -> Match | None:
        """The match whose anchor word stands at a token, or ``None``."""
        right = self._right(anchor, position, Match(position, position))
        return None if right is None else self._left(anchor - 1, position, right)

    def _right(self, index: int, position: int, found: Match) -> Match | None:
        if index == len(self._flat):
            return replace(found, end=position)
        element = self._flat[index]
        for end, captured in self._forward(element, position, found):
            done = self._right(index + 1, end, captured)
            if done is not None:
                return done
        return None

    def _forward(
        self, element: Words | Slot | Gap, position: int, found: Match
    ) -> Iterator[tuple[int, Match]]:
        view, sentence = self._view, self._view.sentence
        if isinstance(element, Words):
            if position < len(sentence) and sentence.lowers[position] in element.choices:
                yield position + 1, found
        elif isinstance(element, Gap):
            for length in range(element.limit + 1):
                if length and (
                    position + length > len(sentence) or sentence.words[position + length - 1] in ",;"
                ):
                    return
                yield position + length, found
        elif element.kind == "subject":
            yield from self._subject_forward(position, found)
        elif element.kind == "value":
            value = value_at(sentence, position, self._form)
            if value is not None:
                yield value[2], replace(found, value=value)
        else:
            yield from self._list_forward(element.kind, position, found, view)

    def _list_forward(
        self, kind: str, position: int, found: Match, view: View
    ) -> Iterator[tuple[int, Match]]:
        listing = view.listing(position, self._wanted, self._loose)
        if listing is None:
            return
        if kind == "object":
            first = listing.items[0]
            listing = replace(listing, items=(first,), end=first.stop, name_end=first.end)
        for end in dict.fromkeys((listing.end, listing.name_end)):
            yield end, replace(found, listing=listing)

    def _subject_forward(self, position: int, found: Match) -> Iterator[tuple[int, Match]]:
        if self._named is None:
            end = self._view.scope.starts.get(position)
            if end is not None:
                yield end, replace(found, subject=(position, end))
            return
        listing = self._view.listing(position, self._named, False)
        if listing is not None:
            first = listing.items[0]
            yield first.stop, replace(found, subject=(first.start, first.end))

    def _left(self, index: int, position: int, found: Match) -> Match | None:
        """Match what stands before the anchor: slots and gaps only."""
        if index < 0:
            return replace(found, start=position)
        for start, captured in self._backward(self._flat[index], position, found):
            done = self._left(index - 1, start, captured)
            if done is not None:
                return done
        return None

    def _backward(
        self, element: Words | Slot | Gap, position: int, found: Match
    ) -> Iterator[tuple[int, Match]]:
        view, sentence = self._view, self._view.sentence
        if isinstance(element, Gap):
            for length in range(element.limit + 1):
                if position - length < 0 or (length and sentence.words[position - length] in ",;"):
                    return
                yield position - length, found
        elif isinstance(element, Slot) and element.kind == "subject" and self._named is None:
            start = view.scope.ends.get(position)
            if start is not None:
                yield start, replace(found, subject=(start, position))
        elif isinstance(element, Slot) and element.kind == "subject":
            listing = view.listing_before(position, self._named or ())
            if listing is not None:
                last = listing.items[-1]
                yield last.start, replace(found, subject=(last.start, last.end))
        elif isinstance(element, Slot) and element.kind != "value":
            listing = view.listing_before(position, self._wanted)
            if listing is not None:
                yield listing.start, replace(found, listing=listing)
