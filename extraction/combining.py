"""Putting the extractions of a document's chunks together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from extraction.extractor import Extraction
from kg.facts import STATUS_STRENGTH, Assertions, Entity, Fact, Mention, Span


def combine(extractions: Iterable[Extraction]) -> Assertions:
    """Unite what the chunks of one document assert: each entity, mention and fact once.

    An entity keeps its first description, a fact all its spans, its highest confidence and its strongest
    status. The order is that in which the chunks first name things.
    """
    entities: dict[str, Entity] = {}
    mentions: dict[Mention, None] = {}
    facts: dict[tuple[str, str, str, str], Fact] = {}
    for extraction in extractions:
        for entity in extraction.assertions.entities:
            known = entities.get(entity.id)
            if known is None or (entity.description and not known.description):
                entities[entity.id] = entity
        mentions.update(dict.fromkeys(extraction.assertions.mentions))
        for fact in extraction.assertions.facts:
            known_fact = facts.get(fact.key)
            facts[fact.key] = fact if known_fact is None else _together(known_fact, fact)
    return Assertions(tuple(entities.values()), tuple(mentions), tuple(facts.values()))


def _together(one: Fact, other: Fact) -> Fact:
    return replace(
        one,
        confidence=max(one.confidence, other.confidence),
        status=max(one.status, other.status, key=lambda status: STATUS_STRENGTH.get(status, 0)),
        spans=tuple(sorted({*one.spans, *other.spans}, key=_place)),
        inference=one.inference or other.inference,
    )


def _place(span: Span) -> tuple[int, int]:
    return span.start, span.end
