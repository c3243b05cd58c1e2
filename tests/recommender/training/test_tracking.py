"""What the trackers were told is read back with the packages that people read it with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kg.errors import ConfigurationError
from recommender.training.tracking import Mlflow, TensorBoard, Tracker
from recommender.training.train import Options, Trained, train
from tests.recommender.tiny import tiny


def run(trackers: list[Tracker], folder: Path | None = None, epochs: int = 4) -> Trained:
    split, graph, side = tiny()
    options = Options(epochs=epochs, evaluate_every=1, device="cpu")
    return train("bpr", split, graph, side=side, options=options, trackers=trackers, run_folder=folder)


def of_history(trained: Trained) -> dict[str, list[tuple[int, float]]]:
    names = [name for name in trained.history[0] if name != "epoch"]
    return {
        name.replace("@", "_at_"): [(line["epoch"], line[name]) for line in trained.history] for name in names
    }


def from_tensorboard(folder: Path) -> dict[str, Any]:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def from_mlflow(uri: str, run_number: int = 0) -> tuple[dict[str, Any], Any]:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("recommenders")
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])[run_number]
    return {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }, found


def test_tensorboard_shows_the_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trained = run([TensorBoard(tmp_path)])
    assert from_tensorboard(tmp_path) == of_history(trained)


def test_tensorboard_goes_on_where_a_resumed_run_does(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run([TensorBoard(tmp_path / "events")], tmp_path / "run", epochs=2)
    trained = run([TensorBoard(tmp_path / "events")], tmp_path / "run")
    assert from_tensorboard(tmp_path / "events") == of_history(trained)


@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # MLflow's use of SQLAlchemy
def test_mlflow_keeps_figures_and_settings(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    trained = run([Mlflow(uri, "recommenders")])
    figures, found = from_mlflow(uri)
    assert figures == of_history(trained)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "bpr"
    assert found.data.params["config.dim"] == "64"
    assert found.data.params["options.epochs"] == "4"


def test_json_lines_of_a_resumed_run_are_those_of_an_unbroken_one(tmp_path: Path) -> None:
    run([], tmp_path / "parts", epochs=2)
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "tr')  # stopped while it wrote
    trained = run([], tmp_path / "parts")
    lines = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(trained.history)


class _Counting:
    opened = closed = 0

    def open(self, settings: Any, earlier: Any) -> None:
        self.opened += 1

    def add(self, line: Any) -> None:
        raise KeyboardInterrupt

    def close(self) -> None:
        self.closed += 1


def test_trackers_are_closed_whatever_happens() -> None:
    tracker = _Counting()
    with pytest.raises(KeyboardInterrupt):
        run([tracker])
    assert (tracker.opened, tracker.closed) == (1, 1)


@pytest.mark.parametrize(
    ("module", "make"),
    [
        ("tensorboard", TensorBoard),
        ("mlflow.tracking", lambda folder: Mlflow(f"sqlite:///{folder}/mlflow.db", "recommenders")),
    ],
)
def test_a_missing_package_is_told_before_the_training(
    module: str, make: Callable[[Path], Tracker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"loregraph\[track\]"):
        make(tmp_path)
