"""This project's half of ``speed.py``: one measurement in a process of its own, for its peak memory.

    python benchmarks/recommender/speed_ours.py REQUEST.json ANSWER.json

An epoch is what ``recommender.training`` does in one: drawing, losses, gradients, optimiser, refresh; without
validation, checkpoint and record. It is run whole.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from benchmarks.recommender import datasets
from recommender.data.splits import Split
from recommender.evaluation.evaluate import evaluate
from recommender.models.base import TrainingData, Vectors
from recommender.models.gradient import GradientRecommender
from recommender.models.registry import find_model


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    Path(sys.argv[2]).write_text(json.dumps(measure(request)), encoding="utf-8")


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Prepare, then measure what is asked, with the memory of each part."""
    answer: dict[str, Any] = {"import_mb": peak_mb()}
    started = time.process_time()
    if request["what"] == "vectors":
        split, _ = datasets.load(Path(request["folder"]), with_graph=False)
        rng = np.random.default_rng(0)
        shape = (request["dim"],)
        vectors = Vectors(
            *(
                rng.standard_normal((n, *shape), np.float32)
                for n in (split.train.n_users, split.train.n_items)
            )
        )
        scorer: Any = _Fixed(vectors)
    else:
        split, scorer = _model(request, answer)
    answer["prepare_cpu_s"] = round(time.process_time() - started, 2)
    prepared = peak_mb()
    forget_peak()
    if request["what"] == "epoch":
        answer |= epochs(scorer, request["epochs"])
    else:
        answer |= rank(scorer, split)
    answer["running_peak_mb"] = peak_mb()
    answer["peak_mb"] = max(prepared, answer["running_peak_mb"])
    return answer


def _model(request: dict[str, Any], answer: dict[str, Any]) -> tuple[Split, GradientRecommender]:
    entry = find_model(request["model"])
    split, graph = datasets.load(Path(request["folder"]), with_graph=entry.needs_graph)
    config = entry.configure(request.get("options"))
    model = entry.model_class()(TrainingData(split.train, graph), config, torch.Generator().manual_seed(0))
    answer["counts"] = {
        "users": split.train.n_users,
        "items": split.train.n_items,
        "train_pairs": len(split.train),
    }
    if graph is not None:
        answer["counts"]["triples"] = int((graph.triple >= 0).sum()) // 2
        answer["counts"]["edges"] = graph.n_edges
    answer["settings"] = {name: getattr(config, name) for name in config.__dataclass_fields__}
    answer["packages"] = {name: version(name) for name in ("torch", "numpy", "scipy")}
    return split, model


def epochs(model: GradientRecommender, n_epochs: int) -> dict[str, Any]:
    """Run whole epochs; the one that took least counts, phase by phase."""
    rng = np.random.default_rng(0)
    optimisers = {
        phase: torch.optim.Adam(model.parameters(), lr=model.config.learning_rate, fused=True)
        for phase in model.phases
    }
    model.train()
    found: list[dict[str, Any]] = []
    for _ in range(n_epochs):
        wall = time.perf_counter()
        phases: dict[str, int] = {}
        seconds: dict[str, float] = {}
        moment = begun = time.process_time()
        for phase, loss in model.losses(rng):
            optimisers[phase].zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimisers[phase].step()
            model.after_step(phase)
            now = time.process_time()
            phases[phase] = phases.get(phase, 0) + 1
            seconds[phase] = seconds.get(phase, 0.0) + now - moment
            moment = now
        model.refresh()
        ended = time.process_time()
        rows = {
            phase: {"batches": phases[phase], "phase_cpu_s": round(seconds[phase], 3)} for phase in phases
        }
        rows["refresh"] = {"phase_cpu_s": round(ended - moment, 3)}
        found.append(
            {
                "cpu_s": round(ended - begun, 4),
                "wall_s": round(time.perf_counter() - wall, 3),
                "phases": rows,
                "last_loss": round(float(loss.detach()), 5),
            }
        )
    best = min(found, key=lambda row: row["cpu_s"])
    return {**best, "epochs_timed": n_epochs, "epoch_cpu_s": [row["cpu_s"] for row in found]}


def rank(scorer: Any, split: Split) -> dict[str, Any]:
    """Rank all items for every test user, as ``lore evaluate`` does."""
    answer: dict[str, Any] = {}
    with clocked(answer):
        ranking = evaluate(scorer, split.test, seen=(split.train, split.validation))
    figures = {name: round(value, 5) for name, value in ranking.figures().items()}
    return {**answer, "users": len(ranking.users), "found": figures}


class _Fixed:
    """A recommender that is its vectors."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def vectors(self) -> Vectors:
        return self._vectors


@contextmanager
def clocked(into: dict[str, Any]) -> Iterator[None]:
    """CPU and wall seconds of the block."""
    started, wall = time.process_time(), time.perf_counter()
    yield
    into["cpu_s"] = round(time.process_time() - started, 3)
    into["wall_s"] = round(time.perf_counter() - wall, 3)


def peak_mb() -> int:
    """The most memory that this process has held since :func:`forget_peak`, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def forget_peak() -> None:
    """Let the peak start anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


if __name__ == "__main__":
    main()
