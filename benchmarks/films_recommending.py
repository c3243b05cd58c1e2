"""Warm and cold recommendation on MovieLens-100K with the graph that was extracted from text."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.films_graph import workspace_of
from benchmarks.machine import timed
from extraction.linking import load_links
from kg.snapshot import Snapshot
from recommender.data import Interactions
from recommender.evaluate import Ranking, evaluate
from recommender.graph import JointGraph
from recommender.models.base import Vectors
from recommender.readers import read_interactions
from recommender.splits import Split, last_split, random_split, time_split
from recommender.training import Options, Progress, train

POSITIVE_FROM = 4.0
SPLITS = {
    "random": "a random fifth of each user's positives held out, half of it for validation",
    "last": "the last fifth of each user's positives in time held out, its earlier half for validation",
}
EPOCHS = {"popularity": 0, "bpr": 200, "lightgcn": 400, "kgat": 40}
"""The most that each may take: the defaults of BPR and LightGCN, which then take less time than KGAT's 40."""
MODELS = tuple(EPOCHS)
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
        "budget": f"at most {EPOCHS} epochs, one validation by NDCG@20 in {EVALUATE_EVERY}, stopped after "
        f"{PATIENCE} without a better one; KGAT starts from BPR's vectors, as its authors' does",
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
        found["splits"][name] = _compare(name, split, graph, work)
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


def _compare(name: str, split: Split, graph: JointGraph, work: Path) -> dict[str, Any]:
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    found: dict[str, Any] = {"what": SPLITS[name], **{part: len(pairs) for part, pairs in parts.items()}}
    found["joint_graph"] = {"nodes": graph.n_nodes, "edges": graph.n_edges, "linked": graph.n_linked_items}
    rankings: dict[str, Ranking] = {}
    rows: list[dict[str, Any]] = []
    start: Vectors | None = None
    for model in MODELS:
        times: dict[str, Any] = {}
        with timed(times):
            trained = train(
                model,
                split,
                graph=graph,
                options=Options(
                    epochs=EPOCHS[model],
                    evaluate_every=EVALUATE_EVERY,
                    patience=PATIENCE,
                    seed=SEED,
                    device="cpu",
                ),
                initial=start if model == "kgat" else None,
                run_folder=work / "runs" / f"{name}-{model}",
                progress=_show(model),
            )
        start = trained.model.vectors() if model == "bpr" else start
        rankings[model] = evaluate(trained.model, split.test, seen=[split.train, split.validation], seed=SEED)
        rows.append({"model": model, **_figures(rankings[model]), "best_epoch": trained.best_epoch,
                     "epochs": trained.history[-1]["epoch"] if trained.history else 0,
                     "seconds": round(trained.seconds, 1), **times})  # fmt: skip
    found["tested_users"] = len(rankings["popularity"].users)
    found["rows"] = rows
    found["kgat_minus"] = {
        model: {
            metric: interval_text(
                rankings["kgat"].gain_over(rankings[model], metric, np.random.default_rng(0))
            )
            for metric in ("ndcg", "recall")
        }
        for model in MODELS[:-1]
    }
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
