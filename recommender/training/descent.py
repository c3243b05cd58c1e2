"""Gradient descent through one epoch: precision, accumulated gradients, averaging over workers, the steps.

One optimiser per phase. A phase's losses are accumulated by themselves, however the phases alternate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from recommender.models.gradient import GradientRecommender
from recommender.training.run import Options
from recommender.training.workers import Workers

_CHECK_EVERY = 64
"""Steps between two looks at the losses: each look waits for the device."""

_FEEDS_MEMORY = (
    "batch_size",
    "knowledge_batch_size",
    "dim",
    "relation_dim",
    "layers",
    "n_layers",
    "hops",
    "memories",
    "neighbours",
)
"""Settings that memory grows with, what costs least to lower first."""


class NoNumber(Exception):
    """A loss or a weight is no number any more."""


class Descent:
    """Drives a model's losses; ``step`` counts within the epoch, so that an error can say where it was."""

    def __init__(self, model: GradientRecommender, options: Options, workers: Workers) -> None:
        self._model, self._workers, self._accumulate = model, workers, options.accumulate
        self._sixteen_bits = options.precision == "bfloat16"
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimisers = {phase: _adam(model) for phase in model.phases}
        self.step = 0
        self._phase = model.phases[0]
        self._n_waiting: dict[str, int] = {}
        self._aside: dict[str, list[Tensor | None]] = {}

    def epoch(self, rng: np.random.Generator) -> dict[str, float]:
        """One pass; returns the mean loss of each phase. Raises :class:`NoNumber`."""
        self._model.train()
        totals: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        self._forget_gradients()
        self.step = 0
        for step, (phase, loss) in enumerate(self._losses(rng)):
            self._change_to(phase)
            loss.backward()  # type: ignore[no-untyped-call]
            self._n_waiting[phase] = self._n_waiting.get(phase, 0) + 1
            if self._n_waiting[phase] == self._accumulate and not self._take_step(phase):
                break
            totals[phase] = totals.get(phase, 0) + loss.detach().float()
            counts[phase] = counts.get(phase, 0) + 1
            if step % _CHECK_EVERY == 0:
                _refuse_no_number(f"the {phase} loss", float(totals[phase]))
            self.step = step + 1
        else:
            self._finish()
        losses = {phase: float(total) / counts[phase] for phase, total in totals.items()}
        for phase, loss_mean in losses.items():
            _refuse_no_number(f"the {phase} loss", loss_mean)
        for name, value in self._model.named_parameters():
            _refuse_no_number(f"the weight {name}", float(value.detach().sum()))
        return losses

    def _losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        losses = self._model.losses(rng)
        while True:
            with torch.autocast(self._model.device.type, torch.bfloat16, enabled=self._sixteen_bits):
                drawn = next(losses, None)
            if drawn is None:
                return
            yield drawn

    def _change_to(self, phase: str) -> None:
        """Have the parameters hold what gradient this phase has gathered so far."""
        if phase == self._phase:
            return
        if self._n_waiting.get(self._phase):
            self._aside[self._phase] = [parameter.grad for parameter in self._parameters]
        gathered = self._aside.pop(phase, [None] * len(self._parameters))
        for parameter, gradient in zip(self._parameters, gathered, strict=True):
            parameter.grad = gradient
        self._phase = phase

    def _take_step(self, phase: str) -> bool:
        """Move the weights; ``False`` where another worker has nothing more to add in this epoch."""
        n_waiting = self._n_waiting.pop(phase)
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        if n_waiting > 1:
            for gradient in gradients:
                gradient.div_(n_waiting)
        if not self._workers.all_at(self._model.phases.index(phase)):
            return False
        self._workers.average(gradients)
        optimiser = self.optimisers[phase]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        self._model.after_step(phase)
        return True

    def _finish(self) -> None:
        for phase in self._model.phases:
            if self._n_waiting.get(phase):
                self._change_to(phase)
                if not self._take_step(phase):
                    return
        self._workers.finish_epoch()

    def _forget_gradients(self) -> None:
        """Those of an epoch that another worker ended early."""
        self._n_waiting, self._aside = {}, {}
        for parameter in self._parameters:
            parameter.grad = None


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an allocator gave up, torch's on a device or on the CPU, or numpy's."""
    if isinstance(problem, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(problem).lower()
    return isinstance(problem, RuntimeError) and ("allocate memory" in said or "not enough memory" in said)


def what_to_lower(config: object, options: Options) -> str:
    """The settings that memory grows with, as advice."""
    known = {field.name for field in fields(config)}  # type: ignore[arg-type]
    values = {name: getattr(config, name) for name in _FEEDS_MEMORY if name in known}
    named = [f"{name} (it is {value})" for name, value in values.items() if value]
    if not named:
        return "Use a machine with more memory, or fewer interactions."
    advice = f"Lower {named[0] if len(named) == 1 else ', '.join(named[:-1]) + ' or ' + named[-1]}."
    if "batch_size" in known:
        advice += (
            f" Half the batch_size with accumulate={2 * options.accumulate} learns as the whole one does."
        )
    if "fan_out" in known:
        advice += " With fan_out a layer reads that many neighbours at most."
    return advice


def _refuse_no_number(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise NoNumber(what)


def _adam(model: GradientRecommender) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=model.config.learning_rate, fused=True)
