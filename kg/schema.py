"""The schema: entity types, relations between entities, and literal properties, read from TOML.

::

    name = "films"

    [entity.Film]
    description = "A motion picture"
    key = "release_year"            # the property that tells homonyms apart, if any

    [relation.DIRECTED_BY]
    domain = ["Film"]
    range = ["Person"]
    cardinality = "many"            # or "one"
    symmetric = false
    qualifiers = ["valid_from"]     # names that facts of this relation may carry

    [property.release_year]
    domain = ["Film"]
    datatype = "integer"            # string, integer, number, date, boolean
    cardinality = "one"

    [extraction]                    # patterns for the local extractor, read by the extraction package
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kg.errors import SchemaError
from kg.facts import Literal

DATATYPES = ("string", "integer", "number", "date", "boolean")
RESERVED_TYPES = frozenset({"Entity", "Document", "Chunk", "LoreMarker"})
RESERVED_RELATIONS = frozenset({"MENTIONS", "PART_OF"})
RESERVED_PROPERTIES = frozenset(
    {
        "id", "name", "type", "aliases", "description", "version", "label",
        "status", "confidence", "support", "documents",
    }
)  # fmt: skip
_TYPE_NAME = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_RELATION_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_PROPERTY_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DATE = re.compile(r"-?\d{4}(-\d{2}(-\d{2})?)?")


@dataclass(frozen=True, slots=True)
class EntityType:
    """A type of entity; ``key`` names the property that tells two things of one name apart."""

    name: str
    description: str = ""
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """A predicate whose object is an entity."""

    name: str
    domain: tuple[str, ...]
    range: tuple[str, ...]
    cardinality: str = "many"
    symmetric: bool = False
    qualifiers: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Property:
    """A predicate whose object is a literal."""

    name: str
    domain: tuple[str, ...]
    datatype: str = "string"
    cardinality: str = "one"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """Entity types, relations and properties by name; ``extraction`` is what the local extractor reads."""

    name: str = "schema"
    entities: Mapping[str, EntityType] = field(default_factory=dict)
    relations: Mapping[str, Relation] = field(default_factory=dict)
    properties: Mapping[str, Property] = field(default_factory=dict)
    extraction: Mapping[str, Any] = field(default_factory=dict)

    @property
    def symmetric(self) -> frozenset[str]:
        """The names of the symmetric relations."""
        return frozenset(name for name, relation in self.relations.items() if relation.symmetric)

    def properties_of(self, entity_type: str) -> list[Property]:
        """The properties that an entity of this type may have, by name."""
        return sorted(
            (p for p in self.properties.values() if entity_type in p.domain), key=lambda found: found.name
        )

    def why_not_relation(self, subject_type: str, predicate: str, object_type: str) -> str | None:
        """Say why a relation fact does not fit the schema, or ``None`` where it fits."""
        relation = self.relations.get(predicate)
        if relation is None:
            return f"unknown relation {predicate!r}{_did_you_mean(predicate, self.relations)}"
        if subject_type not in relation.domain:
            return f"{predicate} starts at {' or '.join(relation.domain)}, not at {subject_type}"
        if object_type not in relation.range:
            return f"{predicate} ends at {' or '.join(relation.range)}, not at {object_type}"
        return None

    def why_not_property(self, subject_type: str, predicate: str, value: Literal) -> str | None:
        """Say why a property fact does not fit the schema, or ``None`` where it fits."""
        prop = self.properties.get(predicate)
        if prop is None:
            return f"unknown property {predicate!r}{_did_you_mean(predicate, self.properties)}"
        if subject_type not in prop.domain:
            return f"{predicate} belongs to {' or '.join(prop.domain)}, not to {subject_type}"
        if not _is_of(prop.datatype, value):
            limits = {"integer": " of 64 bits", "number": ", finite and of 64 bits"}.get(prop.datatype, "")
            return f"{predicate} must be of datatype {prop.datatype}{limits}, not {value!r}"
        return None


def read_schema(path: Path) -> Schema:
    """Read a schema file.

    Raises :class:`SchemaError` where the file is missing, is not TOML, or contradicts itself.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SchemaError("there is no such file.", where=str(path), hint="Run `lore init`.") from None
    except (UnicodeDecodeError, OSError) as problem:
        raise SchemaError(f"the schema cannot be read: {problem}.", where=str(path)) from None
    return parse_schema(text, where=str(path))


def parse_schema(text: str, *, where: str = "schema") -> Schema:
    """Parse the TOML text of a schema; ``where`` goes into error messages."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise SchemaError(f"the schema is not valid TOML: {problem}.", where=where) from None
    return _Reader(where).schema(data)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def fits_64_bits(value: int) -> bool:
    """Whether ledger, tables and graph can hold an integer."""
    return -(2**63) <= value < 2**63


def _is_of(datatype: str, value: Literal) -> bool:
    if isinstance(value, bool):
        return datatype == "boolean"
    if datatype in ("integer", "number") and isinstance(value, int):
        return fits_64_bits(value)
    if datatype == "number":
        return isinstance(value, float) and math.isfinite(value)
    if datatype == "date":
        return isinstance(value, str) and _DATE.fullmatch(value) is not None
    return datatype == "string" and isinstance(value, str)


class _Reader:
    """Turns parsed TOML into a schema; every complaint names the file and the table."""

    def __init__(self, where: str) -> None:
        self.where = where

    def schema(self, data: dict[str, Any]) -> Schema:
        """Read the whole document."""
        self._known(data, {"name", "entity", "relation", "property", "extraction"}, "the top level")
        entities = {n: self._entity(n, t) for n, t in self._tables(data, "entity").items()}
        relations = {n: self._relation(n, t, entities) for n, t in self._tables(data, "relation").items()}
        properties = {n: self._property(n, t, entities) for n, t in self._tables(data, "property").items()}
        for entity in entities.values():
            if entity.key is None:
                continue
            key = properties.get(entity.key)
            if key is None or entity.name not in key.domain:
                raise self._wrong(f"[entity.{entity.name}]", f"key {entity.key!r} is no property of it.")
            if key.cardinality != "one":
                raise self._wrong(f"[entity.{entity.name}]", f"key {entity.key!r} must have cardinality one.")
        if not entities:
            raise self._wrong("[entity]", "a schema needs at least one entity type.")
        name = data.get("name", "schema")
        return Schema(str(name), entities, relations, properties, self._tables(data, "extraction"))

    def _entity(self, name: str, table: Mapping[str, Any]) -> EntityType:
        place = f"[entity.{name}]"
        self._name(place, name, _TYPE_NAME, RESERVED_TYPES, "CamelCase, as in Film")
        self._known(table, {"description", "key"}, place)
        return EntityType(name, str(table.get("description", "")), table.get("key"))

    def _relation(self, name: str, table: Mapping[str, Any], entities: Mapping[str, Any]) -> Relation:
        place = f"[relation.{name}]"
        self._name(place, name, _RELATION_NAME, RESERVED_RELATIONS, "UPPER_CASE, as in DIRECTED_BY")
        self._known(
            table, {"description", "domain", "range", "cardinality", "symmetric", "qualifiers"}, place
        )
        domain = self._types(place, "domain", table, entities)
        range_ = self._types(place, "range", table, entities)
        symmetric = table.get("symmetric", False)
        if symmetric is True and set(domain) != set(range_):
            raise self._wrong(place, "a symmetric relation needs the same domain and range.")
        qualifiers = tuple(str(q) for q in table.get("qualifiers", ()))
        for qualifier in qualifiers:
            self._name(place, qualifier, _PROPERTY_NAME, RESERVED_PROPERTIES, "lower_case, as in role")
        cardinality = self._cardinality(place, table, "many")
        return Relation(
            name, domain, range_, cardinality, bool(symmetric), qualifiers, str(table.get("description", ""))
        )

    def _property(self, name: str, table: Mapping[str, Any], entities: Mapping[str, Any]) -> Property:
        place = f"[property.{name}]"
        self._name(place, name, _PROPERTY_NAME, RESERVED_PROPERTIES, "lower_case, as in release_year")
        self._known(table, {"description", "domain", "datatype", "cardinality"}, place)
        datatype = str(table.get("datatype", "string"))
        if datatype not in DATATYPES:
            raise self._wrong(place, f"datatype {datatype!r} is none of {', '.join(DATATYPES)}.")
        domain = self._types(place, "domain", table, entities)
        cardinality = self._cardinality(place, table, "one")
        return Property(name, domain, datatype, cardinality, str(table.get("description", "")))

    def _tables(self, data: Mapping[str, Any], key: str) -> dict[str, Any]:
        table = data.get(key, {})
        if not isinstance(table, dict) or (key != "extraction" and not all(map(_is_table, table.values()))):
            raise self._wrong(f"[{key}]", "expected a table of tables.")
        return table

    def _types(
        self, place: str, key: str, table: Mapping[str, Any], entities: Mapping[str, Any]
    ) -> tuple[str, ...]:
        names = table.get(key)
        if not isinstance(names, list) or not names:
            raise self._wrong(place, f"{key} must list at least one entity type.")
        for name in names:
            if name not in entities:
                guess = _did_you_mean(str(name), entities)
                raise self._wrong(place, f"{key} names {name!r}, which is no entity type{guess}.")
        return tuple(names)

    def _cardinality(self, place: str, table: Mapping[str, Any], default: str) -> str:
        value = str(table.get("cardinality", default))
        if value not in ("one", "many"):
            raise self._wrong(place, f"cardinality is 'one' or 'many', not {value!r}.")
        return value

    def _name(
        self, place: str, name: str, form: re.Pattern[str], reserved: frozenset[str], example: str
    ) -> None:
        if form.fullmatch(name) is None:
            raise self._wrong(place, f"{name!r} is not a valid name: write it in {example}.")
        if name in reserved:
            raise self._wrong(place, f"{name!r} is reserved: choose another name.")

    def _known(self, table: Mapping[str, Any], known: set[str], place: str) -> None:
        for key in table:
            if key not in known:
                raise self._wrong(place, f"unknown key {key!r}{_did_you_mean(key, known)}.")

    def _wrong(self, place: str, what: str) -> SchemaError:
        return SchemaError(what, where=f"{self.where} {place}")


def _is_table(value: object) -> bool:
    return isinstance(value, dict)
