"""Reading one document by the patterns of a schema: what is found, before it becomes entities and facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from extraction.local_lists import Item, Line, ListReader
from extraction.local_match import Match, Matcher, TemplateIndex, View
from extraction.local_text import Sentence, read_sentences
from extraction.local_topic import Description, Scope, Topic, description_at, find_topic
from extraction.local_types import DescriptionReader, Typing
from extraction.local_values import FORM_OF_DATATYPE, literal, value_at
from extraction.local_verbs import VerbReader
from extraction.patterns import Patterns, PatternTable, PropertyTable, Rule
from kg.facts import Document, Literal
from kg.schema import Schema

_COPULAS = frozenset({"is", "was"})


@dataclass(frozen=True, slots=True)
class Thing:
    """Something named in the text, with the character offsets of its name."""

    name: str
    type: str
    start: int
    end: int
    known: bool = False
    """Whether it comes from a gazetteer, which gives its name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact as found: ``subject`` is ``None`` for the main entity, ``value`` is set for a property.

    ``[start, end)`` are the characters that say so; ``rule`` names the pattern.
    """

    predicate: str
    subject: Thing | None
    target: Thing | None
    value: Literal | None
    start: int
    end: int
    confidence: float
    rule: str
    inverse: bool = False


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a pattern claims of every thing in its list."""

    predicate: str
    rule: str
    confidence: float
    inverse: bool
    subject: Thing | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """All that one document says: its topic, findings in order, and the names in it."""

    topic: Topic | None
    findings: tuple[Finding, ...]
    names: tuple[Thing, ...]
    """Every name by its form, of no type yet."""
    title_places: tuple[tuple[int, int], ...]


class DocumentReader:
    """Reads documents by compiled patterns; it keeps nothing between documents."""

    def __init__(self, schema: Schema, patterns: Patterns) -> None:
        self._schema = schema
        self._patterns = patterns
        self._lists = ListReader(patterns, Typing(patterns))
        self._verbs = VerbReader(patterns, schema)
        self._rules = TemplateIndex(patterns.rules)
        self._properties = TemplateIndex(
            [rule for rule in patterns.properties if not getattr(rule.table, "after_name", False)]
        )
        self._keys = [rule for rule in patterns.properties if getattr(rule.table, "after_name", False)]
        self._descriptions = [DescriptionReader(table) for table in patterns.gazetteers]

    def read(self, document: Document) -> Reading:
        """Find everything that the patterns find in a document."""
        lines = [self._lists.line(sentence) for sentence in read_sentences(document.text)]
        names = tuple(
            Thing(
                line.sentence.name(unit.start, unit.end),
                "",
                *_characters(line.sentence, unit.start, unit.end),
            )
            for line in lines
            for unit in line.units.values()
        )
        topic = find_topic(document, lines, self._patterns)
        if topic is None:
            return Reading(None, (), names, ())
        findings: list[Finding] = []
        places: list[tuple[int, int]] = []
        for index, line in enumerate(lines):
            scope = Scope(line, topic, self._patterns, self._verbs.forms)
            view = View(line, scope, self._lists)
            findings += self._sentence(view, index, topic)
            places += _title_places(line, topic)
        return Reading(topic, tuple(findings), names, tuple(places))

    def _sentence(self, view: View, index: int, topic: Topic) -> Iterator[Finding]:
        found = [*self._by_verb(view), *self._by_template(view)]
        for finding in found:
            place = finding.target.start if finding.target is not None else -1
            if not any(start <= place < end for start, end in view.parentheses):
                yield finding
        yield from self._by_property(view)
        for description in self._phrases(view, index, topic):
            yield from self._by_description(view, description)

    def _by_verb(self, view: View) -> Iterator[Finding]:
        for match in self._verbs.read(view):
            table = match.verb.table
            claim = _Claim(
                table.relation or "",
                f"{match.verb.name}:{match.construction}",
                table.confidence,
                table.inverse,
            )
            for item in match.listing.items:
                active = match.construction == "active"
                end = max(match.end, item.end) if active else item.end
                yield from self._relation(view, claim, item, match.start, end)

    def _by_template(self, view: View) -> Iterator[Finding]:
        """The first, which is the longest, template of each rule that matches around a word."""
        for position in view.scope.cues:
            done: set[str] = set()
            for rule, flat, anchor in self._rules.at(view.sentence.lowers[position]):
                table = rule.table
                if rule.name in done or not isinstance(table, PatternTable):
                    continue
                relation = self._schema.relations[table.relation]
                named = relation.domain if table.anywhere else None
                wanted = relation.domain if table.inverse else relation.range
                match = Matcher(view, flat, wanted, "", table.loose, named).match(position, anchor)
                if match is None or match.listing is None or (named is not None and match.subject is None):
                    continue
                done.add(rule.name)
                if table.aside or not view.scope.is_elsewhere(max(position, match.listing.start - 1)):
                    yield from self._by_match(view, rule.name, table, match, position)

    def _by_match(
        self, view: View, rule: str, table: PatternTable, match: Match, position: int
    ) -> Iterator[Finding]:
        subject = None
        if table.anywhere and match.subject is not None:
            start, end = match.subject
            kind = self._schema.relations[table.relation].domain[0]
            subject = Thing(view.sentence.name(start, end), kind, *_characters(view.sentence, start, end))
        claim = _Claim(table.relation, rule, table.confidence, table.inverse, subject)
        for item in match.listing.items if match.listing is not None else ():
            if table.pairs and item.end - item.start < 2:
                continue
            after = match.listing is not None and match.listing.start > position
            end = item.end if after and match.end >= item.end else match.end
            yield from self._relation(view, claim, item, match.start, end)

    def _relation(self, view: View, claim: _Claim, item: Item, start: int, end: int) -> Iterator[Finding]:
        sentence = view.sentence
        begin, finish = _characters(sentence, min(start, item.start), max(end, item.end))
        thing = _thing(sentence, item)
        yield Finding(
            claim.predicate, claim.subject, thing, None, begin, finish,
            claim.confidence, claim.rule, claim.inverse,
        )  # fmt: skip
        if item.parenthesis is not None:
            view.parentheses.append(_characters(sentence, *item.parenthesis))
            yield from self._by_key(view, item, thing)

    def _by_property(self, view: View) -> Iterator[Finding]:
        for position in view.scope.cues:
            for rule, flat, anchor in self._properties.at(view.sentence.lowers[position]):
                table = rule.table
                if not isinstance(table, PropertyTable) or view.scope.is_elsewhere(position):
                    continue
                match = Matcher(view, flat, (), self._form(table)).match(position, anchor)
                if match is not None and match.value is not None:
                    yield from self._value(view, rule, match.value[0], match.start, match.end, None)

    def _by_key(self, view: View, item: Item, thing: Thing) -> Iterator[Finding]:
        """ "(born 1969)" after a name."""
        start, stop = item.parenthesis or (0, 0)
        for rule in self._keys:
            table = rule.table
            if not isinstance(table, PropertyTable):
                continue
            if thing.type not in self._schema.properties[table.property].domain:
                continue
            for flat in rule.templates:
                anchor = next(i for i, e in enumerate(flat) if hasattr(e, "choices"))
                matcher = Matcher(view, flat, (), self._form(table))
                for position in range(start, stop):
                    match = matcher.match(position, anchor)
                    if match is not None and match.value is not None and match.end <= stop:
                        yield from self._value(view, rule, match.value[0], item.start, stop, thing)
                        break

    def _value(
        self, view: View, rule: Rule, text: str, start: int, end: int, subject: Thing | None
    ) -> Iterator[Finding]:
        table = rule.table
        if isinstance(table, PropertyTable):
            value = literal(text, self._schema.properties[table.property])
            if value is not None:
                begin, finish = _characters(view.sentence, start, end)
                yield Finding(
                    table.property, subject, None, value, begin, finish, table.confidence, rule.name
                )

    def _phrases(self, view: View, index: int, topic: Topic) -> Iterator[Description]:
        """The noun phrases of a sentence that describe the main entity: "it is a NOUN PHRASE"."""
        if topic.description is not None and topic.description.line == index:
            yield topic.description
            return
        for end in view.scope.ends:
            if end < len(view.sentence) and view.sentence.lowers[end] in _COPULAS:
                found = description_at(view.sentence, index, end + 1, topic.subject)
                if found is not None:
                    yield found

    def _by_description(self, view: View, description: Description) -> Iterator[Finding]:
        sentence = view.sentence
        begin, finish = _characters(sentence, description.start, description.end)
        for reader in self._descriptions:
            table = reader.table
            for name, start, end in reader.read(sentence, description.start, description.end):
                thing = Thing(name, table.type, start, end, known=True)
                yield Finding(
                    table.relation,
                    None,
                    thing,
                    None,
                    begin,
                    finish,
                    table.confidence,
                    f"gazetteer:{table.type}",
                )
        for rule in self._patterns.properties:
            table_ = rule.table
            if isinstance(table_, PropertyTable) and table_.in_description:
                form = self._form(table_)
                for position in range(description.start, description.end):
                    value = value_at(sentence, position, form)
                    if value is not None:
                        yield from self._value(view, rule, value[0], description.start, description.end, None)
                        break

    def _form(self, table: PropertyTable) -> str:
        return table.form or FORM_OF_DATATYPE.get(self._schema.properties[table.property].datatype, "text")


def _thing(sentence: Sentence, item: Item) -> Thing:
    surface = sentence.name(item.start, item.end)
    return Thing(
        item.name, item.type, *_characters(sentence, item.start, item.end), known=item.name != surface
    )


def _characters(sentence: Sentence, start: int, end: int) -> tuple[int, int]:
    return sentence.starts[start], sentence.ends[end - 1]


def _title_places(line: Line, topic: Topic) -> Iterator[tuple[int, int]]:
    lowers = line.sentence.lowers
    for position, word in enumerate(lowers):
        for name in topic.names:
            if name and word == name[0] and tuple(lowers[position : position + len(name)]) == name:
                yield _characters(line.sentence, position, position + len(name))
                break
