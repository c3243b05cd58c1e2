"""Train a model by name: on what data, on which device, in which folder.

A run folder holds ``config.json`` (what was asked), ``environment.json`` (what it ran on),
``metrics.jsonl`` (one line per validation) and ``checkpoint/``. A run that was stopped goes on from its
checkpoint and ends in the same numbers as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kg.errors import TrainingError, UsageError
from recommender.data.splits import Split
from recommender.graph.joint import JointGraph
from recommender.models.base import Recommender, SideData, TrainingData, Vectors
from recommender.models.gradient import GradientRecommender
from recommender.models.registry import NEEDS, ModelEntry, find_model
from recommender.training.descent import is_out_of_memory, what_to_lower
from recommender.training.loop import Loop, Surroundings
from recommender.training.run import Options, Progress, Trained
from recommender.training.tracking import Tracker
from recommender.training.workers import Workers

__all__ = ["Options", "Progress", "Trained", "find_device", "train"]


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
    trackers: Sequence[Tracker] = (),
    workers: Workers | None = None,
) -> Trained:
    """Train a model by name on the training part of ``split``; the validation part chooses the epoch.

    ``side`` is what some models use beside these; ``initial`` gives vectors to start from, where the model
    takes them. ``validate`` judges the model in place of ``options.metric`` on the validation part, higher is
    better: to rank only some items, say. With ``run_folder`` the run is recorded there, and continues where
    an earlier, stopped run of the same settings left off. ``trackers`` are told the figures too; ``workers``
    train together with this process (see :mod:`recommender.training.distributed`).

    Raises :class:`~kg.errors.UsageError` for settings that make no sense and
    :class:`~kg.errors.TrainingError` where the loss is no longer a number or memory runs out; the
    checkpoint of the epochs before stays.
    """
    entry, options = find_model(name), options or Options()
    config = entry.configure(model_options)
    data = _training_data(entry, split, graph, side or SideData())
    if not entry.by_gradient:
        started = time.perf_counter()
        return Trained(
            entry.model_class()(data, config), name, config, 0, None, time.perf_counter() - started
        )
    _refuse(options)
    model = _build(entry, data, config, options, initial)
    around = Surroundings(validate, run_folder, progress or (lambda _: None), trackers, workers or Workers())
    return Loop(name, model, data, split, options, around).run()


def _build(
    entry: ModelEntry, data: TrainingData, config: Any, options: Options, initial: Vectors | None
) -> GradientRecommender:
    generator = torch.Generator(device=find_device(options.device)).manual_seed(options.seed)
    arguments = {} if initial is None else {"initial": initial}
    try:
        model: GradientRecommender = entry.model_class()(data, config, generator, **arguments)
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise
        raise TrainingError(
            f"{entry.name} has run out of memory before its first epoch.", hint=what_to_lower(config, options)
        ) from None
    return model


def _refuse(options: Options) -> None:
    for setting in ("evaluate_every", "patience", "accumulate"):
        if getattr(options, setting) < 1:
            raise UsageError(f"{setting} cannot be {getattr(options, setting)}.", hint="Give 1 or more.")
    if options.precision not in ("float32", "bfloat16"):
        raise UsageError(f"there is no precision {options.precision!r}.", hint="Use float32 or bfloat16.")


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
