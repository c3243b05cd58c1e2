"""The frozen graph: dense, sorted, the same for the same facts, and unchanged on disk."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from kg.errors import InputError
from kg.facts import Assertions, Chunk, Document, Entity, Fact, Inference, Mention, Span, Status
from kg.ledger.ledger import Ledger
from kg.snapshot import Snapshot

SENTENCES = (
    ("Heat", "DIRECTED_BY", "Mann"),
    ("Heat", "STARS", "Pacino"),
    ("Ali", "DIRECTED_BY", "Mann"),
    ("Heat", "STARS", "De Niro"),
)


def put(
    ledger: Ledger, film: str, predicate: str, person: str, *, confidence: float = 0.9, extra: str = ""
) -> None:
    text = f"{film} {predicate} {person}{extra}"
    document = Document.of(text, f"{film}/{predicate}/{person}{extra}")
    one, other = Entity.of("Film", film), Entity.of("Person", person)
    at = text.index(person, len(film))
    mentions = (Mention(one.id, 0, len(film), film), Mention(other.id, at, at + len(person), person))
    span = Span(0, len(text), text)
    fact = Fact(one.id, predicate, other.id, confidence=confidence, spans=(span,))
    ledger.put_document(
        document, [Chunk(document.id, 0, 0, len(text))], Assertions((one, other), mentions, (fact,))
    )


def frozen(path: Path, rows: tuple[tuple[str, str, str], ...]) -> Snapshot:
    with Ledger(path) as ledger:
        for row in rows:
            put(ledger, *row)
        return Snapshot.of(ledger)


def test_the_order_of_ingest_does_not_matter(tmp_path: Path) -> None:
    one = frozen(tmp_path / "one", SENTENCES)
    other = frozen(tmp_path / "other", SENTENCES[::-1])
    assert one.hash == other.hash
    assert one.hash != frozen(tmp_path / "less", SENTENCES[:3]).hash
    assert one.entity_ids == sorted(one.entity_ids)
    assert one.relation_names == ["DIRECTED_BY", "STARS"]
    assert one.triples.tolist() == sorted(one.triples.tolist())


def test_triples_say_what_was_said(tmp_path: Path) -> None:
    found = frozen(tmp_path / "ledger", SENTENCES)
    said = {
        (found.entity_names[h], found.relation_names[r], found.entity_names[t]) for h, r, t in found.triples
    }
    assert said == set(SENTENCES)


def test_support_and_confidence_are_folded(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        put(ledger, "Heat", "STARS", "Pacino", confidence=0.5)
        put(ledger, "Heat", "STARS", "Pacino", confidence=0.75, extra=" again")
        found = Snapshot.of(ledger)
    assert found.support.tolist() == [2]
    assert found.confidence.tolist() == [0.75]


def test_rejected_facts_are_left_out(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        for row in SENTENCES:
            put(ledger, *row)
        before = Snapshot.of(ledger)
        ledger.decide(before.edge_ids[0], Status.REJECTED)
        after = Snapshot.of(ledger)
    assert after.edge_ids == before.edge_ids[1:]


def test_edges_that_differ_in_qualifiers_are_one_triple(tmp_path: Path) -> None:
    film, star = Entity.of("Film", "Heat"), Entity.of("Person", "Pacino")
    facts = tuple(
        Fact(film.id, "STARS", star.id, qualifiers={"role": role}, confidence=confidence)
        for role, confidence in (("Hanna", 0.5), ("Vincent", 0.75), ("he", 0.25))
    )
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.put_source("list", "curated", Assertions((film, star), (), facts))
        best = max(ledger.facts(), key=lambda row: row.confidence)
        found = Snapshot.of(ledger)
    assert len(found.triples) == 1
    assert (found.confidence.tolist(), found.support.tolist()) == ([0.75], [3])
    assert found.edge_ids == [best.edge_id]


def test_what_is_only_proposed_is_left_out_until_accepted(tmp_path: Path) -> None:
    film, star = Entity.of("Film", "Heat"), Entity.of("Person", "Pacino")
    guess = Fact(
        film.id,
        "STARS",
        star.id,
        status=Status.PROPOSED,
        inference=Inference("rules", "1", 0.9),
        confidence=0.9,
    )
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.put_source("run", "run", Assertions((film, star), (), (guess,)))
        assert len(Snapshot.of(ledger).triples) == 0
        assert len(Snapshot.of(ledger, statuses=frozenset(Status)).triples) == 1
        (row,) = ledger.facts()
        ledger.decide(row.edge_id, Status.ACCEPTED)
        assert Snapshot.of(ledger).edge_ids == [row.edge_id]


def test_a_merge_makes_one_entity_of_two(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        put(ledger, "Heat", "STARS", "Pacino")
        put(ledger, "Ali", "STARS", "Al Pacino")
        one, other = (Entity.of("Person", name).id for name in ("Pacino", "Al Pacino"))
        before = Snapshot.of(ledger)
        number = ledger.merge(one, other)
        merged = Snapshot.of(ledger)
        assert (before.n_entities, merged.n_entities) == (4, 3)
        assert set(merged.triples[:, 2].tolist()) == {merged.entity_ids.index(other)}
        ledger.undo_merge(number)
        assert Snapshot.of(ledger).hash == before.hash


def test_adjacency_holds_every_edge_both_ways(tmp_path: Path) -> None:
    found = frozen(tmp_path / "ledger", SENTENCES)
    for inverse in (False, True):
        view = found.adjacency(inverse=inverse)
        assert view.indptr[-1] == len(view.neighbour) == len(SENTENCES) * (1 + inverse)
        heads = np.repeat(np.arange(found.n_entities), np.diff(view.indptr))
        walked = Counter(zip(heads.tolist(), view.relation.tolist(), view.neighbour.tolist(), strict=True))
        wanted = Counter(map(tuple, found.triples.tolist()))
        if inverse:
            wanted += Counter((t, r + found.n_relations, h) for h, r, t in found.triples.tolist())
        assert walked == wanted
        for edge, row in enumerate(view.triple.tolist()):
            head, relation, tail = found.triples[row].tolist()
            assert {head, tail} == {heads[edge], view.neighbour[edge]}
            assert view.relation[edge] in (relation, relation + found.n_relations)


def test_an_empty_ledger_is_an_empty_snapshot(tmp_path: Path) -> None:
    found = frozen(tmp_path / "ledger", ())
    assert found.triples.shape == (0, 3)
    assert found.adjacency().indptr.tolist() == [0]


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    found = frozen(tmp_path / "ledger", SENTENCES)
    found.save(tmp_path / "snapshot")
    found.save(tmp_path / "snapshot")
    again = Snapshot.load(tmp_path / "snapshot")
    assert again.hash == found.hash
    assert again.version == found.version
    assert again.edge_ids == found.edge_ids


def test_one_changed_number_is_found(tmp_path: Path) -> None:
    frozen(tmp_path / "ledger", SENTENCES).save(tmp_path / "snapshot")
    file = tmp_path / "snapshot" / "triples.arrow"
    table = feather.read_table(file)
    support = pa.array([*table["support"].to_pylist()[:-1], 7], pa.int32())
    feather.write_feather(table.set_column(table.column_names.index("support"), "support", support), file)
    with pytest.raises(InputError, match="hash"):
        Snapshot.load(tmp_path / "snapshot")


def test_a_changed_snapshot_is_refused(tmp_path: Path) -> None:
    frozen(tmp_path / "ledger", SENTENCES).save(tmp_path / "snapshot")
    manifest = tmp_path / "snapshot" / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    for change in ({"relations": ["A", "B"]}, {"format": 99}):
        manifest.write_text(json.dumps({**content, **change}), encoding="utf-8")
        with pytest.raises(InputError):
            Snapshot.load(tmp_path / "snapshot")
    (tmp_path / "snapshot" / "triples.arrow").write_bytes(b"no arrow")
    manifest.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError):
        Snapshot.load(tmp_path / "snapshot")
