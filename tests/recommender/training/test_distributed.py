"""Two processes train one model together, over Gloo."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kg.errors import ConfigurationError, TrainingError, UsageError
from recommender.data.splits import random_split
from recommender.evaluation.evaluate import pair_auc
from recommender.graph.joint import JointGraph
from recommender.training.descent import Descent
from recommender.training.distributed import join, joined, ray_trainer, train_on_workers
from recommender.training.train import Options, Progress, train
from recommender.training.workers import Workers
from tests.recommender.planting import KGAT
from tests.recommender.tiny import fitted, tiny
from tests.worlds import planted_world

CPU = torch.device("cpu")
TWO = Options(epochs=4, evaluate_every=2, device="cpu")


RUNS = {
    "averaged": ("kgat", 4),
    "not averaged": ("kgat", 4),
    "whole": ("kgcl", 4),
    "parts": ("kgcl", 2),
    "parts resumed": ("kgcl", 4),
}


def _train_and_tell(rank: int, folder: Path) -> None:
    """What each of two processes does: all runs, one after another, noting sums of weights."""
    torch.set_num_threads(1)
    seen: list[float] = []
    _note_weights(seen)
    split, graph, side = tiny()
    told = {}
    with joined(rank, 2, f"file://{folder}/meeting", CPU) as workers:
        for run, (name, epochs) in RUNS.items():
            seen.clear()
            one = Workers(workers.rank, workers.size)
            if run == "not averaged":
                one.average = lambda gradients: None  # type: ignore[method-assign]
            where = folder / run.split()[0]
            options = Options(epochs=epochs, evaluate_every=2, device="cpu")
            model = train(name, split, graph, side=side, options=options, workers=one, run_folder=where).model
            weights = {key: value.tolist() for key, value in model.state_dict().items()}
            told[run] = {"epochs": list(seen), "weights": weights}
    (folder / f"{rank}.json").write_text(json.dumps(told))


def _note_weights(seen: list[float]) -> None:
    """Have the sum of the weights put into ``seen`` after each epoch of this process."""
    epoch = Descent.epoch

    def noting(self: Descent, rng: np.random.Generator) -> dict[str, float]:
        losses = epoch(self, rng)
        seen.append(float(sum(value.double().sum() for value in self._model.state_dict().values())))
        return losses

    Descent.epoch = noting  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """The folder of the runs, and what each process wrote down."""
    folder = tmp_path_factory.mktemp("workers")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_train_and_tell, args=(rank, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=200)
    assert [process.exitcode for process in processes] == [0, 0]
    first, second = (json.loads((folder / f"{rank}.json").read_text()) for rank in range(2))
    return folder, first, second


def test_both_workers_keep_the_same_weights(told: tuple[Path, Any, Any]) -> None:
    _, first, second = told
    assert len(first["averaged"]["epochs"]) == 2  # four epochs, two at a time
    assert first["averaged"] == second["averaged"]


def test_without_averaging_they_drift_apart(told: tuple[Path, Any, Any]) -> None:
    _, first, second = told
    assert first["not averaged"]["epochs"] != second["not averaged"]["epochs"]


def test_only_the_first_worker_records_and_a_resumed_run_repeats(told: tuple[Path, Any, Any]) -> None:
    folder, first, second = told
    assert (
        first["parts resumed"]["weights"] == second["parts resumed"]["weights"] == first["whole"]["weights"]
    )
    for one in (first, second):
        assert one["parts"]["epochs"] + one["parts resumed"]["epochs"] == one["whole"]["epochs"]
    for run in ("whole", "parts"):
        lines = [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [2, 4]


@pytest.mark.planted
def test_two_workers_find_cold_items_as_one_does(tmp_path: Path) -> None:
    world = planted_world(0)
    split = random_split(world.split.train, np.random.default_rng(0), (0.9, 0.1, 0.0))
    graph = JointGraph.build(split, world.graph, world.links)
    seen: list[Progress] = []
    options = Options(epochs=40, evaluate_every=10, device="cpu")
    found = train_on_workers(
        2,
        "kgat",
        split,
        graph,
        model_options={**KGAT, "batch_size": 512},
        options=options,
        run_folder=tmp_path,
        progress=seen.append,
    )
    alone = train("kgat", split, graph, model_options=KGAT, options=options).model
    cold = [
        pair_auc(model, world.cold.users, world.cold.items, world.cold.labels)
        for model in (found.model, alone)
    ]
    print(f"cold AUC on two workers {cold[0]:.3f}, on one {cold[1]:.3f}")
    assert cold[0] >= 0.8
    assert cold[0] == pytest.approx(cold[1], abs=0.08)
    assert [step.epoch for step in seen] == list(range(2, 41, 2))
    assert [line["epoch"] for line in found.history] == [10, 20, 30, 40]


def test_a_worker_that_ends_early_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    split, graph, side = tiny()
    monkeypatch.setattr("recommender.training.distributed._work", _ends_after_meeting)
    with pytest.raises(TrainingError, match="another worker has ended"):
        train_on_workers(2, "bpr", split, graph, side=side, options=TWO)


def _ends_after_meeting(rank: int, size: int, meeting: str, *_: Any) -> None:
    with joined(rank, size, meeting, CPU):
        pass


def test_one_worker_is_as_none() -> None:
    split, graph, side = tiny()
    options = Options(epochs=2, evaluate_every=1, device="cpu")
    found = train_on_workers(1, "bpr", split, graph, side=side, options=options)
    assert found.history == fitted("bpr").history


def test_wrong_numbers_and_places() -> None:
    split, _, _ = tiny()
    with pytest.raises(UsageError, match="there cannot be 0 workers"):
        train_on_workers(0, "bpr", split)
    with pytest.raises(UsageError, match="no worker of a group"):
        join().__enter__()


class _Apart(Workers):
    def _gather(self, number: int) -> list[int]:
        return [number, 1]


def test_workers_in_different_phases_are_refused() -> None:
    assert _Apart(0, 2).all_at(1)
    with pytest.raises(TrainingError, match=r"different phases of the epoch: \[0, 1\]"):
        _Apart(0, 2).all_at(0)


SCRIPT = """
from pathlib import Path
import sys
from recommender.training.descent import Descent
from recommender.training.distributed import join
from recommender.training.train import Options, train
from tests.recommender.tiny import tiny

def threads():
    names = [comm.read_text() for comm in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]

split, graph, side = tiny()
options = Options(epochs=4, evaluate_every=2, device="cpu")
folder = Path(sys.argv[1])
with join() as workers:
    found = train("bpr", split, graph, side=side, options=options, workers=workers, run_folder=folder)
    assert threads() or not Path("/proc/self/task").exists()
Path(folder, f"{workers.rank}-of-{workers.size}").write_text(repr(found.model.users.tolist()))
assert not threads(), f"threads that may abort the process at its end: {threads()}"
"""


@pytest.mark.slow
def test_torchrun_starts_workers(tmp_path: Path) -> None:
    script = tmp_path / "training.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).parents[3]
    environment = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, str(script), str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "0-of-2").read_text() == (tmp_path / "1-of-2").read_text()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(ConfigurationError, match=r"loregraph\[ray\]"):
        ray_trainer(2, "bpr", tiny()[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_trains_on_two_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    split, graph, side = tiny()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        how = {"side": side, "options": TWO, "run_folder": tmp_path / "run"}
        ray_trainer(2, "bpr", split, graph, **how).fit()
    finally:
        ray.shutdown()
    record = (tmp_path / "run" / "metrics.jsonl").read_text()
    found = train("bpr", split, graph, side=side, options=TWO, run_folder=tmp_path / "run")
    assert [line["epoch"] for line in found.history] == [2, 4]
    assert [json.loads(line) for line in record.splitlines()] == list(found.history)
