"""Write the README's tables of recommenders from the results: ``python -m benchmarks.recommender.tables``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``; what is between is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.recommender.growth import WAYS, measured_sizes, measurement

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
_MARKED = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
SPEED_NAMES = {
    "kgat-book": "KGAT, an epoch at Amazon-Book's size",
    "cke-book": "CKE, an epoch at Amazon-Book's size",
    "ripplenet-music": "RippleNet, an epoch on Last.FM",
    "kgcn-ranking-music": "KGCN, ranking all items on Last.FM",
    "kgat-music": "KGAT, an epoch on Last.FM",
    "cke-music": "CKE, an epoch on Last.FM",
    "kgcn-music": "KGCN, an epoch on Last.FM",
    "kgin-music": "KGIN, an epoch on Last.FM",
    "lightgcn-book": "LightGCN, an epoch at Amazon-Book's size",
    "lightgcn-music": "LightGCN, an epoch on Last.FM",
    "bpr-book": "BPR-MF, an epoch at Amazon-Book's size",
    "bpr-music": "BPR-MF, an epoch on Last.FM",
    "ranking-book": "ranking 24,915 items for 70,679 users, 64 dimensions",
    "ranking-book-128": "the same, 128 dimensions",
}


def main() -> None:
    """Replace the tables in the README."""
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")


def filled(text: str) -> str:
    """The text with every marked table as the results give it."""
    return _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", text)


def speed() -> str:
    """Our CPU seconds beside RecBole's."""
    rows = []
    for name, found in _read("recommender_speed")["measurements"].items():
        ours, peer = found.get("ours"), found.get("peer")
        if ours is None or name not in SPEED_NAMES:
            continue
        target = f"{found['target_ratio']:g}×" if "target_ratio" in found else ""
        if "target_s" in found:
            target = f"{found['target_s']:g} s"
        met = found.get("ratio_met", found.get("seconds_met"))
        rows.append(
            {
                "what": SPEED_NAMES[name],
                "loregraph, CPU s": f"{ours['cpu_s']:.3g}",
                "RecBole 1.2.1, CPU s": "" if peer is None else f"{peer['cpu_s']:.3g}",
                "times as fast": "" if "ratio" not in found else f"**{found['ratio']:.3g}**",
                "aim": target + ("" if met is None else ", met" if met else ", missed"),
                "peak MB": f"{ours['peak_mb']}" + ("" if peer is None else f" / {peer['peak_mb']}"),
            }
        )
    return _table(rows)


def growth() -> str:
    """KGAT's epoch as the graph grows, with the same batch and with one in proportion."""
    measurements = _read("recommender_speed")["measurements"]
    rows = []
    for size in measured_sizes(measurements):
        same, larger = (measurements[measurement(size, way)] for way in WAYS)
        rows.append(
            {
                "training pairs": f"{same['counts']['train_pairs']:,}",
                "triples": f"{same['counts']['triples']:,}",
                "CPU s an epoch": f"{same['ours']['cpu_s']:.3g}",
                "peak MB": str(same["ours"]["peak_mb"]),
                "CPU s, batch in proportion": f"{larger['ours']['cpu_s']:.3g}",
                "peak MB, batch in proportion": str(larger["ours"]["peak_mb"]),
            }
        )
    return _table(rows)


def quality(dataset: str) -> str:
    """NDCG and recall of each model, ours and RecBole's, and the paired differences."""
    columns = ("model", "ndcg@20", "recall@20", "over RecBole's", "over ease")
    found = _read("recommender_quality")["datasets"][dataset]["rows"]
    return _table([{column: _cell(row.get(column, "")) for column in columns} for row in found])


def cold_items() -> str:
    """The cold-item table: every model with its shuffled control."""
    rows = _read("recommender_cold_items")["rows"]
    by_name = {row["row"]: row for row in rows}
    kept = []
    for row in rows:
        name = row["row"]
        if name.endswith(", shuffled graph"):
            continue
        control = by_name.get(f"{name}, shuffled graph")
        kept.append(
            {
                "model": name,
                "NDCG@20": f"{row['ndcg@20']:.3f}",
                "graph shuffled": "" if control is None else f"{control['ndcg@20']:.3f}",
                "by seed": row["by seed"],
                "over text only": row["over text only"],
            }
        )
    return _table(kept)


TABLES: Mapping[str, Callable[[], str]] = {
    "speed": speed,
    "growth": growth,
    "quality-music": lambda: quality("music"),
    "quality-movielens": lambda: quality("movielens"),
    "cold-items": cold_items,
}


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row[column] for column in columns) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
