"""Training curves as a picture, from the record of a run: losses above, validation below."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from kg.errors import ConfigurationError, InputError, UsageError

PICTURES = (".svg", ".png", ".pdf")


def draw_curves(run_folder: Path, picture: Path) -> None:
    """Draw the ``metrics.jsonl`` of a run folder, as the kind of picture that the name ends in.

    Raises :class:`~kg.errors.UsageError` where there is no record or the ending is none of ``PICTURES``,
    :class:`~kg.errors.InputError` where the record cannot be read, and
    :class:`~kg.errors.ConfigurationError` where Matplotlib is not installed.
    """
    if picture.suffix not in PICTURES:
        raise UsageError(f"{picture.name} is no picture.", hint=f"End the name in {', '.join(PICTURES)}.")
    lines = _read(run_folder / "metrics.jsonl")
    matplotlib, figures = _matplotlib("matplotlib"), _matplotlib("matplotlib.figure")
    groups = [
        (title, names)
        for title, start in (("loss", "train/"), ("validation", "validation/"))
        if (names := sorted({name for line in lines for name in line if name.startswith(start)}))
    ]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "curves"}):
        figure = figures.Figure(figsize=(7, 3 * len(groups)), layout="constrained")
        figure.suptitle(run_folder.name)
        panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)
        for panel, (title, names) in zip(panels[:, 0], groups, strict=True):
            _draw(panel, title, names, lines)
        panels[-1, 0].set_xlabel("epoch")
        figure.savefig(picture)


def _draw(panel: Any, title: str, names: Sequence[str], lines: Sequence[Mapping[str, float]]) -> None:
    for name in names:
        points = [(line["epoch"], line[name]) for line in lines if name in line]
        panel.plot(*zip(*points, strict=True), marker=".", label=name.split("/", 1)[1])
    panel.set_ylabel(title)
    panel.grid(alpha=0.3)
    panel.legend()


def _read(record: Path) -> list[dict[str, float]]:
    if not record.is_file():
        raise UsageError("there is no record of a training.", where=str(record), hint="Name a run's folder.")
    try:
        lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        figures = [{name: float(value) for name, value in line.items()} for line in lines]
    except (ValueError, AttributeError, TypeError) as problem:
        raise InputError(f"the record cannot be read: {problem}.", where=str(record)) from None
    if not figures or any(len(line) < 2 or "epoch" not in line for line in figures):
        raise InputError("the record has no figures.", where=str(record), hint="Train for an epoch at least.")
    return figures


def _matplotlib(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigurationError(
            "Matplotlib is not installed.", hint="Run pip install 'loregraph[plot]'."
        ) from None
