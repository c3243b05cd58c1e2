"""RDF through rdflib: Turtle, TriG, JSON-LD, N-Quads.

==============  =====================================================================================
entity          ``entity:<id> a vocab:<Type>; rdfs:label <name>; vocab:key <discriminator>``
property fact   ``entity:<id> vocab:<property> <typed literal>``
relation fact   ``entity:<id> vocab:<RELATION> entity:<id>``
its provenance  in the graph ``provenance`` (TriG, JSON-LD, N-Quads): an ``rdf:Statement`` with subject,
                predicate, object, ``vocab:confidence``, ``vocab:status``, ``qualifier:<name>`` and
                ``prov:wasDerivedFrom document:<id>``
==============  =====================================================================================

Reading inverts this; ``kg/exchange/rdf_reading.py`` says what is made of other people's RDF.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kg.exchange.rdf_words import BASE, SYNTAX, Words, quiet
from kg.exchange.rows import keys_of
from kg.ledger.rows import FactEntity, FactRow

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger


def write(ledger: Ledger, path: Path, format: str) -> int:
    """Write the graph, with provenance where the format has named graphs; return the number of facts."""
    words = Words()
    dataset = words.rdflib.Dataset()
    dataset.bind("vocab", words.vocab)
    dataset.bind("prov", words.prov)
    main = dataset.default_graph
    provenance = dataset.graph(words.uri(f"{BASE}provenance"))
    key = keys_of(ledger)
    count = 0
    for row in ledger.facts():
        subject = _describe(words, main, row.subject, key(row.subject.id))
        if row.object is None:
            target = words.literal(row.literal)
        else:
            target = _describe(words, main, row.object, key(row.object.id))
        main.add((subject, words.vocab[row.predicate], target))
        _state(words, provenance, row, (subject, words.vocab[row.predicate], target))
        count += 1
    source = main if format == "turtle" else dataset
    with quiet():
        source.serialize(destination=str(path), format=SYNTAX[format], encoding="utf-8")
    return count


def _describe(words: Words, graph: Any, entity: FactEntity, key: str) -> Any:
    node = words.uri(f"{BASE}entity:{entity.id}")
    graph.add((node, words.rdf.type, words.vocab[entity.type]))
    graph.add((node, words.rdfs.label, words.literal(entity.name)))
    if key:
        graph.add((node, words.vocab["key"], words.literal(key)))
    return node


def _state(words: Words, graph: Any, row: FactRow, triple: tuple[Any, Any, Any]) -> None:
    node = words.uri(f"{BASE}fact:{row.edge_id}")
    graph.add((node, words.rdf.type, words.rdf.Statement))
    for role, part in zip((words.rdf.subject, words.rdf.predicate, words.rdf.object), triple, strict=True):
        graph.add((node, role, part))
    graph.add((node, words.vocab["confidence"], words.literal(row.confidence)))
    graph.add((node, words.vocab["status"], words.literal(str(row.status))))
    for name, value in row.qualifiers.items():
        graph.add((node, words.uri(f"{BASE}qualifier:{name}"), words.literal(value)))
    for source in {found.document or found.source for found in row.evidence}:
        graph.add((node, words.prov.wasDerivedFrom, words.uri(f"{BASE}document:{quote(source)}")))
