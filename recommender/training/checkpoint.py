"""A training run on disk: safetensors and JSON, written so that a crash leaves the one before."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kg.errors import TrainingError


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Everything that the next epoch depends on.

    ``optimisers`` maps a phase to Adam's state by parameter number; ``progress`` is plain JSON.
    """

    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    optimisers: dict[str, dict[int, dict[str, Tensor]]]
    generator: Tensor
    progress: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint beside the earlier one, then put it in its place."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tensors = {f"weights/{name}": value for name, value in checkpoint.weights.items()}
    tensors |= {f"best/{name}": value for name, value in checkpoint.best_weights.items()}
    for phase, states in checkpoint.optimisers.items():
        for number, state in states.items():
            tensors |= {f"optimiser/{phase}/{number}/{key}": value for key, value in state.items()}
    tensors["generator"] = checkpoint.generator
    save_file({name: value.contiguous() for name, value in tensors.items()}, fresh / "state.safetensors")
    write_json(fresh / "progress.json", checkpoint.progress)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(run_folder: Path, settings: dict[str, Any], device: torch.device) -> Checkpoint | None:
    """The checkpoint of a run folder; ``None`` where there is none.

    Raises :class:`~kg.errors.TrainingError` where it is damaged, or of a run with other settings.
    """
    folder = run_folder / "checkpoint"
    if not folder.exists():
        folder = run_folder / "checkpoint.old"  # stopped between the two renames
    if not folder.exists():
        return None
    try:
        earlier = json.loads((run_folder / "config.json").read_text(encoding="utf-8"))
        progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "state.safetensors", device="cpu")
    except (OSError, ValueError, SafetensorError) as problem:
        raise TrainingError(
            f"the checkpoint is damaged: {problem}.",
            where=str(folder),
            hint="Delete the run folder and train again.",
        ) from None
    _refuse_other_settings(earlier, settings, run_folder)
    optimisers: dict[str, dict[int, dict[str, Tensor]]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser/"):
            _, phase, number, key = name.split("/")
            placed = value if key == "step" and device.type == "cpu" else value.to(device)
            optimisers.setdefault(phase, {}).setdefault(int(number), {})[key] = placed
    return Checkpoint(
        _under("weights/", tensors, device),
        _under("best/", tensors, device),
        optimisers,
        tensors["generator"],
        progress,
    )


def write_json(path: Path, value: Any) -> None:
    """Write a file that is complete or not there at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(fresh, path)


def _under(prefix: str, tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value.to(device)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _refuse_other_settings(earlier: dict[str, Any], settings: dict[str, Any], folder: Path) -> None:
    asked = json.loads(json.dumps(settings))  # tuples become lists, as in the file
    for part in (earlier, asked):
        part.get("options", {}).pop("epochs", None)  # a run may be made longer
        part.get("options", {}).pop("device", None)
    if earlier != asked:
        raise TrainingError(
            "the folder holds a run with other settings or other data.",
            where=str(folder),
            hint="Use the same to go on, or another folder.",
        )
