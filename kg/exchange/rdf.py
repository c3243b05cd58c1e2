"""RDF through rdflib: Turtle, TriG, JSON-LD, N-Quads.

==============  =====================================================================================
entity          ``entity:<id> a vocab:<Type>; rdfs:label <name>; vocab:key <discriminator>``
property fact   ``entity:<id> vocab:<property> <typed literal>``
relation fact   ``entity:<id> vocab:<RELATION> entity:<id>``
its provenance  in the graph ``provenance`` (TriG, JSON-LD, N-Quads): an ``rdf:Statement`` with subject,
                predicate, object, ``vocab:confidence``, ``vocab:status``, ``qualifier:<name>`` and
                ``prov:wasDerivedFrom document:<id>``
==============  =====================================================================================

Reading inverts this. Other people's RDF is read as far as the schema knows its words: the last part of a
type's or predicate's IRI is its name, and an entity is called by its label, else by the last part of its IRI.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kg.errors import ConfigurationError, InputError
from kg.exchange.rows import CuratedRow, Named
from kg.ledger.rows import FactEntity, FactRow

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger
    from kg.schema import Schema

BASE = "urn:loregraph:"
_SYNTAX = {"turtle": "turtle", "trig": "trig", "jsonld": "json-ld", "nquads": "nquads"}


def write(ledger: Ledger, path: Path, format: str) -> int:
    """Write the graph, with provenance where the format has named graphs; return the number of facts."""
    words = _Words()
    dataset = words.rdflib.Dataset()
    dataset.bind("vocab", words.vocab)
    dataset.bind("prov", words.prov)
    main = dataset.default_graph
    provenance = dataset.graph(words.uri(f"{BASE}provenance"))
    count = 0
    for row in ledger.facts():
        subject = _describe(words, main, ledger, row.subject)
        target = (
            words.literal(row.literal) if row.object is None else _describe(words, main, ledger, row.object)
        )
        main.add((subject, words.vocab[row.predicate], target))
        _state(words, provenance, row, (subject, words.vocab[row.predicate], target))
        count += 1
    source = main if format == "turtle" else dataset
    with _quiet():
        source.serialize(destination=str(path), format=_SYNTAX[format], encoding="utf-8")
    return count


def read(path: Path, format: str, schema: Schema) -> Iterator[CuratedRow]:
    """Read facts whose predicate the schema knows; all other triples are passed over.

    Raises :class:`~kg.errors.InputError` where the file cannot be parsed or holds no such triple.
    """
    words = _Words()
    dataset = words.rdflib.Dataset(default_union=True)
    try:
        with path.open("rb") as file, _quiet():
            dataset.parse(file, format=_SYNTAX[format])
            graph = words.rdflib.Graph()
            for triple in dataset.triples((None, None, None)):
                graph.add(triple)
    except Exception as problem:  # rdflib's parsers raise whatever they meet
        first = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise InputError(f"this is not valid {format}: {first}.", where=str(path)) from None
    statements = _statements(words, graph)
    reified = {statement for found in statements.values() for statement, _, _ in found}
    for subject, predicate, target in sorted(set(graph)):
        name = _last_part(str(predicate))
        if subject in reified or (name not in schema.relations and name not in schema.properties):
            continue
        said = statements.get((subject, predicate, target)) or [(None, 1.0, {})]
        for _, confidence, qualifiers in said:
            yield _row(words, graph, schema, (subject, name, target), confidence, qualifiers)


class _Words:
    """rdflib, loaded when it is needed, with the vocabularies of the mapping."""

    def __init__(self) -> None:
        try:
            import rdflib
        except ImportError:
            raise ConfigurationError(
                "RDF needs rdflib.", hint="Install it with `pip install 'loregraph[rdf]'`."
            ) from None
        self.rdflib: Any = rdflib
        self.uri: Any = rdflib.URIRef
        self.literal: Any = rdflib.Literal
        self.rdf: Any = rdflib.RDF
        self.rdfs: Any = rdflib.RDFS
        self.prov: Any = rdflib.PROV
        self.vocab: Any = rdflib.Namespace(f"{BASE}vocab:")


@contextmanager
def _quiet() -> Iterator[None]:
    """Let rdflib's own use of its deprecated names pass: no caller can mend it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _describe(words: _Words, graph: Any, ledger: Ledger, entity: FactEntity) -> Any:
    node = words.uri(f"{BASE}entity:{entity.id}")
    graph.add((node, words.rdf.type, words.vocab[entity.type]))
    graph.add((node, words.rdfs.label, words.literal(entity.name)))
    found = ledger.entity(entity.id)
    if found is not None and found.discriminator:
        graph.add((node, words.vocab["key"], words.literal(found.discriminator)))
    return node


def _state(words: _Words, graph: Any, row: FactRow, triple: tuple[Any, Any, Any]) -> None:
    node = words.uri(f"{BASE}fact:{row.edge_id}")
    graph.add((node, words.rdf.type, words.rdf.Statement))
    for role, part in zip((words.rdf.subject, words.rdf.predicate, words.rdf.object), triple, strict=True):
        graph.add((node, role, part))
    graph.add((node, words.vocab["confidence"], words.literal(row.confidence)))
    graph.add((node, words.vocab["status"], words.literal(str(row.status))))
    for name, value in row.qualifiers.items():
        graph.add((node, words.uri(f"{BASE}qualifier:{name}"), words.literal(value)))
    for source in {found.document or found.source for found in row.evidence}:
        graph.add((node, words.prov.wasDerivedFrom, words.uri(f"{BASE}document:{source}")))


Said = tuple[Any, float, dict[str, str]]


def _statements(words: _Words, graph: Any) -> Mapping[tuple[Any, Any, Any], list[Said]]:
    """What is said about each triple: the statement's node, its confidence and its qualifiers."""
    found: dict[tuple[Any, Any, Any], list[Said]] = defaultdict(list)
    qualifier = f"{BASE}qualifier:"
    for node in sorted(set(graph.subjects(words.rdf.type, words.rdf.Statement))):
        triple = tuple(
            graph.value(node, role) for role in (words.rdf.subject, words.rdf.predicate, words.rdf.object)
        )
        confidence = graph.value(node, words.vocab["confidence"])
        qualifiers = {
            str(predicate).removeprefix(qualifier): str(value)
            for _, predicate, value in graph.triples((node, None, None))
            if str(predicate).startswith(qualifier)
        }
        found[triple].append((node, 1.0 if confidence is None else float(confidence), qualifiers))
    return found


def _row(
    words: _Words,
    graph: Any,
    schema: Schema,
    triple: tuple[Any, str, Any],
    confidence: float,
    qualifiers: dict[str, str],
) -> CuratedRow:
    subject, name, target = triple
    where = f"<{subject}>"
    if isinstance(target, words.rdflib.Literal):
        value = _plain(target)
        return CuratedRow(
            where, _named(words, graph, schema, subject), name, None, value, qualifiers, confidence
        )
    one, other = _named(words, graph, schema, subject), _named(words, graph, schema, target)
    return CuratedRow(where, one, name, other, None, qualifiers, confidence)


def _named(words: _Words, graph: Any, schema: Schema, node: Any) -> Named:
    types = sorted(_last_part(str(found)) for found in graph.objects(node, words.rdf.type))
    known = [found for found in types if found in schema.entities]
    label = graph.value(node, words.rdfs.label)
    key = graph.value(node, words.vocab["key"])
    name = _last_part(str(node)).replace("_", " ") if label is None else str(label)
    return Named(name, known[0] if known else "", "" if key is None else str(key))


def _plain(literal: Any) -> str | int | float | bool:
    value = literal.toPython()
    return value if isinstance(value, str | int | float | bool) else str(literal)


def _last_part(iri: str) -> str:
    return unquote(re.split(r"[/#:]", iri.rstrip("/#"))[-1])
