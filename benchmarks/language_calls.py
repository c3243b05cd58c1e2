"""What extraction with a language model costs beside the model itself: wall time, CPU, calls, memory.

200 made-up film leads are extracted by the real client against a scripted server that takes 200 ms for an
answer, 16 requests at once: no system can be faster than 200 x 0.2 / 16 = 2.5 s. Then the same from the
call ledger, in a new process. The server runs in a process of its own; CPU and memory are the client's alone,
imports included. Run from the repository root::

    OMP_NUM_THREADS=1 python benchmarks/language_calls.py
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "language_calls.json"
N_CHUNKS = 200
LATENCY = 0.2
REPEATS = 3
IN_FLIGHT = 16
SCHEMA = """
name = "films"
[entity.Film]
key = "release_year"
[entity.Person]
[entity.Genre]
[relation.DIRECTED_BY]
domain = ["Film"]
range = ["Person"]
[relation.STARS]
domain = ["Film"]
range = ["Person"]
[relation.HAS_GENRE]
domain = ["Film"]
range = ["Genre"]
[property.release_year]
domain = ["Film"]
datatype = "integer"
"""
FIRST = (
    "Ada", "Bela", "Cora", "Dario", "Edda", "Franz", "Greta", "Hugo", "Ines", "Jonas", "Klara", "Lior",
    "Mara", "Nils", "Olga", "Pavel",
)  # fmt: skip
LAST = (
    "Adler", "Berg", "Costa", "Duarte", "Eklund", "Faber", "Galli", "Horvat", "Iversen", "Jansen",
    "Kovac", "Lindt", "Moreau", "Novak",
)  # fmt: skip
NOUNS = (
    "Harbour", "Winter", "Orchard", "Signal", "Lantern", "Border", "Garden", "Machine", "Silence",
    "River", "Tower", "Summer",
)  # fmt: skip
GENRES = ("drama", "comedy", "thriller", "western", "science fiction", "musical")
PLOT = (
    "The story follows a family that moves to a small town by the sea, where an old quarrel over a piece of "
    "land comes back to life and nobody quite remembers how it began. Filming took place over eleven weeks. "
)


def make_leads(n: int) -> list[tuple[str, dict[str, Any]]]:
    """Texts of about 590 characters, each with the answer that a perfect model would give."""
    rng = random.Random(7)
    return [_lead(number, rng) for number in range(n)]


def _lead(number: int, rng: random.Random) -> tuple[str, dict[str, Any]]:
    title = f"The {rng.choice(NOUNS)} of {rng.choice(NOUNS)} {number + 2}"
    year = rng.randint(1930, 2020)
    genre = rng.choice(GENRES)
    people = [f"{rng.choice(FIRST)} {last}" for last in rng.sample(LAST, 5)]
    opening = f"{title} is a {year} {genre} film directed by {people[0]}."
    cast = f"It stars {', '.join(people[1:-1])} and {people[-1]}."
    ending = "It was shown at several festivals and found a loyal audience over the years. " * 2
    names = [("Film", title), ("Genre", genre), *(("Person", name) for name in people)]
    entities = [
        {"id": f"e{position}", "type": kind, "name": name, "aliases": []}
        for position, (kind, name) in enumerate(names)
    ]

    def fact(quote: str, predicate: str, target: str | None, value: int | None = None) -> dict[str, Any]:
        return {"quote": quote, "subject": "e0", "predicate": predicate, "object": target, "value": value}

    facts = [
        fact(opening, "release_year", None, year),
        fact(opening, "HAS_GENRE", "e1"),
        fact(f"directed by {people[0]}", "DIRECTED_BY", "e2"),
        *(fact(cast, "STARS", f"e{position + 2}") for position in range(1, 5)),
    ]
    return f"{opening} {cast} {PLOT}{ending}".strip(), {"entities": entities, "facts": facts}


def serve(connection: Connection) -> None:
    """The server's process: answers by the text in the request, and says in the end what it saw."""
    sys.path.insert(0, str(ROOT))
    from tests.language_server import LanguageServer

    answers = {text.split(".")[0]: json.dumps(answer) for text, answer in make_leads(N_CHUNKS)}

    def answer(body: Mapping[str, Any]) -> str:
        lines = body["messages"][-1]["content"].split("\n")
        return answers[lines[1].split(".")[0]]

    with LanguageServer(answer, latency=LATENCY) as server:
        connection.send(server.base_url)
        connection.recv()
        prompts = [sum(len(m["content"]) for m in seen.body["messages"]) / 4 for seen in server.seen]
        connection.send((server.n_chats, server.max_in_flight, sum(prompts) / max(1, len(prompts))))


def client(base_url: str, ledger: str) -> dict[str, Any]:
    """One run of extraction over all leads; what it took."""
    began = time.perf_counter()
    from extraction.llm import LanguageModelExtractor
    from kg.facts import Chunk, Document
    from kg.schema import parse_schema
    from language.calls import Calls, LedgeredChatModel
    from language.chat import OpenAIChatModel

    documents = [Document.of(text, f"lead {n}") for n, (text, _) in enumerate(make_leads(N_CHUNKS))]

    async def run(calls: Calls) -> tuple[int, int, int, float]:
        async with OpenAIChatModel("scripted", base_url, "key", max_in_flight=IN_FLIGHT) as model:
            ledgered = LedgeredChatModel(model, calls)
            extractor = LanguageModelExtractor(ledgered, parse_schema(SCHEMA))
            start = time.perf_counter()
            found = await asyncio.gather(
                *(extractor.extract(d, Chunk(d.id, 0, 0, len(d.text))) for d in documents)
            )
            wall = time.perf_counter() - start
            n_facts = sum(len(extraction.assertions.facts) for extraction in found)
            n_refused = sum(len(extraction.refused) for extraction in found)
            return n_facts, n_refused, ledgered.totals.calls, wall

    with Calls(Path(ledger)) as calls:
        n_facts, n_refused, n_calls, wall = asyncio.run(run(calls))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_seconds": round(wall, 3),
        "wall_seconds_with_imports": round(time.perf_counter() - began, 3),
        "cpu_seconds_with_imports": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_memory_mb": round(usage.ru_maxrss / 1024),
        "calls": n_calls,
        "facts": n_facts,
        "refused": n_refused,
    }


def _in_own_process(base_url: str, ledger: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "client", base_url, ledger]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _fastest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return min(runs, key=lambda run: float(run["wall_seconds"]))


def main() -> None:
    load = os.getloadavg()[0]
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    server.start()
    base_url = ours.recv()
    with tempfile.TemporaryDirectory() as folder:
        runs: list[dict[str, Any]] = []
        for repeat in range(REPEATS):
            ledger = str(Path(folder) / f"calls{repeat}.sqlite")
            runs.extend(_in_own_process(base_url, ledger) for _ in range(2))
    ours.send("stop")
    n_chats, most_in_flight, prompt_tokens = ours.recv()
    server.join()
    mean = sum(len(text) for text, _ in make_leads(N_CHUNKS)) / N_CHUNKS
    result = {
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "load_average_before": round(load, 1),
        "repeats_fastest_shown": REPEATS,
        "chunks": N_CHUNKS,
        "characters_per_chunk": round(mean),
        "server_seconds_per_answer": LATENCY,
        "in_flight": IN_FLIGHT,
        "floor_seconds": N_CHUNKS * LATENCY / IN_FLIGHT,
        "calls_per_chunk": n_chats / N_CHUNKS / REPEATS,
        "most_in_flight_seen_by_server": most_in_flight,
        "prompt_tokens_per_chunk_estimated": round(prompt_tokens),
        "first_run": _fastest(runs[::2]),
        "from_the_ledger": _fastest(runs[1::2]),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        sys.path.insert(0, str(ROOT))
        print(json.dumps(client(*sys.argv[2:4])))
    else:
        main()
