"""What a training run is told, what it tells on the way, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from recommender.models.base import Recommender

Metric = Literal["ndcg@20", "recall@20", "auc"]
Precision = Literal["float32", "bfloat16"]


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
    precision: Precision = "float32"
    """"bfloat16" computes the losses by autocast: dense products in 16 bits; weights, their gradients,
    products with sparse matrices and validation stay in 32."""
    accumulate: int = 1
    """Losses of a phase whose gradients are averaged before its optimiser steps: with a loss that is a mean,
    as one batch so many times as large, in the memory of one."""


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
