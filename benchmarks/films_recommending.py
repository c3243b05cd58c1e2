"""Warm and cold recommendation on MovieLens-100K with the graph that was extracted from text."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.films_graph import workspace_of
from benchmarks.machine import timed
from extraction.linking import load_links
from kg.snapshot import Snapshot
from recommender.data.interactions import Interactions
from recommender.data.readers import read_interactions
from recommender.data.splits import Split, last_split, random_split, time_split
from recommender.evaluation.evaluate import Ranking, evaluate
from recommender.graph.joint import JointGraph
from recommender.models.base import Vectors
from recommender.training.train import Options, Progress, train

POSITIVE_FROM = 4.0
SPLITS = {
    "random": "a random fifth of each user's positives held out, half of it for validation",
    "last": "the last fifth of each user's positives in time held out, its earlier half for validation",
}


@dataclass(frozen=True)
class Contender:
    """A model, the most epochs that it may take, its settings, and whether it starts from BPR's vectors."""

    model: str
    epochs: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    from_bpr: bool = False


CONTENDERS = {
    "popularity": Contender("popularity", 0),
    "bpr": Contender("bpr", 200),
    "lightgcn": Contender("lightgcn", 400),
    "kgat": Contender("kgat", 120, {"batch_size": 2048}),
    "kgat from bpr": Contender("kgat", 30, {"batch_size": 2048, "learning_rate": 1e-4}, from_bpr=True),
}
"""The most epochs of BPR and LightGCN are their defaults, which take less time than what KGAT may. The last
row starts and steps as KGAT's authors do."""
EVALUATE_EVERY = 5
PATIENCE = 4
SEED = 0


def warm(work: Path, data: Path) -> dict[str, Any]:
    """Train the four models on a random and a time split and compare them user by user."""
    torch.set_num_threads(1)
    interactions = read_ratings(data)
    links, snapshot = read_graph(work)
    near = around_items(snapshot, set(links.values()))
    found: dict[str, Any] = {
        "interactions": len(interactions),
        "users": interactions.n_users,
        "items": interactions.n_items,
        "linked_items": sum(item in links for item in interactions.item_ids),
        "budget": {name: one.epochs for name, one in CONTENDERS.items()},
        "stopping": f"NDCG@20 every {EVALUATE_EVERY} epochs, over after {PATIENCE} without a better one",
        "settings": {name: dict(one.settings) for name, one in CONTENDERS.items() if one.settings},
        "snapshot": sizes(snapshot),
        "graph_used": {"what": "the facts of the linked films", **sizes(near)},
        "splits": {},
    }
    splits = {
        "random": random_split(interactions, np.random.default_rng(SEED)),
        "last": last_split(interactions),
    }
    known = of_known_users(time_split(interactions))
    found["cut_at_one_moment"] = {
        "tested_users_with_history": len(np.unique(known.test.user)),
        "why_not_used": "almost everyone rated within a few days, so hardly a user is on both sides",
    }
    for name, split in splits.items():
        graph = JointGraph.build(split, near, links)
        found["splits"][name] = _compare(SPLITS[name], split, graph, work / "runs" / name)
    found["kgat_on_the_whole_graph"] = _epoch_on(snapshot, splits["random"], links)
    return found


def read_ratings(data: Path) -> Interactions:
    """Ratings of 4 and 5 with their times."""
    return read_interactions(data / "rec" / "ml-100k" / "ml-100k.inter", positive_from=POSITIVE_FROM)


def read_graph(work: Path) -> tuple[dict[str, str], Snapshot]:
    """Item to canonical entity, and the graph frozen."""
    workspace = workspace_of(work)
    with workspace.ledger() as ledger:
        links = {one.item: ledger.canonical(one.entity) for one in load_links(workspace.links_path)}
        return links, Snapshot.of(ledger)


def around_items(snapshot: Snapshot, films: set[str]) -> Snapshot:
    """The facts that begin or end at one of the films, with the entities that they name."""
    dense = {identity: number for number, identity in enumerate(snapshot.entity_ids)}
    chosen = np.zeros(snapshot.n_entities, dtype=bool)
    chosen[[dense[film] for film in films if film in dense]] = True
    kept = np.flatnonzero(chosen[snapshot.triples[:, 0]] | chosen[snapshot.triples[:, 2]])
    return part_of(snapshot, snapshot.triples[kept], kept, chosen)


def part_of(snapshot: Snapshot, triples: Any, rows: Any, always: Any = None) -> Snapshot:
    """A snapshot of these triples; ``rows`` says which of the original stand behind them."""
    used = np.zeros(snapshot.n_entities, dtype=bool) if always is None else always.copy()
    used[triples[:, 0]] = used[triples[:, 2]] = True
    entities = np.flatnonzero(used)
    moved = np.cumsum(used) - 1
    triples = np.stack([moved[triples[:, 0]], triples[:, 1], moved[triples[:, 2]]], axis=1)
    order = np.lexsort(triples.T[::-1])
    return Snapshot.from_arrays(
        [snapshot.entity_ids[number] for number in entities],
        [snapshot.entity_names[number] for number in entities],
        [snapshot.entity_types[number] for number in entities],
        snapshot.relation_names,
        triples[order],
        snapshot.confidence[rows][order],
        snapshot.support[rows][order],
        [snapshot.edge_ids[row] for row in rows[order]],
        version=snapshot.version,
    )


def sizes(snapshot: Snapshot) -> dict[str, int]:
    return {
        "entities": snapshot.n_entities,
        "relations": snapshot.n_relations,
        "triples": len(snapshot.triples),
    }


def of_known_users(split: Split) -> Split:
    """Without the held-out pairs of users who have nothing in training: nobody can know their taste."""
    known = np.bincount(split.train.user, minlength=split.train.n_users) > 0
    validation, test = (part.select(known[part.user]) for part in (split.validation, split.test))
    return Split(split.train, validation, test)


def _compare(what: str, split: Split, graph: JointGraph, folder: Path) -> dict[str, Any]:
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    found: dict[str, Any] = {"what": what, **{part: len(pairs) for part, pairs in parts.items()}}
    found["joint_graph"] = {"nodes": graph.n_nodes, "edges": graph.n_edges, "linked": graph.n_linked_items}
    rankings: dict[str, Ranking] = {}
    rows: list[dict[str, Any]] = []
    start: Vectors | None = None
    for name, one in CONTENDERS.items():
        times: dict[str, Any] = {}
        options = Options(one.epochs, EVALUATE_EVERY, PATIENCE, seed=SEED, device="cpu")
        with timed(times):
            trained = train(
                one.model,
                split,
                graph=graph,
                model_options=one.settings,
                options=options,
                initial=start if one.from_bpr else None,
                run_folder=folder / name.replace(" ", "-"),
                progress=_show(name),
            )
        start = trained.model.vectors() if name == "bpr" else start
        rankings[name] = evaluate(trained.model, split.test, seen=[split.train, split.validation], seed=SEED)
        rows.append({"model": name, **_figures(rankings[name]), "best_epoch": trained.best_epoch,
                     "epochs": trained.history[-1]["epoch"] if trained.history else 0,
                     "seconds": round(trained.seconds, 1), **times})  # fmt: skip
    found["tested_users"] = len(rankings["popularity"].users)
    found["rows"] = rows
    found["differences"] = [
        {
            "difference": f"{ours} - {theirs}",
            **{
                f"{metric}@20": interval_text(
                    rankings[ours].gain_over(rankings[theirs], metric, np.random.default_rng(0))
                )
                for metric in ("ndcg", "recall")
            },
        }
        for ours in ("kgat", "kgat from bpr")
        for theirs in ("popularity", "bpr", "lightgcn")
    ]
    return found


def _figures(ranking: Ranking) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in ("ndcg", "recall"):
        interval = ranking.interval(metric, np.random.default_rng(0))
        found[f"{metric}@20"] = round(interval.mean, 4)
        found[f"{metric}@20 95%"] = f"{interval.low:.4f} to {interval.high:.4f}"
    return {**found, "coverage@20": round(ranking.coverage, 4)}


def interval_text(interval: Any) -> str:
    """A mean difference with its interval."""
    return f"{interval.mean:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"


def _epoch_on(snapshot: Snapshot, split: Split, links: Mapping[str, str]) -> dict[str, Any]:
    """One epoch of KGAT on everything that was ingested: what it would cost not to choose a part."""
    graph = JointGraph.build(split, snapshot, links)
    found: dict[str, Any] = {"nodes": graph.n_nodes, "edges": graph.n_edges}
    with timed(found, "one_epoch"):
        train("kgat", split, graph=graph, options=Options(epochs=1, device="cpu"))
    return found


def _show(model: str) -> Any:
    def show(so_far: Progress) -> None:
        if so_far.validation is not None:
            print(f"  {model} epoch {so_far.epoch}: {so_far.validation:.4f}, {so_far.seconds:.1f} s",
                  file=sys.stderr, flush=True)  # fmt: skip

    return show
