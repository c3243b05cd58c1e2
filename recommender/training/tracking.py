"""Where the figures of a run are written: JSON lines in its folder, and what people watch runs with.

A figure's name is ``train/<phase>`` or ``validation/<metric>``, its step the epoch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from kg.errors import ConfigurationError

Line = Mapping[str, Any]
"""``epoch`` and figures by name."""


class Tracker(Protocol):
    """What is told the figures of a run."""

    def open(self, settings: Mapping[str, Any], earlier: Sequence[Line]) -> None:
        """A run of these settings begins; a resumed one has earlier lines."""

    def add(self, line: Line) -> None:
        """The figures of an epoch."""

    def close(self) -> None:
        """The run has ended, well or not."""


class JsonLines:
    """One line of JSON for each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, settings: Mapping[str, Any], earlier: Sequence[Line]) -> None:
        """See :class:`Tracker`: the file is brought to where the run goes on."""
        self._path.write_text("".join(json.dumps(line) + "\n" for line in earlier), encoding="utf-8")

    def add(self, line: Line) -> None:
        """See :class:`Tracker`."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """See :class:`Tracker`."""


class TensorBoard:
    """Event files in a folder for ``tensorboard --logdir``; needs ``tensorboard``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _module("tensorboard", "tensorboard")
        self._writer: Any = None

    def open(self, settings: Mapping[str, Any], earlier: Sequence[Line]) -> None:
        """See :class:`Tracker`: of a resumed run, what came after its checkpoint is no longer shown."""
        writing = _module("torch.utils.tensorboard", "tensorboard")
        after = earlier[-1]["epoch"] + 1 if earlier else None
        self._writer = writing.SummaryWriter(str(self._folder), purge_step=after)
        self._writer.add_text("settings", f"```\n{json.dumps(settings, indent=2)}\n```")

    def add(self, line: Line) -> None:
        """See :class:`Tracker`."""
        for name, value in _figures(line).items():
            self._writer.add_scalar(name, value, line["epoch"])

    def close(self) -> None:
        """See :class:`Tracker`."""
        if self._writer is not None:
            self._writer.close()


class Mlflow:
    """A run of an MLflow experiment, kept at ``uri``: a server, or a file as ``sqlite:///PATH``.

    Needs ``mlflow-skinny``, for a file also ``sqlalchemy`` and ``alembic``. A resumed run is a new run there,
    with the earlier figures in it.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        # Otherwise the package reports its own use to its makers.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._client = _module("mlflow.tracking", "MLflow").MlflowClient(tracking_uri=uri)
        self._experiment = experiment
        self._run = ""

    def open(self, settings: Mapping[str, Any], earlier: Sequence[Line]) -> None:
        """See :class:`Tracker`."""
        found = self._client.get_experiment_by_name(self._experiment)
        identity = self._client.create_experiment(self._experiment) if found is None else found.experiment_id
        self._run = self._client.create_run(identity, run_name=settings["model"]).info.run_id
        for part in ("config", "options"):
            for name, value in settings[part].items():
                self._client.log_param(self._run, f"{part}.{name}", value)
        for line in earlier:
            self.add(line)

    def add(self, line: Line) -> None:
        """See :class:`Tracker`."""
        for name, value in _figures(line).items():
            self._client.log_metric(self._run, name, value, step=line["epoch"])

    def close(self) -> None:
        """See :class:`Tracker`."""
        if self._run:
            self._client.set_terminated(self._run)


def _figures(line: Line) -> dict[str, float]:
    return {name.replace("@", "_at_"): float(value) for name, value in line.items() if name != "epoch"}


def _module(name: str, package: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ConfigurationError(
            f"{package} is not installed.", hint="Run pip install 'loregraph[track]'."
        ) from None
