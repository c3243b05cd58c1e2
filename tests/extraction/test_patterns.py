"""The pattern language: other domains in a few lines, and schemas that are refused with a reason."""

from __future__ import annotations

import pytest

from extraction.local import LocalExtractor
from extraction.local_templates import Gap, Slot, Words, compile_template
from kg.errors import SchemaError
from kg.facts import Document
from kg.schema import parse_schema

MUSIC = """
name = "music"
[entity.Album]
key = "release_year"
[entity.Artist]
[entity.Genre]
[entity.Song]
[relation.PERFORMED_BY]
domain = ["Album"]
range = ["Artist"]
[relation.PRODUCED_BY]
domain = ["Album"]
range = ["Artist"]
[relation.CONTAINS]
domain = ["Album"]
range = ["Song"]
[relation.HAS_GENRE]
domain = ["Album"]
range = ["Genre"]
[property.release_year]
domain = ["Album"]
datatype = "integer"

[[extraction.subject]]
type = "Album"
nouns = ["album", "record"]
references = ["it", "(the|this) (album|record)"]
[[extraction.type]]
type = "Song"
form = "title"
[[extraction.verb]]
relation = "PRODUCED_BY"
passive = ["produced", "co-produced"]
active = ["produced"]
[[extraction.pattern]]
relation = "PERFORMED_BY"
templates = ["(album|record) by [the] [American|Irish] [singer|band] {objects}"]
[[extraction.pattern]]
relation = "CONTAINS"
templates = ["songs (such as|including) {objects}"]
[[extraction.gazetteer]]
type = "Genre"
relation = "HAS_GENRE"
entries = { Folk = ["folk"], Rock = ["rock"] }
[[extraction.property]]
property = "release_year"
templates = ["released in {value}"]
"""

COMPANIES = """
[entity.Company]
[entity.Person]
[relation.ACQUIRED]
domain = ["Company"]
range = ["Company"]
[relation.FOUNDED]
domain = ["Person"]
range = ["Company"]
[[extraction.subject]]
type = "Company"
nouns = ["company", "firm"]
references = ["it", "the (company|firm)"]
[[extraction.pattern]]
relation = "ACQUIRED"
anywhere = true
templates = ["{subject} (acquired|bought) {objects}"]
[[extraction.pattern]]
relation = "FOUNDED"
inverse = true
templates = ["founded [in ...] by {objects}"]
"""


def read(schema: str, text: str, title: str) -> set[tuple[str, str, object]]:
    extractor = LocalExtractor(parse_schema(schema))
    found = extractor.read(Document.of(text, "t.txt", title=title)).assertions
    names = {entity.id: entity.name for entity in found.entities}
    return {
        (names[fact.subject], fact.predicate, names[fact.object] if fact.object else fact.literal)
        for fact in found.facts
    }


def test_albums() -> None:
    text = (
        "Salt Road is a folk rock album by Irish singer Mara Quinn. It was released in 1998 and produced by "
        "Ned Ash and Quinn. The album holds songs such as Lord of the Tide, Harbour and The Last Bell."
    )
    assert read(MUSIC, text, "Salt Road") == {
        ("Salt Road", "HAS_GENRE", "Folk"),
        ("Salt Road", "HAS_GENRE", "Rock"),
        ("Salt Road", "PERFORMED_BY", "Mara Quinn"),
        ("Salt Road", "release_year", 1998),
        ("Salt Road", "PRODUCED_BY", "Ned Ash"),
        ("Salt Road", "PRODUCED_BY", "Mara Quinn"),
        ("Salt Road", "CONTAINS", "Lord of the Tide"),
        ("Salt Road", "CONTAINS", "Harbour"),
        ("Salt Road", "CONTAINS", "The Last Bell"),
    }


def test_companies_with_other_subjects_and_turned_relations() -> None:
    text = (
        "Nordlys is a software company founded in 1999 by Ana Bell. In 2010, Brightwater acquired Oak "
        "Systems and Fern Labs."
    )
    assert read(COMPANIES, text, "Nordlys") == {
        ("Ana Bell", "FOUNDED", "Nordlys"),
        ("Brightwater", "ACQUIRED", "Oak Systems"),
        ("Brightwater", "ACQUIRED", "Fern Labs"),
    }


def test_templates_compile_to_flat_sequences() -> None:
    flats = compile_template(
        r"{subject} [also] (features|stars) ... the <part> \( {objects}",
        {"part": ["voices", "singing voices"]},
        where="here",
    )
    one, also = Words(frozenset({"features", "stars"})), Words(frozenset({"also"}))
    the, bracket = Words(frozenset({"the"})), Words(frozenset({"("}))
    voices, singing = Words(frozenset({"voices"})), Words(frozenset({"singing"}))
    head, tail = (Slot("subject"),), (bracket, Slot("objects"))
    assert set(flats) == {
        (*head, *more, one, Gap(), the, *part, *tail)
        for more in ((), (also,))
        for part in ((voices,), (singing, voices))
    }


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("by {things}", "unknown slot {things}"),
        ("by <trade> {objects}", "word set <trade>"),
        ("{objects}", "no word to look for"),
        ("(by {objects}", "its end"),
        ("by ] {objects}", "']'"),
        ("[by] {objects}", "no word to look for"),
    ],
)
def test_a_template_that_cannot_be_read_is_refused(template: str, complaint: str) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_template(template, {}, where="[extraction] pattern 0")
    assert complaint in caught.value.message
    assert caught.value.where == "[extraction] pattern 0"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('relation = "PRODUCED_BY"', 'relation = "PRODUCED_BI"'), "(did you mean 'PRODUCED_BY'?)."),
        (('type = "Song"', 'type = "Sing"'), "did you mean 'Song'"),
        (('property = "release_year"', 'property = "release"'), "no property"),
        (("nouns =", "noun ="), "extraction.subject.0.nouns"),
        (('references = ["it"', 'references = ["{objects} it"'), "only patterns and properties"),
        (('type = "Genre"\nrelation = "HAS', 'type = "Song"\nrelation = "HAS'), "does not end at Song"),
    ],
)  # fmt: skip
def test_a_wrong_section_is_refused_with_its_place(change: tuple[str, str], complaint: str) -> None:
    assert change[0] in MUSIC
    with pytest.raises(SchemaError) as caught:
        LocalExtractor(parse_schema(MUSIC.replace(*change, 1)))
    assert complaint in caught.value.message


def test_a_schema_without_patterns_is_refused() -> None:
    with pytest.raises(SchemaError, match="no patterns"):
        LocalExtractor(parse_schema('[entity.Thing]\ndescription = "x"\n'))


def test_the_fingerprint_follows_the_patterns() -> None:
    first = LocalExtractor(parse_schema(MUSIC))
    other = LocalExtractor(parse_schema(MUSIC.replace('"co-produced"', '"mixed"')))
    assert first.fingerprint != other.fingerprint
