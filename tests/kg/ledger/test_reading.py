"""Entities, provenance, facts and statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kg.facts import Assertions, Entity, Mention, Status
from kg.ledger.provenance import sentence_around
from kg.ledger.rows import ProvenanceRow
from tests.kg.ledger.making import (
    ALIEN,
    DUNE,
    SCOTT,
    SIR,
    WEAVER,
    make,
    only_edge,
    open_ledger,
    propose,
    shown,
)


def without_sentences(rows: list[ProvenanceRow]) -> tuple[ProvenanceRow, ...]:
    """Evidence as streamed with all facts."""
    return tuple(replace(row, sentence="") for row in rows)


TEXT = "A first one. Alien was made by Ridley Scott\nin 1979! J. T. Walsh knew.\n\nThe end"


@pytest.mark.parametrize(
    ("quote", "sentence"),
    [
        ("Alien was", "Alien was made by Ridley Scott in 1979!"),
        ("1979!", "Alien was made by Ridley Scott in 1979!"),
        ("A first", "A first one."),
        ("end", "The end"),
        ("one. Alien", "A first one. Alien was made by Ridley Scott in 1979!"),
        ("knew", "J. T. Walsh knew."),
        (TEXT, " ".join(TEXT.split())),
    ],
)
def test_the_sentence_around_a_quote(quote: str, sentence: str) -> None:
    start = TEXT.index(quote)
    assert sentence_around(TEXT, start, start + len(quote)) == sentence


def test_provenance_says_where_a_fact_was_read() -> None:
    with open_ledger() as ledger:
        document, chunks, assertions = make(
            TEXT, (ALIEN, "DIRECTED_BY", SCOTT, {}, "made by Ridley", 0.5), uri="z.txt", title="On Alien"
        )
        ledger.put_document(document, chunks, assertions)
        (row,) = ledger.provenance(only_edge(ledger))
        assert (row.source, row.document, row.kind, row.uri, row.title) == (
            document.id, document.id, "document", "z.txt", "On Alien",
        )  # fmt: skip
        assert (row.start, row.end) == (TEXT.index("made by"), TEXT.index(" Scott"))
        assert (row.quote, row.sentence) == ("made by Ridley", "Alien was made by Ridley Scott in 1979!")
        assert (row.confidence, row.status, row.inference) == (0.5, Status.EXTRACTED, None)
        assert ledger.provenance("none") == []


def test_facts_tell_everything_about_an_edge() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT, {"as": "Sir"}), (ALIEN, "year", 1979)))
        ledger.put_source("run", "run", propose((ALIEN, "STARS", WEAVER)))
        facts = {fact.predicate: fact for fact in ledger.facts()}
        assert len(facts) == 3
        directed = facts["DIRECTED_BY"]
        assert directed.object is not None
        assert (directed.subject.name, directed.object.id, directed.object.name, directed.object.type) == (
            "Alien", SCOTT.id, "Ridley Scott", "Person",
        )  # fmt: skip
        assert (directed.literal, directed.qualifiers, directed.support) == (None, {"as": "Sir"}, 1)
        assert directed.evidence == without_sentences(ledger.provenance(directed.edge_id))
        assert (facts["year"].object, facts["year"].literal) == (None, 1979)
        assert facts["STARS"].evidence[0].inference is not None
        assert [f.predicate for f in ledger.facts(statuses=[Status.PROPOSED])] == ["STARS"]


def test_many_facts_of_many_documents_keep_their_own_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kg.ledger.provenance.TEXTS_REMEMBERED", 2)
    monkeypatch.setattr("kg.ledger.provenance.NAMES_REMEMBERED", 2)
    with open_ledger() as ledger:
        for number in range(9):
            text = f"Alien {number} was made by Ridley Scott."
            ledger.put_document(
                *make(text, (ALIEN, "DIRECTED_BY", SCOTT), (DUNE, "note", number % 3), uri=f"{number}")
            )
        facts = list(ledger.facts())
        assert sorted(len(fact.evidence) for fact in facts) == [3, 3, 3, 9]
        for fact in facts:
            assert fact.evidence == without_sentences(ledger.provenance(fact.edge_id))
            assert {row.quote for row in fact.evidence} <= {
                f"Alien {n} was made by Ridley Scott." for n in range(9)
            }


def test_statistics_count_what_is_there() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), (ALIEN, "year", 1979), n_chunks=2))
        ledger.put_source("run", "run", propose((ALIEN, "DIRECTED_BY", SIR)))
        found = ledger.statistics()
        assert (found.documents, found.chunks, found.entities) == (1, 2, 3)
        assert (found.facts, found.evidence, found.version) == (3, 3, 3)
        ledger.merge(SIR.id, SCOTT.id)
        found = ledger.statistics()
        assert (found.entities, found.facts, found.evidence) == (2, 2, 3)
        ledger.decide(only_edge(ledger), Status.REJECTED)
        assert ledger.statistics().facts == 1


def test_the_name_is_the_spelling_most_sources_use_and_the_others_are_no_aliases() -> None:
    spellings = [replace(ALIEN, name=name) for name in ("ALIEN", "Alien", "Alien", "alien")]
    with open_ledger() as ledger:
        for number, entity in enumerate(spellings):
            ledger.put_source(f"{number}", "curated", Assertions((entity,)))
        text = "ALIEN and the xenomorph film, the Xenomorph Film and the xenomorph film again"
        document, chunks, assertions = make(text, entities=(ALIEN,))
        mentions = tuple(
            Mention(ALIEN.id, text.index(surface), text.index(surface) + len(surface), surface)
            for surface in ("ALIEN", "xenomorph film", "Xenomorph Film", "xenomorph film again"[:14])
        )
        last = text.rindex("xenomorph film")
        mentions += (Mention(ALIEN.id, last, last + 14, "xenomorph film"),)
        ledger.put_document(document, chunks, replace(assertions, mentions=mentions))
        (row,) = ledger.entities(type="Film")
        assert (row.name, row.aliases, row.discriminator, row.n_mentions) == (
            "Alien", ("xenomorph film",), "1979", 4,
        )  # fmt: skip
        assert list(ledger.entities(type="Person")) == []


def test_entities_are_found_by_normalised_name_and_alias() -> None:
    other = Entity.of("Person", "Ridley Scott", discriminator="actor")
    with open_ledger() as ledger:
        ledger.put_document(*make("Ridley Scott, Ridley Scott", entities=(SCOTT,)))
        ledger.put_source("file", "curated", Assertions((other, SIR)))
        assert [row.id for row in ledger.entities_named(" ridley  SCOTT ")] == [SCOTT.id, other.id]
        ledger.merge(SIR.id, other.id)
        assert [row.id for row in ledger.entities_named("sir ridley")] == [other.id]
        assert ledger.entities_named("ridley scott", type="Film") == []
        assert ledger.entities_named("ridley") == []
        assert ledger.entity("none") is None


def test_descriptions_come_from_the_entity_itself_first() -> None:
    plain = [replace(SCOTT, description=text) for text in ("b", "a", "b")]
    with open_ledger() as ledger:
        for number, entity in enumerate(plain):
            ledger.put_source(f"{number}", "curated", Assertions((entity,)))
        ledger.put_source("sir", "curated", Assertions((replace(SIR, description="knighted"),)))
        ledger.merge(SCOTT.id, SIR.id)
        assert shown(ledger)["nodes"][SIR.id][3] == "knighted"
        ledger.put_source("sir", "curated", Assertions((SIR,)))
        assert shown(ledger)["nodes"][SIR.id][3] == "b"
        (row,) = ledger.entities()
        assert row.description == "b"
        sir = ledger.entity(SIR.id)
        assert sir is not None
        assert sir.description == ""
