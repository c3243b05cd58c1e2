"""Storing, replacing, moving and deleting documents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kg.errors import LedgerError, NotFound
from kg.facts import (
    Assertions,
    Chunk,
    Document,
    Entity,
    Fact,
    Literal,
    Mention,
    Span,
    Status,
    content_hash,
)
from tests.kg.ledger.making import ALIEN, DUNE, SCOTT, WEAVER, make, only_edge, open_ledger, shown

TEXT = "Alien was made by Ridley Scott."


def test_a_stored_document_can_be_read_back() -> None:
    with open_ledger() as ledger:
        document, chunks, assertions = make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), title="On Alien", n_chunks=2)
        document = replace(document, metadata={"year": "1979"})
        assert ledger.put_document(document, chunks, assertions)
        assert ledger.has_document(document.id)
        assert ledger.holds("a.txt") == document.id
        assert ledger.document(document.id) == document
        (row,) = ledger.documents()
        assert row.id == document.id
        assert (row.uris, row.title, row.n_characters, row.n_chunks, row.n_facts) == (
            ("a.txt",), "On Alien", len(TEXT), 2, 1,
        )  # fmt: skip


def test_an_unknown_document_is_not_found() -> None:
    with open_ledger() as ledger:
        assert not ledger.has_document("none")
        assert ledger.holds("none") is None
        with pytest.raises(NotFound):
            ledger.document("none")
        assert not ledger.drop_document("none")
        assert not ledger.drop_place("none")
        assert ledger.version == 1


def test_putting_the_same_again_changes_nothing() -> None:
    with open_ledger() as ledger:
        document, chunks, assertions = make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), (ALIEN, "year", 1979))
        ledger.put_document(document, chunks, assertions)
        version, token = ledger.version, ledger.token
        shuffled = Assertions(assertions.entities[::-1], assertions.mentions[::-1], assertions.facts[::-1])
        assert not ledger.put_document(document, chunks, shuffled)
        assert (ledger.version, ledger.token) == (version, token)


@pytest.mark.parametrize("change", ["confidence", "title", "chunks", "place", "description"])
def test_putting_anything_else_again_is_a_new_version(change: str) -> None:
    with open_ledger() as ledger:
        document, chunks, assertions = make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT))
        ledger.put_document(document, chunks, assertions)
        if change == "confidence":
            assertions = replace(assertions, facts=(replace(assertions.facts[0], confidence=0.5),))
        elif change == "title":
            document = replace(document, title="new")
        elif change == "chunks":
            chunks = make(TEXT, n_chunks=3)[1]
        elif change == "place":
            document = replace(document, uri="b.txt")
        else:
            known = (replace(assertions.entities[0], description="a film"), *assertions.entities[1:])
            assertions = replace(assertions, entities=known)
        assert ledger.put_document(document, chunks, assertions)
        assert ledger.version == 3
        assert ledger.delta(2).documents.num_rows == 1


def test_one_text_at_two_places_goes_with_the_last() -> None:
    with open_ledger() as ledger:
        put = make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), uri="b.txt", title="B")
        ledger.put_document(*put)
        ledger.put_document(replace(put[0], uri="a.txt", title="A"), *put[1:])
        assert shown(ledger)["documents"][put[0].id] == ("a.txt", "A")
        # Ingesting other assertions from one place must not cascade away the other.
        ledger.put_document(*make(TEXT, (ALIEN, "STARS", SCOTT), uri="a.txt"))
        assert ledger.holds("b.txt") == put[0].id
        assert ledger.drop_place("a.txt")
        assert shown(ledger)["documents"][put[0].id] == ("b.txt", "B")
        assert ledger.drop_place("b.txt")
        assert not ledger.has_document(put[0].id)
        assert all(rows == {} for rows in shown(ledger).values())


def test_a_place_with_another_text_moves_and_takes_its_old_document_along() -> None:
    with open_ledger() as ledger:
        old, new = make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)), make("Dune was not.", entities=(DUNE,))
        ledger.put_document(*old)
        ledger.put_document(replace(old[0], uri="copy.txt"), *old[1:])
        ledger.put_document(*new)
        assert ledger.holds("a.txt") == new[0].id
        assert ledger.has_document(old[0].id)
        ledger.put_document(replace(new[0], uri="copy.txt"), *new[1:])
        assert not ledger.has_document(old[0].id)
        assert shown(ledger)["edges"] == {}


def test_deleting_a_document_and_adding_it_again_is_the_identity() -> None:
    with open_ledger() as ledger:
        puts = [
            make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), (ALIEN, "year", 1979), n_chunks=3),
            make("ALIEN with Sigourney Weaver", (ALIEN, "STARS", WEAVER), (ALIEN, "year", 1980), uri="b"),
            make("Alien, again by Ridley Scott", (ALIEN, "DIRECTED_BY", SCOTT, {}, "Alien", 0.3), uri="c"),
        ]
        for put in puts:
            ledger.put_document(*put)
        ledger.decide(next(iter(shown(ledger)["edges"])), Status.ACCEPTED)
        before = shown(ledger)
        for put in puts:
            assert ledger.drop_document(put[0].id)
            assert shown(ledger) != before
            ledger.put_document(*put)
            assert shown(ledger) == before
        assert ledger.check() == []


def test_nothing_of_a_deleted_text_is_left_on_disk() -> None:
    secret = Entity.of("Person", "Xaviera Quux", discriminator="born in Zyzzyx", description="a Wobblegong")
    with open_ledger() as ledger:
        ledger.put_document(*make("Alien is there.", entities=(ALIEN,), uri="kept"))
        text = "Frobnicate: Xaviera Quux made Alien, says Plugh."
        document, chunks, assertions = make(
            text, (ALIEN, "STARS", secret, {"role": "Mxyzptlk"}), (secret, "note", "Thwackum")
        )
        ledger.put_document(document, chunks, assertions)
        ledger.checkpoint()
        words = (b"Frobnicate", b"Quux", b"Zyzzyx", b"Wobblegong", b"Plugh", b"Mxyzptlk", b"Thwackum")

        def on_disk() -> set[bytes]:
            data = b"".join(path.read_bytes() for path in ledger.path.parent.iterdir())
            return {word for word in words if word in data}

        assert on_disk() == set(words)
        ledger.drop_document(document.id)
        ledger.checkpoint()
        assert on_disk() == set()
        ledger.put_document(document, chunks, assertions)
        assert ledger.entity(secret.id) == secret


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"facts": (Fact(ALIEN.id, "MADE_BY", SCOTT.id, spans=(Span(0, 5, "alien"),)),)}, "'alien'"),
        ({"facts": (Fact(ALIEN.id, "MADE_BY", SCOTT.id, spans=(Span(-5, 5, ""),)),)}, r"\[-5, 5\)"),
        ({"facts": (Fact(ALIEN.id, "MADE_BY", SCOTT.id),)}, "no quote"),
        ({"facts": (Fact(ALIEN.id, "YEAR", literal=float("nan"), spans=(Span(0, 5, "Alien"),)),)}, "number"),
        (
            {"facts": (Fact(ALIEN.id, "IS", literal=1, confidence=1.5, spans=(Span(0, 5, "Alien"),)),)},
            "confidence",
        ),
        (
            {
                "facts": (
                    Fact(ALIEN.id, "IS", literal=1, status=Status.ACCEPTED, spans=(Span(0, 5, "Alien"),)),
                )
            },
            "decision",
        ),
        ({"mentions": (Mention(ALIEN.id, 1, 6, "Alien"),)}, "'Alien' is not at"),
        ({"mentions": (Mention(ALIEN.id, 3, 3, ""),)}, "is not at"),
        ({"entities": (SCOTT,)}, "not among the entities"),
    ],
)
def test_a_document_that_asserts_what_is_not_there_is_refused_whole(
    broken: dict[str, tuple[object, ...]], says: str
) -> None:
    with open_ledger() as ledger:
        document, chunks, assertions = make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT))
        with pytest.raises(LedgerError, match=says) as caught:
            ledger.put_document(document, chunks, replace(assertions, **broken))  # type: ignore[arg-type]
        assert "a.txt" in caught.value.message
        assert ledger.version == 1
        assert all(rows == {} for rows in shown(ledger).values())


@pytest.mark.parametrize(
    "chunks",
    [
        [Chunk("other", 0, 0, 5)],
        [Chunk(content_hash("document", TEXT), 1, 0, 5)],
        [Chunk(content_hash("document", TEXT), 0, 0, 500)],
        [Chunk(content_hash("document", TEXT), 0, 5, 5)],
    ],
)
def test_chunks_must_be_of_the_text(chunks: list[Chunk]) -> None:
    with open_ledger() as ledger, pytest.raises(LedgerError, match="chunk"):
        ledger.put_document(make(TEXT)[0], chunks, Assertions())


def test_an_id_must_be_the_hash_of_the_text() -> None:
    with open_ledger() as ledger, pytest.raises(LedgerError, match="hash"):
        ledger.put_document(Document("1", TEXT, "a"), [], Assertions())


def test_half_a_surrogate_pair_is_refused_wherever_it_stands() -> None:
    broken = Entity("1", "Film", "\ud800")
    with open_ledger() as ledger:
        with pytest.raises(LedgerError, match="surrogate"):
            ledger.put_document(Document.of("\ud800", "a"), [], Assertions())
        with pytest.raises(LedgerError, match="surrogate"):
            ledger.put_source("c", "curated", Assertions((broken,)))
        assert ledger.version == 1


def test_values_that_are_false_or_zero_are_values() -> None:
    """Positions, offsets, literals and confidences may all be 0."""
    with open_ledger() as ledger:
        values: tuple[Literal, ...] = (0, False, "", 0.5)
        facts: list[tuple[Any, ...]] = [(ALIEN, "note", value, {}, "A", 0.0) for value in values]
        document, chunks, assertions = make("A", *facts, entities=(ALIEN,))
        ledger.put_document(document, chunks, assertions)
        assert shown(ledger)["nodes"][ALIEN.id][4] == '{"note":["",0,0.5,false]}'
        assert [fact.literal for fact in ledger.facts()] == [0, False, "", 0.5]
        assert all(fact.evidence[0].start == 0 and fact.evidence[0].quote == "A" for fact in ledger.facts())


def test_equal_facts_of_one_source_are_one_assertion() -> None:
    with open_ledger() as ledger:
        ledger.put_document(
            *make(TEXT, (ALIEN, "MADE", SCOTT, {}, "Alien", 0.2), (ALIEN, "MADE", SCOTT, {}, "Scott", 0.9))
        )
        (fact,) = ledger.facts()
        assert (fact.support, fact.confidence) == (1, 0.9)
        assert [row.quote for row in fact.evidence] == ["Alien", "Scott"]


def test_a_mention_belongs_to_the_chunk_that_holds_its_start() -> None:
    with open_ledger() as ledger:
        document, _, assertions = make("Alien and Alien and Alien", entities=(ALIEN,))
        chunks = [Chunk(document.id, 0, 0, 12), Chunk(document.id, 1, 16, 25)]
        assertions = replace(assertions, mentions=(*assertions.mentions, Mention(ALIEN.id, 13, 15, "en")))
        ledger.put_document(document, chunks, assertions)
        assert {key[0][-2:]: row for key, row in shown(ledger)["mentions"].items()} == {
            "#0": ("Film", 2), "#1": ("Film", 1),
        }  # fmt: skip


def test_of_overlapping_chunks_the_first_has_the_mention() -> None:
    with open_ledger() as ledger:
        document, _, assertions = make("1 Alien 3", entities=(ALIEN,))
        ledger.put_document(document, [Chunk(document.id, 0, 0, 5), Chunk(document.id, 1, 1, 9)], assertions)
        assert [key[0][-2:] for key in shown(ledger)["mentions"]] == ["#0"]


def test_texts_with_zero_characters_are_kept_whole() -> None:
    with open_ledger() as ledger:
        text = "Alien\0was made\0by Ridley Scott."
        document, chunks, assertions = make(text, (ALIEN, "MADE", SCOTT, {}, "by Ridley Scott"))
        ledger.put_document(document, chunks, assertions)
        assert ledger.document(document.id).text == text
        assert ledger.provenance(only_edge(ledger))[0].quote == "by Ridley Scott"
        assert ledger.check() == []


def test_a_batch_is_one_version_and_all_or_nothing() -> None:
    with open_ledger() as ledger:
        with ledger.batch():
            ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
            ledger.put_document(*make("Dune", entities=(DUNE,), uri="b"))
            assert [row.name for row in ledger.entities_named("dune")] == ["Dune"]
        assert ledger.version == 2
        before = shown(ledger)

        def stopped() -> None:
            with ledger.batch():
                ledger.drop_place("a.txt")
                ledger.put_document(*make("Weaver: Sigourney Weaver", entities=(WEAVER,), uri="c"))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert (ledger.version, shown(ledger)) == (2, before)


def test_ids_learned_in_a_batch_that_failed_are_forgotten() -> None:
    """A writer that remembers rows of a rolled back transaction would point at other rows later."""
    with open_ledger() as ledger:

        def failing() -> None:
            with ledger.batch():
                ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
                raise KeyError

        with pytest.raises(KeyError):
            failing()
        ledger.put_document(*make("Dune has Sigourney Weaver", (DUNE, "STARS", WEAVER), uri="b"))
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        assert ledger.check() == []
        names = {row[1] for row in shown(ledger)["nodes"].values()}
        assert names == {"Alien", "Dune", "Ridley Scott", "Sigourney Weaver"}


def test_a_refused_document_leaves_the_rest_of_its_batch() -> None:
    with open_ledger() as ledger:
        with ledger.batch():
            ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
            document, chunks, assertions = make("Dune", entities=(DUNE,), uri="b")
            with pytest.raises(LedgerError):
                ledger.put_document(document, chunks, replace(assertions, entities=()))
            ledger.put_document(document, chunks, assertions)
        assert len(list(ledger.documents())) == 2
        assert ledger.check() == []


def test_what_fails_half_way_leaves_the_rest_of_its_batch() -> None:
    with open_ledger() as ledger:
        with ledger.batch():
            ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
            with pytest.raises(NotFound):
                ledger.merge_many([(SCOTT.id, ALIEN.id), ("none", ALIEN.id)], reason="")
        assert ledger.merges() == []
        assert ledger.version == 2


def test_a_document_cannot_take_the_id_of_a_source() -> None:
    with open_ledger() as ledger:
        put = make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT))
        ledger.put_source(put[0].id, "curated", Assertions((ALIEN,)))
        with pytest.raises(LedgerError, match="already"):
            ledger.put_document(*put)
