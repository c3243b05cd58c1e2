"""The pattern language: what the ``[extraction]`` section of a schema may hold, checked and compiled.

The local extractor knows English lists, names and clauses; everything about a domain is written here::

    [[extraction.subject]]                    # what a document is about
    type = "Album"
    nouns = ["album", "record"]               # "Blue is the fourth studio album ..."
    references = ["it", "(the|this) (album|record)"]

    [[extraction.verb]]
    relation = "PRODUCED_BY"
    passive = ["produced", "co-produced"]     # "produced by A and B", "written and produced by A"
    active = ["produced"]                     # "A and B produced the album"; "A, who produced it"

    [[extraction.pattern]]
    relation = "FEATURES"
    templates = ["featuring {objects}", "with guest (spots|appearances) by {objects}"]

    [[extraction.gazetteer]]                  # names from the subject's description, "a folk rock album"
    type = "Genre"
    relation = "HAS_GENRE"
    entries = { Folk = ["folk"], Rock = ["rock"] }

    [[extraction.property]]
    property = "release_date"
    templates = ["released on {value}"]

``docs/patterns.md`` explains every table with examples; :mod:`extraction.local_templates` has the template
language itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from extraction.local_templates import Flat, Phrases, Slot, Words, compile_template, split_words
from kg.errors import SchemaError
from kg.schema import Schema

LANGUAGE_VERSION = "1"
"""Raised whenever the same patterns may read the same text differently."""

Confidence = Annotated[float, Field(gt=0, le=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SubjectTable(_Table):
    """What a document may be about: recognised by its first sentence, "NAME is a ... NOUN"."""

    type: str
    nouns: list[str] = Field(min_length=1)
    """Nouns that tell this type in the first sentence, and that stand for the entity after "the"."""
    references: list[str] = []
    """Templates of what refers back to the entity: "it", "the film"."""
    assume: bool = False
    """Whether a titled document whose first sentence does not say what it is about is about this."""


class NamesTable(_Table):
    """How names of people and organisations are written, and how lists of them go on."""

    particles: list[str] = ["de", "del", "della", "der", "den", "di", "da", "du", "la", "le", "van", "von",
                            "ter", "ten", "bin", "ibn", "al", "el", "y", "dos", "af", "zu"]  # fmt: skip
    suffixes: list[str] = ["jr", "jr.", "sr", "sr.", "ii", "iii", "iv", "v", "esq.", "m.d.", "ph.d."]
    honorifics: list[str] = []
    """Words before a name that are no part of it, with a capital: "Sir", "Director"."""
    lead_ins: list[str] = []
    """Templates that may stand before a name in a list: "actor", "the late", "<award> winner"."""
    trailers: list[str] = []
    """Templates that may follow a name in a list and are passed over: "in the title role"."""
    roles: list[str] = []
    """Templates that open a description of what the named thing is there: "as", "playing"."""
    separators: list[str] = []
    """Templates between list entries besides "," and "and": "along with", "as well as"."""
    loose_separators: list[str] = []
    """Templates that only ``loose`` lists go on over: "alongside", "with" in a cast."""
    groups: list[str] = []
    """Nouns that make one name of a family: "brothers" in "the Coen brothers"."""
    given_names: list[str] = []
    """Given names that share the surname that follows: "Joel and Ethan Coen"."""


class TypeTable(_Table):
    """How the type of a name is told where a relation ends at several: words in it, or whole names."""

    type: str
    words: list[str] = []
    names: list[str] = []
    form: Literal["name", "title"] = "name"
    """``title``: names of works, which hold small words: "The Lord of the Rings"."""


class VerbTable(_Table):
    """A verb in all its constructions. Without a relation it only takes part in "shot and directed by"."""

    relation: str | None = None
    passive: list[str] = []
    active: list[str] = []
    bare: list[str] = []
    """Forms that the list follows without "by": "starring"."""
    about: list[str] = []
    """Parts of the subject that the verb may be said of: "screenplay" for "written"."""
    loose: bool = False
    """Whether entries of the list may have roles, and go on over loose separators."""
    confidence: Confidence = 0.9
    inverse: bool = False
    """Whether the things in the list are the fact's subject and the document's entity its object."""


class PatternTable(_Table):
    """Templates for one relation."""

    relation: str
    templates: list[str] = Field(min_length=1)
    loose: bool = False
    """Whether entries of the list may have roles, and go on over loose separators."""
    confidence: Confidence = 0.9
    inverse: bool = False
    anywhere: bool = False
    """Whether the template's ``{subject}`` is any name of the relation's domain, not the main entity."""
    aside: bool = False
    """Whether the template itself opens a clause about something else: "based on a novel by {objects}"."""
    pairs: bool = False
    """Whether only names of two words or more are taken."""


class PropertyTable(_Table):
    """Where a literal stands: in templates, or anywhere in the subject's description."""

    property: str
    templates: list[str] = []
    form: Literal["year", "date", "integer", "number", "text"] | None = None
    """What the value looks like in the text; by default what the property's datatype says."""
    in_description: bool = False
    after_name: bool = False
    """Whether the templates follow a name, "(born 1969)", and describe what bears it."""
    confidence: Confidence = 0.95


class GazetteerTable(_Table):
    """Things known in advance, each with the phrases that name it, in the subject's description."""

    type: str
    relation: str
    entries: dict[str, list[str]]
    ignore: list[str] = []
    """Phrases that hold an entry and mean something else: "English-language"."""
    confidence: Confidence = 0.95


class ElsewhereTable(_Table):
    """Templates after which a clause speaks of another thing: "based on", "remake of"."""

    templates: list[str] = []
    openings: list[str] = []
    """Templates that make a whole sentence about another thing where it begins with them: "the sequel"."""
    rest: list[str] = []
    """Templates from which on the rest of the sentence is about another thing: "two sequels"."""
    nouns: list[str] = []
    """Nouns of other things: what is "written by" after "novel" is not this document's entity."""


class ExtractionTable(_Table):
    """The whole ``[extraction]`` section."""

    words: dict[str, list[str]] = {}
    subject: list[SubjectTable] = Field(min_length=1)
    names: NamesTable = NamesTable()
    type: list[TypeTable] = []
    verb: list[VerbTable] = []
    pattern: list[PatternTable] = []
    property: list[PropertyTable] = []
    gazetteer: list[GazetteerTable] = []
    elsewhere: ElsewhereTable = ElsewhereTable()


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """A compiled verb; ``name`` identifies it in reports."""

    name: str
    table: VerbTable
    about: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One compiled pattern or property with its flat templates."""

    name: str
    table: PatternTable | PropertyTable
    templates: tuple[Flat, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """One compiled kind of main entity."""

    table: SubjectTable
    nouns: frozenset[str]
    references: Phrases


@dataclass(frozen=True, slots=True)
class Names:
    """The compiled naming conventions."""

    table: NamesTable
    lead_ins: Phrases
    trailers: Phrases
    roles: Phrases
    separators: Phrases
    loose_separators: Phrases


@dataclass(frozen=True, slots=True)
class Patterns:
    """Everything the local extractor needs, compiled from a schema."""

    subjects: tuple[Subject, ...]
    names: Names
    types: tuple[TypeTable, ...]
    verbs: tuple[Verb, ...]
    rules: tuple[Rule, ...]
    properties: tuple[Rule, ...]
    gazetteers: tuple[GazetteerTable, ...]
    elsewhere: Phrases
    openings: Phrases
    rest: Phrases
    other_nouns: frozenset[str]
    finite: frozenset[str]
    """First words of templates that may go on with the main entity after "and": "stars", "features"."""
    cue_words: frozenset[str]
    """Every literal word of the patterns: at the start of a sentence, none of them begins a name."""


def compile_patterns(schema: Schema) -> Patterns:
    """Check and compile the ``[extraction]`` section of a schema.

    Raises :class:`SchemaError` where the section is missing, has unknown keys, names a type, relation or
    property that the schema lacks, or holds a template that cannot be read.
    """
    if not schema.extraction:
        raise SchemaError(
            "the schema has no patterns to extract by.",
            where=f"[extraction] of {schema.name!r}",
            hint="Write some (docs/patterns.md), or extract with a language model.",
        )
    try:
        table = ExtractionTable.model_validate(dict(schema.extraction))
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in ("extraction", *first["loc"]))
        raise SchemaError(f"{first['msg']}.", where=f"[{place}]", hint="See docs/patterns.md.") from None
    return _PatternCompiler(schema, table).compile()


class _PatternCompiler:
    """Compiles one section; every complaint names the table it is about."""

    def __init__(self, schema: Schema, table: ExtractionTable) -> None:
        self.schema = schema
        self.table = table

    def compile(self) -> Patterns:
        """Check names against the schema, then compile every template."""
        self.check()
        table = self.table
        subjects = tuple(self.subject(index, found) for index, found in enumerate(table.subject))
        verbs = tuple(
            Verb(f"verb:{(found.passive + found.active + found.bare + ['?'])[0]}", found, _lower(found.about))
            for found in table.verb
        )
        rules = tuple(
            Rule(f"{found.relation}:{found.templates[0]}", found, self.flat(f"pattern {i}", found.templates))
            for i, found in enumerate(table.pattern)
        )
        properties = tuple(
            Rule(f"property:{found.property}", found, self.flat(f"property {i}", found.templates))
            for i, found in enumerate(table.property)
        )
        elsewhere = self.phrases("elsewhere", table.elsewhere.templates)
        return Patterns(
            subjects,
            self.names(),
            tuple(table.type),
            verbs,
            rules,
            properties,
            tuple(table.gazetteer),
            elsewhere,
            self.phrases("elsewhere.openings", table.elsewhere.openings),
            self.phrases("elsewhere.rest", table.elsewhere.rest),
            _lower(table.elsewhere.nouns),
            _first_words(rules),
            frozenset(self.cue_words(rules, elsewhere)),
        )

    def subject(self, index: int, table: SubjectTable) -> Subject:
        """Compile one kind of main entity; "the NOUN" always refers to it."""
        templates = list(table.references)
        return Subject(table, _lower(table.nouns), self.phrases(f"subject {index}", templates))

    def names(self) -> Names:
        """Compile the naming conventions."""
        table = self.table.names
        return Names(
            table,
            self.phrases("names.lead_ins", table.lead_ins),
            self.phrases("names.trailers", table.trailers),
            self.phrases("names.roles", table.roles),
            self.phrases("names.separators", table.separators),
            self.phrases("names.loose_separators", table.loose_separators),
        )

    def flat(self, place: str, templates: list[str]) -> tuple[Flat, ...]:
        """Compile templates, longest sequences first."""
        where = f"[extraction] {place}"
        found = [
            s for template in templates for s in compile_template(template, self.table.words, where=where)
        ]
        return tuple(sorted(set(found), key=lambda sequence: (-len(sequence), str(sequence))))

    def phrases(self, place: str, templates: list[str]) -> Phrases:
        """Compile templates that hold no slots."""
        flats = self.flat(place, templates)
        if any(isinstance(element, Slot) for flat in flats for element in flat):
            raise SchemaError("only patterns and properties may hold slots.", where=f"[extraction] {place}")
        return Phrases(flats)

    def cue_words(self, rules: tuple[Rule, ...], elsewhere: Phrases) -> Iterator[str]:
        """The words that patterns look for."""
        for verb in self.table.verb:
            yield from (form.lower() for form in (*verb.passive, *verb.active, *verb.bare))
        for flat in (*(flat for rule in rules for flat in rule.templates), *elsewhere.flats):
            for element in flat:
                yield from getattr(element, "choices", ())

    def check(self) -> None:
        """Refuse names that the schema lacks."""
        table = self.table
        for place, name in (
            *(("subject", found.type) for found in table.subject),
            *(("type", found.type) for found in table.type),
            *(("gazetteer", found.type) for found in table.gazetteer),
        ):
            self.known(place, "entity type", name, self.schema.entities)
        for place, name in (
            *(("verb", found.relation) for found in table.verb if found.relation is not None),
            *(("pattern", found.relation) for found in table.pattern),
            *(("gazetteer", found.relation) for found in table.gazetteer),
        ):
            self.known(place, "relation", name, self.schema.relations)
        for found in table.property:
            self.known("property", "property", found.property, self.schema.properties)
        for gazetteer in table.gazetteer:
            if gazetteer.type not in self.schema.relations[gazetteer.relation].range:
                raise SchemaError(
                    f"{gazetteer.relation} does not end at {gazetteer.type}.",
                    where="[[extraction.gazetteer]]",
                )

    def known(self, place: str, kind: str, name: str, known: Mapping[str, Any]) -> None:
        """Refuse one name that is not among ``known``."""
        if name not in known:
            close = get_close_matches(name, list(known), n=1)
            raise SchemaError(
                f"{name!r} is no {kind} of the schema{f' (did you mean {close[0]!r}?)' if close else ''}.",
                where=f"[[extraction.{place}]]",
            )


def _first_words(rules: tuple[Rule, ...]) -> frozenset[str]:
    firsts = (flat[0] for rule in rules for flat in rule.templates)
    return frozenset(word for first in firsts if isinstance(first, Words) for word in first.choices)


def _lower(words: list[str]) -> frozenset[str]:
    return frozenset(" ".join(split_words(word)) for word in words)
