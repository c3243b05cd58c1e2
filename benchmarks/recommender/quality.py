"""How well the models recommend, beside RecBole's on the same pairs with the same budget.

``music``      Last.FM with the graph of KGCN's authors, 8:1:1 per user.
``movielens``  MovieLens 100K, ratings of 4 and 5, with the graph that RecBole ships for it, 8:1:1 per user.

Every model that learns is trained with each of the learning rates below, everything else at its own default
but where ``SAME`` says; the validation part chooses the rate and the epoch by NDCG@20, the test part is used
once. RecBole's models get the same rates, epochs and patience. All items are ranked for every user; lists of
both sides are scored by the same code, and differences are of the same users in pairs, with 95 % bootstrap
intervals.

Run ``python -m benchmarks.recommender.quality --work FOLDER --peer-python PYTHON``; a killed run goes on
where it was. Without ``--peer-python`` only our side is run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.films_corpus import ROOT, data_folder
from benchmarks.films_recommending import interval_text
from benchmarks.machine import describe_machine, table, timed
from benchmarks.recommender.datasets import load, prepare
from language.encoder import CachedEncoder, SentenceEncoder
from recommender.data.interactions import Interactions
from recommender.data.readers import read_interactions
from recommender.data.splits import Split
from recommender.evaluation.evaluate import evaluate
from recommender.evaluation.metrics import Values, ndcg, paired_difference, recall
from recommender.knowledge_text import mean_vectors
from recommender.models.base import SideData
from recommender.models.registry import MODELS
from recommender.training.search import search, space_of
from recommender.training.train import Options, train

RESULT = ROOT / "benchmarks" / "results" / "recommender_quality.json"
HERE = Path(__file__).resolve().parent
EPOCHS, EVERY, PATIENCE, SEED = 40, 5, 2, 0
RATES = (1e-3, 5e-3, 2e-2)
BASELINES = ("popularity", "itemknn", "ease", "bpr", "lightgcn")
KNOWLEDGE = (
    "attributemap",
    "cke",
    "ripplenet",
    "kgcn",
    "kgat",
    "kgin",
    "kgcl",
    "intentgc",
    "akupm",
    "rulerec",
)
WITH_MORE = ("hetemf", "semrec", "shine", "ksr", "eium", "dkn", "kar")
"""Models that need ratings, times or texts, which only MovieLens has: titles and genres are its texts."""
PEERS = {
    "bpr": "BPR",
    "lightgcn": "LightGCN",
    "cke": "CKE",
    "kgat": "KGAT",
    "kgin": "KGIN",
    "kgcn": "KGCN",
    "ripplenet": "RippleNet",
}
SAME: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bpr": ({"batch_size": 2048, "sample_by": "interaction"}, {}),
    "lightgcn": ({"sample_by": "interaction"}, {}),
    "cke": ({"sample_by": "interaction"}, {}),
    "kgat": ({"batch_size": 2048, "sample_by": "interaction", "layers": (64,)}, {}),
    "kgin": (
        {
            "batch_size": 2048,
            "n_layers": 2,
            "message_dropout": 0.0,
            "edge_dropout": 0.5,
            "interaction_dropout": 0.0,
            "inverse": False,
            "independence": "cosine",
            "warm_only": False,
        },
        {},
    ),
    "kgcn": ({"batch_size": 2048, "dim": 16}, {"embedding_size": 16}),
    "ripplenet": (
        {"batch_size": 2048, "dim": 16, "inverse": False, "warm_only": False},
        {"embedding_size": 16},
    ),
    "kar": ({"backbone": "deepfm"}, {}),
}
"""Settings beside the defaults, ours and RecBole's: batches of RecBole's size, drawn as it draws them, each
interaction once; its depth for KGAT and KGIN; its direction of triples and negatives for RippleNet and KGIN,
its dropout and measure of independence for KGIN; and widths at which its RippleNet is trained in minutes."""


def main() -> None:
    """Train what is not there yet, compare, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--datasets", nargs="*", default=["music", "movielens"])
    parser.add_argument("--models", nargs="*", default=[*BASELINES, *KNOWLEDGE, *WITH_MORE])
    parser.add_argument("--side", choices=["both", "ours", "peer", "none"], default="both")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name in asked.datasets:
        data = data_folder(asked.data)
        folder = prepare(name, data, asked.work)
        for model in asked.models:
            if model in WITH_MORE and name != "movielens":
                continue
            if asked.side in ("both", "ours") and model in MODELS:
                _ours(folder, name, model, asked.work, data)
            if asked.side in ("both", "peer") and model in PEERS and asked.peer_python is not None:
                _peer(folder, name, model, asked.work, asked.peer_python)
        found[name] = _compare(folder, name, asked.work)
        print(table(found[name]["rows"], name))
    if asked.side in ("both", "none"):
        result = {
            "protocol": " ".join((__doc__ or "").split("Run ``")[0].split()),
            "budget": f"{len(RATES)} learning rates {RATES}, at most {EPOCHS} epochs, a look every {EVERY},"
            f" over after {PATIENCE} without a better one",
            "machine": describe_machine(["torch", "numpy", "scipy"]),
            "settings": {name: {"ours": ours, "RecBole": peer} for name, (ours, peer) in SAME.items()},
            "datasets": found,
        }
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _ours(folder: Path, dataset: str, model: str, work: Path, data: Path) -> None:
    path = work / f"{dataset} {model}.json"
    if path.is_file():
        return
    entry = MODELS[model]
    split, graph = load(folder, with_graph=entry.needs_graph or entry.uses_graph)
    side = None
    if model in WITH_MORE:
        split, side = _with_more(split, data / "rec" / "ml-100k", work)
    options = Options(EPOCHS, EVERY, PATIENCE, seed=SEED, device="cpu")
    fixed, spent, best = dict(SAME.get(model, ({}, {}))[0]), dict[str, Any](), None
    with timed(spent):
        if entry.by_gradient:
            for rate in RATES:
                settings = {**fixed, "learning_rate": rate}
                trained = train(model, split, graph, side=side, model_options=settings, options=options)
                print(f"  {dataset} {model} {rate}: {trained.best_validation}", file=sys.stderr, flush=True)
                if best is None or (trained.best_validation or 0) > (best.best_validation or 0):
                    best = trained
        else:
            if model != "popularity":
                space_of(model)
                trials = search(model, split, graph, n_trials=2 * len(RATES), side=side, options=options)
                fixed = dict(trials[0].settings)
            best = train(model, split, graph, side=side, model_options=fixed, options=options)
    assert best is not None
    ranking = evaluate(best.model, split.test, seen=[split.train, split.validation], seed=SEED)
    users, items = split.train.user_ids, split.train.item_ids
    lists = {
        users[u]: [items[i] for i in row if i >= 0]
        for u, row in zip(ranking.users, ranking.lists.tolist(), strict=True)
    }
    rate = getattr(best.config, "learning_rate", None)
    kept = {"rate": rate, "settings": fixed, "best_epoch": best.best_epoch, **spent}
    path.write_text(json.dumps({**kept, "lists": lists}), encoding="utf-8")


def _with_more(split: Split, folder: Path, work: Path) -> tuple[Split, SideData]:
    """The same split with times, and the ratings, texts and their vectors beside it."""
    rated = read_interactions(folder / "ml-100k.inter", catalogue=split.train.item_ids)
    rated = rated.over(split.train.user_ids, split.train.item_ids)
    assert rated.time is not None
    place = [np.searchsorted(rated.keys, part.keys) for part in (split.train, split.validation, split.test)]
    timed_split = Split(*(rated.select(rows) for rows in place))
    lines = (folder / "ml-100k.item").read_text(encoding="utf-8").splitlines()[1:]
    said = {fields[0]: f"{fields[1]}, {fields[3]}" for fields in (line.split("\t") for line in lines)}
    texts = tuple(said.get(item, "") for item in split.train.item_ids)
    encoder = CachedEncoder(SentenceEncoder(device="cpu"), work / "vectors")
    try:
        vectors = np.asarray(encoder.encode(list(texts)), dtype=np.float32)
    finally:
        encoder.close()
    users = mean_vectors(vectors, timed_split.train)
    return timed_split, SideData(rated, item_texts=texts, item_vectors=vectors, user_vectors=users)


def _peer(folder: Path, dataset: str, model: str, work: Path, python: Path) -> None:
    path = work / f"{dataset} RecBole {model}.json"
    if path.is_file():
        return
    more = SAME.get(model, ({}, {}))[1]
    request = {
        "model": PEERS[model],
        "folder": str(folder.resolve()),
        "needs_graph": MODELS[model].needs_graph,
        "trials": [{"learning_rate": rate, **more} for rate in RATES],
        "epochs": EPOCHS,
        "every": EVERY,
        "patience": PATIENCE,
    }
    asked = work / "request.json"
    asked.write_text(json.dumps(request), encoding="utf-8")
    command = [str(python), str(HERE / "recbole_quality.py"), str(asked), str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _compare(folder: Path, dataset: str, work: Path) -> dict[str, Any]:
    split, _ = load(folder, with_graph=False)
    values: dict[str, dict[str, Values]] = {}
    notes: dict[str, dict[str, Any]] = {}
    for path in sorted(work.glob(f"{dataset} *.json")):
        name = path.stem.removeprefix(f"{dataset} ")
        found = json.loads(path.read_text(encoding="utf-8"))
        values[name] = _judge(found.pop("lists"), split)
        notes[name] = found
    rows = []
    for name, measured in values.items():
        row: dict[str, Any] = {"model": name}
        for metric, one in measured.items():
            row[f"{metric}@20"] = round(float(one.mean()), 4)
        for label, other in (
            ("over RecBole's", f"RecBole {name}"),
            ("over ease", "ease"),
            ("over bpr", "bpr"),
        ):
            row[label] = "" if other == name or other not in values else _gain(measured, values[other])
        rows.append(row)
    rows.sort(key=lambda row: -float(row["ndcg@20"]))
    counts = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    return {"counts": counts, "rows": rows, "chosen": notes}


def _judge(lists: Mapping[str, list[str]], split: Split) -> dict[str, Values]:
    """NDCG@20 and recall@20 of every tested user, in the order of the users."""
    test: Interactions = split.test
    dense = {item: number for number, item in enumerate(test.item_ids)}
    indptr, items = test.by_user()
    users = np.unique(test.user)
    hits = np.zeros((len(users), 20), dtype=bool)
    for place, user in enumerate(users):
        mine = items[indptr[user] : indptr[user + 1]]
        shown = [dense.get(item, -1) for item in lists.get(test.user_ids[user], [])[:20]]
        hits[place, : len(shown)] = np.isin(shown, mine)
    n_relevant = np.diff(indptr)[users]
    return {"ndcg": ndcg(hits, n_relevant), "recall": recall(hits, n_relevant)}


def _gain(ours: Mapping[str, Values], theirs: Mapping[str, Values]) -> str:
    return interval_text(paired_difference(ours["ndcg"], theirs["ndcg"], np.random.default_rng(0)))


if __name__ == "__main__":
    main()
