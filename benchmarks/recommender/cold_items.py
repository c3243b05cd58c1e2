"""Cold items on ML-100K for every model, with the graph that ``lore ingest`` reads from the film leads.

The protocol is that of ``benchmarks/cold_items.py``: 1,219 films with a lead, a fifth of them cold by seed,
ratings of 4 and 5, only cold items ranked, NDCG@20 over the users with a cold positive. The graph is built by
the commands: ``lore init``, ``lore ingest`` with the local extractor, ``lore link``.

What a row has to choose, a number of epochs or the settings of a closed form, is chosen on items that are
warm in its seed: a fifth of them is held out as if cold, and what ranks those best is taken; then it is
trained on all warm items. Every row that reads the graph has a control: the same model and the same choice
with the items' entities permuted.

Run ``python -m benchmarks.recommender.cold_items --work FOLDER``; a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cold_items import COLD_SHARE, INNER_ENTROPY, PUBLISHED
from benchmarks.films_corpus import ROOT, data_folder, read_leads, write_rows
from benchmarks.films_recommending import around_items, interval_text, sizes
from benchmarks.machine import describe_machine, table, timed
from kg.snapshot import Snapshot
from language.encoder import CachedEncoder, SentenceEncoder
from loregraph.workspace import Workspace
from recommender.data.interactions import Floats, Interactions
from recommender.data.readers import read_interactions
from recommender.data.splits import Split, hold_out_items
from recommender.evaluation.evaluate import evaluate
from recommender.evaluation.metrics import bootstrap_interval
from recommender.graph.joint import JointGraph
from recommender.knowledge_text import mean_vectors
from recommender.models.base import Recommender, SideData
from recommender.training.train import Options, train

RESULT = ROOT / "benchmarks" / "results" / "recommender_cold_items.json"
SEEDS = (0, 1, 2, 3, 4)
EPOCHS, LOOK_EVERY, PATIENCE = 40, 5, 3
TEXT_ONLY = "attributemap, text only"


@dataclass(frozen=True)
class Row:
    """A model, whether it is given the texts, the settings among which it may choose, and the splits."""

    model: str
    texts: bool = False
    graph: bool = True
    choices: tuple[Mapping[str, Any], ...] = field(default=({},))
    seeds: tuple[int, ...] = SEEDS


_MAPPED = tuple(
    {"strength": strength, "popularity_power": power}
    for strength in (1.0, 3.0, 10.0, 30.0)
    for power in (0.0, 0.3)
)
ROWS: Mapping[str, Row] = {
    "popularity": Row("popularity", graph=False),
    "bpr": Row("bpr", graph=False),
    TEXT_ONLY: Row("attributemap", texts=True, graph=False, choices=_MAPPED),
    "attributemap, graph only": Row("attributemap", choices=_MAPPED),
    "attributemap, graph and text": Row("attributemap", texts=True, choices=_MAPPED),
    "kar, text": Row("kar", texts=True, graph=False, choices=({"backbone": "deepfm"},)),
    "cke": Row("cke"),
    "cke, with text": Row("cke", texts=True, choices=({"text": True},)),
    "kgcn": Row("kgcn", choices=({"learning_rate": 5e-3, "batch_size": 1024, "dim": 32},)),
    "ripplenet": Row("ripplenet"),
    "kgat": Row("kgat", choices=({"batch_size": 2048},)),
    "kgin": Row("kgin", choices=({"learning_rate": 5e-3, "batch_size": 2048},)),
    "kgcl": Row("kgcl"),
    "intentgc": Row("intentgc"),
    "akupm": Row("akupm"),
    "rulerec": Row("rulerec"),
    "hetemf": Row("hetemf"),
    "shine": Row("shine"),
    "dkn": Row("dkn", texts=True, seeds=(0, 1, 4)),
}
"""By name; settings beside the defaults are larger steps or batches, so that the epochs suffice. DKN takes
a quarter of an hour a split, so it has three."""


@dataclass(frozen=True)
class Films:
    """What every row is made from."""

    rated: Interactions
    positives: Interactions
    snapshot: Snapshot
    links: Mapping[str, str]
    texts: tuple[str, ...]
    vectors: Floats
    order: Any  # dense id of each film in increasing MovieLens id


def main() -> None:
    """Build the graph, train every row on every seed, compare, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the workspace and finished rows")
    parser.add_argument("--data", type=Path, help="the shared data; else LORE_DATA, else ../shared/data")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), help="only these")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--report", action="store_true", help="only write the result of what is there")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    films = read_films(asked.work, data_folder(asked.data))
    (asked.work / "rows").mkdir(exist_ok=True)
    if not asked.report:
        for seed in asked.seeds:
            for name in asked.rows:
                if seed in ROWS[name].seeds:
                    _row(films, name, seed, asked.work / "rows")
    found = _report(films, asked.work / "rows")
    RESULT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(found["rows"], "cold items, NDCG@20"))


def read_films(work: Path, data: Path) -> Films:
    """Ingest and link by the commands, once, and read what they made."""
    leads = read_leads(data)
    root = work / "workspace"
    if not (work / "linked").is_file():
        rows = [
            {"id": f"ml-{one['movielens_id']}", "title": one["title"], "text": one["text"]} for one in leads
        ]
        write_rows(work / "leads.jsonl", rows)
        lines = [
            f'{one["movielens_id"]},"{one["title"].replace(chr(34), "")}",{one["year"]}' for one in leads
        ]
        (work / "items.csv").write_text("item_id,title,year\n" + "\n".join(lines) + "\n", encoding="utf-8")
        for command in (
            ("init", str(root), "--schema", str(ROOT / "examples" / "films" / "schema.toml")),
            ("ingest", str(work / "leads.jsonl"), "-w", str(root)),
            ("link", str(work / "items.csv"), "-w", str(root)),
        ):
            subprocess.run([sys.executable, "-m", "loregraph.cli.main", *command], check=True, cwd=ROOT)
        (work / "linked").touch()
    workspace = Workspace.find(root)
    with workspace.ledger() as ledger:
        links, snapshot = workspace.links(ledger), Snapshot.of(ledger)
    items = [one["movielens_id"] for one in leads]
    whole = read_interactions(data / "rec" / "ml-100k" / "ml-100k.inter")
    kept = whole.select(np.isin(np.asarray(whole.item_ids), items)[whole.item])
    rated = Interactions.of(
        [kept.user_ids[u] for u in kept.user],
        [kept.item_ids[i] for i in kept.item],
        weight=kept.weight,
        time=kept.time,
        catalogue=items,
    )
    texts = {one["movielens_id"]: one["text"] for one in leads}
    ordered = tuple(texts[item] for item in rated.item_ids)
    encoder = CachedEncoder(SentenceEncoder(device="cpu"), work / "vectors")
    try:
        vectors = np.asarray(encoder.encode(list(ordered)), dtype=np.float32)
    finally:
        encoder.close()
    dense = {item: number for number, item in enumerate(rated.item_ids)}
    order = np.asarray([dense[item] for item in items])
    near = around_items(snapshot, set(links.values()))
    return Films(rated, rated.at_least(4.0), near, links, ordered, vectors, order)


def _row(films: Films, name: str, seed: int, folder: Path) -> None:
    """Choose on warm items, train on all of them, once with the graph and once with a permuted one."""
    row = ROWS[name]
    cold = np.zeros(films.rated.n_items, dtype=bool)
    cold[films.order] = np.random.default_rng(seed).random(len(films.order)) < COLD_SHARE
    inner = ~cold & (np.random.default_rng([INNER_ENTROPY, seed]).random(len(cold)) < COLD_SHARE)
    permuted = np.random.default_rng([10_007, seed]).permutation(np.asarray(list(films.links.values())))
    shuffled = dict(zip(films.links, permuted.tolist(), strict=True))
    variants = {"": films.links, ", shuffled graph": shuffled} if row.graph else {"": {}}
    chosen: dict[str, Any] = {}
    for suffix, links in variants.items():
        path = folder / f"{seed} {name}{suffix}.json"
        if path.is_file():
            chosen = json.loads(path.read_text(encoding="utf-8"))["chosen"]
            continue
        spent: dict[str, Any] = {}
        with timed(spent):
            if not chosen:
                chosen = _choose(films, row, links, cold, inner, seed)
            model, split = _train(films, row, links, cold, None, chosen["settings"], chosen["epochs"], seed)
            ranking = evaluate(model, split.test, candidates=np.flatnonzero(cold), seed=seed)
        kept = {metric: ranking.values[metric].tolist() for metric in ("ndcg", "recall")}
        done = {"users": ranking.users.tolist(), **kept, "chosen": chosen, **spent}
        path.write_text(json.dumps(done), encoding="utf-8")
        ndcg = float(np.mean(kept["ndcg"]))
        print(f"seed {seed} {name}{suffix}: {ndcg:.4f} {chosen} {spent}", file=sys.stderr, flush=True)


def _choose(films: Films, row: Row, links: Any, cold: Any, inner: Any, seed: int) -> dict[str, Any]:
    found = []
    for settings in row.choices:
        best: dict[str, Any] = {}
        _train(films, row, links, cold, inner, settings, None, seed, best)
        found.append({"settings": dict(settings), **best})
    return max(found, key=lambda one: one["validation"])


def _train(
    films: Films,
    row: Row,
    links: Mapping[str, str],
    cold: Any,
    inner: Any,
    settings: Mapping[str, Any],
    epochs: int | None,
    seed: int,
    best: dict[str, Any] | None = None,
) -> tuple[Recommender, Split]:
    """Train without the cold items; with ``inner``, without those too, and say in ``best`` what they say."""
    warm = films.positives.select(~cold[films.positives.item]) if inner is not None else films.positives
    held_out = cold if inner is None else inner
    split = hold_out_items(warm, held_out, np.random.default_rng(seed), validation_share=0.0)
    graph = JointGraph.build(split, films.snapshot, links, within_hops=3)
    side = _side(films, row, split, cold | held_out)

    def judge(model: Recommender) -> float:
        ranked = evaluate(model, split.test, candidates=np.flatnonzero(held_out), seed=seed)
        return float(ranked.values["ndcg"].mean())

    options = Options(EPOCHS if epochs is None else epochs, LOOK_EVERY, PATIENCE, seed=seed, device="cpu")
    trained = train(
        row.model,
        split,
        graph,
        side=side,
        model_options=settings,
        options=options,
        validate=judge if epochs is None else None,
    )
    if best is not None:
        value = trained.best_validation
        best["validation"] = round(judge(trained.model) if value is None else value, 4)
        best["epochs"] = trained.best_epoch
    return trained.model, split


def _side(films: Films, row: Row, split: Split, unseen: Any) -> SideData:
    """Ratings of the known items, and for the rows that read, texts and their vectors."""
    rated = films.rated.select(~unseen[films.rated.item])
    if not row.texts:
        return SideData(rated=rated, item_texts=films.texts if row.model == "dkn" else None)
    users = mean_vectors(films.vectors, split.train)
    return SideData(rated=rated, item_texts=films.texts, item_vectors=films.vectors, user_vectors=users)


def _report(films: Films, folder: Path) -> dict[str, Any]:
    """Every finished row over its seeds, beside the published ones, and the differences that matter."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        seed, _, name = path.stem.partition(" ")
        found.setdefault(name, {})[int(seed)] = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for name, seeds in found.items():
        ndcg = [float(np.mean(one["ndcg"])) for one in seeds.values()]
        rows.append(
            {
                "row": name,
                "ndcg@20": round(float(np.mean(ndcg)), 4),
                "recall@20": round(float(np.mean([np.mean(one["recall"]) for one in seeds.values()])), 4),
                "seeds": len(seeds),
                "by seed": " ".join(f"{value:.3f}" for value in ndcg),
                "over text only": _difference(found, name, TEXT_ONLY),
                "over its shuffled graph": _difference(found, name, f"{name}, shuffled graph"),
                "cpu_s": round(sum(one["cpu_s"] for one in seeds.values()), 1),
            }
        )
    rows.sort(key=lambda row: (-int(str(row["seeds"])), -float(str(row["ndcg@20"]))))
    return {
        "protocol": " ".join((__doc__ or "").split("Run ``")[0].split()),
        "machine": describe_machine(["torch", "numpy", "scipy", "sentence-transformers"]),
        "films": {
            "items": films.rated.n_items,
            "linked": len(films.links),
            "positives": len(films.positives),
            "graph": sizes(films.snapshot),
        },
        "budget": f"at most {EPOCHS} epochs, a look every {LOOK_EVERY}, {PATIENCE} looks of patience",
        "published": {name: value[0] for name, value in PUBLISHED.items()},
        "rows": rows,
        "chosen": {
            name: {seed: one["chosen"] for seed, one in seeds.items()} for name, seeds in found.items()
        },
    }


def _difference(found: Mapping[str, Mapping[int, Any]], one: str, other: str) -> str:
    """Of NDCG@20, each user's mean over the seeds in which he is tested; users are what is resampled."""
    seeds = sorted(found.get(one, {}).keys() & found.get(other, {}).keys())
    if one == other or not seeds:
        return ""
    users = np.concatenate([found[one][seed]["users"] for seed in seeds]).astype(np.int64)
    gains = np.concatenate(
        [np.asarray(found[one][seed]["ndcg"]) - np.asarray(found[other][seed]["ndcg"]) for seed in seeds]
    )
    counts = np.bincount(users)
    means = np.bincount(users, gains)[counts > 0] / counts[counts > 0]
    return interval_text(bootstrap_interval(means, np.random.default_rng(0)))


if __name__ == "__main__":
    main()
