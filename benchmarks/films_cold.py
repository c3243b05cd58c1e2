"""Cold items with the graph that was extracted from text: the rows of ``cold_items.py`` and KGAT."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

from benchmarks import cold_items
from benchmarks.cold_items import ColdSplit, Floats
from benchmarks.films_corpus import read_leads
from benchmarks.films_recommending import (
    around_items,
    interval_text,
    part_of,
    read_graph,
    read_ratings,
    sizes,
)
from kg.snapshot import Snapshot
from language.encoder import CachedEncoder, SentenceEncoder
from recommender.data.interactions import Interactions
from recommender.data.splits import hold_out_items
from recommender.evaluation.metrics import bootstrap_interval
from recommender.graph.joint import JointGraph
from recommender.models.base import TrainingData, Vectors
from recommender.models.registry import find_model

KGAT_EPOCHS = 60
KGAT_EVERY = 10
KGAT_CHOICE = (
    f"up to {KGAT_EPOCHS}, one look in {KGAT_EVERY}, chosen on warm items held out as if cold; "
    "the shuffled graph gets as many"
)
KGAT_SETTINGS: Mapping[str, Any] = {"warm_only": True}
COMPARED = (
    ("ridge from graph and text", "ridge from the text"),
    ("ridge from graph and text", "ridge from shuffled graph and text"),
    ("ridge from graph and text, weighting chosen", "ridge from the text"),
    ("ridge from graph and text, weighting chosen", "ridge from shuffled graph and text"),
    ("ridge from the graph, weighting chosen", "ridge from the shuffled graph"),
    ("lead text kNN + graph kNN", "lead text, MiniLM kNN"),
    ("KGAT", "KGAT, shuffled graph"),
    ("KGAT", "ridge from the text"),
)


def cold(work: Path, data: Path, n_seeds: int) -> dict[str, Any]:
    """Every row on every seed, with what was chosen on warm items, and paired differences over users."""
    torch.set_num_threads(1)
    leads = read_leads(data)
    items = [lead["movielens_id"] for lead in leads]
    links, snapshot = read_graph(work)
    links = {item: links[item] for item in items if item in links}
    near = around_items(snapshot, set(links.values()))
    shared = shared_facts(near)
    ratings = _of_items(read_ratings(data), items)
    positives, order = _matrix(ratings, items)
    graph = item_entities(near, items, links)
    plots, texts = _vectors(work, data, leads)
    found: dict[str, Any] = {
        "items": len(items),
        "users": positives.shape[0],
        "positives": int(positives.nnz),
        "linked_items": len(links),
        "links_an_item": round(graph.nnz / len(items), 2),
        "graph": sizes(near),
        "kgat": {"settings": dict(KGAT_SETTINGS), "graph": sizes(shared), "epochs": KGAT_CHOICE},
        "seeds": {},
    }
    values: dict[str, list[dict[str, Floats]]] = {}
    for seed in range(n_seeds):
        split = cold_items.split(positives, seed)
        shuffled = _permuted(links, seed)
        kgat = _Kgat(ratings, shared, order, seed)
        rows = {
            **cold_items.neighbour_rows(plots, texts, graph),
            **cold_items.ridge_rows(texts, graph, item_entities(near, items, shuffled)),
            "KGAT": kgat.row(links),
            "KGAT, shuffled graph": kgat.row(shuffled),
        }
        found["seeds"][str(seed)] = _one_seed(rows, split, seed, values, work / "cold")
    shutil.rmtree(work / "cold")
    found["rows"] = [_row(name, per_seed) for name, per_seed in values.items()]
    found["differences"] = {
        f"{one} - {other}": _difference(values[one], values[other]) for one, other in COMPARED
    }
    return found


def item_entities(snapshot: Snapshot, items: list[str], links: Mapping[str, str]) -> sparse.csr_matrix:
    """Which entities each item's film has a fact with: [n_items, n_entities] of ones."""
    dense = {identity: number for number, identity in enumerate(snapshot.entity_ids)}
    film = np.asarray([dense.get(links.get(item, ""), -1) for item in items])
    ones = np.ones(2 * len(snapshot.triples))
    head, tail = snapshot.triples[:, 0], snapshot.triples[:, 2]
    both = (np.concatenate([head, tail]), np.concatenate([tail, head]))
    beside = sparse.csr_matrix((ones, both), shape=(snapshot.n_entities, snapshot.n_entities))
    rows: sparse.csr_matrix = (beside[film] > 0).astype(float)
    return (sparse.diags((film >= 0).astype(float)) @ rows).tocsr()


def shared_facts(snapshot: Snapshot) -> Snapshot:
    """The facts whose object stands in another fact too: the others join no two items."""
    frequency = np.bincount(snapshot.triples[:, 2], minlength=snapshot.n_entities)
    kept = np.flatnonzero(frequency[snapshot.triples[:, 2]] > 1)
    return part_of(snapshot, snapshot.triples[kept], kept)


def _one_seed(
    rows: Mapping[str, cold_items.Row],
    split: ColdSplit,
    seed: int,
    values: dict[str, list[dict[str, Floats]]],
    folder: Path,
) -> dict[str, Any]:
    """Every row of one seed; a row that a killed run had done is read from the folder."""
    found: dict[str, Any] = {"cold_items": int(split.cold.sum()), "chosen": {}}
    folder.mkdir(exist_ok=True)
    for name, row in rows.items():
        path = folder / f"{seed} {name}.json"
        if not path.is_file():
            scores, chosen = row(split, np.random.default_rng(seed))
            lists = {metric: users.tolist() for metric, users in cold_items.evaluate(scores, split).items()}
            path.write_text(json.dumps({"measured": lists, "chosen": chosen}), encoding="utf-8")
        done = json.loads(path.read_text(encoding="utf-8"))
        measured = {metric: np.asarray(users) for metric, users in done["measured"].items()}
        values.setdefault(name, []).append(measured)
        if done["chosen"]:
            found["chosen"][name] = done["chosen"]
        ndcg = measured["ndcg"].mean()
        print(f"  seed {seed} {name}: {ndcg:.4f} {done['chosen'] or ''}", file=sys.stderr, flush=True)
    found["users"] = len(measured["user"])
    return found


def _row(name: str, per_seed: list[dict[str, Floats]]) -> dict[str, Any]:
    ndcg, recall = ([float(one[metric].mean()) for one in per_seed] for metric in ("ndcg", "recall"))
    published = cold_items.PUBLISHED.get(name, (None, None))
    return {
        "row": name,
        "ndcg@20": round(float(np.mean(ndcg)), 4),
        "recall@20": round(float(np.mean(recall)), 4),
        "by seed": " ".join(f"{value:.3f}" for value in ndcg),
        "report's ndcg@20": published[0],
        "report's recall@20": published[1],
    }


def _difference(ours: list[dict[str, Floats]], theirs: list[dict[str, Floats]]) -> str:
    """Of NDCG@20, each user's mean over the seeds in which he is tested; users are what is resampled."""
    users = np.concatenate([one["user"] for one in ours])
    gained = np.concatenate([one["ndcg"] - other["ndcg"] for one, other in zip(ours, theirs, strict=True)])
    counts = np.bincount(users.astype(int))
    means = np.bincount(users.astype(int), gained)[counts > 0] / counts[counts > 0]
    return interval_text(bootstrap_interval(means, np.random.default_rng(0)))


class _Kgat:
    """KGAT on the warm interactions and the graph of one seed; held-out warm items choose the epochs once."""

    def __init__(self, ratings: Interactions, graph: Snapshot, order: Any, seed: int) -> None:
        self._ratings, self._graph, self._order, self._seed = ratings, graph, order, seed
        self._chosen: dict[str, Any] = {}

    def row(self, links: Mapping[str, str]) -> cold_items.Row:
        """The row that reads the graph by these links; the first one to be asked chooses for all."""

        def scored(data: ColdSplit, _: np.random.Generator) -> tuple[Floats, dict[str, Any]]:
            if not self._chosen:
                self._choose(links, data)
            known = _by_dense(data.known, self._order)
            epochs = self._chosen["epochs"]
            vectors = fit_kgat(self._ratings, self._graph, links, known, self._seed, epochs)
            return _scores(vectors, self._order), self._chosen

        return scored

    def _choose(self, links: Mapping[str, str], data: ColdSplit) -> None:
        inner = cold_items.inner_split(data, 0)
        curve: dict[int, float] = {}

        def look(epoch: int, vectors: Vectors) -> None:
            ndcg = cold_items.evaluate(_scores(vectors, self._order), inner)["ndcg"]
            curve[epoch] = round(float(ndcg.mean()), 4)
            print(f"    epoch {epoch}: {curve[epoch]}", file=sys.stderr, flush=True)

        known = _by_dense(inner.known, self._order)
        fit_kgat(self._ratings, self._graph, links, known, self._seed, KGAT_EPOCHS, look)
        self._chosen = {"epochs": max(curve, key=lambda epoch: (curve[epoch], -epoch)), "validation": curve}


def fit_kgat(
    ratings: Interactions,
    snapshot: Snapshot,
    links: Mapping[str, str],
    known: Any,
    seed: int,
    epochs: int,
    look: Callable[[int, Vectors], None] | None = None,
) -> Vectors:
    """Train on the interactions of the known items ([n_items], dense ids) for so many epochs.

    The project's loop chooses an epoch by ranking all items; here only held-out ones are ranked, so this loop
    lets ``look`` judge the vectors.
    """
    split = hold_out_items(ratings, ~known, np.random.default_rng(seed), validation_share=0.0)
    entry = find_model("kgat")
    data = TrainingData(split.train, JointGraph.build(split, snapshot, links))
    generator = torch.Generator().manual_seed(seed)
    model = entry.model_class()(data, entry.configure(KGAT_SETTINGS), generator)
    rates = model.config.learning_rate
    optimisers = {phase: torch.optim.Adam(model.parameters(), lr=rates) for phase in model.phases}
    rng = np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        model.train()
        for phase, loss in model.losses(rng):
            optimisers[phase].zero_grad(set_to_none=True)
            loss.backward()
            optimisers[phase].step()
        model.refresh()
        if look is not None and epoch % KGAT_EVERY == 0:
            look(epoch, model.vectors())
    vectors: Vectors = model.vectors()
    return vectors


def _scores(vectors: Vectors, order: Any) -> Floats:
    scores: Floats = (vectors.user @ vectors.item[order].T).astype(float)
    return scores


def _by_dense(mask: Any, order: Any) -> Any:
    """A mask over the items in increasing id, as one over their dense ids."""
    moved = np.empty_like(mask)
    moved[order] = mask
    return moved


def _of_items(ratings: Interactions, items: list[str]) -> Interactions:
    wanted = np.isin(np.asarray(ratings.item_ids), items)[ratings.item]
    users = [ratings.user_ids[number] for number in ratings.user[wanted]]
    had = [ratings.item_ids[number] for number in ratings.item[wanted]]
    return Interactions.of(users, had, catalogue=items)


def _matrix(ratings: Interactions, items: list[str]) -> tuple[sparse.csr_matrix, Any]:
    """Users × items in increasing id, and the dense id of each item."""
    dense = {item: number for number, item in enumerate(ratings.item_ids)}
    order = np.asarray([dense[item] for item in items])
    cells = (np.ones(len(ratings)), (ratings.user, ratings.item))
    matrix = sparse.csr_matrix(cells, shape=(ratings.n_users, ratings.n_items))
    return matrix[:, order].tocsr(), order


def _permuted(links: Mapping[str, str], seed: int) -> dict[str, str]:
    """The control: every linked item gets the film of another one."""
    entities = np.random.default_rng([10_007, seed]).permutation(np.asarray(list(links.values())))
    return dict(zip(links, entities.tolist(), strict=True))


def _vectors(work: Path, data: Path, leads: list[dict[str, Any]]) -> tuple[Floats, Floats]:
    """MiniLM vectors of the plot sentences and of the lead texts."""
    path = data / "rec" / "ml-100k" / "items_info.json"
    plots = {row["movielens_id"]: row["plot"] for row in json.loads(path.read_text(encoding="utf-8"))}
    encoder = CachedEncoder(SentenceEncoder(device="cpu"), work / "vectors")
    try:
        found = [
            encoder.encode([plots.get(lead["movielens_id"]) or lead["title"] for lead in leads]),
            encoder.encode([lead["text"] for lead in leads]),
        ]
    finally:
        encoder.close()
    return found[0].astype(float), found[1].astype(float)
