"""``lore ingest`` killed at random moments loses nothing and doubles nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.loregraph.commands import environment, films_workspace, lore

N_DOCUMENTS = 400
N_KILLS = 50


def write_corpus(path: Path) -> None:
    people = [
        f"{first} {last}" for first in ("Ada", "Bo", "Cyd", "Dag") for last in ("Lund", "Marsh", "Okoro")
    ]
    with path.open("w", encoding="utf-8") as file:
        for number in range(N_DOCUMENTS):
            director, star = people[number % 12], people[(number * 5 + 1) % 12]
            text = (
                f"Quiet River {number} is a {1950 + number % 70} drama film directed by {director}. "
                f"It stars {star} and {people[(number * 7 + 2) % 12]}."
            )
            file.write(json.dumps({"id": str(number), "title": f"Quiet River {number}", "text": text}) + "\n")


def contents(folder: Path) -> tuple[list[str], list[object]]:
    out = folder / "facts.jsonl"
    assert lore("export", "-w", folder, out).code == 0
    facts = sorted(out.read_text(encoding="utf-8").splitlines())
    rows = lore(
        "query",
        "-w",
        folder,
        "MATCH (a:Entity)-[r]->(b:Entity) RETURN a.id AS one, type(r) AS kind, b.id AS two, r.support AS n "
        "ORDER BY one, kind, two",
        "--limit",
        100_000,
        "--json",
    )
    return facts, rows.json


def run_and_kill(folder: Path, corpus: Path, after_s: float) -> float | None:
    """Start an ingest, kill it after a while; the seconds it took where it had ended before."""
    started = time.monotonic()
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "loregraph.cli.main",
            "ingest",
            "-w",
            str(folder),
            str(corpus),
            "--id-field",
            "id",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    while time.monotonic() < started + after_s:
        if child.poll() is not None:
            return time.monotonic() - started
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_kills(tmp_path: Path) -> None:
    """Killed and started again until it ends, then all over, until fifty kills are counted."""
    corpus = tmp_path / "corpus.jsonl"
    write_corpus(corpus)
    calm = films_workspace(tmp_path / "calm")
    started = time.monotonic()
    assert lore("ingest", "-w", calm, corpus, "--id-field", "id").code == 0
    longest_s = time.monotonic() - started
    wanted = contents(calm)
    rng = random.Random(11)
    n_killed = n_finished = 0
    hit, fresh = films_workspace(tmp_path / "hit-0"), True
    while n_killed < N_KILLS:
        took_s = run_and_kill(hit, corpus, rng.uniform(0.3, 1.0) * longest_s)
        if took_s is None:
            n_killed += 1
            fresh = False
            continue
        assert contents(hit) == wanted
        if fresh:  # the machine has become quicker, and later moments would hit nothing
            longest_s = took_s
        n_finished += 1
        hit, fresh = films_workspace(tmp_path / f"hit-{n_finished}"), True
    done = lore("ingest", "-w", hit, corpus, "--id-field", "id")
    assert done.code == 0, done.err
    assert contents(hit) == wanted
