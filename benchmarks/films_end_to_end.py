"""The whole way on real films: text to graph, both stores, links, recommenders, cold items.

Run from the repository root: ``python benchmarks/films_end_to_end.py [STAGE ...] [--work FOLDER]``.
Needs the shared data folder (``--data``, the environment variable LORE_DATA, or ``../shared/data``), and Java
and Maven for the stage ``stores``.

Stages, in order: ``corpus ingest stores link warm cold``. Without a name all run that the work folder holds
no result of, so a killed run goes on; a stage that is named runs again. Every stage writes its result into
the work folder, and all of them are put together in ``benchmarks/results/films_end_to_end.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import films_cold, films_graph, films_recommending, films_tables
from benchmarks.films_corpus import ROOT, data_folder, write_corpus
from benchmarks.machine import describe_machine, timed

RESULTS = ROOT / "benchmarks" / "results" / "films_end_to_end.json"
PACKAGES = ("numpy", "scipy", "pyarrow", "spacy", "torch", "ladybug", "neo4j", "sentence-transformers")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="corpus ingest stores link warm cold")
    parser.add_argument("--data", type=Path, help="the shared data folder")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lore-films-end-to-end")
    parser.add_argument("--seeds", type=int, default=3, help="cold splits, seeds from 0 (default 3)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    data, work = data_folder(options.data), options.work
    stages: dict[str, Callable[[], dict[str, Any]]] = {
        "corpus": lambda: write_corpus(data, work),
        "ingest": lambda: films_graph.ingest(work),
        "stores": lambda: films_graph.stores(work),
        "link": lambda: films_graph.link(work, data),
        "warm": lambda: films_recommending.warm(work, data),
        "cold": lambda: films_cold.cold(work, data, options.seeds),
    }
    if unknown := set(options.stages) - set(stages):
        parser.error(f"there is no stage {', '.join(sorted(unknown))}; known: {' '.join(stages)}")
    work.mkdir(parents=True, exist_ok=True)
    for name in options.stages or [stage for stage in stages if not (work / f"{stage}.json").is_file()]:
        run_stage(name, stages[name], work)
    results: dict[str, Any] = {"machine": describe_machine(PACKAGES)}
    for name in stages:
        if (work / f"{name}.json").is_file():
            results[name] = json.loads((work / f"{name}.json").read_text(encoding="utf-8"))
    options.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(films_tables.all_tables(results))
    return 0


def run_stage(name: str, stage: Callable[[], dict[str, Any]], work: Path) -> None:
    print(f"{name} ...", file=sys.stderr, flush=True)
    times: dict[str, Any] = {}
    with timed(times, "stage"):
        found = stage()
    times["load_average"] = round(os.getloadavg()[0], 1)
    text = json.dumps(found | times, indent=1, ensure_ascii=False)
    (work / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(
        f"{name}: {times['stage_wall_s']} s wall, {times['stage_cpu_s']} s CPU", file=sys.stderr, flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
