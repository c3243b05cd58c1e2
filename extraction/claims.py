"""From what a model claims to what may be asserted: every claim is grounded, checked, and refused if need be.

A fact is asserted only if its quote is in the chunk, its subject and object are named in the sentence of the
quote or meant there and named elsewhere in the chunk or the title, its value stands in the quote, and the
schema allows it. Its confidence says how well the quote was found, never what a model says of itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from extraction.extractor import Extraction, Refusal
from extraction.grounding import (
    LONGEST_SPAN,
    Alignment,
    Passage,
    Quality,
    fold,
    refers_back,
    surfaces_of,
)
from extraction.literals import normalise, states
from kg.facts import Assertions, Chunk, Document, Entity, Fact, Literal, Mention, Span
from kg.schema import Schema

CLAIMS_VERSION = "1"
CONFIDENCE: Mapping[Quality, float] = {Quality.EXACT: 0.95, Quality.FOLDED: 0.9, Quality.FUZZY: 0.75}
"""Confidence by how the quote was found: chosen, not measured. They order facts by how literally the text was
quoted; calibrate them on your own documents where the number itself matters."""
MEANT_ELSEWHERE = 0.9
"""Factor where one end is not named in the sentence of the quote, only meant there (chosen, as above)."""


@dataclass(frozen=True, slots=True)
class ClaimedEntity:
    """A thing that a model claims to have read of; ``id`` is its name within one answer."""

    id: str
    type: str
    name: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimedFact:
    """A fact that a model claims to have read; ends are ids (or names) of entities of the same answer."""

    quote: str
    subject: str
    predicate: str
    object: str | None = None
    value: Literal | None = None
    qualifiers: Mapping[str, str] = field(default_factory=dict)


def ground_claims(
    entities: Sequence[ClaimedEntity],
    facts: Sequence[ClaimedFact],
    document: Document,
    chunk: Chunk,
    schema: Schema,
) -> Extraction:
    """Ground the claims of one answer in its chunk; what does not hold is refused with its reason."""
    return _Grounding(document, chunk, schema).run(entities, facts)


class _Refused(Exception):
    """A claim that does not hold."""

    def __init__(self, reason: str, detail: str, found: Alignment | None = None) -> None:
        super().__init__(reason)
        self.refusal = Refusal(reason, detail, found.start if found else None, found.end if found else None)


@dataclass(slots=True, eq=False)
class _Thing:
    """An entity that the text names: its places in the chunk, by document offsets."""

    type: str
    name: str
    places: list[tuple[int, int]]
    spans: list[Span] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    @property
    def entity(self) -> Entity:
        """With the value of the schema's key as discriminator, where the text states exactly one."""
        discriminator = next(iter(self.keys)) if len(self.keys) == 1 else ""
        return Entity.of(self.type, self.name, discriminator=discriminator)

    def distance(self, place: tuple[int, int]) -> tuple[int, int]:
        """Characters from a place to the nearest quote about this thing; then, fewer quotes are farther."""
        gaps = [max(span.start - place[1], place[0] - span.end, 0) for span in self.spans]
        nearest = min(gaps, default=1 << 30)
        return nearest, -gaps.count(nearest)


@dataclass(frozen=True, slots=True)
class _Accepted:
    subject: _Thing
    predicate: str
    object: _Thing | None
    literal: Literal | None
    qualifiers: Mapping[str, str]
    confidence: float
    span: Span


class _Grounding:
    """The claims of one answer against one chunk."""

    def __init__(self, document: Document, chunk: Chunk, schema: Schema) -> None:
        self._text = document.text
        self._passage = Passage(document.text, chunk.start, chunk.end)
        self._title = Passage(document.title, 0, len(document.title))
        self._schema = schema
        self._things: dict[str, _Thing] = {}
        self._refused: list[Refusal] = []

    def run(self, entities: Sequence[ClaimedEntity], facts: Sequence[ClaimedFact]) -> Extraction:
        for entity in entities:
            try:
                self._things[entity.id] = self._thing(entity)
            except _Refused as refused:
                self._refused.append(refused.refusal)
        accepted: list[_Accepted] = []
        for fact in facts:
            try:
                accepted.append(self._fact(fact))
            except _Refused as refused:
                self._refused.append(refused.refusal)
        assertions = self._assertions(accepted)
        return Extraction(assertions, tuple(self._refused))

    # --- entities

    def _thing(self, claimed: ClaimedEntity) -> _Thing:
        detail = f"{claimed.type} {claimed.name!r}"
        if claimed.type not in self._schema.entities:
            raise _Refused("unknown type", detail)
        surfaces = surfaces_of(claimed.name, claimed.aliases)
        if not surfaces:
            raise _Refused("not a name", detail)
        named = {surface: list(self._passage.find(surface)) for surface in surfaces}
        in_title = {surface for surface in surfaces if next(self._title.find(surface), None)}
        grounded = [surface for surface in surfaces if named[surface] or surface in in_title]
        if not grounded:
            raise _Refused("entity not in the text", detail)
        name = grounded[0] if grounded[0] == surfaces[0] else max(grounded, key=len)
        places = sorted({place for found in named.values() for place in found})
        return _Thing(claimed.type, self._as_written(name, named[name]), places)

    def _as_written(self, name: str, places: list[tuple[int, int]]) -> str:
        """The name in the letters of the text: a model may have changed case or quote marks."""
        forms = [" ".join(self._text[start:end].split()) for start, end in places]
        return name if not forms or name in forms else forms[0]

    # --- facts

    def _fact(self, claimed: ClaimedFact) -> _Accepted:
        detail = _describe(claimed)
        found = self._aligned(claimed, detail)
        subject = self._end(claimed.subject)
        if subject is None:
            raise _Refused("unknown subject", detail, found)
        if claimed.predicate in self._schema.relations:
            return self._relation(claimed, detail, found, subject)
        if claimed.predicate in self._schema.properties:
            return self._property(claimed, detail, found, subject)
        raise _Refused("unknown predicate", detail, found)

    def _aligned(self, claimed: ClaimedFact, detail: str) -> Alignment:
        if len(claimed.quote) > LONGEST_SPAN:
            raise _Refused("quote too long", detail)
        found = self._passage.align(claimed.quote)
        if found is None:
            raise _Refused("quote not in the text", f"{detail}: {claimed.quote!r}")
        if self._passage.denies(found):
            raise _Refused("the text denies it", f"{detail}: {claimed.quote!r}", found)
        return found

    def _end(self, identity: str | None) -> _Thing | None:
        """The thing that an id means; a name is taken where it means one thing only."""
        if identity is None:
            return None
        if identity in self._things:
            return self._things[identity]
        named = [thing for thing in self._things.values() if fold(thing.name) == fold(identity)]
        return named[0] if len(named) == 1 else None

    def _relation(self, claimed: ClaimedFact, detail: str, found: Alignment, subject: _Thing) -> _Accepted:
        end = claimed.object if claimed.object is not None else claimed.value
        target = self._end(str(end)) if end is not None else None
        if target is None:
            raise _Refused("unknown object", detail, found)
        if target is subject:
            raise _Refused("both ends are one thing", detail, found)
        why = self._schema.why_not_relation(subject.type, claimed.predicate, target.type)
        if why is not None:
            if self._schema.why_not_relation(target.type, claimed.predicate, subject.type) is not None:
                raise _Refused("does not fit the schema", f"{detail}: {why}", found)
            subject, target = target, subject
        factor = self._nearness(found, detail, subject, target)
        confidence = CONFIDENCE[found.quality] * factor
        qualifiers = self._qualifiers(claimed, detail, found)
        span = self._span(found)
        subject.spans.append(span)
        target.spans.append(span)
        return _Accepted(subject, claimed.predicate, target, None, qualifiers, confidence, span)

    def _property(self, claimed: ClaimedFact, detail: str, found: Alignment, subject: _Thing) -> _Accepted:
        datatype = self._schema.properties[claimed.predicate].datatype
        given = claimed.value if claimed.value is not None else claimed.object
        value = None if given is None else normalise(given, datatype)
        if value is None:
            raise _Refused("value out of form", f"{detail}: {given!r} is no {datatype}", found)
        why = self._schema.why_not_property(subject.type, claimed.predicate, value)
        if why is not None:
            raise _Refused("does not fit the schema", f"{detail}: {why}", found)
        if not states(self._text[found.start : found.end], value, datatype):
            start, end = self._passage.sentences(found.start, found.end)
            if not states(self._text[start:end], value, datatype) or end - start > LONGEST_SPAN:
                raise _Refused("value not in the quote", detail, found)
            found = replace(found, start=start, end=end)
        confidence = CONFIDENCE[found.quality] * self._nearness(found, detail, subject)
        span = self._span(found)
        subject.spans.append(span)
        if self._schema.entities[subject.type].key == claimed.predicate:
            subject.keys.add(str(value))
        return _Accepted(subject, claimed.predicate, None, value, {}, confidence, span)

    def _nearness(self, found: Alignment, detail: str, *ends: _Thing) -> float:
        """1 where every end is named in the quote's sentence, less where one is only meant there.

        An end can be meant if the sentence refers back ("he", "the film") or names no other thing of its
        type.
        """
        start, end = self._passage.sentences(found.start, found.end)
        missing = [thing for thing in ends if not self._named(thing, start, end)]
        if not missing:
            return 1.0
        if len(missing) == len(ends) > 1:
            raise _Refused("neither end is near the quote", detail, found)
        others = [
            thing
            for thing in self._things.values()
            if thing.type == missing[0].type and thing not in ends and self._named(thing, start, end)
        ]
        if others and not refers_back(self._text[start:end], missing[0].type):
            raise _Refused(
                "the quote is about something else", f"{detail}: it names {others[0].name!r}", found
            )
        return MEANT_ELSEWHERE

    def _named(self, thing: _Thing, start: int, end: int) -> bool:
        """Whether a stretch names a thing, be it by the last word of its name ("Scott")."""
        if any(start <= low and high <= end for low, high in thing.places):
            return True
        last = thing.name.split()[-1]
        if last == thing.name or len(last) < 3 or not last[0].isupper():
            return False
        return any(self._text[low].isupper() for low, _ in self._passage.find(last, start, end))

    def _qualifiers(self, claimed: ClaimedFact, detail: str, found: Alignment) -> dict[str, str]:
        """The qualifiers that the relation may carry and the sentence states; others are refused alone."""
        start, end = self._passage.sentences(found.start, found.end)
        sentence = self._text[start:end]
        kept: dict[str, str] = {}
        for name, given in claimed.qualifiers.items():
            datatype = "date" if name in ("valid_from", "valid_to") else "string"
            value = normalise(given, datatype)
            if name not in self._schema.relations[claimed.predicate].qualifiers or value is None:
                self._refused.append(Refusal("unknown qualifier", f"{detail}: {name}={given!r}"))
            elif not states(sentence, value, datatype):
                self._refused.append(Refusal("qualifier not in the text", f"{detail}: {name}={given!r}"))
            else:
                kept[name] = str(value)
        return kept

    def _span(self, found: Alignment) -> Span:
        return Span(found.start, found.end, self._text[found.start : found.end])

    # --- assertions

    def _assertions(self, accepted: Sequence[_Accepted]) -> Assertions:
        entities = {
            thing.entity.id: thing.entity for thing in self._things.values() if thing.places or thing.spans
        }
        facts: dict[tuple[str, str, str, str], Fact] = {}
        for claim in accepted:
            if claim.object is not None and claim.object.entity.id == claim.subject.entity.id:
                self._refused.append(
                    Refusal("both ends are one thing", f"{claim.predicate}: {claim.span.quote!r}")
                )
                continue
            fact = Fact(
                subject=claim.subject.entity.id,
                predicate=claim.predicate,
                object=claim.object.entity.id if claim.object else None,
                literal=claim.literal,
                qualifiers=claim.qualifiers,
                confidence=claim.confidence,
                spans=(claim.span,),
            )
            known = facts.get(fact.key)
            facts[fact.key] = fact if known is None else _joined(known, fact)
        return Assertions(tuple(entities.values()), tuple(self._mentions()), tuple(facts.values()))

    def _mentions(self) -> list[Mention]:
        """Every place that names a thing, once: longer names before shorter, homonyms by their quotes."""
        claims: dict[tuple[int, int], list[_Thing]] = defaultdict(list)
        for thing in self._things.values():
            for place in thing.places:
                claims[place].append(thing)
        taken: list[tuple[int, int]] = []
        mentions: list[Mention] = []
        for place in sorted(claims, key=lambda place: (place[0] - place[1], place)):
            if any(place[0] < high and low < place[1] for low, high in taken):
                continue
            taken.append(place)
            thing = min(claims[place], key=lambda thing: thing.distance(place))
            mentions.append(Mention(thing.entity.id, *place, self._text[place[0] : place[1]]))
        return sorted(mentions, key=lambda mention: mention.start)


def _joined(one: Fact, other: Fact) -> Fact:
    """One fact stated twice: both places, the better confidence."""
    spans = tuple(dict.fromkeys((*one.spans, *other.spans)))
    return replace(one, spans=spans, confidence=max(one.confidence, other.confidence))


def _describe(claimed: ClaimedFact) -> str:
    end = claimed.object if claimed.object is not None else repr(claimed.value)
    return f"{claimed.subject} {claimed.predicate} {end}"
