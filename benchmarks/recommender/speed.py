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


NOTES = (
    "Seconds are CPU seconds of one thread: other work ran on the machine, see load_average.",
    "Ours is run whole. Where RecBole's batch_cpu_s is given, only these batches were run, and the others of "
    "the phase are taken to cost the mean of those after the first.",
    "peak_mb is of the whole process, reading the data included; import_mb is what it holds once torch is "
    "imported, running_peak_mb the peak after the data was read. Both sides use one and the same build of "
    "torch, which has CUDA in it.",
    "Losses: the same ranking and knowledge terms on both sides. RecBole's penalty is the length of a "
    "table's rows in the batch, taken as one vector, ours half the squared length; both over the batch size. "
    "Its BPR has no penalty. False tails: RecBole's make no triple with the head, ours none with head and "
    "relation.",
    "book is generated at the published size of Amazon-Book: what is saved by computing only the rows of a "
    "batch depends on how skewed the degrees are. A batch of 2,048 there touches some 5,600 of 184,166 rows.",
)
BATCH = {"batch_size": 2048, "dim": 64}
KGAT = {
    **BATCH,
    "layers": (64,),
    "knowledge_edges": "forward",
    "knowledge_batch_size": 2048,
    "sample_by": "interaction",
    "warm_only": False,
}
KGAT_NOTE = (
    "The same two phases, 2,048 rows a step, and the same number of steps. RecBole's graph has each "
    "triple in one direction, and one relation for an interaction in both; ours has both directions of "
    "either, as relations of their own, so it has 1.7 times the edges. RecBole has one Adam for both "
    "phases, we have one for each. Its first weights are 1 / degree within each relation, added up; "
    "ours 1 / degree."
)
RIPPLENET_NOTE = (
    "The same loss over the same 17 steps: cross entropy, minus .01 times the mean of sigmoid(h R t), "
    "and a penalty. Both draw the ripple sets once, 16 triples a hop, in the direction given."
)
KGCN_NOTE = (
    "Four sampled neighbours, one hop, RecBole's mean for both sums. Of an entity with fewer neighbours "
    "RecBole repeats some; we mask what is missing. RecBole runs with its default of 4,096 scores a "
    "batch, which is one user."
)
CKE_NOTE = (
    "The same sum of pairwise ranking and TransR over normalised rows, 2,048 pairs and 2,048 triples a step."
)
RANKING_NOTE = (
    "All 24,915 items for all 70,679 users, 64 dimensions. RecBole ranks for its BPR with its default "
    "of 4,096 scores a batch, which is one user."
)
KGCN = {**BATCH, "batch_size": 4096, "neighbours": 4, "hops": 1, "reduce": "mean", "warm_only": False}
CKE = {**BATCH, "knowledge_batch_size": 2048, "sample_by": "interaction", "warm_only": False}
LIGHT = {**BATCH, "n_layers": 2, "sample_by": "interaction"}
KGIN = {
    **BATCH,
    "n_intents": 4,
    "n_layers": 2,
    "message_dropout": 0.0,
    "interaction_dropout": 0.0,
    "inverse": False,
    "independence": "cosine",
    "warm_only": False,
}
KGIN_NOTE = (
    "RecBole's KGIN calls torch_scatter, in whose place a shim over torch's index_add was put. Both have a "
    "triple in one direction, half of them in each step, and all interactions."
)
BPR = {**BATCH, "sample_by": "interaction"}


def growing(size: float, *, in_proportion: bool) -> Measurement:
    """KGAT's epoch at another size; ``in_proportion`` with the steps of size 1, each so much larger."""
    rows = round(2048 * size) if in_proportion else 2048
    options = {**KGAT, "batch_size": rows, "knowledge_batch_size": rows}
    return Measurement(f"book-{size:g}", "epoch", "kgat", options=options)


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
        note=RIPPLENET_NOTE,
    ),
    "kgcn-ranking-music": Measurement("music", "ranking", "kgcn", "KGCN", KGCN, ratio=50, note=KGCN_NOTE),
    "cke-book": Measurement("book-1", "epoch", "cke", "CKE", CKE, {"RSKG": 24}, ratio=5, note=CKE_NOTE),
    "lightgcn-music": Measurement("music", "epoch", "lightgcn", "LightGCN", LIGHT, epochs=8, ratio=1),
    "lightgcn-book": Measurement("book-1", "epoch", "lightgcn", "LightGCN", LIGHT, {"all": 12}, ratio=1),
    "bpr-music": Measurement("music", "epoch", "bpr", "BPR", BPR, epochs=8, ratio=1),
    "bpr-book": Measurement("book-1", "epoch", "bpr", "BPR", BPR, {"all": 60}, ratio=1),
    "ranking-book": Measurement("book-1", "vectors", "", "BPR", at_most_s=10, note=RANKING_NOTE),
    "ranking-book-128": Measurement("book-1", "vectors", dim=128, at_most_s=10),
    "kgat-music": Measurement("music", "epoch", "kgat", "KGAT", KGAT, epochs=3, note=KGAT_NOTE),
    "cke-music": Measurement("music", "epoch", "cke", "CKE", CKE, epochs=3, note=CKE_NOTE),
    "kgcn-music": Measurement("music", "epoch", "kgcn", "KGCN", KGCN, epochs=5, note=KGCN_NOTE),
    "kgin-music": Measurement("music", "epoch", "kgin", "KGIN", KGIN, epochs=3, note=KGIN_NOTE),
    **{f"growth-{size:g}": growing(size, in_proportion=False) for size in (0.25, 0.5, 2)},
    **{f"growth-{size:g}-in-proportion": growing(size, in_proportion=True) for size in (0.25, 0.5, 2)},
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the measurements and end")
    parser.add_argument(
        "--judge", action="store_true", help="compare what was measured with the targets anew"
    )
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
    if options.judge:
        for name in json.loads(options.output.read_text(encoding="utf-8"))["measurements"]:
            _merge(name, MEASUREMENTS[name], {}, options.output)
    run = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for name in options.names or ([] if options.judge else MEASUREMENTS):
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
    found["counts"] = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    _merge(name, wanted, found, options.output)


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


def _merge(name: str, wanted: Measurement, found: dict[str, Any], output: Path) -> None:
    results: dict[str, Any] = {"measurements": {}}
    if output.is_file():
        results = json.loads(output.read_text(encoding="utf-8"))
    before = results["measurements"].get(name, {})
    parts = {part: found.get(part, before.get(part)) for part in ("counts", "ours", "peer")}
    row: dict[str, Any] = {"data": wanted.data, "what": wanted.what}
    row |= {part: answer for part, answer in parts.items() if answer}
    row |= judge(wanted, parts["ours"], parts["peer"])
    results["machine"] = describe_machine(("numpy", "scipy", "torch"))
    results["notes"] = list(NOTES)
    rows = {**results["measurements"], name: row}
    results["measurements"] = {known: rows[known] for known in MEASUREMENTS if known in rows}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table([_row(name, row)]), flush=True)


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
