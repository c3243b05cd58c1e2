"""Reading RDF: what this program wrote, and other people's as far as the schema knows its words.

The name of a type or predicate is the last part of its IRI, and may be spelt otherwise than in the schema:
``dbo:releaseYear`` is ``release_year``, ``ex:directedBy`` is ``DIRECTED_BY``, ``ex:film`` is ``Film``. An
entity is called by its label or name, best in no language or in English, else by the last part of its IRI.
Two IRIs of one name and type are two entities: what tells them apart is their key property, else their IRI.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from kg.errors import InputError
from kg.exchange.rdf_words import BASE, SYNTAX, Words, quiet
from kg.exchange.rows import CuratedRow, Named, from_text
from kg.facts import Literal, normalise_name
from kg.schema import Schema

LABELS = ("label", "prefLabel", "name", "title")
"""Last parts of the IRIs of predicates that say what something is called, best first."""

Said = tuple[float, dict[str, str]]


def read(path: Path, format: str, schema: Schema) -> Iterator[CuratedRow]:
    """Read facts whose predicate the schema knows; all other triples are passed over.

    Raises :class:`~kg.errors.InputError` where the file cannot be parsed or holds no such triple.
    """
    words = Words()
    if format == "jsonld":
        _refuse_remote_contexts(path)
    yield from _Reading(words, _parse(words, path, format), schema, path).rows()


def _refuse_remote_contexts(path: Path) -> None:
    """Reading a file must not fetch anything: a context that is only named would be."""
    try:
        waiting: list[Any] = [json.loads(path.read_text(encoding="utf-8-sig"))]
    except ValueError as problem:
        raise InputError(f"this is not valid jsonld: {problem}.", where=str(path)) from None
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            context = value.get("@context")
            named = [part for part in (context if isinstance(context, list) else [context]) if _is_text(part)]
            named += [value["@import"]] if "@import" in value else []
            if named:
                raise InputError(
                    f"the file names the context {named[0]!r}, which would have to be fetched.",
                    where=str(path),
                    hint="Write the context itself into the file.",
                )
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _parse(words: Words, path: Path, format: str) -> Any:
    """One plain graph of the triples of all graphs in the file."""
    dataset = words.rdflib.Dataset(default_union=True)
    try:
        with path.open("rb") as file, quiet():
            dataset.parse(file, format=SYNTAX[format])
            graph = words.rdflib.Graph()
            for triple in dataset.triples((None, None, None)):
                graph.add(triple)
    except Exception as problem:  # rdflib's parsers raise whatever they meet
        first = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise InputError(f"this is not valid {format}: {first}.", where=str(path)) from None
    return graph


class _Reading:
    """One parsed graph, read by the words of a schema."""

    def __init__(self, words: Words, graph: Any, schema: Schema, path: Path) -> None:
        self._words = words
        self._graph = graph
        self._schema = schema
        self._path = path
        self._known: dict[Any, str | None] = {}
        self._statements = self._read_statements()

    def rows(self) -> Iterator[CuratedRow]:
        """One row a fact, in the order of their subjects, predicates and objects."""
        triples = [
            (subject, predicate, target)
            for predicate in set(self._graph.predicates())
            if self._predicate(predicate) is not None
            for subject, target in self._graph.subject_objects(predicate)
        ]
        if not triples:
            seen = sorted({_last_part(str(predicate)) for predicate in self._graph.predicates()})
            raise InputError(
                "no triple has a predicate that the schema knows.",
                where=str(self._path),
                hint=f"There are: {', '.join(seen[:8]) or 'none'}.",
            )
        triples.sort(key=lambda triple: tuple(map(str, triple)))
        ends = [end for subject, _, target in triples for end in (subject, target)]
        named = self._names([end for end in ends if not isinstance(end, self._words.rdflib.Literal)])
        for triple in triples:
            for confidence, qualifiers in self._statements.get(triple) or [(1.0, {})]:
                yield self._row(triple, named, confidence, qualifiers)

    def _row(
        self,
        triple: tuple[Any, Any, Any],
        named: Mapping[Any, Named],
        confidence: float,
        said: dict[str, str],
    ) -> CuratedRow:
        subject, predicate, target = triple
        name = self._predicate(predicate)
        assert name is not None
        if isinstance(target, self._words.rdflib.Literal):
            value = self._value(target, name)
            return CuratedRow(f"<{subject}>", named[subject], name, None, value, said, confidence)
        return CuratedRow(f"<{subject}>", named[subject], name, named[target], None, said, confidence)

    def _value(self, literal: Any, name: str) -> Literal:
        """By the property's datatype: ``"1982"^^xsd:gYear`` is an integer where the schema says so."""
        prop = self._schema.properties.get(name)
        return str(literal) if prop is None else from_text(str(literal), prop.datatype)

    def _predicate(self, iri: Any) -> str | None:
        """The schema's name for a predicate."""
        if iri not in self._known:
            name = _last_part(str(iri))
            snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
            spellings = (name, snake.upper(), snake.lower())
            both = (self._schema.relations, self._schema.properties)
            self._known[iri] = next((s for s in spellings for known in both if s in known), None)
        return self._known[iri]

    def _names(self, nodes: list[Any]) -> dict[Any, Named]:
        """What each node is called; namesakes that the file does not tell apart get their IRI as key."""
        found = {node: self._named(node) for node in dict.fromkeys(nodes)}
        count = Counter(_identity(named) for named in found.values())
        return {
            node: replace(named, discriminator=_last_part(str(node)))
            if count[_identity(named)] > 1 and not named.discriminator
            else named
            for node, named in found.items()
        }

    def _named(self, node: Any) -> Named:
        own = str(node).startswith(f"{BASE}entity:")
        types = {_last_part(str(found)) for found in self._graph.objects(node, self._words.rdf.type)}
        known = sorted(types & set(self._schema.entities)) or sorted(
            {name[:1].upper() + name[1:] for name in types} & set(self._schema.entities)
        )
        type_ = known[0] if known else ""
        key = self._graph.value(node, self._words.vocab["key"])
        if key is None and not own:
            key = self._key_property(node, type_)
        return Named(self._label(node), type_, str(key) if key is not None else "" if own else None)

    def _key_property(self, node: Any, type_: str) -> str | None:
        """The value of the property that tells namesakes apart, where there is exactly one."""
        entity = self._schema.entities.get(type_)
        if entity is None or entity.key is None:
            return None
        values = {
            str(self._value(target, entity.key))
            for predicate, target in self._graph.predicate_objects(node)
            if self._predicate(predicate) == entity.key
        }
        return values.pop() if len(values) == 1 else None

    def _label(self, node: Any) -> str:
        best = min(
            (
                (
                    LABELS.index(part),
                    {"": 0, "en": 1}.get(language := target.language or "", 2),
                    language,
                    target,
                )
                for predicate, target in self._graph.predicate_objects(node)
                if isinstance(target, self._words.rdflib.Literal)
                and (part := _last_part(str(predicate))) in LABELS
                and self._predicate(predicate) is None
            ),
            key=lambda found: (*found[:3], str(found[3])),
            default=None,
        )
        return _last_part(str(node)).replace("_", " ") if best is None else str(best[3])

    def _read_statements(self) -> Mapping[tuple[Any, Any, Any], list[Said]]:
        """What is said about each triple: its confidence and its qualifiers, for each statement."""
        rdf, vocab = self._words.rdf, self._words.vocab
        parts = [dict(self._graph.subject_objects(role)) for role in (rdf.subject, rdf.predicate, rdf.object)]
        confidence = dict(self._graph.subject_objects(vocab["confidence"]))
        qualifiers: dict[Any, dict[str, str]] = defaultdict(dict)
        for predicate in set(self._graph.predicates()):
            name = str(predicate).removeprefix(f"{BASE}qualifier:")
            if name != str(predicate):
                for node, value in self._graph.subject_objects(predicate):
                    qualifiers[node][unquote(name)] = str(value)
        found: dict[tuple[Any, Any, Any], list[Said]] = defaultdict(list)
        for node in sorted(self._graph.subjects(rdf.type, rdf.Statement), key=str):
            triple = parts[0].get(node), parts[1].get(node), parts[2].get(node)
            found[triple].append((self._number(confidence.get(node, 1.0), node), qualifiers.get(node, {})))
        return found

    def _number(self, confidence: Any, node: Any) -> float:
        try:
            return float(confidence)
        except ValueError:
            raise InputError(
                f"confidence {str(confidence)!r} is no number.", where=f"{self._path} <{node}>"
            ) from None


def _identity(named: Named) -> tuple[str, str, str]:
    return named.type, normalise_name(named.name), named.discriminator or ""


def _last_part(iri: str) -> str:
    return unquote(re.split(r"[/#:]", iri.rstrip("/#"))[-1])
