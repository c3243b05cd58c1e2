"""Measure the ledger: ingest, deltas, merges, projections and snapshots of a synthetic corpus.

    python benchmarks/ledger.py --documents 100000

Each document has about 1,200 characters in two chunks, ten mentions and ten assertions, two of them literal;
films recur, persons are spread widely, genres and countries are hubs. Writes ``results/ledger.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from kg.facts import Assertions, Chunk, Document, Entity, Fact, Inference, Mention, Span, Status
from kg.ledger.ledger import Ledger
from kg.snapshot import Snapshot
from kg.stores.store import Kind

RESULTS = Path(__file__).parent / "results" / "ledger.json"
RELATIONS = (
    "DIRECTED_BY",
    "STARS",
    "STARS",
    "STARS",
    "WRITTEN_BY",
    "COMPOSED_BY",
    "HAS_GENRE",
    "PRODUCED_IN",
)
FILLER = (
    "Critics were divided at first, and the audience came only slowly. "
    "Later years were kinder to it, as they are to many things. "
)

Put = tuple[Document, list[Chunk], Assertions]


class Corpus:
    """Makes documents one by one, the same for the same number."""

    def __init__(self, n_documents: int) -> None:
        self.n_films = max(1, n_documents * 7 // 10)
        self.n_persons = max(10, n_documents * 2)

    def put(self, number: int, *, edition: int = 0) -> Put:
        """A document and what it asserts; another edition asserts partly other things of the same text."""
        rng = random.Random(number)
        film_number = number if number < self.n_films else rng.randrange(self.n_films)
        film = Entity.of("Film", f"The Film {film_number}", discriminator=str(1920 + film_number % 100))
        facts, entities, mentions, sentences = [], {film.id: film}, [], [f"Report {number}. "]
        at = len(sentences[0])
        about = random.Random(film_number * 7919 + edition)
        for relation in RELATIONS:
            target = self._target(relation, about)
            sentence = f"{film.name} has {relation.lower().replace('_', ' ')} {target.name}. "
            start = at + len(sentence) - 2 - len(target.name)
            entities[target.id] = target
            mentions.append(Mention(target.id, start, start + len(target.name), target.name))
            span = Span(at, at + len(sentence) - 1, sentence[:-1])
            facts.append(Fact(film.id, relation, target.id, confidence=0.9, spans=(span,)))
            sentences.append(sentence)
            at += len(sentence)
        for name, value in (
            ("release_year", 1920 + film_number % 100),
            ("runtime_minutes", 60 + film_number % 97),
        ):
            sentence = f"Its {name} is {value}. "
            span = Span(at, at + len(sentence) - 1, sentence[:-1])
            facts.append(Fact(film.id, name, literal=value, spans=(span,)))
            sentences.append(sentence)
            at += len(sentence)
        text = "".join(sentences) + FILLER * 5
        for found in (text.find(film.name), text.rfind(film.name)):
            mentions.append(Mention(film.id, found, found + len(film.name), film.name))
        document = Document.of(text, f"corpus/{number}.txt", title=f"Report {number}")
        half = len(text) // 2
        chunks = [Chunk(document.id, 0, 0, half), Chunk(document.id, 1, half, len(text))]
        return document, chunks, Assertions(tuple(entities.values()), tuple(mentions), tuple(facts))

    def _target(self, relation: str, rng: random.Random) -> Entity:
        if relation == "HAS_GENRE":
            return Entity.of("Genre", f"Genre {int(40 * rng.random() ** 2)}")
        if relation == "PRODUCED_IN":
            return Entity.of("Country", f"Country {int(60 * rng.random() ** 3)}")
        return Entity.of("Person", f"Person {int(self.n_persons * rng.random() ** 1.3)}")


class Clock:
    """Wall and CPU seconds of a piece of work."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what runs inside the block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    def row(self, **more: Any) -> dict[str, Any]:
        """What was counted, and whatever else belongs to it."""
        return {"wall_s": round(self.wall, 4), "cpu_s": round(self.cpu, 4), **more}


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    clock = Clock()
    with clock.running():
        work()
    return clock.row()


def spread(samples: list[float]) -> dict[str, float]:
    """Median, 95th percentile and least of samples in seconds, as milliseconds."""
    ranked = sorted(samples)
    return {
        "median_ms": round(statistics.median(ranked) * 1000, 3),
        "p95_ms": round(ranked[int(0.95 * (len(ranked) - 1))] * 1000, 3),
        "least_ms": round(ranked[0] * 1000, 3),
    }


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ingest(ledger: Ledger, corpus: Corpus, n_documents: int) -> dict[str, Any]:
    """One document per commit, synchronous=FULL; making the documents is not counted."""
    whole, parts = Clock(), []
    n_facts = 0
    for start in range(0, n_documents, max(1, n_documents // 10)):
        puts = [corpus.put(number) for number in range(start, min(n_documents, start + n_documents // 10))]
        n_facts += sum(len(put[2].facts) for put in puts)
        part = Clock()
        with part.running(), whole.running():
            for put in puts:
                ledger.put_document(*put)
        parts.append(round(len(puts) / part.wall))
        print(f"  {start + len(puts):>7} documents, {parts[-1]} a second", file=sys.stderr, flush=True)
    return whole.row(
        documents_per_s=round(n_documents / whole.wall),
        documents_per_cpu_s=round(n_documents / whole.cpu),
        assertions_per_s=round(n_facts / whole.wall),
        documents_per_s_by_tenth=parts,
    )


def batches(folder: Path, corpus: Corpus, n_documents: int) -> dict[str, Any]:
    """A hundred documents per commit, into a new ledger."""
    puts = [corpus.put(number) for number in range(n_documents)]
    clock = Clock()
    with Ledger(folder / "batches.db") as ledger, clock.running():
        for start in range(0, n_documents, 100):
            with ledger.batch():
                for put in puts[start : start + 100]:
                    ledger.put_document(*put)
    return clock.row(documents=n_documents, documents_per_s=round(n_documents / clock.wall))


def single_changes(ledger: Ledger, corpus: Corpus, n_documents: int) -> dict[str, Any]:
    """Re-ingest, delta, drop and put of single documents picked at random."""
    rng = random.Random(5)
    again, delta, drop, decide, unchanged = [], [], [], [], []
    rows = 0
    for _ in range(200):
        document, chunks, assertions = corpus.put(rng.randrange(n_documents))
        other = replace(assertions, facts=tuple(replace(fact, confidence=0.8) for fact in assertions.facts))
        unchanged.append(seconds(lambda: ledger.put_document(document, chunks, assertions)))  # noqa: B023
        version = ledger.version
        again.append(seconds(lambda: ledger.put_document(document, chunks, other)))  # noqa: B023
        delta.append(seconds(lambda: ledger.delta(version)))  # noqa: B023
        rows += ledger.delta(version).n_rows
        edge = ledger.delta(version).edges["id"][0].as_py()
        decide.append(seconds(lambda: ledger.decide(edge, Status.ACCEPTED)))  # noqa: B023
        drop.append(seconds(lambda: ledger.drop_document(document.id)))  # noqa: B023
        ledger.put_document(document, chunks, assertions)
    return {
        "put_unchanged": spread(unchanged),
        "re_ingest_one": spread(again),
        "delta_after_one": {**spread(delta), "rows": rows // 200},
        "decide": spread(decide),
        "drop_one": spread(drop),
    }


def many_changes(ledger: Ledger, corpus: Corpus, n_documents: int) -> dict[str, Any]:
    found = {}
    for count in (100, 10_000):
        if count * 2 > n_documents:
            continue
        version = ledger.version
        with ledger.batch():
            for number in range(count):
                ledger.put_document(*corpus.put(number * (n_documents // count), edition=1))
        found[f"delta_after_{count}"] = timed(lambda: ledger.delta(version))  # noqa: B023
    return found


def merges(ledger: Ledger) -> dict[str, Any]:
    """Pairs of persons picked at random, then the biggest hub."""
    persons = [row.id for row in ledger.entities(type="Person")]
    rng = random.Random(6)
    merge, undo = [], []
    for _ in range(100):
        loser, winner = rng.sample(persons, 2)
        numbers: list[int] = []
        merge.append(seconds(lambda: numbers.append(ledger.merge(loser, winner))))  # noqa: B023
        undo.append(seconds(lambda: ledger.undo_merge(numbers[0])))  # noqa: B023
    countries = sorted(ledger.entities(type="Country"), key=lambda row: -row.n_mentions)
    version = ledger.version
    hub = timed(lambda: ledger.merge(countries[0].id, countries[1].id))
    hub_delta = timed(lambda: ledger.delta(version))
    number = ledger.merges()[-1].number
    return {
        "merge": spread(merge),
        "undo": spread(undo),
        "hub_mentions": countries[0].n_mentions,
        "merge_hub": hub,
        "delta_after_hub": hub_delta,
        "undo_hub": timed(lambda: ledger.undo_merge(number)),
    }


def proposals(ledger: Ledger, n: int) -> dict[str, Any]:
    rng = random.Random(8)
    films = [entity for row in ledger.entities(type="Film") if (entity := ledger.entity(row.id))][:2000]
    persons = [entity for row in ledger.entities(type="Person") if (entity := ledger.entity(row.id))][:2000]
    because = Inference("benchmark", "1", 0.7)
    facts = {
        (film.id, person.id): Fact(
            film.id, "STARS", person.id, confidence=0.7, status=Status.PROPOSED, inference=because
        )
        for film, person in ((rng.choice(films), rng.choice(persons)) for _ in range(n))
    }
    assertions = Assertions((*films, *persons), (), tuple(facts.values()))
    return {
        "proposals": len(facts),
        "put": timed(lambda: ledger.put_source("run:benchmark", "run", assertions)),
        "withdraw": timed(lambda: ledger.drop_source("run:benchmark")),
    }


def whole_graph(ledger: Ledger, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    projection = Clock()
    rows: dict[str, int] = {}
    with ledger.projection() as shown, projection.running():
        for kind in get_args(Kind):
            rows[kind] = sum(batch.num_rows for batch in shown.batches(kind))
    found["projection"] = projection.row(rows=rows)
    found["arrays"] = timed(ledger.arrays)
    found["snapshot"] = timed(lambda: Snapshot.of(ledger))
    found["statistics"] = timed(ledger.statistics)
    found["facts"] = timed(lambda: sum(1 for _ in ledger.facts()))
    found["check"] = timed(lambda: print(f"  check: {ledger.check() or 'sound'}", file=sys.stderr))
    found["backup"] = timed(lambda: ledger.backup(folder / "backup.db"))
    return found


def machine() -> dict[str, Any]:
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "commit": commit(),
    }


def commit() -> str:
    """The commit that is measured; empty outside of a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to put the ledger; a new one by default"
    )
    arguments = parser.parse_args()
    n_documents = arguments.documents
    result: dict[str, Any] = {"documents": n_documents, "machine": machine()}
    with TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        corpus = Corpus(n_documents)
        with Ledger(folder / "ledger.db") as ledger:
            result["ingest"] = ingest(ledger, corpus, n_documents)
            result["memory_after_ingest_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            ledger.checkpoint()
            result["file_mb"] = round((folder / "ledger.db").stat().st_size / 1e6, 1)
            counted = ledger.statistics()
            result["counts"] = {name: getattr(counted, name) for name in counted.__slots__}
            result |= single_changes(ledger, corpus, n_documents)
            result |= whole_graph(ledger, folder)
            result |= many_changes(ledger, corpus, n_documents)
            result |= merges(ledger)
            result["proposals"] = proposals(ledger, min(100_000, n_documents))
        result["batches_of_100"] = batches(folder, corpus, min(10_000, n_documents))
        result["memory_at_most_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
