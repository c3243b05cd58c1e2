"""The one loop that trains every model: epochs, validation, early stop, checkpoints, the record of the run.

A run folder holds ``config.json`` (what was asked), ``environment.json`` (what it ran on),
``metrics.jsonl`` (one line per validation) and ``checkpoint/``. A run that was stopped goes on from its
checkpoint and ends in the same numbers as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kg.errors import TrainingError, UsageError
from recommender.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, write_json
from recommender.environment import describe_environment
from recommender.evaluate import evaluate, held_out_auc
from recommender.graph import JointGraph
from recommender.models.base import Recommender, SideData, TrainingData, Vectors
from recommender.models.gradient import GradientRecommender
from recommender.models.registry import NEEDS, ModelEntry, find_model
from recommender.splits import Split

Metric = Literal["ndcg@20", "recall@20", "auc"]


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, whatever the model."""

    epochs: int | None = None
    """At most this many; the model's own default where not given."""
    evaluate_every: int = 5
    patience: int = 10
    """Stop after this many validations without a better one (KGAT's authors: 10, ten epochs apart)."""
    metric: Metric = "ndcg@20"
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a callback is told after each epoch; ``validation`` is known after a validation."""

    epoch: int
    n_epochs: int
    losses: Mapping[str, float]
    seconds: float
    validation: float | None = None
    best: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The model with its best weights, and how it got there."""

    model: Recommender
    name: str
    config: Any
    best_epoch: int
    best_validation: float | None
    seconds: float
    history: tuple[dict[str, Any], ...] = field(default=())


def train(
    name: str,
    split: Split,
    graph: JointGraph | None = None,
    *,
    model_options: Mapping[str, Any] | None = None,
    options: Options | None = None,
    side: SideData | None = None,
    initial: Vectors | None = None,
    validate: Callable[[Recommender], float] | None = None,
    run_folder: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a model by name on the training part of ``split``; the validation part chooses the epoch.

    ``side`` is what some models use beside these; ``initial`` gives vectors to start from, where the model
    takes them. ``validate`` judges the model in place of ``options.metric`` on the validation part, higher is
    better: to rank only some items, say. With ``run_folder`` the run is recorded there, and continues where
    an earlier, stopped run of the same
    settings left off. Raises :class:`~kg.errors.UsageError` for settings that make no sense and
    :class:`~kg.errors.TrainingError` where the loss is no longer a number.
    """
    entry, options = find_model(name), options or Options()
    config = entry.configure(model_options)
    data = _training_data(entry, split, graph, side or SideData())
    if not entry.by_gradient:
        started = time.perf_counter()
        return Trained(
            entry.model_class()(data, config), name, config, 0, None, time.perf_counter() - started
        )
    generator = torch.Generator(device=find_device(options.device)).manual_seed(options.seed)
    arguments = {} if initial is None else {"initial": initial}
    model = entry.model_class()(data, config, generator, **arguments)
    loop = _Loop(name, model, data, split, options, validate, run_folder, progress or (lambda _: None))
    return loop.run()


def _training_data(entry: ModelEntry, split: Split, graph: JointGraph | None, side: SideData) -> TrainingData:
    given = {
        "graph": graph is not None,
        "times": split.train.time is not None,
        "ratings": side.rated is not None,
        "item_texts": side.item_texts is not None,
        "item_vectors": side.item_vectors is not None,
        "user_vectors": side.user_vectors is not None,
        "friends": side.friends is not None,
    }
    for need in sorted(entry.needs):
        if not given[need]:
            raise UsageError(f"{entry.name} needs {NEEDS[need]}.", hint="Give it, or train bpr or lightgcn.")
    if side.rated is not None:
        held_out = np.concatenate([split.validation.keys, split.test.keys])
        side = replace(side, rated=side.rated.select(~np.isin(side.rated.keys, held_out)))
    wanted = entry.needs_graph or entry.uses_graph
    return TrainingData(split.train, graph if wanted else None, side)


def find_device(name: str) -> torch.device:
    """The device of a name: ``auto`` takes CUDA where there is one.

    Raises :class:`~kg.errors.UsageError` where the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available.", hint="Use device auto or cpu.")
    try:
        return torch.device(name)
    except RuntimeError:
        raise UsageError(f"there is no device {name!r}.", hint="Use auto, cpu or cuda.") from None


class _Loop:
    def __init__(
        self,
        name: str,
        model: GradientRecommender,
        data: TrainingData,
        split: Split,
        options: Options,
        validate: Callable[[Recommender], float] | None,
        folder: Path | None,
        progress: Callable[[Progress], None],
    ) -> None:
        self.name, self.model, self.data, self.split, self.options = name, model, data, split, options
        self.validate, self.folder, self.progress = validate, folder, progress
        self.metric = options.metric if validate is None else "custom"
        self.rng = np.random.default_rng(options.seed)
        self.n_epochs = model.config.epochs if options.epochs is None else options.epochs
        self.optimisers = {phase: _adam(model) for phase in model.phases}
        self.epoch, self.bad, self.seconds = 0, 0, 0.0
        self.best: float | None = None
        self.best_epoch = 0
        self.best_weights = _copy(model)
        self.history: list[dict[str, Any]] = []

    def run(self) -> Trained:
        self._open_folder()
        while self.epoch < self.n_epochs and self.bad < self.options.patience:
            self._one_epoch()
        if self.best is not None:
            self.model.load_state_dict(self.best_weights)
            if self.best_epoch:
                self.model.refresh()
        self.model.eval()
        return Trained(
            self.model,
            self.name,
            self.model.config,
            self.best_epoch,
            self.best,
            self.seconds,
            tuple(self.history),
        )

    def _one_epoch(self) -> None:
        started = time.perf_counter()
        losses = self._descend()
        self.model.refresh()
        self.epoch += 1
        validation = None
        last = self.epoch == self.n_epochs
        can_validate = self.validate is not None or len(self.split.validation) > 0
        if can_validate and (last or self.epoch % self.options.evaluate_every == 0):
            validation = self._validate()
            self._keep_if_better(validation)
        elif last:
            self.best_epoch, self.best_weights = self.epoch, _copy(self.model)
        seconds = time.perf_counter() - started
        self.seconds += seconds
        if validation is not None or last:
            self._record(losses, validation)
        self.progress(Progress(self.epoch, self.n_epochs, losses, seconds, validation, self.best))

    def _descend(self) -> dict[str, float]:
        self.model.train()
        totals: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for step, (phase, loss) in enumerate(self.model.losses(self.rng)):
            optimiser = self.optimisers[phase]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            self.model.after_step(phase)
            totals[phase] = totals.get(phase, 0) + loss.detach()
            counts[phase] = counts.get(phase, 0) + 1
            if step % 64 == 0:
                self._refuse_no_number(phase, totals[phase], step)
        losses = {phase: float(total) / counts[phase] for phase, total in totals.items()}
        for phase, loss_mean in losses.items():
            self._refuse_no_number(phase, loss_mean, counts[phase])
        return losses

    def _refuse_no_number(self, phase: str, loss: Tensor | float, step: int) -> None:
        if math.isfinite(float(loss)):
            return
        kept = self.folder is not None and self.epoch > 0
        raise TrainingError(
            f"the {phase} loss of {self.name} is no number any more in epoch {self.epoch + 1}, at step {step}"
            " or a few before it.",
            where=None if self.folder is None else str(self.folder),
            hint=("The checkpoint of the last good epoch is kept. " if kept else "")
            + f"Lower learning_rate (it is {self.model.config.learning_rate:g}).",
        )

    def _validate(self) -> float:
        self.model.eval()
        if self.validate is not None:
            return self.validate(self.model)
        if self.options.metric == "auc":
            return held_out_auc(self.model, self.split.validation, seen=[self.split.train])
        figures = evaluate(self.model, self.split.validation, seen=[self.split.train]).figures()
        return figures[self.options.metric]

    def _keep_if_better(self, validation: float) -> None:
        if self.best is None or validation > self.best:
            self.best, self.best_epoch, self.bad = validation, self.epoch, 0
            self.best_weights = _copy(self.model)
        else:
            self.bad += 1

    def _record(self, losses: dict[str, float], validation: float | None) -> None:
        line: dict[str, Any] = {"epoch": self.epoch}
        line |= {f"train/{phase}": loss for phase, loss in losses.items()}
        if validation is not None:
            line[f"validation/{self.metric}"] = validation
        self.history.append(line)
        if self.folder is not None:
            save_checkpoint(self.folder / "checkpoint", self._checkpoint())
            lines = "".join(json.dumps(entry) + "\n" for entry in self.history)
            (self.folder / "metrics.jsonl").write_text(lines, encoding="utf-8")

    def _checkpoint(self) -> Checkpoint:
        progress = {
            "epoch": self.epoch,
            "bad": self.bad,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            "rng": self.rng.bit_generator.state,
            "history": self.history,
        }
        return Checkpoint(
            _copy(self.model),
            self.best_weights,
            {phase: optimiser.state_dict()["state"] for phase, optimiser in self.optimisers.items()},
            self.model.generator.get_state(),
            progress,
        )

    def _open_folder(self) -> None:
        if self.folder is None:
            return
        settings = {
            "model": self.name,
            "config": asdict(self.model.config),  # type: ignore[call-overload]
            "options": asdict(self.options),
            "data": _fingerprint(self.data),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        earlier = load_checkpoint(self.folder, settings, self.model.device)
        write_json(self.folder / "config.json", settings)
        write_json(self.folder / "environment.json", describe_environment())
        if earlier is not None:
            self._resume(earlier)

    def _resume(self, earlier: Checkpoint) -> None:
        progress = earlier.progress
        self.epoch, self.bad = progress["epoch"], progress["bad"]
        self.best, self.best_epoch = progress["best"], progress["best_epoch"]
        self.seconds, self.history = progress["seconds"], list(progress["history"])
        self.rng.bit_generator.state = progress["rng"]
        self.model.load_state_dict(earlier.weights)
        self.best_weights = earlier.best_weights
        for phase, optimiser in self.optimisers.items():
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": earlier.optimisers.get(phase, {}), "param_groups": groups})
        self.model.generator.set_state(earlier.generator)
        self.model.refresh()


def _fingerprint(data: TrainingData) -> str:
    """What a model sees, as a hash: a run is never continued on other data."""
    digest = hashlib.blake2b(digest_size=16)
    arrays = [data.train.keys]
    if data.graph is not None:
        arrays += [data.graph.indptr, data.graph.tail, data.graph.relation]
    for array in arrays:
        digest.update(len(array).to_bytes(8, "little") + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _adam(model: GradientRecommender) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=model.config.learning_rate, fused=True)


def _copy(model: GradientRecommender) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
