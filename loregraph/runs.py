"""The folder of training runs: which one is meant, and where else their figures go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from kg.errors import UsageError
from loregraph.workspace import Workspace

if TYPE_CHECKING:
    from recommender.training.run import Precision
    from recommender.training.tracking import Tracker

TRACKERS = ("tensorboard", "mlflow")
_EXPERIMENT = "recommenders"


def runs_folder(workspace: Workspace) -> Path:
    """One folder for each run, named by its model and a hash of what it depends on."""
    return workspace.root / "runs"


def find_run(workspace: Workspace, named: str | None) -> Path:
    """The run of a name, or of a model's name the last one; without a name the last of all.

    Raises :class:`~kg.errors.UsageError` where there is none.
    """
    runs = sorted(runs_folder(workspace).glob("*/metrics.jsonl"), key=lambda record: record.stat().st_mtime)
    names = [record.parent.name for record in runs]
    fitting = [name for name in names if named is None or name == named or name.rsplit("-", 1)[0] == named]
    if not fitting:
        raise UsageError(
            "there is no run yet." if not names else f"there is no run {named!r}.",
            where=str(runs_folder(workspace)),
            hint=f"Choose one of {', '.join(names)}." if names else "Train a model with `lore train`.",
        )
    return runs_folder(workspace) / fitting[-1]


def make_tracker(name: str, workspace: Workspace, run: Path) -> Tracker:
    """TensorBoard in the run's folder, or MLflow where ``MLFLOW_TRACKING_URI`` says, else in the workspace.

    Raises :class:`~kg.errors.UsageError` for another name and :class:`~kg.errors.ConfigurationError` where
    the package is not installed.
    """
    from recommender.training.tracking import Mlflow, TensorBoard

    if name == "tensorboard":
        return TensorBoard(run / "tensorboard")
    if name == "mlflow":
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.root / 'mlflow.db'}"
        return Mlflow(uri, _EXPERIMENT)
    raise UsageError(f"there is no tracker {name!r}.", hint=f"Use {' or '.join(TRACKERS)}.")


def parse_precision(name: str) -> Precision:
    """The precision of a name. Raises :class:`~kg.errors.UsageError` for another."""
    from recommender.training.run import Precision

    for precision in get_args(Precision):
        if name == precision:
            known: Precision = precision
            return known
    raise UsageError(f"there is no precision {name!r}.", hint=f"Use {' or '.join(get_args(Precision))}.")
