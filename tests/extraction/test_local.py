"""The local extractor on films: every construction, what must not be read, evidence that is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from extraction.chunks import split
from extraction.local import LocalExtractor
from kg.facts import Chunk, Document, Literal
from kg.schema import Schema, read_schema

FILMS = Path(__file__).parents[2] / "examples" / "films" / "schema.toml"


@pytest.fixture(scope="module")
def schema() -> Schema:
    return read_schema(FILMS)


@pytest.fixture(scope="module")
def extractor(schema: Schema) -> LocalExtractor:
    return LocalExtractor(schema)


def facts(extractor: LocalExtractor, text: str, *, title: str = "Moon Harbour") -> dict[str, list[Literal]]:
    """What a text says, as object names and literals by predicate; every span and mention is checked."""
    document = Document.of(text, "test.txt", title=title)
    read = extractor.read(document).assertions
    names = {entity.id: entity.name for entity in read.entities}
    for mention in read.mentions:
        assert text[mention.start : mention.end] == mention.surface
    found: dict[str, list[Literal]] = {}
    for fact in read.facts:
        assert fact.spans
        assert all(text[span.start : span.end] == span.quote for span in fact.spans)
        value = names[fact.object] if fact.object is not None else fact.literal
        assert value is not None
        found.setdefault(fact.predicate, []).append(value)
    return found


OPENING = "Moon Harbour is a 1974 Danish crime drama film. "


def test_the_first_sentence_gives_year_genres_and_country(extractor: LocalExtractor) -> None:
    found = facts(extractor, "Moon Harbour is a 1974 Danish-Swedish black comedy thriller film.")
    assert found["release_year"] == [1974]
    assert found["PRODUCED_IN"] == ["Denmark", "Sweden"]
    assert found["HAS_GENRE"] == ["Comedy", "Thriller"]


def test_the_year_tells_two_films_of_one_name_apart(extractor: LocalExtractor) -> None:
    first, second = (
        extractor.read(Document.of(f"Dusk is a {year} film.", "d.txt", title="Dusk")).assertions.entities[0]
        for year in (1950, 1990)
    )
    assert (first.name, first.discriminator) == ("Dusk", "1950")
    assert first.id != second.id


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("It was directed by Ana Bell.", {"DIRECTED_BY": ["Ana Bell"]}),
        ("Ana Bell directed the film.", {"DIRECTED_BY": ["Ana Bell"]}),
        (
            "It was written, produced, and directed by Ana Bell.",
            {"WRITTEN_BY": ["Ana Bell"], "PRODUCED_BY": ["Ana Bell"], "DIRECTED_BY": ["Ana Bell"]},
        ),
        (
            "The film was directed and co-written by Ana Bell and Tom Ode.",
            {"DIRECTED_BY": ["Ana Bell", "Tom Ode"], "WRITTEN_BY": ["Ana Bell", "Tom Ode"]},
        ),
        (
            "Directed by and starring Ana Bell, it opened in Oslo.",
            {"DIRECTED_BY": ["Ana Bell"], "STARS": ["Ana Bell"]},
        ),
        (
            "It was directed by Ana Bell, who also wrote the screenplay with Tom Ode.",
            {"DIRECTED_BY": ["Ana Bell"], "WRITTEN_BY": ["Ana Bell", "Tom Ode"]},
        ),
        ("Ana Bell composed the score.", {"COMPOSED_BY": ["Ana Bell"]}),
        ("It is the last film directed by Ana Bell.", {"DIRECTED_BY": ["Ana Bell"]}),
    ],
)
def test_verbs(extractor: LocalExtractor, sentence: str, expected: dict[str, list[Literal]]) -> None:
    found = facts(extractor, OPENING + sentence)
    people = {k: v for k, v in found.items() if k.endswith("_BY") or k == "STARS"}
    assert {k: sorted(map(str, v)) for k, v in people.items()} == {k: sorted(v) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("sentence", "cast"),
    [
        ("It stars Ana Bell, Tom Ode & Lea Dahl.", ["Ana Bell", "Tom Ode", "Lea Dahl"]),
        ("The film also stars Ana Bell, along with Tom Ode.", ["Ana Bell", "Tom Ode"]),
        ("Starring Ana Bell, the film opened in May.", ["Ana Bell"]),
        ("It stars Ana Bell, with Tom Ode and Lea Dahl in small roles.", ["Ana Bell", "Tom Ode", "Lea Dahl"]),
        ("The film features the voices of Ana Bell and Tom Ode.", ["Ana Bell", "Tom Ode"]),
        ("Other members of the cast include Ana Bell and Tom Ode.", ["Ana Bell", "Tom Ode"]),
        ("It has an ensemble cast led by Ana Bell and Tom Ode.", ["Ana Bell", "Tom Ode"]),
        ("Ana Bell and Tom Ode also star.", ["Ana Bell", "Tom Ode"]),
        ("It was the first film to star Ana Bell.", ["Ana Bell"]),
        ("The detective is played by Ana Bell.", ["Ana Bell"]),
        ("A sailor (Ana Bell) comes home.", ["Ana Bell"]),
        ("It has actors such as Ana Bell, Tom Ode and Lea Dahl.", ["Ana Bell", "Tom Ode", "Lea Dahl"]),
    ],
)  # fmt: skip
def test_casts(extractor: LocalExtractor, sentence: str, cast: list[str]) -> None:
    assert facts(extractor, OPENING + sentence)["STARS"] == cast


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("Joel and Martin Holm", ["Joel Holm", "Martin Holm"]),
        ("brothers Ebbe and Allan Holm", ["Ebbe Holm", "Allan Holm"]),
        ("the Holm brothers", ["Holm brothers"]),
        ("The Larssons", ["The Larssons"]),
        ("Cher and Bob Lund", ["Cher", "Bob Lund"]),
        ("H. P. Lund and R. Lee Moe", ["H. P. Lund", "R. Lee Moe"]),
        ("Guy de Vries, Max von Ahlen and Al Dee Jr.", ["Guy de Vries", "Max von Ahlen", "Al Dee Jr."]),
        ('Leonard "Bones" Quist and Olivia d\'Arc', ['Leonard "Bones" Quist', "Olivia d'Arc"]),
        ("Academy Award winner Ana Bell", ["Ana Bell"]),
        ("newcomer Ana Bell and the late Tom Ode", ["Ana Bell", "Tom Ode"]),
        ("Danish actor Tom Ode", ["Tom Ode"]),
        ("former ballet dancer Lea Dahl", ["Lea Dahl"]),
        ("Song Min-ho and Park Hae-su", ["Song Min-ho", "Park Hae-su"]),
    ],
)
def test_names(extractor: LocalExtractor, names: str, expected: list[str]) -> None:
    assert facts(extractor, f"{OPENING}It stars {names.rstrip('.')}.")["STARS"] == expected


@pytest.mark.parametrize(
    ("sentence", "cast"),
    [
        ('It stars Ana Bell as R.K. "Ri" McDool and Tom Ode as Ed.', ["Ana Bell", "Tom Ode"]),
        ("It stars Ana Bell (Captain Rook) and Tom Ode (the cook).", ["Ana Bell", "Tom Ode"]),
        ("It stars Ana Bell in the title role, Tom Ode and Lea Dahl.", ["Ana Bell", "Tom Ode", "Lea Dahl"]),
        ("It stars Ana Bell and Tom Ode as two sailors, Rik Rook and Max Marr.", ["Ana Bell", "Tom Ode"]),
        ("It stars Ana Bell as Eva Rook, a spy, and Tom Ode as her brother.", ["Ana Bell", "Tom Ode"]),
    ],
)
def test_roles_are_nobody(extractor: LocalExtractor, sentence: str, cast: list[str]) -> None:
    assert facts(extractor, OPENING + sentence)["STARS"] == cast


@pytest.mark.parametrize(
    "sentence",
    [
        "It is based on the novel Low Tide by Ana Bell.",
        "It is a remake of the 1960 film directed by Ana Bell.",
        "A sequel was directed by Ana Bell.",
        "The first film was directed by Ana Bell.",
        "It was not directed by Ana Bell.",
        "There are two sequels, both directed by Ana Bell.",
        "The book it follows was written by Ana Bell.",
        "It was shot beside Low Tide (1971) starring Ana Bell.",
        "It was produced by Ana Bell Pictures.",
    ],
)
def test_what_is_said_of_something_else_is_not_read(extractor: LocalExtractor, sentence: str) -> None:
    found = facts(extractor, OPENING + sentence)
    assert not {"DIRECTED_BY", "WRITTEN_BY", "STARS"} & found.keys()


def test_a_clause_about_the_source_ends_where_the_film_goes_on(extractor: LocalExtractor) -> None:
    text = OPENING + "It is based on a novel by Ana Bell, directed by Tom Ode and stars Lea Dahl."
    found = facts(extractor, text)
    assert (found["BASED_ON_WORK_OF"], found["DIRECTED_BY"], found["STARS"]) == (
        ["Ana Bell"],
        ["Tom Ode"],
        ["Lea Dahl"],
    )


def test_companies_and_people_are_told_apart(extractor: LocalExtractor) -> None:
    text = OPENING + "It was produced by Nordlys Pictures and Ana Bell and distributed by Pixar."
    document = Document.of(text, "t.txt", title="Moon Harbour")
    types = {entity.name: entity.type for entity in extractor.read(document).assertions.entities}
    assert types["Nordlys Pictures"] == types["Pixar"] == "Company"
    assert types["Ana Bell"] == "Person"


def test_a_surname_is_the_full_name_of_the_same_document(extractor: LocalExtractor) -> None:
    text = (
        OPENING + "It was directed by Ana van Bell. It was written by Van Bell and Bell. Bell likes the sea."
    )
    document = Document.of(text, "t.txt", title="Moon Harbour")
    read = extractor.read(document).assertions
    (person,) = (entity for entity in read.entities if entity.type == "Person")
    assert person.name == "Ana van Bell"
    surfaces = [mention.surface for mention in read.mentions if mention.entity == person.id]
    assert surfaces == ["Ana van Bell", "Van Bell", "Bell", "Bell"]


def test_a_surname_of_two_people_is_refused(extractor: LocalExtractor) -> None:
    text = OPENING + "It stars Ana Bell and Tom Bell. It was written by Bell."
    found = extractor.read(Document.of(text, "t.txt", title="Moon Harbour"))
    assert [refusal.reason for refusal in found.refused] == ["ambiguous name"]
    assert "WRITTEN_BY" not in {fact.predicate for fact in found.assertions.facts}


def test_a_birth_year_is_the_key_of_a_person(extractor: LocalExtractor) -> None:
    text = (
        OPENING + "It stars Ana Bell (born 1969) and Tom Ode (12 May 1930 – 1999). Bell wrote the screenplay."
    )
    document = Document.of(text, "t.txt", title="Moon Harbour")
    read = extractor.read(document).assertions
    keys = {entity.name: entity.discriminator for entity in read.entities if entity.type == "Person"}
    assert keys["Ana Bell"] == "1969"
    (written,) = (fact for fact in read.facts if fact.predicate == "WRITTEN_BY")
    assert next(e for e in read.entities if e.id == written.object).discriminator == "1969"


def test_dates_and_numbers(extractor: LocalExtractor) -> None:
    found = facts(extractor, OPENING + "It was released on 16 June 1974. It runs for 93 minutes.")
    assert found["release_date"] == ["1974-06-16"]
    assert found["runtime_minutes"] == [93]


def test_a_document_about_something_else_says_nothing_of_a_film(extractor: LocalExtractor) -> None:
    assert facts(extractor, "Moon Harbour is a novel by Ana Bell, starring nobody.") == {}
    assert facts(extractor, "Directed by Ana Bell.", title="") == {}


def test_the_topic_is_found_without_a_title(extractor: LocalExtractor) -> None:
    assert facts(extractor, OPENING + "It stars Ana Bell.", title="")["STARS"] == ["Ana Bell"]
    text = "# Moon Harbour\n\nMoon Harbour is a 1974\nfilm directed by Ana\nBell."
    document = Document.of(text, "moon-harbour.md", title="moon-harbour")
    names = [entity.name for entity in extractor.read(document).assertions.entities]
    assert names == ["Moon Harbour", "Ana Bell"]


def test_every_chunk_gets_its_own_facts_and_knows_the_earlier_ones(extractor: LocalExtractor) -> None:
    text = OPENING + "It was directed by Ana Bell. " + "The sea is grey. " * 20 + "Bell wrote the screenplay."
    document = Document.of(text, "t.txt", title="Moon Harbour")
    chunks = split(document, max_characters=120)
    assert len(chunks) > 2
    results = [asyncio.run(extractor.extract(document, chunk)) for chunk in chunks]
    whole = extractor.read(document).assertions
    assert sum(len(result.assertions.facts) for result in results) == len(whole.facts)
    last = results[-1].assertions
    assert [fact.predicate for fact in last.facts] == ["WRITTEN_BY"]
    assert {entity.name for entity in last.entities} == {"Moon Harbour", "Ana Bell"}
    for chunk, result in zip(chunks, results, strict=True):
        known = {entity.id for entity in result.assertions.entities}
        for fact in result.assertions.facts:
            assert {fact.subject, fact.object or fact.subject} <= known
            assert all(chunk.start <= span.start and span.end <= chunk.end for span in fact.spans)


def test_extraction_is_the_same_every_time(schema: Schema, extractor: LocalExtractor) -> None:
    text = OPENING + "It stars Ana Bell, Tom Ode and Lea Dahl. It was written by Ode."
    document = Document.of(text, "t.txt", title="Moon Harbour")
    chunk = Chunk(document.id, 0, 0, len(text))
    again = LocalExtractor(schema)
    assert again.fingerprint == extractor.fingerprint
    assert asyncio.run(again.extract(document, chunk)) == asyncio.run(extractor.extract(document, chunk))
