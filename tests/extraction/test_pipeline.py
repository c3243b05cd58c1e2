from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from extraction import pipeline
from extraction.combining import combine
from extraction.estimate import estimate
from extraction.extractor import Extraction
from extraction.pipeline import IngestInterrupted, run_ingest
from extraction.report import EXAMPLES_KEPT, IngestReport
from kg.errors import BudgetExceeded, UsageError
from kg.facts import Assertions, Chunk, Document, Entity, Fact, Mention, Span
from kg.ledger.ledger import Ledger
from tests.extraction.words import WordExtractor


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "corpus"
    made.mkdir()
    for name in ("Ada", "Bob", "Cleo"):
        (made / f"{name}.txt").write_text(f"{name} met Zed in 1999. Then Zed left.", encoding="utf-8")
    return made


def content(ledger: Ledger) -> object:
    facts = sorted(
        (
            fact.subject.name,
            fact.predicate,
            fact.object.name if fact.object else fact.literal,
            fact.support,
            tuple((row.uri, row.start, row.end, row.quote) for row in fact.evidence),
        )
        for fact in ledger.facts()
    )
    documents = sorted((row.uris, row.title, row.n_chunks, row.n_facts) for row in ledger.documents())
    entities = sorted((row.name, row.n_mentions) for row in ledger.entities())
    return facts, documents, entities


def test_stores_every_document_with_its_evidence(ledger: Ledger, folder: Path) -> None:
    report = run_ingest([folder], ledger=ledger, extractor=WordExtractor())
    assert (report.read, report.stored, report.unchanged, report.n_failed) == (3, 3, 0, 0)
    assert (report.chunks, report.usage["calls"]) == (3, 3)
    assert ledger.statistics().documents == 3
    known = {(fact.subject.name, fact.predicate) for fact in ledger.facts()}
    assert {("Ada", "BEFORE"), ("Zed", "year"), ("Zed", "BEFORE")} <= known
    assert ledger.check() == []


def test_a_second_run_extracts_nothing(ledger: Ledger, folder: Path) -> None:
    run_ingest([folder], ledger=ledger, extractor=WordExtractor())
    version = ledger.version
    again = WordExtractor()
    report = run_ingest([folder], ledger=ledger, extractor=again)
    assert (report.stored, report.unchanged, again.calls.total()) == (0, 3, 0)
    assert ledger.version == version


def test_refresh_extracts_again_and_changes_nothing(ledger: Ledger, folder: Path) -> None:
    run_ingest([folder], ledger=ledger, extractor=WordExtractor())
    before, again = content(ledger), WordExtractor()
    report = run_ingest([folder], ledger=ledger, extractor=again, refresh=True)
    assert (report.stored, report.unchanged, again.calls.total()) == (0, 3, 3)
    assert content(ledger) == before


def test_another_extractor_or_chunk_size_extracts_again(ledger: Ledger, folder: Path) -> None:
    run_ingest([folder], ledger=ledger, extractor=WordExtractor())
    for extractor, size in ((WordExtractor("2"), 2000), (WordExtractor("2"), 30)):
        assert run_ingest([folder], ledger=ledger, extractor=extractor, max_characters=size).unchanged == 0
        assert extractor.calls.total() >= 3
    assert max(row.n_chunks for row in ledger.documents()) == 2


def test_a_changed_file_replaces_its_old_text(ledger: Ledger, folder: Path) -> None:
    run_ingest([folder], ledger=ledger, extractor=WordExtractor())
    (folder / "Ada.txt").write_text("Ada met Yve.", encoding="utf-8")
    report = run_ingest([folder], ledger=ledger, extractor=WordExtractor())
    assert (report.stored, report.unchanged) == (1, 2)
    assert ledger.statistics().documents == 3
    assert {row.name for row in ledger.entities()} >= {"Yve", "Ada"}


def test_a_vanished_file_stays_stored(ledger: Ledger, folder: Path) -> None:
    run_ingest([folder], ledger=ledger, extractor=WordExtractor())
    (folder / "Ada.txt").unlink()
    run_ingest([folder], ledger=ledger, extractor=WordExtractor())
    assert ledger.statistics().documents == 3


def test_one_text_at_two_places_is_one_document(ledger: Ledger, folder: Path) -> None:
    (folder / "copy.txt").write_bytes((folder / "Ada.txt").read_bytes())
    reports: list[IngestReport] = []
    for _ in range(2):
        reports.append(run_ingest([folder], ledger=ledger, extractor=WordExtractor()))
    assert [(report.stored, report.unchanged, report.duplicates) for report in reports] == [
        (4, 0, 1), (0, 4, 0),
    ]  # fmt: skip
    assert ledger.statistics().documents == 3
    assert sorted(len(row.uris) for row in ledger.documents()) == [1, 1, 2]


def test_one_bad_document_never_stops_the_others(ledger: Ledger, folder: Path, tmp_path: Path) -> None:
    (folder / "a-bad.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "a-crash.txt").write_text("Ada will crash.", encoding="utf-8")
    (folder / "a-fail.txt").write_text("Ada will fail.", encoding="utf-8")
    log = tmp_path / "failures.jsonl"
    report = run_ingest([folder], ledger=ledger, extractor=WordExtractor(), failures_path=log)
    assert (report.stored, report.n_failed) == (3, 3)
    assert [Path(failure.where).name for failure in report.failed] == [
        "a-bad.txt",
        "a-crash.txt",
        "a-fail.txt",
    ]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert ["utf-16" in lines[0]["hint"], "ZeroDivisionError" in lines[1]["what"]] == [True, True]

    (folder / "a-fail.txt").write_text("Ada will manage.", encoding="utf-8")
    again = run_ingest([folder], ledger=ledger, extractor=WordExtractor(), failures_path=log)
    assert (again.stored, again.unchanged, again.n_failed) == (1, 3, 2)
    assert len(log.read_text(encoding="utf-8").splitlines()) == 2


def test_a_document_fails_as_a_whole(ledger: Ledger, folder: Path) -> None:
    text = "Ada met Bob. " * 40 + "This will fail."
    (folder / "long.txt").write_text(text, encoding="utf-8")
    report = run_ingest([folder], ledger=ledger, extractor=WordExtractor(), max_characters=100)
    assert report.n_failed == 1
    assert not any("long" in row.uris[0] for row in ledger.documents())


def test_many_failures_are_counted_and_few_kept(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("not json\n" * 100 + '{"text": "Ada met Bob."}\n', encoding="utf-8")
    report = run_ingest([path], ledger=ledger, extractor=WordExtractor())
    assert (report.n_failed, len(report.failed), report.stored) == (100, EXAMPLES_KEPT, 1)


class LyingExtractor(WordExtractor):
    """Claims a quote that is not in the text, for documents about liars."""

    def _read(self, document: Document, chunk: Chunk) -> Extraction:
        found = super()._read(document, chunk)
        if "Liar" not in document.text:
            return found
        first = found.assertions.entities[0]
        fact = Fact(first.id, "BEFORE", object=first.id, spans=(Span(0, 3, "???"),))
        return Extraction(Assertions(found.assertions.entities, (), (fact,)))


def test_what_the_ledger_refuses_fails_alone(ledger: Ledger, folder: Path) -> None:
    (folder / "Aliar.txt").write_text("Liar met Bob.", encoding="utf-8")
    report = run_ingest([folder], ledger=ledger, extractor=LyingExtractor(), documents_per_commit=10)
    assert (report.stored, report.n_failed) == (3, 1)
    assert "quote" in report.failed[0].error.what
    assert ledger.statistics().documents == 3


def test_refusals_are_counted_by_reason(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Ada may refuse. Bob may refuse.", encoding="utf-8")
    report = run_ingest([path], ledger=ledger, extractor=WordExtractor())
    assert report.summary["refused"] == {"not in the text": 2}


def test_batches_make_few_commits(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"text": "Ada met Bob {n}."}}\n' for n in range(1000, 1100)), encoding="utf-8")
    before = ledger.version
    run_ingest([path], ledger=ledger, extractor=WordExtractor(), documents_per_commit=25)
    assert ledger.version - before == 4


@pytest.mark.parametrize("concurrency", [1, 5])
def test_chunks_in_flight_are_bounded_and_used(ledger: Ledger, tmp_path: Path, concurrency: int) -> None:
    (tmp_path / "a.txt").write_text("Ada met Bob. " * 30, encoding="utf-8")
    (tmp_path / "b.txt").write_text("Cleo met Bob. " * 30, encoding="utf-8")
    extractor = WordExtractor(seconds=0.002)
    run_ingest(
        [tmp_path / "a.txt", tmp_path / "b.txt"],
        ledger=ledger, extractor=extractor, concurrency=concurrency, max_characters=40,
    )  # fmt: skip
    assert extractor.most_in_flight == concurrency
    assert ledger.statistics().documents == 2


def test_commits_follow_the_order_of_reading(ledger: Ledger, folder: Path) -> None:
    class SlowFirst(WordExtractor):
        async def extract(self, document: Document, chunk: Chunk) -> Extraction:
            self.seconds = 0.05 if "Ada" in document.uri else 0.0
            return await super().extract(document, chunk)

    run_ingest([folder], ledger=ledger, extractor=SlowFirst())
    assert [row.title for row in ledger.documents()] == ["Ada", "Bob", "Cleo"]


def test_a_spent_budget_ends_the_run_and_keeps_what_was_done(ledger: Ledger, tmp_path: Path) -> None:
    class Poor(WordExtractor):
        async def extract(self, document: Document, chunk: Chunk) -> Extraction:
            if self.calls.total() >= 10:
                raise BudgetExceeded("the budget is spent.")
            return await super().extract(document, chunk)

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"text": "Ada met Bob {n}."}}\n' for n in range(1000, 1100)), encoding="utf-8")
    report = run_ingest([path], ledger=ledger, extractor=Poor(), documents_per_commit=7)
    assert isinstance(report.stopped, BudgetExceeded)
    assert (report.stored, report.n_failed) == (10, 0)
    assert run_ingest([path], ledger=ledger, extractor=WordExtractor()).stored == 90


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as a terminal's program has it, whatever ran in this process before."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_commits_what_is_done_and_reports(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"text": "Ada met Bob {n}."}}\n' for n in range(1000, 9000)), encoding="utf-8")
    pressed = []

    def press(report: IngestReport) -> None:
        if report.stored and not pressed:
            pressed.append(report.stored)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(IngestInterrupted) as caught:
        run_ingest([path], ledger=ledger, extractor=WordExtractor(seconds=0.001), progress=press)
    report = caught.value.report
    assert report.interrupted
    assert 0 < pressed[0] <= report.stored == ledger.statistics().documents < 8000


def test_progress_is_shown_and_ends_complete(ledger: Ledger, folder: Path) -> None:
    seen: list[int] = []

    def show(report: IngestReport) -> None:
        seen.append(report.stored)

    run_ingest([folder], ledger=ledger, extractor=WordExtractor(), progress=show)
    assert seen[-1] == 3
    assert seen == sorted(seen)


def test_a_missing_path_is_refused_before_anything_is_done(ledger: Ledger, folder: Path) -> None:
    extractor = WordExtractor()
    with pytest.raises(UsageError, match="no such file"):
        run_ingest([folder, folder / "nothing"], ledger=ledger, extractor=extractor)
    assert extractor.calls.total() == 0


def test_estimate_counts_what_would_be_extracted(ledger: Ledger, folder: Path) -> None:
    run_ingest([folder / "Ada.txt"], ledger=ledger, extractor=WordExtractor())
    (folder / "bad.bin").write_bytes(b"\x00")
    found = estimate([folder], ledger=ledger, extractor=WordExtractor())
    assert (found.documents, found.unchanged, found.failed, found.chunks) == (2, 1, 1, 2)
    assert found.characters == sum(len((folder / f"{n}.txt").read_text()) for n in ("Bob", "Cleo"))


def test_combining_keeps_every_span_once() -> None:
    ada, bob = Entity.of("Word", "Ada"), Entity.of("Word", "Bob", description="a man")
    plain = Entity.of("Word", "Bob")

    def part(bob: Entity, start: int, confidence: float) -> Extraction:
        fact = Fact(
            ada.id, "MET", object=bob.id, confidence=confidence, spans=(Span(start, start + 7, "Ada Bob"),)
        )
        return Extraction(Assertions((ada, bob), (Mention(ada.id, start, start + 3, "Ada"),), (fact,)))

    united = combine([part(plain, 10, 0.5), part(bob, 0, 0.9), part(bob, 10, 0.4)])
    assert united.entities == (ada, bob)
    assert [mention.start for mention in united.mentions] == [10, 0]
    (fact,) = united.facts
    assert (fact.confidence, [span.start for span in fact.spans]) == (0.9, [0, 10])


def test_reading_does_not_run_ahead_of_the_ledger(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is held back by the bound on what waits, so a huge corpus is never in memory."""
    monkeypatch.setattr(pipeline, "CHARACTERS_IN_FLIGHT", 100_000)
    monkeypatch.setattr(pipeline, "_SECONDS_BETWEEN_PROGRESS", 0.0)
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"Number {number} " + "word " * 4_000} for number in range(100)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ahead: list[int] = []

    def show(report: IngestReport) -> None:
        ahead.append(report.read - report.stored)

    run_ingest([path], ledger=ledger, extractor=WordExtractor(), progress=show, concurrency=100)
    assert len(ahead) >= 100
    assert max(ahead) <= 100_000 // 20_000 + 1
