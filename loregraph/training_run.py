"""``lore train``: interactions and graph to a tested bundle, with the baselines of the same split."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kg.errors import ConfigurationError, UsageError
from loregraph.workspace import LATEST, Workspace
from recommender.models.registry import find_model
from recommender.readers import read_interactions

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger
    from kg.snapshot import Snapshot
    from recommender.data import Interactions
    from recommender.evaluate import Ranking
    from recommender.graph import JointGraph
    from recommender.splits import Split
    from recommender.training import Progress, Trained

BASELINES = ("popularity", "bpr")
"""What stands beside every model: what most users had, and matrix factorisation."""

HOPS_AT_MOST = 3
"""Entities farther from every item reach no item through the three layers that models have."""

SHOWN_METRICS = ("ndcg", "recall", "hit")
_BUNDLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SPLITS = ("random", "last", "time")


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What to train, and on what."""

    model: str
    interactions: Path
    positive_from: float | None = None
    split: str = "random"
    epochs: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    name: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The test figures, one row a model, and where the bundle is."""

    rows: list[dict[str, Any]]
    bundle: Path


def train_bundle(
    workspace: Workspace, request: TrainingRequest, progress: Callable[[str], None]
) -> TrainingReport:
    """Train, choose the epoch on validation, test once beside the baselines, and write the bundle.

    Raises :class:`~kg.errors.ConfigurationError` where a model that needs the graph finds no linked item,
    :class:`~kg.errors.InputError` for unusable interactions, :class:`~kg.errors.TrainingError` where training
    cannot go on.
    """
    entry = find_model(request.model)
    entry.configure(request.settings)  # a wrong setting is told before anything is read
    name = request.name or request.model
    if _BUNDLE_NAME.fullmatch(name) is None or name == LATEST:
        raise UsageError(f"{name!r} is no name for a bundle.", hint="Use letters, digits, dots, - and _.")
    with workspace.ledger() as ledger:
        links = workspace.links(ledger)
        if entry.needs_graph and not links:
            raise ConfigurationError(
                f"{request.model} needs items that are linked to the graph.",
                where=str(workspace.links_path),
                hint="Run `lore link ITEMS` first.",
            )
        interactions = read_interactions(
            request.interactions, positive_from=request.positive_from, catalogue=sorted(links)
        )
        split = _split(interactions, request)
        snapshot, graph = _graph(ledger, split, links)
    rankings: dict[str, Ranking] = {}
    trained = None
    for one in [*(baseline for baseline in BASELINES if baseline != request.model), request.model]:
        trained = _train(one, split, graph, workspace, request, progress)
        rankings[one] = _test(trained, split, request.seed)
    assert trained is not None
    rows = _rows(rankings, request.model, request.seed)
    path = workspace.bundles_path / name
    _write(path, trained, interactions, snapshot, graph, {"rows": rows, "split": request.split})
    workspace.latest_path.write_text(path.name + "\n", encoding="utf-8")
    return TrainingReport(rows, path)


def figures_of(bundle: Path) -> list[dict[str, Any]]:
    """The test figures that a bundle carries, its baselines' among them.

    Raises :class:`~kg.errors.BundleError` where the bundle cannot be read.
    """
    from recommender.bundle import open_bundle

    rows: list[dict[str, Any]] = open_bundle(bundle).metrics["rows"]
    return rows


def _split(interactions: Interactions, request: TrainingRequest) -> Split:
    from recommender.splits import last_split, random_split, time_split

    if request.split == "random":
        return random_split(interactions, np.random.default_rng(request.seed))
    if request.split in ("last", "time"):
        return (last_split if request.split == "last" else time_split)(interactions)
    raise UsageError(f"there is no split {request.split!r}.", hint=f"Known: {', '.join(SPLITS)}.")


def _graph(
    ledger: Ledger, split: Split, links: Mapping[str, str]
) -> tuple[Snapshot | None, JointGraph | None]:
    from kg.snapshot import Snapshot
    from recommender.graph import JointGraph

    if not links:
        return None, None
    snapshot = Snapshot.of(ledger)
    return snapshot, JointGraph.build(split, snapshot, links, within_hops=HOPS_AT_MOST)


def _train(
    name: str,
    split: Split,
    graph: JointGraph | None,
    workspace: Workspace,
    request: TrainingRequest,
    progress: Callable[[str], None],
) -> Trained:
    import torch

    from recommender.training import Options, train

    torch.set_num_threads(request.threads)

    def show(so_far: Progress) -> None:
        best = "" if so_far.best is None else f", best validation {so_far.best:.4f}"
        progress(f"{name}: epoch {so_far.epoch}/{so_far.n_epochs}{best}")

    options = Options(
        epochs=request.epochs if name == request.model else None, seed=request.seed, device=request.device
    )
    run = workspace.root / "runs" / f"{name}-{_fingerprint(split, graph, request)[:12]}"
    settings = request.settings if name == request.model else None
    trained = train(
        name, split, graph=graph, model_options=settings, options=options, run_folder=run, progress=show
    )
    # The record of the run stays; the weights are in the bundle.
    shutil.rmtree(run / "checkpoint", ignore_errors=True)
    return trained


def _fingerprint(split: Split, graph: JointGraph | None, request: TrainingRequest) -> str:
    """What a run depends on: an interrupted run is only continued on the very same data."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (split.train, split.validation, split.test):
        digest.update(part.keys.tobytes())
    if graph is not None:
        for array in (graph.indptr, graph.tail, graph.relation):
            digest.update(array.tobytes())
    asked = (request.seed, request.epochs, request.device, sorted(request.settings.items()))
    digest.update(repr(asked).encode())
    return digest.hexdigest()


def _test(trained: Trained, split: Split, seed: int) -> Ranking:
    from recommender.evaluate import evaluate

    return evaluate(trained.model, split.test, seen=[split.train, split.validation], seed=seed)


def _rows(rankings: Mapping[str, Ranking], model: str, seed: int) -> list[dict[str, Any]]:
    rows = []
    for name, ranking in rankings.items():
        rng = np.random.default_rng(seed)
        row: dict[str, Any] = {"model": name}
        for metric in SHOWN_METRICS:
            found = ranking.interval(metric, rng)
            row[f"{metric}@{ranking.k}"] = round(found.mean, 4)
            row[f"{metric}@{ranking.k} 95%"] = f"{found.low:.4f}-{found.high:.4f}"
        row[f"coverage@{ranking.k}"] = round(ranking.coverage, 4)
        gain = None if name == model else rankings[model].gain_over(ranking, "ndcg", rng)
        row[f"{model} gains"] = (
            "" if gain is None else f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
        )
        rows.append(row)
    return rows


def _write(
    path: Path,
    trained: Trained,
    interactions: Interactions,
    snapshot: Snapshot | None,
    graph: JointGraph | None,
    metrics: Mapping[str, Any],
) -> None:
    from recommender.packing import pack

    path.parent.mkdir(parents=True, exist_ok=True)
    pack(trained, interactions, graph=graph, snapshot=snapshot, metrics=metrics).write(path)
