"""Writing RDF: Turtle, TriG, N-Quads as a stream, and JSON-LD through rdflib.

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

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from kg.exchange.rdf_words import BASE, PROV, RDF, RDFS, SYNTAX, XSD, Words, quiet
from kg.exchange.rows import keys_of
from kg.facts import Literal
from kg.ledger.rows import FactRow

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger

PREFIXES = {
    "entity": f"{BASE}entity:",
    "vocab": f"{BASE}vocab:",
    "fact": f"{BASE}fact:",
    "qualifier": f"{BASE}qualifier:",
    "rdf": RDF,
    "rdfs": RDFS,
    "xsd": XSD,
    "prov": PROV,
}
PROVENANCE = f"<{BASE}provenance>"
_DATATYPES = {bool: "boolean", int: "integer", float: "double"}

Triple = tuple[str, str, str]
"""Subject, predicate and object in Turtle's short form: ``entity:1f2e``, ``<urn:x>``, ``"text"``."""


def write(ledger: Ledger, path: Path, format: str) -> int:
    """Write the graph, with provenance where the format has named graphs; return the number of facts."""
    if format != "jsonld":
        with path.open("w", encoding="utf-8", newline="\n") as file:
            return _WRITERS[format](ledger, file)
    words = Words()
    quads = path.with_name(path.name + ".nq")
    try:
        with quads.open("w", encoding="utf-8", newline="\n") as file:
            count = _write_nquads(ledger, file)
        dataset = words.rdflib.Dataset()
        with quiet():
            dataset.parse(quads, format=SYNTAX["nquads"])
            dataset.serialize(destination=str(path), format=SYNTAX[format], encoding="utf-8")
    finally:
        quads.unlink(missing_ok=True)
    return count


def _write_turtle(ledger: Ledger, file: IO[str]) -> int:
    count = 0
    _write_prefixes(file)
    for main, _ in _facts(ledger):
        file.writelines(f"{subject} {predicate} {target} .\n" for subject, predicate, target in main)
        count += 1
    return count


def _write_trig(ledger: Ledger, file: IO[str]) -> int:
    count = 0
    _write_prefixes(file)
    for main, provenance in _facts(ledger):
        file.writelines(f"{subject} {predicate} {target} .\n" for subject, predicate, target in main)
        said = " ; ".join(f"{predicate} {target}" for _, predicate, target in provenance)
        file.write(f"{PROVENANCE} {{ {provenance[0][0]} {said} }}\n")
        count += 1
    return count


def _write_nquads(ledger: Ledger, file: IO[str]) -> int:
    count = 0
    for main, provenance in _facts(ledger):
        file.writelines(f"{' '.join(map(_spelt_out, triple))} .\n" for triple in main)
        file.writelines(f"{' '.join(map(_spelt_out, triple))} {PROVENANCE} .\n" for triple in provenance)
        count += 1
    return count


_WRITERS = {"turtle": _write_turtle, "trig": _write_trig, "nquads": _write_nquads}


def _write_prefixes(file: IO[str]) -> None:
    file.writelines(f"@prefix {name}: <{iri}> .\n" for name, iri in PREFIXES.items())


def _facts(ledger: Ledger) -> Iterator[tuple[list[Triple], list[Triple]]]:
    """The triples of each fact, and what is said about it; an entity is described with its first fact."""
    key = keys_of(ledger)
    described: set[str] = set()
    for row in ledger.facts():
        main: list[Triple] = []
        for end in (row.subject, row.object):
            if end is None or end.id in described:
                continue
            described.add(end.id)
            main.append((f"entity:{end.id}", "rdf:type", _name("vocab", end.type)))
            main.append((f"entity:{end.id}", "rdfs:label", _quoted(end.name)))
            if key(end.id):
                main.append((f"entity:{end.id}", "vocab:key", _quoted(key(end.id))))
        target = f"entity:{row.object.id}" if row.object else _literal(row.literal)
        said = (f"entity:{row.subject.id}", _name("vocab", row.predicate), target)
        main.append(said)
        yield main, _provenance(row, said)


def _provenance(row: FactRow, said: Triple) -> list[Triple]:
    node = f"fact:{row.edge_id}"
    pairs = [
        ("rdf:type", "rdf:Statement"),
        *zip(("rdf:subject", "rdf:predicate", "rdf:object"), said, strict=True),
        ("vocab:confidence", _literal(float(row.confidence))),
        ("vocab:status", _quoted(str(row.status))),
        *((_name("qualifier", name), _quoted(value)) for name, value in sorted(row.qualifiers.items())),
        *(
            ("prov:wasDerivedFrom", f"<{BASE}document:{quote(source)}>")
            for source in sorted({found.document or found.source for found in row.evidence})
        ),
    ]
    return [(node, predicate, target) for predicate, target in pairs]


def _name(prefix: str, name: str) -> str:
    if name.isascii() and name.isidentifier():
        return f"{prefix}:{name}"
    return f"<{PREFIXES[prefix]}{quote(name, safe='')}>"


def _literal(value: Literal | None) -> str:
    if isinstance(value, str) or value is None:
        return _quoted(value or "")
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return f'"{text}"^^xsd:{_DATATYPES[type(value)]}'


def _quoted(text: str) -> str:
    """A string as Turtle and N-Quads write it: JSON's escapes are theirs, but for the solidus."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _spelt_out(term: str) -> str:
    """A term without prefixes."""
    if term.startswith("<"):
        return term
    quotation, mark, datatype = term.rpartition("^^") if term.startswith('"') else ("", "", term)
    if term.startswith('"') and (not mark or not quotation.endswith('"') or datatype.endswith('"')):
        return term
    name, _, local = datatype.partition(":")
    return f"{quotation}{mark}<{PREFIXES[name]}{local}>"
