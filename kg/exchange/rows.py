"""What every format is read into: one row a fact, checked against the schema before anything is stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kg.errors import InputError
from kg.facts import Assertions, Entity, Fact, Literal, Status, normalise_name
from kg.schema import Schema

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger

INTERVAL = frozenset({"valid_from", "valid_to"})
"""Qualifiers that every fact may have."""


@dataclass(frozen=True, slots=True)
class Named:
    """An end of a fact as a file names it; ``type`` may be empty where the schema leaves no choice.

    ``discriminator`` is ``None`` where the file does not speak of it; empty says that there is none.
    """

    name: str
    type: str = ""
    discriminator: str | None = None


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


def from_text(text: str, datatype: str) -> Literal:
    """What a text says as a value of a datatype; the text itself where it says no such value."""
    try:
        if datatype == "integer":
            return int(text)
        if datatype == "number":
            return float(text)
    except ValueError:
        return text
    if datatype == "boolean" and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    return text


def keys_of(ledger: Ledger) -> Callable[[str], str]:
    """Looks up discriminators by entity id, each once."""

    @cache
    def key(identity: str) -> str:
        entity = ledger.entity(identity)
        return entity.discriminator if entity else ""

    return key


def curated_assertions(rows: Iterable[CuratedRow], schema: Schema, path: Path) -> Assertions:
    """Check rows against the schema and make them one source's assertions; equal rows count once.

    Where the file says no discriminator but exactly one value of the key property, that value is it, so that
    the entities are those that extraction finds. Raises :class:`~kg.errors.InputError` for the first row that
    does not fit.
    """
    read = list(rows)
    keys = _keys(read, schema)
    entities: dict[str, Entity] = {}
    facts: dict[tuple[str, str, str, str], Fact] = {}
    for row in read:
        fact = _fact(row, schema, _Entities(entities, keys, f"{path} {row.where}"))
        facts.setdefault(fact.key, fact)
    if not facts:
        raise InputError("the file holds no fact.", where=str(path))
    return Assertions(tuple(entities.values()), (), tuple(facts.values()))


def _keys(rows: Iterable[CuratedRow], schema: Schema) -> dict[tuple[str, str], str]:
    """The only value of the key property, by type and normalised name, of what is named without a key."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        prop = schema.properties.get(row.predicate)
        if prop is None or row.subject.discriminator is not None:
            continue
        type_ = row.subject.type or (prop.domain[0] if len(prop.domain) == 1 else "")
        if type_ in schema.entities and schema.entities[type_].key == prop.name:
            value = _value(row, prop.datatype)
            found[type_, normalise_name(row.subject.name)].add(str(value))
    return {named: next(iter(values)) for named, values in found.items() if len(values) == 1}


def _value(row: CuratedRow, datatype: str) -> Literal:
    """The literal as its property holds it, where nothing is lost: a table may say 1994.0, or "1994"."""
    if row.object is not None:
        return from_text(row.object.name, datatype)
    value = row.literal
    assert value is not None
    if datatype in ("string", "date") and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if datatype == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@dataclass(frozen=True, slots=True)
class _Entities:
    """The entities of a file, made as rows name them; ``where`` is the row at hand."""

    made: dict[str, Entity]
    keys: Mapping[tuple[str, str], str]
    where: str

    def entity(self, named: Named, allowed: tuple[str, ...]) -> Entity:
        if not named.name.strip():
            raise InputError("an entity has no name.", where=self.where)
        type_ = named.type or (allowed[0] if len(allowed) == 1 else "")
        if not type_:
            raise InputError(
                f"the type of {named.name!r} is not said.",
                where=self.where,
                hint=f"Say {' or '.join(allowed) or 'one of the types of the schema'}.",
            )
        key = named.discriminator
        if key is None:
            key = self.keys.get((type_, normalise_name(named.name)), "")
        entity = Entity.of(type_, named.name, discriminator=key)
        return self.made.setdefault(entity.id, entity)


def _fact(row: CuratedRow, schema: Schema, entities: _Entities) -> Fact:
    where = entities.where
    relation, prop = schema.relations.get(row.predicate), schema.properties.get(row.predicate)
    if relation is None and prop is None:
        raise InputError(
            f"{_unknown(row.predicate, schema)}.", where=where, hint="Mend the row, or add it to the schema."
        )
    subject = entities.entity(row.subject, relation.domain if relation else prop.domain if prop else ())
    target: Entity | None = None
    value: Literal | None = None
    if row.object is not None and relation is None and prop is not None:
        value = _value(row, prop.datatype)
        problem = schema.why_not_property(subject.type, row.predicate, value)
    elif row.object is not None:
        target = entities.entity(row.object, relation.range if relation else ())
        problem = schema.why_not_relation(subject.type, row.predicate, target.type)
    else:
        value = _value(row, prop.datatype if prop else "")
        problem = schema.why_not_property(subject.type, row.predicate, value)
    foreign = [name for name in row.qualifiers if relation is None or name not in relation.qualifiers]
    if problem is None and foreign and not set(foreign) <= INTERVAL:
        problem = f"{row.predicate} has no qualifier {min(set(foreign) - INTERVAL)!r}"
    if problem:
        raise InputError(f"{problem}.", where=where, hint="Mend the row, or change the schema.")
    if not 0 <= row.confidence <= 1:
        raise InputError(f"confidence {row.confidence:g} is not between 0 and 1.", where=where)
    return Fact(
        subject.id,
        row.predicate,
        None if target is None else target.id,
        value,
        dict(row.qualifiers),
        row.confidence,
        Status.CURATED,
    )


def _unknown(predicate: str, schema: Schema) -> str:
    known = [*schema.relations, *schema.properties]
    close = get_close_matches(predicate, known, n=1)
    return f"unknown predicate {predicate!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
