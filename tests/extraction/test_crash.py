"""An ingest that is killed at any moment loses and doubles nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extraction.pipeline import run_ingest
from kg.ledger.ledger import Ledger
from tests.extraction.words import WordExtractor

ROOT = Path(__file__).parents[2]
N_DOCUMENTS = 200
N_KILLS = 50
NAMES = "Ada Bob Cleo Dan Eve Fay Gus Hal Ida Jon Kay Lea Max Nan Ole Pia".split()  # noqa: SIM905


def write_corpus(folder: Path, rng: random.Random) -> None:
    folder.mkdir()
    for number in range(N_DOCUMENTS):
        sentences = [
            f"{rng.choice(NAMES)} met {rng.choice(NAMES)} in {rng.randint(1950, 2020)}."
            for _ in range(rng.randint(1, 6))
        ]
        (folder / f"{number:03}.txt").write_text(" ".join(sentences), encoding="utf-8")
    for number in range(5):  # the same text at another place
        (folder / f"copy-{number}.txt").write_bytes((folder / f"{number:03}.txt").read_bytes())


def content(path: Path) -> tuple[object, ...]:
    """Everything that a reader of the ledger can see, in an order that does not depend on its history."""
    with Ledger(path) as ledger:
        assert ledger.check() == []
        counts = ledger.statistics()
        facts = sorted(
            (
                fact.edge_id, fact.status, fact.confidence, fact.support, str(fact.literal),
                sorted((row.document, row.start, row.end, row.quote) for row in fact.evidence),
            )
            for fact in ledger.facts()
        )  # fmt: skip
        documents = sorted(
            (row.id, row.uris, row.title, row.n_characters, row.n_chunks, row.n_facts)
            for row in ledger.documents()
        )
        entities = sorted((row.id, row.name, row.aliases, row.n_mentions) for row in ledger.entities())
        numbers = (counts.documents, counts.chunks, counts.entities, counts.facts, counts.evidence)
        return numbers, facts, documents, entities


def start(folder: Path, ledger: Path, documents_per_commit: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-m", "tests.extraction.crash_child",
            str(folder), str(ledger), str(documents_per_commit),
        ],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("documents_per_commit", [1, 7])
def test_fifty_kills_lose_and_double_nothing(tmp_path: Path, documents_per_commit: int) -> None:
    rng = random.Random(documents_per_commit)
    folder = tmp_path / "corpus"
    write_corpus(folder, rng)
    whole = tmp_path / "whole.sqlite"
    with Ledger(whole) as ledger:
        report = run_ingest([folder], ledger=ledger, extractor=WordExtractor(), max_characters=60)
        assert (report.stored + report.unchanged, report.n_failed) == (N_DOCUMENTS + 5, 0)

    killed = tmp_path / "killed.sqlite"
    n_stored: list[int] = [0]
    pause_s = 0.04
    for _ in range(N_KILLS):
        child = start(folder, killed, documents_per_commit)
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(rng.uniform(0.0, pause_s))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with Ledger(killed) as ledger:
            assert ledger.check() == []
            n_stored.append(ledger.statistics().documents)
        # However slow the machine: longer while nothing was stored, shorter once much was.
        grown = n_stored[-1] - n_stored[-2]
        if n_stored[-1] < N_DOCUMENTS:
            pause_s *= 1.6 if grown == 0 else 0.7 if grown > N_DOCUMENTS // 10 else 1.0
    assert n_stored == sorted(n_stored), "a killed run lost documents that were stored before it"
    assert len(set(n_stored)) > 5, "the kills did not hit the work"

    child = start(folder, killed, documents_per_commit)
    child.communicate()
    assert child.returncode == 0
    assert content(killed) == content(whole)
