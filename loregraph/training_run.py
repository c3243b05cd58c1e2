"""``lore train``: interactions and graph to a tested bundle, with the baselines of the same split."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kg.errors import UsageError
from loregraph.figures import beyond_accuracy, model_rows, slice_rows
from loregraph.runs import make_tracker, runs_folder
from loregraph.side_data import SideSources, gather
from loregraph.training_data import Ground, Source
from loregraph.workspace import LATEST, Workspace
from recommender.models.registry import find_model

if TYPE_CHECKING:
    from recommender.data.splits import Split
    from recommender.evaluation.evaluate import Ranking
    from recommender.graph.joint import JointGraph
    from recommender.models.base import SideData
    from recommender.training.run import Options, Precision, Progress, Trained

BASELINES = ("popularity", "ease", "bpr")
"""What stands beside every model: what most users had, the best linear model, and matrix factorisation."""

_BUNDLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What to train, and on what: a file of interactions, or a dataset that brings its own graph."""

    model: str
    interactions: Path | None = None
    dataset: Path | None = None
    positive_from: float | None = None
    split: str = "random"
    epochs: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    name: str | None = None
    side: SideSources = field(default_factory=SideSources)
    trials: int = 0
    precision: Precision = "float32"
    accumulate: int = 1
    workers: int = 1
    tracker: str | None = None

    def source(self) -> Source:
        """What of it says where the data come from."""
        return Source(self.interactions, self.dataset, self.positive_from, self.split, self.seed)


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The test figures, one row a model, what the data is like, where the bundle is, settings searched.

    ``notes`` says what of a dataset was not read, and how a language model was asked.
    """

    rows: list[dict[str, Any]]
    data: Mapping[str, Any]
    bundle: Path
    found: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def train_bundle(
    workspace: Workspace, request: TrainingRequest, progress: Callable[[str], None]
) -> TrainingReport:
    """Train, choose the epoch on validation, test once beside the baselines, and write the bundle.

    Raises what :meth:`~loregraph.training_data.Source.read` raises, and :class:`~kg.errors.TrainingError`
    where training cannot go on.
    """
    from recommender.data.report import describe, describe_split

    entry = find_model(request.model)
    entry.configure(request.settings)  # what is wrong is told before anything is read
    request.side.check(entry)
    name = request.name or request.model
    if _BUNDLE_NAME.fullmatch(name) is None or name == LATEST:
        raise UsageError(f"{name!r} is no name for a bundle.", hint="Use letters, digits, dots, - and _.")
    ground = request.source().read(workspace, entry)
    split, graph = ground.split, ground.graph
    side, notes = gather(entry, workspace, ground, request.side)
    found = _search(split, graph, side, request, progress)
    request = replace(request, settings={**request.settings, **found})
    rankings: dict[str, Ranking] = {}
    trained = None
    for one in [*(baseline for baseline in BASELINES if baseline != request.model), request.model]:
        trained = _train(one, split, graph, side, workspace, request, progress)
        rankings[one] = _test(trained, split, request.seed)
    assert trained is not None
    rows = model_rows(rankings, split, request.model, request.seed)
    data = {**describe(ground.interactions), **describe_split(split)}
    metrics = {
        "rows": rows,
        "beyond": beyond_accuracy(
            rankings[request.model], rankings["popularity"], trained.model, split, graph, request.seed
        ),
        "slices": slice_rows(rankings[request.model], trained.model, split, request.seed),
        "split": ground.split_name,
        "data": data,
    }
    path = workspace.bundles_path / name
    _write(path, trained, ground, metrics)
    workspace.latest_path.write_text(path.name + "\n", encoding="utf-8")
    return TrainingReport(rows, data, path, found, (*ground.notes, *notes))


def metrics_of(bundle: Path) -> Mapping[str, Any]:
    """What a bundle keeps of its test: ``rows`` of models, ``slices``, the ``split``, and the ``data``.

    Raises :class:`~kg.errors.BundleError` where the bundle cannot be read.
    """
    from recommender.serving.bundle import open_bundle

    return open_bundle(bundle).metrics


def _search(
    split: Split,
    graph: JointGraph | None,
    side: SideData,
    request: TrainingRequest,
    progress: Callable[[str], None],
) -> Mapping[str, Any]:
    """The best settings of as many trials as were asked for; what somebody set stays."""
    if not request.trials:
        return {}
    import torch

    from recommender.training.search import Trial, search

    torch.set_num_threads(request.threads)

    def show(number: int, trial: Trial) -> None:
        progress(f"{request.model}: trial {number}/{request.trials}, validation {trial.validation:.4f}")

    trials = search(
        request.model,
        split,
        graph,
        n_trials=request.trials,
        side=side,
        fixed=request.settings,
        options=_options(request),
        progress=show,
    )
    return trials[0].settings


def _train(
    name: str,
    split: Split,
    graph: JointGraph | None,
    side: SideData,
    workspace: Workspace,
    request: TrainingRequest,
    progress: Callable[[str], None],
) -> Trained:
    import torch

    from recommender.training.distributed import train_on_workers

    torch.set_num_threads(request.threads)

    def show(so_far: Progress) -> None:
        best = "" if so_far.best is None else f", best validation {so_far.best:.4f}"
        progress(f"{name}: epoch {so_far.epoch}/{so_far.n_epochs}{best}")

    epochs = request.epochs if name == request.model else None
    options = replace(_options(request), epochs=epochs)
    run = runs_folder(workspace) / f"{name}-{_fingerprint(split, graph, side, request)[:12]}"
    settings = request.settings if name == request.model else None
    trained = train_on_workers(
        request.workers if name == request.model else 1,
        name,
        split,
        graph=graph,
        side=side,
        model_options=settings,
        options=options,
        run_folder=run,
        progress=show,
        trackers=[] if request.tracker is None else [make_tracker(request.tracker, workspace, run)],
    )
    # The record of the run stays; the weights are in the bundle.
    shutil.rmtree(run / "checkpoint", ignore_errors=True)
    return trained


def _options(request: TrainingRequest) -> Options:
    from recommender.training.train import Options

    return Options(
        epochs=request.epochs,
        seed=request.seed,
        device=request.device,
        precision=request.precision,
        accumulate=request.accumulate,
    )


def _fingerprint(split: Split, graph: JointGraph | None, side: SideData, request: TrainingRequest) -> str:
    """What a run depends on: an interrupted run is only continued on the very same data."""
    from recommender.training.fingerprint import fingerprint

    asked = (_options(request), sorted(request.settings.items()))
    return fingerprint(split.train, split.validation, split.test, graph, side, asked)


def _test(trained: Trained, split: Split, seed: int) -> Ranking:
    from recommender.evaluation.evaluate import evaluate

    return evaluate(trained.model, split.test, seen=[split.train, split.validation], seed=seed)


def _write(
    path: Path,
    trained: Trained,
    ground: Ground,
    metrics: Mapping[str, Any],
) -> None:
    from recommender.serving.packing import pack

    path.parent.mkdir(parents=True, exist_ok=True)
    bundle = pack(trained, ground.interactions, graph=ground.graph, snapshot=ground.snapshot, metrics=metrics)
    bundle.write(path)
