"""Verbs with a relation, in every construction that English gives them.

Passive: "directed by A", "was written and directed by A and B", "written, directed by, and starring A".
Active: "A and B directed the film", "A, who also wrote the screenplay with C".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from extraction.local_lists import Listing
from extraction.local_match import View
from extraction.patterns import Patterns, Verb
from kg.schema import Schema

_COPULAS = frozenset({"is", "was", "were", "are", "been", "being", "be"})
_AUXILIARIES = frozenset({"has", "have", "had", "also", "originally", "would", "to"})
_JOINTS = frozenset({",", "and", "&", "/", "then", "also", "both"})
_NEGATIONS = frozenset({"not", "never", "nor", "without", "n't"})
_CLAUSE_STARTS = frozenset({",", ";", "and", "&", "but", "(", ")", "–", "—", ":", "which", "that", "then"})
_ARTICLES = frozenset({"the", "its", "this", "a", "an"})
_SELF = frozenset({"also", "himself", "herself", "themselves", "both", "later", "previously"})
_LONGEST_CHAIN = 20
_LONGEST_CLAUSE = 14


@dataclass(frozen=True, slots=True)
class VerbMatch:
    """A verb and the list that goes with it; ``[start, end)`` covers the cue and the list."""

    verb: Verb
    listing: Listing
    start: int
    end: int
    construction: str


class VerbReader:
    """Finds the verbs of the schema in a sentence."""

    def __init__(self, patterns: Patterns, schema: Schema) -> None:
        self._passive = _by_form(patterns.verbs, "passive")
        self._active = _by_form(patterns.verbs, "active")
        self._bare = _by_form(patterns.verbs, "bare")
        self._relations = schema.relations
        self._other_nouns = patterns.other_nouns
        self.forms = frozenset((*self._passive, *self._active, *self._bare))

    def read(self, view: View) -> Iterator[VerbMatch]:
        """Every verb of a sentence with its list, left to right."""
        passed = 0
        for position in view.scope.cues:
            word = view.sentence.lowers[position]
            if position < passed:
                continue
            if word in self._passive or word in self._bare:
                for match in self._chain(view, position):
                    yield match
                    passed = max(passed, match.listing.start)
            if word in self._active and passed <= position:
                yield from self._said_of(view, position)

    def _chain(self, view: View, position: int) -> Iterator[VerbMatch]:
        """ "written, produced and directed by A", "directed by and starring A"."""
        lowers = view.sentence.lowers
        verbs: list[Verb] = []
        at, ready, listing = position, False, None
        while at < min(len(lowers), position + _LONGEST_CHAIN):
            word = lowers[at]
            if word in self._passive:
                verbs += self._passive[word]
                ready = at + 1 < len(lowers) and lowers[at + 1] == "by"
                at += 2 if ready else 1
            elif word in self._bare:
                verbs += self._bare[word]
                at, ready = at + 1, True
            elif word in _JOINTS and at > position:
                at += 1
                continue
            else:
                break
            if ready and self._list_at(view, at, verbs) is not None:
                listing = at
                break
        if listing is None or not self._is_about_topic(view, position, verbs):
            return
        for verb in dict.fromkeys(verbs):
            found = (
                None
                if verb.table.relation is None
                else view.listing(listing, self._range(verb), verb.table.loose)
            )
            if found is not None:
                yield VerbMatch(verb, found, position, found.name_end, "passive")

    def _list_at(self, view: View, position: int, verbs: Sequence[Verb]) -> Listing | None:
        """The list at a token for the first verb that can take it."""
        for verb in verbs:
            wanted = self._range(verb)
            found = view.listing(position, wanted, verb.table.loose) if wanted else None
            if found is not None:
                return found
        return None

    def _is_about_topic(self, view: View, position: int, verbs: Sequence[Verb]) -> bool:
        """Whether what the participle is said of is the main entity or one of its parts."""
        lowers = view.sentence.lowers
        if view.scope.is_elsewhere(position):
            return False
        before = position - 1
        while before >= 0 and (lowers[before].endswith("ly") or lowers[before] == "also"):
            before -= 1
        if before < 0:
            return True
        if lowers[before] in _NEGATIONS or (before and lowers[before - 1] in _NEGATIONS):
            return False
        about = frozenset().union(*(verb.about for verb in verbs))
        if lowers[before] in _COPULAS:
            return self._has_topic_before(view, before, about)
        if lowers[before] == ")" and _ends_other_work(view, before):
            return False
        return lowers[before] in about or lowers[before] not in self._other_nouns

    def _has_topic_before(self, view: View, copula: int, about: frozenset[str]) -> bool:
        """Whether the subject of "was directed by" is the main entity, one of its parts, or left out."""
        lowers = view.sentence.lowers
        before = copula - 1
        while before >= 0 and lowers[before] in _AUXILIARIES:
            before -= 1
        if before < 0:
            return False
        return before + 1 in view.scope.ends or lowers[before] in _CLAUSE_STARTS or lowers[before] in about

    def _said_of(self, view: View, position: int) -> Iterator[VerbMatch]:
        """ "A and B wrote and directed the film", "A, who also wrote it with C"."""
        lowers = view.sentence.lowers
        before = position
        while before and lowers[before - 1] in _SELF:
            before -= 1
        who = _relative_before(lowers, before)
        relative = who is not None
        if who is not None:
            before = who - 1 if who and lowers[who - 1] == "," else who
        verbs, end = self._active_chain(lowers, position)
        if view.scope.is_elsewhere(position):
            return
        for verb in verbs:
            listing = view.listing_before(before, self._range(verb)) if verb.table.relation else None
            if listing is None:
                continue
            stop = self._object_end(view, end, verb, relative)
            if stop is None:
                continue
            if relative:
                listing = replace(listing, items=listing.items[-1:], start=listing.items[-1].start)
            yield VerbMatch(verb, listing, listing.start, stop, "active")
            if stop < len(lowers) and lowers[stop] == "with":
                partners = view.listing(stop + 1, self._range(verb), False)
                if partners is not None:
                    yield VerbMatch(verb, partners, position, partners.name_end, "active")

    def _active_chain(self, lowers: Sequence[str], position: int) -> tuple[list[Verb], int]:
        verbs: list[Verb] = []
        at = end = position
        while at < min(len(lowers), position + _LONGEST_CHAIN):
            if lowers[at] in self._active:
                verbs += self._active[lowers[at]]
                end = at + 1
            elif lowers[at] not in _JOINTS:
                break
            at += 1
        return list(dict.fromkeys(verbs)), end

    def _object_end(self, view: View, position: int, verb: Verb, relative: bool) -> int | None:
        """Past the main entity, or a part of it, as the verb's object; ``None`` where it has another one."""
        lowers = view.sentence.lowers
        stop = view.scope.starts.get(position)
        if stop is not None:
            return stop
        if position >= len(lowers) or lowers[position] in (",", ".", ";", "and", "with"):
            return position if relative else None
        at = position + 1 if lowers[position] in _ARTICLES else position
        for end in range(at, min(at + 3, len(lowers))):
            if lowers[end] in verb.about:
                return end + 1
        return None

    def _range(self, verb: Verb) -> tuple[str, ...]:
        """The types of the things in the verb's list."""
        if verb.table.relation is None:
            return ()
        relation = self._relations[verb.table.relation]
        return relation.domain if verb.table.inverse else relation.range


def _relative_before(lowers: Sequence[str], position: int) -> int | None:
    """The "who" whose clause a verb is in: right before it, or before "and" with another verb between."""
    if position and lowers[position - 1] == "who":
        return position - 1
    if position and lowers[position - 1] in ("and", ","):
        for before in range(position - 2, max(-1, position - _LONGEST_CLAUSE), -1):
            if lowers[before] == "who":
                return before
            if lowers[before] in (",", ";"):
                return None
    return None


def _ends_other_work(view: View, position: int) -> bool:
    """Whether the parenthesis that closes here is the year of another work: "No Man of Her Own (1950)"."""
    words = view.sentence.words
    if position < 3 or words[position - 2] != "(" or not words[position - 1].isdigit():
        return False
    return position - 2 not in view.scope.ends


def _by_form(verbs: Sequence[Verb], kind: str) -> dict[str, list[Verb]]:
    found: dict[str, list[Verb]] = {}
    for verb in verbs:
        for form in getattr(verb.table, kind):
            found.setdefault(form.lower(), []).append(verb)
    return found
