"""Runs, curated sources, and decisions on what they and documents say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kg.errors import LedgerError, NotFound, UsageError
from kg.facts import Assertions, Fact, Mention, Span, Status
from kg.ledger.ledger import Ledger
from tests.kg.ledger.making import ALIEN, SCOTT, SIR, WEAVER, make, only_edge, open_ledger, propose, shown

TEXT = "Alien was made by Ridley Scott."


def _status(ledger: Ledger) -> list[str]:
    return [str(fact.status) for fact in ledger.facts(statuses=tuple(Status))]


def test_the_strongest_base_status_counts() -> None:
    with open_ledger() as ledger:
        ledger.put_source("run", "run", propose((ALIEN, "DIRECTED_BY", SCOTT)))
        assert _status(ledger) == ["proposed"]
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        assert _status(ledger) == ["extracted"]
        ledger.put_source("file", "curated", propose((ALIEN, "DIRECTED_BY", SCOTT), kind="curated"))
        assert _status(ledger) == ["curated"]
        (fact,) = ledger.facts()
        assert (fact.support, fact.confidence) == (3, 1.0)
        ledger.drop_source("file")
        ledger.drop_place("a.txt")
        assert _status(ledger) == ["proposed"]


def test_withdrawing_a_run_takes_its_proposals_along() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        before = shown(ledger)
        proposals = propose((ALIEN, "STARS", WEAVER), (ALIEN, "DIRECTED_BY", SCOTT))
        assert ledger.put_source("run:1", "run", proposals)
        assert not ledger.put_source("run:1", "run", proposals)
        assert len(shown(ledger)["edges"]) == 2
        assert ledger.put_source("run:1", "run", propose((ALIEN, "STARS", WEAVER)))
        assert sorted(edge[8] for edge in shown(ledger)["edges"].values()) == [1, 1]
        assert ledger.drop_source("run:1")
        assert not ledger.drop_source("run:1")
        assert shown(ledger) == before


def test_a_run_says_how_it_inferred_and_a_file_needs_not() -> None:
    with open_ledger() as ledger:
        proposals = propose((ALIEN, "STARS", WEAVER))
        ledger.put_source("run:1", "run", proposals)
        ledger.put_source("file", "curated", propose((ALIEN, "STARS", WEAVER), kind="curated"))
        run, curated = ledger.provenance(only_edge(ledger))
        assert (run.source, run.kind, run.document, run.quote) == ("run:1", "run", None, "")
        assert run.inference == proposals.facts[0].inference
        assert (curated.source, curated.kind, curated.inference) == ("file", "curated", None)
        bare = replace(proposals, facts=(replace(proposals.facts[0], inference=None),))
        with pytest.raises(LedgerError, match="inferred"):
            ledger.put_source("run:2", "run", bare)


def test_only_documents_have_texts_to_quote() -> None:
    with open_ledger() as ledger:
        quoting = Fact(ALIEN.id, "IS", literal=1, spans=(Span(0, 1, "A"),), status=Status.CURATED)
        with pytest.raises(LedgerError, match="quotes"):
            ledger.put_source("file", "curated", Assertions((ALIEN,), (), (quoting,)))
        with pytest.raises(LedgerError, match="mention"):
            ledger.put_source("file", "curated", Assertions((ALIEN,), (Mention(ALIEN.id, 0, 1, "A"),)))
        with pytest.raises(LedgerError, match="run or curated"):
            ledger.put_source("file", "document", Assertions())  # type: ignore[arg-type]
        ledger.put_source("file", "curated", Assertions((ALIEN,)))
        with pytest.raises(LedgerError, match="already a curated"):
            ledger.put_source("file", "run", Assertions())


def test_a_curated_source_keeps_alive_what_it_lists_and_a_document_what_it_uses() -> None:
    with open_ledger() as ledger:
        ledger.put_source("file", "curated", Assertions((replace(ALIEN, description="a film"),)))
        ledger.put_document(*make("Nothing here", entities=(WEAVER,)))
        assert {row[1]: row[3] for row in shown(ledger)["nodes"].values()} == {"Alien": "a film"}


def test_a_rejected_edge_is_not_shown_and_comes_back_when_the_decision_is_revoked() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        before = shown(ledger)
        edge = only_edge(ledger)
        decision = ledger.decide(edge, Status.REJECTED, by="ann")
        assert shown(ledger)["edges"] == {}
        assert ledger.delta(2).gone_edges["id"].to_pylist() == [edge]
        assert list(ledger.facts()) == []
        assert len(list(ledger.facts(statuses=[Status.REJECTED]))) == 1
        (row,) = ledger.decisions(edge)
        assert (row.source, row.status, row.by, row.version) == (decision, Status.REJECTED, "ann", 3)
        assert len(ledger.provenance(edge)) == 1
        assert ledger.drop_source(decision)
        assert shown(ledger) == before


def test_a_decision_outlives_re_ingest_and_follows_merges() -> None:
    with open_ledger() as ledger:
        put = make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT))
        ledger.put_document(*put)
        ledger.decide(only_edge(ledger), Status.REJECTED)
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), (ALIEN, "year", 1979)))
        assert shown(ledger)["edges"] == {}
        ledger.drop_place("a.txt")
        ledger.put_document(*put)
        assert shown(ledger)["edges"] == {}
        ledger.put_source("file", "curated", propose((ALIEN, "DIRECTED_BY", SIR), kind="curated"))
        assert [edge[3] for edge in shown(ledger)["edges"].values()] == [SIR.id]
        number = ledger.merge(SIR.id, SCOTT.id)
        assert shown(ledger)["edges"] == {}
        ledger.undo_merge(number)
        ledger.decide(only_edge(ledger), Status.ACCEPTED)
        ledger.merge(SIR.id, SCOTT.id)
        assert [edge[6:] for edge in shown(ledger)["edges"].values()] == [
            ("accepted", 1.0, 2, (put[0].id,)),
        ]  # fmt: skip


def test_the_newest_decision_holds_also_after_others_were_revoked() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        edge = only_edge(ledger)
        first = ledger.decide(edge, Status.ACCEPTED)
        second = ledger.decide(edge, Status.REJECTED)
        assert _status(ledger) == ["rejected"]
        ledger.drop_source(second)
        assert _status(ledger) == ["accepted"]
        third = ledger.decide(edge, Status.REJECTED)
        ledger.drop_source(first)
        fourth = ledger.decide(edge, Status.ACCEPTED)
        assert [row.source for row in ledger.decisions(edge)] == [fourth, third]
        assert _status(ledger) == ["accepted"]
        assert len({first, second, third, fourth}) == 4


def test_numbers_of_sources_are_never_given_twice() -> None:
    """A reused number could make an old decision look newer than one it came before."""
    with open_ledger() as ledger:
        ledger.put_source("one", "curated", Assertions((ALIEN,)))
        ledger.put_source("two", "curated", Assertions((ALIEN,)))
        ledger.drop_source("two")
        ledger.put_source("three", "curated", Assertions((ALIEN,)))
        with ledger._database.reading() as connection:
            rows = connection.execute("SELECT identity, number FROM source ORDER BY number").fetchall()
        assert rows == [("one", 1), ("three", 3)]


def test_a_rejected_literal_leaves_the_properties() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "year", 1979), (ALIEN, "year", 1980)))
        wrong = next(fact.edge_id for fact in ledger.facts() if fact.literal == 1980)
        version = ledger.version
        ledger.decide(wrong, Status.REJECTED)
        assert shown(ledger)["nodes"][ALIEN.id][4] == '{"year":[1979]}'
        assert ledger.delta(version).nodes["properties"].to_pylist() == ['{"year":[1979]}']


def test_decisions_that_make_no_sense_are_refused() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        edge = only_edge(ledger)
        with pytest.raises(UsageError, match="proposed"):
            ledger.decide(edge, Status.PROPOSED)
        with pytest.raises(NotFound):
            ledger.decide("none", Status.ACCEPTED)
        ledger.decide(edge, Status.ACCEPTED)
        ledger.drop_place("a.txt")
        with pytest.raises(NotFound):
            ledger.decide(edge, Status.REJECTED)
        assert ledger.provenance(edge) == []
