"""RDF: the mapping is exact there and back, and other people are understood as far as it goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import rdflib

from kg.errors import InputError
from kg.exchange.facts import export_facts, import_facts
from kg.facts import Assertions, Entity, Fact, Status
from kg.ledger.ledger import Ledger
from kg.schema import parse_schema

SCHEMA = parse_schema(
    """
[entity.Film]
key = "release_year"
[entity.Person]
[relation.DIRECTED_BY]
domain = ["Film"]
range = ["Person"]
qualifiers = ["role"]
[property.release_year]
domain = ["Film"]
datatype = "integer"
[property.released]
domain = ["Film"]
datatype = "date"
[property.silent]
domain = ["Film"]
datatype = "boolean"
"""
)
PREFIXES = """
@prefix ex: <http://example.org/films/> .
@prefix dbo: <http://dbpedia.org/ontology#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix foaf: <http://xmlns.com/foaf/0.1/> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""

UNSURE = f"""{PREFIXES}
@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .
ex:a dbo:releaseYear 1995 .
ex:s a rdf:Statement ; rdf:subject ex:a ; rdf:predicate dbo:releaseYear ; rdf:object 1995 ;
    <urn:loregraph:vocab:confidence> "rather" .
"""


def main_graph(path: Path, format: str) -> set[tuple[object, ...]]:
    syntax = {"jsonld": "json-ld"}.get(format, format)
    dataset = rdflib.Dataset()
    dataset.parse(path, format=syntax)
    default = rdflib.graph.DATASET_DEFAULT_GRAPH_ID
    return {quad[:3] for quad in dataset.quads((None, None, None, None)) if quad[3] in (None, default)}


def imported(tmp_path: Path, turtle: str) -> set[tuple[object, ...]]:
    (tmp_path / "foreign.ttl").write_text(PREFIXES + turtle, encoding="utf-8")
    with Ledger(tmp_path / "ledger") as ledger:
        import_facts(ledger, tmp_path / "foreign.ttl", schema=SCHEMA)
        return {
            (row.subject.name, row.predicate, row.object.name if row.object else row.literal)
            for row in ledger.facts()
        }


@pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib.*")
@pytest.mark.parametrize("format", ["turtle", "trig", "nquads", "jsonld"])
def test_out_in_and_out_again_is_the_same_graph(tmp_path: Path, format: str) -> None:
    film, other = (Entity.of("Film", "Psycho — “ü”", discriminator=year) for year in ("1960", ""))
    person = Entity.of("Person", "Alfred <Hitchcock> & 100 %")
    facts = (
        Fact(film.id, "DIRECTED_BY", person.id, qualifiers={"role": "director", "valid_from": "1959"}),
        Fact(other.id, "DIRECTED_BY", person.id, confidence=0.25),
        Fact(film.id, "release_year", literal=1960),
        Fact(other.id, "release_year", literal=1961),
        Fact(film.id, "released", literal="1960-09-08"),
        Fact(film.id, "silent", literal=False),
    )
    with Ledger(tmp_path / "one") as one, Ledger(tmp_path / "two") as two:
        one.put_source("a file: with space", "curated", Assertions((film, other, person), (), facts))
        assert export_facts(one, tmp_path / "one.rdf", format=format) == 6
        assert import_facts(two, tmp_path / "one.rdf", schema=SCHEMA, format=format) == 6
        export_facts(two, tmp_path / "two.rdf", format=format)
        if format != "turtle":
            assert {row.edge_id for row in two.facts()} == {row.edge_id for row in one.facts()}
            assert sorted(row.confidence for row in two.facts()) == [0.25, 1, 1, 1, 1, 1]
        assert {row.status for row in two.facts()} == {Status.CURATED}
    graph = main_graph(tmp_path / "one.rdf", format)
    assert graph == main_graph(tmp_path / "two.rdf", format)
    assert len(graph) == 3 * 2 + 1 + 6


def test_other_people_spell_names_otherwise(tmp_path: Path) -> None:
    found = imported(
        tmp_path,
        """
        ex:Blade_Runner a dbo:film, dbo:Work ; dbo:directedBy ex:Ridley%20Scott ;
            dbo:releaseYear "1982"^^xsd:gYear ; dbo:released "1982-06-25"^^xsd:date ; dbo:silent false ;
            dbo:unknown "passed over" .
        """,
    )
    assert found == {
        ("Blade Runner", "DIRECTED_BY", "Ridley Scott"),
        ("Blade Runner", "release_year", 1982),
        ("Blade Runner", "released", "1982-06-25"),
        ("Blade Runner", "silent", False),
    }


def test_a_label_in_no_language_or_in_english_is_best(tmp_path: Path) -> None:
    found = imported(
        tmp_path,
        """
        ex:1 a dbo:Film ; rdfs:label "Der Pate"@de, "The Godfather"@en, "Il padrino"@it ;
            dbo:directedBy ex:2 .
        ex:2 a dbo:Person ; foaf:name "Francis Ford Coppola" .
        """,
    )
    assert found == {("The Godfather", "DIRECTED_BY", "Francis Ford Coppola")}


def test_namesakes_stay_apart(tmp_path: Path) -> None:
    turtle = """
        ex:psycho60 a dbo:Film ; rdfs:label "Psycho" ; dbo:releaseYear 1960 ; dbo:directedBy ex:p1 .
        ex:psycho98 a dbo:Film ; rdfs:label "Psycho" ; dbo:releaseYear 1998 ; dbo:directedBy ex:p2 .
        ex:p1 a dbo:Person ; rdfs:label "John Smith" . ex:p2 a dbo:Person ; rdfs:label "John Smith" .
        """
    (tmp_path / "foreign.ttl").write_text(PREFIXES + turtle, encoding="utf-8")
    with Ledger(tmp_path / "ledger") as ledger:
        import_facts(ledger, tmp_path / "foreign.ttl", schema=SCHEMA)
        found = {(row.type, row.name, row.discriminator) for row in ledger.entities()}
    assert found == {
        ("Film", "Psycho", "1960"),
        ("Film", "Psycho", "1998"),
        ("Person", "John Smith", "p1"),
        ("Person", "John Smith", "p2"),
    }


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.ttl", PREFIXES + "ex:a dbo:sequel ex:b .", "sequel"),
        ("a.ttl", "this is no turtle", "not valid turtle"),
        ("a.ttl", UNSURE, "confidence 'rather' is no number"),
        ("a.jsonld", "{", "not valid jsonld"),
        ("a.jsonld", '{"@context": "http://127.0.0.1:9/context", "@id": "x"}', "fetched"),
        ("a.jsonld", '[{"@context": [{}, "file:///etc/hostname"], "@id": "x"}]', "fetched"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with Ledger(tmp_path / "ledger") as ledger, pytest.raises(InputError) as refused:
        import_facts(ledger, tmp_path / name, schema=SCHEMA)
    assert says in refused.value.message
    assert name in refused.value.message
