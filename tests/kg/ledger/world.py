"""The little world that the fuzz writes about: few names, so that everything collides with everything."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from kg.facts import Assertions, Chunk, Document, Entity, Fact, Inference, Mention, Span, Status
from kg.schema import parse_schema

SCHEMA = parse_schema(
    """
    name = "fuzz"
    [entity.Film]
    [entity.Person]
    [entity.Place]
    [relation.DIRECTED_BY]
    domain = ["Film"]
    range = ["Person"]
    qualifiers = ["credit"]
    [relation.SET_IN]
    domain = ["Film", "Person"]
    range = ["Place"]
    [relation.KNOWS]
    domain = ["Person"]
    range = ["Person"]
    symmetric = true
    qualifiers = ["since"]
    [property.note]
    domain = ["Film", "Person", "Place"]
    datatype = "string"
    cardinality = "many"
    [property.year]
    domain = ["Film", "Person", "Place"]
    datatype = "integer"
    cardinality = "many"
    """
)
"""The world of the fuzz; merges across types make pairs that it does not declare."""

_NAMES = ("Anna", "Bo Li", "Ćira", "d’Or")
_WORDS = ("saw", "knew", "met", "it", "Anna", "anna", "Bo Li", "BO LI", "Ćira", "d'Or", "film", "🎬", "1999")


class World:
    """Makes random texts and what could be asserted about them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.entities = _pool()
        self.texts = [self.text() for _ in range(5)]

    def text(self) -> str:
        words = [
            self.rng.choice(_WORDS) + self.rng.choice(("", "", ".")) for _ in range(self.rng.randint(3, 9))
        ]
        return " ".join(words)

    def chunks(self, text: str) -> list[Chunk]:
        document = Document.of(text, "").id
        cuts = sorted(self.rng.sample(range(1, len(text)), min(len(text) - 1, self.rng.randint(0, 3))))
        bounds = [0, *cuts, len(text)]
        spans = [(a, b) for a, b in pairwise(bounds) if self.rng.random() < 0.9]
        return [Chunk(document, index, start, end) for index, (start, end) in enumerate(spans)]

    def _span(self, text: str) -> tuple[int, int]:
        start = self.rng.randrange(len(text))
        return start, self.rng.randint(start + 1, min(len(text), start + 12))

    def assertions(self, text: str) -> Assertions:
        mentions = []
        for _ in range(self.rng.randint(0, 4)):
            start, end = self._span(text)
            mentions.append(Mention(self.rng.choice(self.entities)[0].id, start, end, text[start:end]))
        facts = []
        for _ in range(self.rng.randint(0, 4)):
            spans = [self._span(text) for _ in range(self.rng.randint(1, 2))]
            facts.append(
                replace(self.fact(), spans=tuple(Span(start, end, text[start:end]) for start, end in spans))
            )
        return Assertions(self.declared(facts, mentions), tuple(mentions), tuple(facts))

    def fact(self) -> Fact:
        confidence = self.rng.choice((0.25, 0.5, 1.0))
        of = {type_: [spellings[0].id for spellings in self.entities if spellings[0].type == type_]
              for type_ in ("Film", "Person", "Place")}  # fmt: skip
        choice = self.rng.random()
        qualifiers: dict[str, str] = {}
        if choice < 0.3:
            subject = self.rng.choice(self.entities)[0].id
            predicate, value = self.rng.choice(
                (("note", "good"), ("note", "bad"), ("year", 1999), ("year", 2001))
            )
            if self.rng.random() < 0.2:
                qualifiers = {"valid_from": "1990"}
            return Fact(subject, predicate, literal=value, confidence=confidence, qualifiers=qualifiers)
        predicate = self.rng.choice(("DIRECTED_BY", "SET_IN", "KNOWS"))
        domain, range_ = {
            "DIRECTED_BY": (("Film",), "Person"), "SET_IN": (("Film", "Person"), "Place"),
            "KNOWS": (("Person",), "Person"),
        }[predicate]  # fmt: skip
        if predicate != "SET_IN" and self.rng.random() < 0.3:
            name = "credit" if predicate == "DIRECTED_BY" else "since"
            qualifiers = {name: self.rng.choice(("1", "2"))}
        return Fact(
            self.rng.choice(of[self.rng.choice(domain)]),
            predicate,
            self.rng.choice(of[range_]),
            confidence=confidence,
            qualifiers=qualifiers,
        )

    def declared(self, facts: Iterable[Fact], mentions: Iterable[Mention]) -> tuple[Entity, ...]:
        used = {mention.entity for mention in mentions}
        for fact in facts:
            used |= {fact.subject, fact.object or fact.subject}
        if self.rng.random() < 0.2:
            used.add(self.rng.choice(self.entities)[0].id)
        return tuple(self.rng.choice(spellings) for spellings in self.entities if spellings[0].id in used)

    def statements(self, kind: str) -> Assertions:
        facts = [self.fact() for _ in range(self.rng.randint(0, 4))]
        if kind == "run":
            because = Inference("model", "1", 0.5, ("path",))
            facts = [replace(fact, inference=because, status=Status.PROPOSED) for fact in facts]
        else:
            facts = [replace(fact, status=Status.CURATED) for fact in facts]
        return Assertions(self.declared(facts, ()), (), tuple(facts))


def _pool() -> list[list[Entity]]:
    """Entities, each with the spellings and descriptions that sources give it."""
    found = []
    for type_ in ("Film", "Person", "Place"):
        for name in _NAMES:
            for discriminator in ("", "1960") if (type_, name) == ("Person", "Anna") else ("",):
                found.append(
                    [
                        Entity.of(type_, name, discriminator=discriminator),
                        Entity.of(type_, name.upper(), discriminator=discriminator, description="a thing"),
                        Entity.of(type_, name.lower(), discriminator=discriminator, description="some thing"),
                    ]
                )
    return found
