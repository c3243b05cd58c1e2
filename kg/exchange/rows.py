"""What every format is read into: one row a fact, checked against the schema before anything is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kg.errors import InputError
from kg.facts import Assertions, Entity, Fact, Literal, Status
from kg.schema import Schema


@dataclass(frozen=True, slots=True)
class Named:
    """An end of a fact as a file names it; ``type`` may be empty where the schema leaves no choice."""

    name: str
    type: str = ""
    discriminator: str = ""


@dataclass(frozen=True, slots=True)
class CuratedRow:
    """One fact of a file; exactly one of ``object`` and ``literal`` is set. ``where`` names its row."""

    where: str
    subject: Named
    predicate: str
    object: Named | None = None
    literal: Literal | None = None
    qualifiers: Mapping[str, str] = field(default_factory=dict)
    confidence: float = 1.0


def curated_assertions(rows: Iterable[CuratedRow], schema: Schema, path: Path) -> Assertions:
    """Check rows against the schema and make them one source's assertions; equal rows count once.

    Raises :class:`~kg.errors.InputError` for the first row that does not fit.
    """
    entities: dict[str, Entity] = {}
    facts: dict[tuple[str, str, str, str], Fact] = {}
    for row in rows:
        fact = _fact(row, schema, entities, path)
        facts.setdefault(fact.key, fact)
    if not facts:
        raise InputError("the file holds no fact.", where=str(path))
    return Assertions(tuple(entities.values()), (), tuple(facts.values()))


def _fact(row: CuratedRow, schema: Schema, entities: dict[str, Entity], path: Path) -> Fact:
    where = f"{path} {row.where}"
    relation, prop = schema.relations.get(row.predicate), schema.properties.get(row.predicate)
    if relation is None and prop is None:
        problem = schema.why_not_relation("", row.predicate, "")
        raise InputError(f"{problem}.", where=where, hint="Mend the row, or add it to the schema.")
    domain = relation.domain if relation else prop.domain if prop else ()
    subject = _entity(row.subject, domain, entities, where)
    target = None
    if row.object is not None:
        target = _entity(row.object, relation.range if relation else (), entities, where)
        problem = schema.why_not_relation(subject.type, row.predicate, target.type)
    else:
        assert row.literal is not None
        problem = schema.why_not_property(subject.type, row.predicate, row.literal)
    if problem:
        raise InputError(f"{problem}.", where=where, hint="Mend the row, or change the schema.")
    if not 0 <= row.confidence <= 1:
        raise InputError(f"confidence {row.confidence:g} is not between 0 and 1.", where=where)
    return Fact(
        subject.id,
        row.predicate,
        None if target is None else target.id,
        row.literal,
        dict(row.qualifiers),
        row.confidence,
        Status.CURATED,
    )


def _entity(named: Named, allowed: tuple[str, ...], entities: dict[str, Entity], where: str) -> Entity:
    if not named.name.strip():
        raise InputError("an entity has no name.", where=where)
    type_ = named.type or (allowed[0] if len(allowed) == 1 else "")
    if not type_:
        choices = " or ".join(allowed) or "one of the schema's"
        raise InputError(f"the type of {named.name!r} is not said.", where=where, hint=f"Say {choices}.")
    entity = Entity.of(type_, named.name, discriminator=named.discriminator)
    return entities.setdefault(entity.id, entity)
