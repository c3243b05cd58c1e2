"""Time the recommenders beside RecBole 1.2.1: the same data, batch and widths, one thread, CPU seconds.

Run from the repository root: ``python benchmarks/recommender/speed.py [NAME ...] --peer-python PATH``.
Without a name all measurements run; ``--list`` names them. ``recbole_peer.py`` says how to make the peer's
environment; without ``--peer-python``, or with ``--side ours``, only this project is measured. Those on music
need the shared data folder (``--data``, the environment variable LORE_DATA, or ``../shared/data``).

Each side of each measurement runs in a process of its own, one after the other, and its result is put into
``benchmarks/results/recommender_speed.json`` beside what is there; the ratio is of the two sides that stand
there, and ``same_run`` says whether they were measured in one run. Peak memory is of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.machine import describe_machine, table
from benchmarks.recommender import datasets

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "recommender_speed.json"
What = Literal["epoch", "ranking", "vectors"]


@dataclass(frozen=True)
class Measurement:
    """One row: what both sides do, and what the ratio should reach."""

    data: str
    what: What
    model: str = ""
    peer: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    """Of our model; RecBole runs with its defaults, which these match."""
    first: dict[str, int] | None = None
    """How many batches of each phase the peer runs; whole epochs where not given."""
    epochs: int = 1
    dim: int = 64
    ratio: float | None = None
    """How many times quicker than RecBole we mean to be."""
    at_most_s: float | None = None
    at_most_mb: int | None = None
    note: str = ""


BATCH = {"batch_size": 2048, "dim": 64}
KGAT = {**BATCH, "layers": (64,), "sample_by": "interaction", "warm_only": False}
KGAT_NOTE = (
    "RecBole's graph has each triple in one direction, and one relation for an interaction in both; ours has "
    "both directions of either, as relations of their own."
)
CKE = {**BATCH, "knowledge_batch_size": 2048, "sample_by": "interaction", "warm_only": False}
LIGHT = {**BATCH, "n_layers": 2, "sample_by": "interaction"}
KGIN = {**BATCH, "n_intents": 4, "n_layers": 2, "message_dropout": 0.0, "warm_only": False}
KGIN_NOTE = "RecBole's KGIN calls torch_scatter, in whose place a shim over torch's index_add was put."
BPR = {**BATCH, "sample_by": "interaction"}
MEASUREMENTS = {
    "kgat-book": Measurement(
        "book-1",
        "epoch",
        "kgat",
        "KGAT",
        KGAT,
        {"RS": 6, "KG": 20},
        ratio=10,
        at_most_mb=1500,
        note=KGAT_NOTE,
    ),
    "ripplenet-music": Measurement(
        "music",
        "epoch",
        "ripplenet",
        "RippleNet",
        {**BATCH, "memories": 16, "hops": 2, "inverse": False, "warm_only": False},
        {"RSKG": 4},
        ratio=45,
    ),
    "kgcn-ranking-music": Measurement(
        "music", "ranking", "kgcn", "KGCN", {**BATCH, "neighbours": 4, "hops": 1}, ratio=50
    ),
    "cke-book": Measurement("book-1", "epoch", "cke", "CKE", CKE, {"RSKG": 24}, ratio=5),
    "lightgcn-music": Measurement("music", "epoch", "lightgcn", "LightGCN", LIGHT, epochs=8, ratio=1),
    "lightgcn-book": Measurement("book-1", "epoch", "lightgcn", "LightGCN", LIGHT, {"all": 12}, ratio=1),
    "bpr-music": Measurement("music", "epoch", "bpr", "BPR", BPR, epochs=8, ratio=1),
    "bpr-book": Measurement("book-1", "epoch", "bpr", "BPR", BPR, {"all": 60}, ratio=1),
    "ranking-book": Measurement("book-1", "vectors", "", "BPR", at_most_s=10),
    "ranking-book-128": Measurement("book-1", "vectors", dim=128, at_most_s=10),
    "kgat-music": Measurement("music", "epoch", "kgat", "KGAT", KGAT, epochs=3, note=KGAT_NOTE),
    "cke-music": Measurement("music", "epoch", "cke", "CKE", CKE, epochs=3),
    "kgcn-music": Measurement(
        "music", "epoch", "kgcn", "KGCN", {**BATCH, "batch_size": 4096, "neighbours": 4, "hops": 1}, epochs=5
    ),
    "kgin-music": Measurement("music", "epoch", "kgin", "KGIN", KGIN, epochs=3, note=KGIN_NOTE),
    "growth-0.25": Measurement("book-0.25", "epoch", "kgat", options=KGAT),
    "growth-0.5": Measurement("book-0.5", "epoch", "kgat", options=KGAT),
    "growth-2": Measurement("book-2", "epoch", "kgat", options=KGAT),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the measurements and end")
    parser.add_argument("--side", choices=("both", "ours", "peer"), default="both")
    parser.add_argument("--peer-python", type=Path, help="the Python of the environment that has RecBole")
    parser.add_argument("--data", type=Path, help="the shared data folder")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lore-recommender-speed")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.names) - set(MEASUREMENTS):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}; see --list")
    if options.list:
        print("\n".join(MEASUREMENTS))
        return 0
    run = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for name in options.names or MEASUREMENTS:
        measure(name, options, run)
    results = json.loads(options.output.read_text(encoding="utf-8"))
    print(table([_row(name, found) for name, found in results["measurements"].items()]))
    return 0


def measure(name: str, options: argparse.Namespace, run: str) -> None:
    """Measure one or both sides and put them into the results."""
    wanted = MEASUREMENTS[name]
    data = options.data or Path(os.environ.get("LORE_DATA") or HERE.parents[2] / "shared" / "data")
    folder = datasets.prepare(wanted.data, data, options.work)
    found: dict[str, Any] = {}
    if options.side != "peer":
        found["ours"] = ask(Path(sys.executable), HERE / "speed_ours.py", _our_request(wanted, folder))
    if options.side != "ours" and options.peer_python and wanted.peer:
        found["peer"] = ask(options.peer_python, HERE / "recbole_peer.py", _peer_request(wanted, folder))
    for side in found.values():
        side |= {"run": run, "load_average": round(os.getloadavg()[0], 1)}
    _merge(name, wanted, found, json.loads((folder / "done.json").read_text()), options.output)


def ask(python: Path, script: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Run a side in its own process, on one thread."""
    with tempfile.TemporaryDirectory() as name:
        asked, answered = Path(name) / "request.json", Path(name) / "answer.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
        subprocess.run([python, script, asked, answered], check=True, env={**os.environ, **threads})
        answer: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    return answer


def _our_request(wanted: Measurement, folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "model": wanted.model,
        "what": wanted.what,
        "options": wanted.options,
        "epochs": wanted.epochs,
        "dim": wanted.dim,
    }


def _peer_request(wanted: Measurement, folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "model": wanted.peer,
        "what": "epoch" if wanted.what == "epoch" else "ranking",
        "needs_graph": wanted.peer not in ("BPR", "LightGCN"),
        "epochs": wanted.epochs,
        "first": wanted.first,
    }


def _merge(
    name: str, wanted: Measurement, found: dict[str, Any], counts: dict[str, int], output: Path
) -> None:
    results: dict[str, Any] = {"measurements": {}}
    if output.is_file():
        results = json.loads(output.read_text(encoding="utf-8"))
    before = results["measurements"].get(name, {})
    sides = {side: found.get(side, before.get(side)) for side in ("ours", "peer")}
    row: dict[str, Any] = {"data": wanted.data, "counts": counts, "what": wanted.what}
    row |= {side: answer for side, answer in sides.items() if answer}
    row |= judge(wanted, sides["ours"], sides["peer"])
    results["machine"] = describe_machine(("numpy", "scipy", "torch"))
    rows = {**results["measurements"], name: row}
    results["measurements"] = {known: rows[known] for known in MEASUREMENTS if known in rows}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(name, json.dumps({key: value for key, value in row.items() if key != "counts"}), flush=True)


def judge(wanted: Measurement, ours: dict[str, Any] | None, peer: dict[str, Any] | None) -> dict[str, Any]:
    """The ratio and the targets beside it, each with whether it is met."""
    row: dict[str, Any] = {}
    if ours and peer:
        for count in ("users", "items", "train_pairs", "triples"):
            pair = [side.get("counts", {}).get(count) for side in (ours, peer)]
            if None not in pair and pair[0] != pair[1]:
                raise SystemExit(f"the two sides do not have the same {count}: {pair[0]} and {pair[1]}")
        row["ratio"] = round(peer["cpu_s"] / ours["cpu_s"], 2)
        row["same_run"] = ours["run"] == peer["run"]
        if wanted.ratio is not None:
            row |= {"target_ratio": wanted.ratio, "ratio_met": row["ratio"] >= wanted.ratio}
    if ours and wanted.at_most_s is not None:
        row |= {"target_s": wanted.at_most_s, "seconds_met": ours["cpu_s"] <= wanted.at_most_s}
    if ours and wanted.at_most_mb is not None:
        row |= {"target_mb": wanted.at_most_mb, "memory_met": ours["peak_mb"] <= wanted.at_most_mb}
    return {**row, "note": wanted.note} if wanted.note else row


def _row(name: str, found: dict[str, Any]) -> dict[str, Any]:
    ours, peer = found.get("ours", {}), found.get("peer", {})
    return {
        "measurement": name,
        "ours s": ours.get("cpu_s"),
        "RecBole s": peer.get("cpu_s"),
        "ratio": found.get("ratio"),
        "target": found.get("target_ratio") or (f"{found['target_s']:g} s" if "target_s" in found else None),
        "met": found.get("ratio_met", found.get("seconds_met")),
        "ours MB": ours.get("peak_mb"),
        "RecBole MB": peer.get("peak_mb"),
    }


if __name__ == "__main__":
    sys.exit(main())
