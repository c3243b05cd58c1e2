"""The epochs of a run: validation, early stop, checkpoints, the record, and what happens when one fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from torch import Tensor

from kg.errors import TrainingError
from recommender.data.splits import Split
from recommender.evaluation.evaluate import evaluate, held_out_auc
from recommender.models.base import Recommender, TrainingData
from recommender.models.gradient import GradientRecommender
from recommender.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, write_json
from recommender.training.descent import Descent, NoNumber, is_out_of_memory, what_to_lower
from recommender.training.environment import describe_environment
from recommender.training.fingerprint import fingerprint
from recommender.training.run import Options, Progress, Trained
from recommender.training.tracking import JsonLines, Tracker
from recommender.training.workers import Workers


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Who judges, records, listens and trains along."""

    validate: Callable[[Recommender], float] | None
    folder: Path | None
    progress: Callable[[Progress], None]
    trackers: Sequence[Tracker]
    workers: Workers


class Loop:
    """One run of one model; :meth:`run` goes through it once."""

    def __init__(
        self,
        name: str,
        model: GradientRecommender,
        data: TrainingData,
        split: Split,
        options: Options,
        around: Surroundings,
    ) -> None:
        self.name, self.model, self.data, self.split, self.options = name, model, data, split, options
        self.validate, self.progress, self.workers = around.validate, around.progress, around.workers
        self.folder = around.folder if self.workers.is_first else None
        self.trackers = list(around.trackers) if self.workers.is_first else []
        if self.folder is not None:
            self.trackers.insert(0, JsonLines(self.folder / "metrics.jsonl"))
        self.metric = options.metric if around.validate is None else "custom"
        self.can_validate = around.validate is not None or len(split.validation) > 0
        self.rng = np.random.default_rng(options.seed)
        self.n_epochs = model.config.epochs if options.epochs is None else options.epochs
        self.descent = Descent(model, options, self.workers)
        self.epoch, self.bad, self.seconds = 0, 0, 0.0
        self.kept: int | None = None
        self.best: float | None = None
        self.best_epoch = 0
        self.best_weights = _copy(model)
        self.history: list[dict[str, Any]] = []

    def run(self) -> Trained:
        """Train from the beginning, or from the checkpoint in the folder."""
        self._open()
        try:
            while not self._finished():
                self._one_epoch()
        except NoNumber as problem:
            self._give_up(
                f"{problem} of {self.name} is no number any more",
                f"Lower learning_rate (it is {self.model.config.learning_rate:g}).",
            )
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            self._give_up(
                f"{self.name} has run out of memory", what_to_lower(self.model.config, self.options)
            )
        finally:
            for tracker in self.trackers:
                tracker.close()
        if self.best_epoch:
            self.model.load_state_dict(self.best_weights)
        self.workers.spread(list(self.model.state_dict().values()))
        if self.best_epoch or self.workers.size > 1:
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

    def _finished(self) -> bool:
        done = self.epoch >= self.n_epochs or self.bad >= self.options.patience
        return bool(self.workers.tell(done))

    def _one_epoch(self) -> None:
        started = time.perf_counter()
        if not self.workers.is_first:
            self.rng, seed = self.workers.seed(self.options.seed, self.epoch)
            self.model.generator.manual_seed(seed)
        losses = self.descent.epoch(self.rng)
        self.model.refresh()
        before, self.epoch = self.epoch, self.epoch + self.workers.size
        every = self.options.evaluate_every
        is_due = self.epoch >= self.n_epochs or self.epoch // every > before // every
        validation = None
        if is_due and self.workers.is_first:
            validation = self._judge()
        seconds = time.perf_counter() - started
        self.seconds += seconds
        if not self.workers.is_first:
            return
        if is_due:
            self._record(losses, validation)
        self.progress(Progress(self.epoch, self.n_epochs, losses, seconds, validation, self.best))

    def _judge(self) -> float | None:
        """Validate, and keep the weights where they are the best so far, or where nothing can tell."""
        validation = self._validate() if self.can_validate else None
        if validation is None or self.best is None or validation > self.best:
            self.best, self.best_epoch, self.bad = validation, self.epoch, 0
            self.best_weights = _copy(self.model)
        else:
            self.bad += 1
        return validation

    def _validate(self) -> float:
        self.model.eval()
        if self.validate is not None:
            return self.validate(self.model)
        if self.options.metric == "auc":
            return held_out_auc(self.model, self.split.validation, seen=[self.split.train])
        figures = evaluate(self.model, self.split.validation, seen=[self.split.train]).figures()
        return figures[self.options.metric]

    def _give_up(self, what: str, hint: str) -> NoReturn:
        kept = ""
        if self.kept:
            kept = (
                f"The checkpoint of epoch {self.kept} is kept: training with epochs={self.kept} gives the"
                f" best weights up to it, of epoch {self.best_epoch}. "
            )
        raise TrainingError(
            f"{what} in epoch {self.epoch + 1}, at step {self.descent.step} or a few before it.",
            where=None if self.folder is None else str(self.folder),
            hint=kept + hint,
        ) from None

    def _record(self, losses: dict[str, float], validation: float | None) -> None:
        line: dict[str, Any] = {"epoch": self.epoch}
        line |= {f"train/{phase}": loss for phase, loss in losses.items()}
        if validation is not None:
            line[f"validation/{self.metric}"] = validation
        self.history.append(line)
        if self.folder is not None:
            save_checkpoint(self.folder / "checkpoint", self._checkpoint())
            self.kept = self.epoch
        for tracker in self.trackers:
            tracker.add(line)

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
        optimisers = self.descent.optimisers.items()
        return Checkpoint(
            _copy(self.model),
            self.best_weights,
            {phase: optimiser.state_dict()["state"] for phase, optimiser in optimisers},
            self.model.generator.get_state(),
            progress,
        )

    def _open(self) -> None:
        settings = {
            "model": self.name,
            "config": asdict(self.model.config),  # type: ignore[call-overload]
            "options": asdict(self.options),
        }
        if self.folder is not None:
            settings["data"] = fingerprint(self.data, self.split.validation)
            self.folder.mkdir(parents=True, exist_ok=True)
            earlier = load_checkpoint(self.folder, settings, self.model.device)
            write_json(self.folder / "config.json", settings)
            write_json(self.folder / "environment.json", describe_environment())
            if earlier is not None:
                self._resume(earlier)
        for tracker in self.trackers:
            tracker.open(settings, self.history)
        self._bring_together()

    def _resume(self, earlier: Checkpoint) -> None:
        progress = earlier.progress
        self.epoch, self.bad = progress["epoch"], progress["bad"]
        self.best, self.best_epoch = progress["best"], progress["best_epoch"]
        self.seconds, self.history = progress["seconds"], list(progress["history"])
        self.kept = self.epoch
        self.rng.bit_generator.state = progress["rng"]
        self.model.load_state_dict(earlier.weights)
        self.best_weights = earlier.best_weights
        for phase, optimiser in self.descent.optimisers.items():
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": earlier.optimisers.get(phase, {}), "param_groups": groups})
        self.model.generator.set_state(earlier.generator)
        self.model.refresh()

    def _bring_together(self) -> None:
        """Have all workers start from what the first one has."""
        self.epoch = self.workers.tell(self.epoch)
        self.workers.spread(list(self.model.state_dict().values()))
        for optimiser in self.descent.optimisers.values():
            self.workers.spread_optimiser(optimiser)
        if self.epoch and not self.workers.is_first:
            self.model.refresh()


def _copy(model: GradientRecommender) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
