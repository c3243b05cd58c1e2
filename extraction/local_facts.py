"""From findings to entities, mentions and facts: names resolved inside the document, equal facts folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from extraction.extractor import Refusal
from extraction.local_reading import Finding, Reading, Thing
from extraction.local_templates import word_set
from kg.facts import Assertions, Document, Entity, Fact, Mention, Span, normalise_name
from kg.schema import Schema

_NOT_SURNAMES = frozenset({"jr.", "sr.", "jr", "sr", "ii", "iii", "iv"})
_PARTICLES = word_set(
    "de del della der den di da du la le van von ter ten bin ibn al el",
)


@dataclass(frozen=True, slots=True)
class Assembled:
    """All that a document asserts and what was refused, before it is cut into chunks."""

    assertions: Assertions
    refused: tuple[Refusal, ...]


def assemble(document: Document, reading: Reading, schema: Schema) -> Assembled:
    """Turn what was found in a document into assertions that the schema allows."""
    if reading.topic is None:
        return Assembled(Assertions(), ())
    return _Assembly(document, reading, schema).assemble()


class _Assembly:
    """The entities and facts of one document while they are put together."""

    def __init__(self, document: Document, reading: Reading, schema: Schema) -> None:
        assert reading.topic is not None
        self.document = document
        self.reading = reading
        self.topic = reading.topic
        self.schema = schema
        self.resolved = _NamesInDocument(reading)
        self.entities: dict[str, Entity] = {}
        self.mentions: dict[tuple[str, int, int], Mention] = {}
        self.facts: dict[tuple[str, str, str, str], Fact] = {}
        self.refused: list[Refusal] = []
        self.keys = self._keys()

    def assemble(self) -> Assembled:
        """Entities first, so that every fact knows the key that tells its homonyms apart."""
        main = self._main()
        self.entities[main.id] = main
        for start, end in self.reading.title_places:
            self._mention(main, start, end)
        for finding in self.reading.findings:
            self._fact(finding, main)
        self._name_again()
        assertions = Assertions(
            tuple(self.entities.values()),
            tuple(sorted(self.mentions.values(), key=lambda m: (m.start, m.end, m.entity))),
            tuple(self.facts.values()),
        )
        return Assembled(assertions, tuple(self.refused))

    def _keys(self) -> dict[tuple[str, str], str]:
        """The discriminator of each named thing whose type has a key that the document states."""
        found: dict[tuple[str, str], str] = {}
        for finding in self.reading.findings:
            if finding.value is None or finding.subject is None:
                continue
            kind = finding.subject.type
            if self.schema.entities[kind].key == finding.predicate:
                name = normalise_name(self.resolved.full(finding.subject))
                found.setdefault((kind, name), str(finding.value))
        return found

    def _main(self) -> Entity:
        kind = self.topic.subject.table.type
        key = self.schema.entities[kind].key
        value = next(
            (f.value for f in self.reading.findings if f.subject is None and f.predicate == key), None
        )
        discriminator = "" if key is None or value is None else str(value)
        return Entity.of(kind, self.topic.name, discriminator=discriminator)

    def _entity(self, thing: Thing) -> Entity:
        name = self.resolved.full(thing)
        key = self.keys.get((thing.type, normalise_name(name)), "")
        entity = Entity.of(thing.type, name, discriminator=key)
        return self.entities.setdefault(entity.id, entity)

    def _fact(self, finding: Finding, main: Entity) -> None:
        if finding.target is not None and self._is_topic(finding.target):
            return
        for thing in (finding.subject, finding.target):
            if thing is not None and (several := self.resolved.several(thing)):
                detail = f"{thing.name!r} may be {' or '.join(several)}"
                self.refused.append(Refusal("ambiguous name", detail, thing.start, thing.end))
                return
        subject = main if finding.subject is None else self._entity(finding.subject)
        if finding.value is not None:
            if self._conflicts(subject, finding):
                return
            wrong = self.schema.why_not_property(subject.type, finding.predicate, finding.value)
            fact = Fact(subject.id, finding.predicate, literal=finding.value)
        elif finding.target is not None:
            target = self._entity(finding.target)
            self._mention(target, finding.target.start, finding.target.end)
            if finding.inverse:
                subject, target = target, subject
            wrong = self.schema.why_not_relation(subject.type, finding.predicate, target.type)
            fact = Fact(subject.id, finding.predicate, object=target.id)
        else:
            return
        if finding.subject is not None:
            self._mention(self._entity(finding.subject), finding.subject.start, finding.subject.end)
        if wrong is not None:
            self.refused.append(Refusal("does not fit the schema", wrong, finding.start, finding.end))
            return
        self._add(fact, finding)

    def _add(self, fact: Fact, finding: Finding) -> None:
        """Fold a fact into an equal one: spans are joined, the highest confidence counts."""
        text = self.document.text[finding.start : finding.end]
        span = Span(finding.start, finding.end, text)
        known = self.facts.get(fact.key)
        if known is None:
            self.facts[fact.key] = replace(fact, confidence=finding.confidence, spans=(span,))
        else:
            spans = known.spans if span in known.spans else (*known.spans, span)
            self.facts[fact.key] = replace(
                known, confidence=max(known.confidence, finding.confidence), spans=spans
            )

    def _conflicts(self, subject: Entity, finding: Finding) -> bool:
        """Whether a property of cardinality one has another value already; the first one stands."""
        if self.schema.properties[finding.predicate].cardinality != "one":
            return False
        known = next(
            (f for f in self.facts.values() if f.subject == subject.id and f.predicate == finding.predicate),
            None,
        )
        if known is None or known.literal == finding.value:
            return False
        self.refused.append(
            Refusal("second value of a single property", f"{finding.predicate} = {finding.value!r}",
                    finding.start, finding.end)
        )  # fmt: skip
        return True

    def _is_topic(self, thing: Thing) -> bool:
        """Whether a name is the main entity's own, or its first part: "Alien" of "Alien: Romulus"."""
        name = normalise_name(self.topic.name)
        if any(start <= thing.start and thing.end <= end for start, end in self.reading.title_places):
            return True
        return not thing.known and normalise_name(thing.name) in (name, name.split(":")[0])

    def _name_again(self) -> None:
        """Mention every entity of the document wherever its full name or its surname stands."""
        taken = {(m.start, m.end) for m in self.mentions.values()}
        by_name: dict[str, list[Entity]] = {}
        for entity in self.entities.values():
            by_name.setdefault(normalise_name(entity.name), []).append(entity)
        for thing in self.reading.names:
            if (thing.start, thing.end) in taken:
                continue
            full = self.resolved.full(thing)
            named = by_name.get(normalise_name(full), ())
            if len(named) == 1:
                self._mention(named[0], thing.start, thing.end)

    def _mention(self, entity: Entity, start: int, end: int) -> None:
        surface = self.document.text[start:end]
        self.mentions.setdefault((entity.id, start, end), Mention(entity.id, start, end, surface))


class _NamesInDocument:
    """Which full name a single name stands for: "Crichton" after "Michael Crichton"."""

    def __init__(self, reading: Reading) -> None:
        things = [f.target for f in reading.findings if f.target is not None]
        asserted = dict.fromkeys(t.name for t in things if " " in t.name)
        others = dict.fromkeys(t.name for t in reading.names if " " in t.name)
        self._by_end = _index(_longest(asserted), _endings)
        self._by_any_end = _index(_longest(others), _endings)
        self._by_first = _index(asserted, lambda words: words[:1])

    def full(self, thing: Thing) -> str:
        """The full name, where exactly one in the document ends (or begins) with this one."""
        found = self._candidates(thing)
        return found[0] if len(found) == 1 else thing.name

    def several(self, thing: Thing) -> Sequence[str]:
        """The full names that this one may stand for, where they are several."""
        found = self._candidates(thing)
        return found if len(found) > 1 else ()

    def _candidates(self, thing: Thing) -> Sequence[str]:
        if thing.known:
            return ()
        name = normalise_name(thing.name)
        for index in (self._by_end, self._by_any_end, self._by_first):
            if name in index:
                return index[name]
        return ()


def _endings(words: Sequence[str]) -> Iterator[str]:
    """What a full name may be shortened to at its front: "de niro" and "niro"."""
    yield words[-1]
    yield from (" ".join(words[i:]) for i in range(1, len(words) - 1) if words[i] in _PARTICLES)


def _longest(names: Iterable[str]) -> list[str]:
    """The names that no other one ends with: "Ana van Bell", but not "van Bell"."""
    known = list(names)
    shortened = {short for name in known for short in _endings(normalise_name(name).split())}
    return [name for name in known if normalise_name(name) not in shortened]


def _index(names: Iterable[str], shorten: Callable[[Sequence[str]], Iterable[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        words = [w for w in normalise_name(name).replace(",", "").split() if w not in _NOT_SURNAMES]
        if len(words) > 1:
            for short in shorten(words):
                found.setdefault(short, []).append(name)
    return found
