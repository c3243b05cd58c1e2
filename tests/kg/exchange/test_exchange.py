"""Facts go out and come back the same, and a file that does not fit says why."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from kg.errors import InputError, UsageError
from kg.exchange.facts import export_entities, export_facts, export_links, import_facts
from kg.exchange.triples import read_links
from kg.facts import Assertions, Chunk, Document, Entity, Fact, Mention, Span, Status
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
[relation.STARS]
domain = ["Film"]
range = ["Person"]
qualifiers = ["role"]
[property.release_year]
domain = ["Film"]
datatype = "integer"
[property.rating]
domain = ["Film"]
datatype = "number"
[property.tagline]
domain = ["Film"]
"""
)
TEXT = 'Psycho (1960) by Hitchcock has Perkins as "Norman", quoted 100 % — naïve.'


KG_HEADER = "head_id:token\trelation_id:token\ttail_id:token\n"


def line(**changes: object) -> str:
    """A JSON line that says who stars in Heat, but for the changes."""
    return json.dumps({"subject": "Heat", "predicate": "STARS", "object": "Pacino", **changes}) + "\n"


def filled(path: Path) -> Ledger:
    ledger = Ledger(path)
    old, new = (Entity.of("Film", "Psycho", discriminator=year) for year in ("1960", "1998"))
    director, star = Entity.of("Person", "Hitchcock"), Entity.of("Person", 'Anthony "Tony" Perkins')
    whole = (Span(0, len(TEXT), TEXT),)
    facts = (
        Fact(old.id, "DIRECTED_BY", director.id, confidence=0.9, spans=whole),
        Fact(old.id, "STARS", star.id, qualifiers={"role": "Norman"}, confidence=0.8, spans=whole),
        Fact(old.id, "release_year", literal=1960, confidence=0.95, spans=whole),
        Fact(old.id, "rating", literal=8.5, spans=whole),
        Fact(old.id, "tagline", literal='He said: "mother", a\nnew line, ünïcode', spans=whole),
    )
    document = Document.of(TEXT, "psycho.txt", title="Psycho")
    mentions = (Mention(old.id, 0, 6, "Psycho"),)
    ledger.put_document(
        document, [Chunk(document.id, 0, 0, len(TEXT))], Assertions((old, director, star), mentions, facts)
    )
    ledger.put_source(
        "curated:x", "curated", Assertions((new,), (), (Fact(new.id, "release_year", literal=1998),))
    )
    return ledger


def said(ledger: Ledger) -> set[tuple[object, ...]]:
    return {
        (
            row.subject,
            row.predicate,
            row.object or (type(row.literal), row.literal),
            tuple(sorted(row.qualifiers.items())),
            round(row.confidence, 6),
        )
        for row in ledger.facts()
    }


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "trig", "jsonld", "nquads"])
def test_out_and_in_again_is_the_same(tmp_path: Path, format: str) -> None:
    with filled(tmp_path / "one") as one, Ledger(tmp_path / "other") as other:
        file = tmp_path / f"facts.{format}"
        assert export_facts(one, file, format=format) == 6
        assert import_facts(other, file, schema=SCHEMA, format=format) == 6
        assert said(other) == said(one)
        before = other.version
        import_facts(other, file, schema=SCHEMA, format=format)
        assert other.version == before
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_turtle_keeps_everything_but_provenance(tmp_path: Path) -> None:
    with filled(tmp_path / "one") as one, Ledger(tmp_path / "other") as other:
        export_facts(one, tmp_path / "facts.ttl")
        import_facts(other, tmp_path / "facts.ttl", schema=SCHEMA)
        assert {row[:3] for row in said(other)} == {row[:3] for row in said(one)}


def test_json_lines_follow_the_contract(tmp_path: Path) -> None:
    with filled(tmp_path / "one") as one:
        export_facts(one, tmp_path / "facts.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "facts.jsonl").read_text(encoding="utf-8").splitlines()]
    (star,) = [line for line in lines if line["predicate"] == "STARS"]
    assert star["subject"] == "Psycho"
    assert star["object"] == 'Anthony "Tony" Perkins'
    assert star["status"] == "extracted"
    assert star["confidence"] == pytest.approx(0.8)
    (evidence,) = star["evidence"]
    assert TEXT[evidence["start"] : evidence["end"]] == evidence["quote"] == TEXT


def test_recbole_writes_a_typed_header(tmp_path: Path) -> None:
    with filled(tmp_path / "one") as one:
        assert export_facts(one, tmp_path / "films.kg") == 2
    lines = (tmp_path / "films.kg").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "head_id:token\trelation_id:token\ttail_id:token"
    assert sorted(line.split("\t")[1] for line in lines[1:]) == ["DIRECTED_BY", "STARS"]


def test_recbole_triples_come_in_by_name(tmp_path: Path) -> None:
    file = tmp_path / "films.kg"
    file.write_text(
        "head_id:token\trelation_id:token\ttail_id:token\nHeat\tDIRECTED_BY\tMichael Mann\n", encoding="utf-8"
    )
    with Ledger(tmp_path / "ledger") as ledger:
        assert import_facts(ledger, file, schema=SCHEMA) == 1
        (row,) = ledger.facts()
        assert (row.subject.type, row.subject.name, row.object and row.object.name) == (
            "Film",
            "Heat",
            "Michael Mann",
        )


def test_bare_triples_have_no_header_and_do_not_come_in(tmp_path: Path) -> None:
    with filled(tmp_path / "one") as one:
        assert export_facts(one, tmp_path / "train.tsv", format="pykeen") == 2
        rows = [line.split("\t") for line in (tmp_path / "train.tsv").read_text("utf-8").splitlines()]
        assert sorted(row[1] for row in rows) == ["DIRECTED_BY", "STARS"]
        assert {row[0] for row in rows} == {Entity.of("Film", "Psycho", discriminator="1960").id}
        with pytest.raises(UsageError, match="bare"):
            import_facts(one, tmp_path / "train.tsv", schema=SCHEMA, format="pykeen")


def test_links_go_out_and_come_back(tmp_path: Path) -> None:
    links = {"50": "b" * 32, "7": "a" * 32}
    assert export_links(links, tmp_path / "films.link") == 2
    assert read_links(tmp_path / "films.link") == links
    (tmp_path / "films.link").write_text("item_id:token\tentity_id:token\n7\ta\n7\tb\n", encoding="utf-8")
    with pytest.raises(InputError, match="two entities"):
        read_links(tmp_path / "films.link")


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_entities_go_out_as_a_table(tmp_path: Path, format: str) -> None:
    file = tmp_path / f"entities.{format}"
    with filled(tmp_path / "one") as one:
        assert export_entities(one, file) == 4
        with pytest.raises(UsageError, match="no table"):
            export_entities(one, tmp_path / "x.jsonl")
    table = pq.read_table(file) if format == "parquet" else pacsv.read_csv(file)
    films = {row["id"]: json.loads(row["properties"]) for row in table.to_pylist() if row["type"] == "Film"}
    assert sorted(found["release_year"] for found in films.values()) == [[1960], [1998]]


def test_a_plain_table_makes_the_entities_that_extraction_makes(tmp_path: Path) -> None:
    file = tmp_path / "films.csv"
    file.write_text(
        "subject,predicate,object\n"
        "Heat,release_year,1995\nHeat,DIRECTED_BY,Michael Mann\nHeat,rating,8\nHeat,tagline,1995\n",
        encoding="utf-8",
    )
    with Ledger(tmp_path / "ledger") as ledger:
        assert import_facts(ledger, file, schema=SCHEMA) == 4
        found = {row.predicate: row for row in ledger.facts()}
        assert {row.subject.id for row in found.values()} == {
            Entity.of("Film", "Heat", discriminator="1995").id
        }
        assert (found["release_year"].literal, found["tagline"].literal) == (1995, "1995")
        assert found["rating"].literal == 8.0
        assert {row.status for row in found.values()} == {Status.CURATED}


def test_parquet_from_other_programs(tmp_path: Path) -> None:
    rows = {"subject": ["Heat"], "predicate": ["release_year"], "literal": [1995.0]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    with Ledger(tmp_path / "ledger") as ledger:
        import_facts(ledger, tmp_path / "a.parquet", schema=SCHEMA)
        (row,) = ledger.facts()
        assert row.literal == 1995
        assert isinstance(row.literal, int)


def test_what_was_merged_goes_out_as_one(tmp_path: Path) -> None:
    with filled(tmp_path / "one") as one, Ledger(tmp_path / "other") as other:
        star, twin = Entity.of("Person", 'Anthony "Tony" Perkins'), Entity.of("Person", "Tony Perkins")
        film = Entity.of("Film", "Fear Strikes Out", discriminator="1957")
        said_of_twin = (Fact(film.id, "STARS", twin.id),)
        one.put_source("curated:y", "curated", Assertions((film, twin), (), said_of_twin))
        one.merge(twin.id, star.id)
        export_facts(one, tmp_path / "facts.jsonl")
        import_facts(other, tmp_path / "facts.jsonl", schema=SCHEMA)
        assert said(other) == said(one)
        assert len([row for row in other.facts() if row.object and row.object.id == star.id]) == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "subject,object\nHeat,Mann\n", "no column predicate"),
        ("a.csv", "subject,predicate\nHeat,STARS\n", "no column object or literal"),
        ("a.csv", "subject,predicate,object\nHeat,STARRS,Pacino\n", "(did you mean 'STARS'?). Mend"),
        ("a.csv", "subject,predicate,object,confidence\nHeat,STARS,Pacino,many\n", "row 2"),
        ("a.csv", "subject,predicate,literal\nHeat,release_year,soon\n", "datatype integer"),
        ("a.csv", "subject,predicate,object\n", "no fact"),
        ("a.jsonl", '{"subject": "Heat"}\n', "no 'predicate'"),
        ("a.jsonl", '{"subject": "Heat", "predicate": "STARS", "object": "X"}\n{broken\n', "line 2"),
        ("a.jsonl", '{"subject": " ", "predicate": "STARS", "object": "X"}\n', "no name"),
        ("a.jsonl", line(qualifiers=["a"]), "line 1: qualifiers ['a'] are no object"),
        ("a.jsonl", line(qualifiers="abc"), "line 1: qualifiers 'abc' are no object"),
        ("a.jsonl", line(qualifiers={"role": ["a"]}), "line 1: qualifier role cannot be"),
        ("a.jsonl", line(subject=None), "line 1: subject None is no name"),
        ("a.jsonl", line(subject={"name": "Heat"}), "line 1: subject"),
        ("a.jsonl", line(predicate=""), "line 1: predicate '' is no name"),
        ("a.jsonl", line(object=None), "line 1: object None"),
        ("a.jsonl", line(object=7, object_is_literal=False), "line 1: object 7 is no name"),
        ("a.jsonl", line(object_type=["Person"]), "line 1: object_type"),
        ("a.jsonl", line(confidence=True), "line 1: confidence True is no number"),
        ("a.jsonl", line(confidence=10**400), "is not between 0 and 1"),
        ("a.jsonl", line(predicate="release_year", object=2**63), "line 1: object 9223372036854775808"),
        ("a.jsonl", line(predicate="rating", object=float("inf")), "line 1: rating must be"),
        ("a.jsonl", line(object="7").replace('"7"', "7" * 5000), "line 1: this is not JSON"),
        ("a.csv", "subject,predicate,literal\nHeat,release_year,9223372036854775808\n", "of 64 bits"),
        ("a.csv", f"subject,predicate,literal\nHeat,release_year,{'7' * 5000}\n", "of 64 bits"),
        ("a.kg", f"{KG_HEADER}{'a' * 32}\tDIRECTED_BY\t{'b' * 32}\n", "import jsonl, parquet or csv instead"),
        ("a.csv", 'subject,predicate,object,qualifiers\nHeat,STARS,Pacino,"{""rank"": 1}"\n', "no qualifier"),
        ("a.csv", "subject,predicate,object,object_type\nHeat,STARS,Rome,Place\n", "not at Place"),
        ("a.kg", "head\trelation\ttail\n", "header"),
        ("a.ttl", "this is no turtle", "not valid turtle"),
        ("a.parquet", "PAR0", "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_says_why_and_stores_nothing(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with Ledger(tmp_path / "ledger") as ledger:
        before = ledger.version
        with pytest.raises(InputError) as refused:
            import_facts(ledger, tmp_path / name, schema=SCHEMA)
        assert says in refused.value.message
        assert name in refused.value.message
        assert ledger.version == before


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    link, target = tmp_path / "facts.jsonl", tmp_path / "kept" / "today.jsonl"
    link.symlink_to(target)
    with filled(tmp_path / "one") as one:
        for _ in range(2):  # the target is missing, then there
            assert export_facts(one, link) == 6
            assert link.is_symlink()
            assert len(target.read_text(encoding="utf-8").splitlines()) == 6
    assert [path.name for path in target.parent.iterdir()] == ["today.jsonl"]


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "turtle", "jsonld", "nquads", "pykeen"])
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path, format: str) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with filled(tmp_path / "one") as one:
        export_facts(one, pipe, format=format)
        reader.join(10)
        assert pipe.is_fifo()
        export_facts(one, tmp_path / "file", format=format)
    assert len(read[0]) == len((tmp_path / "file").read_bytes()) > 0
    assert {path.name for path in tmp_path.iterdir()} - {"pipe", "file"} == {
        path.name for path in tmp_path.iterdir() if path.name.startswith("one")
    }


def test_unknown_formats_and_missing_files(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        with pytest.raises(UsageError, match="jsonl"):
            export_facts(ledger, tmp_path / "x.abc")
        with pytest.raises(UsageError, match="no such file"):
            import_facts(ledger, tmp_path / "x.csv", schema=SCHEMA)
        with pytest.raises(InputError, match="cannot be written"):
            export_facts(ledger, tmp_path / "no" / "x.csv")
