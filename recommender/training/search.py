"""Search for a model's settings on the validation part, by Optuna; the test part is never looked at.

The spaces are those that the papers name, as far as they name one; what a paper leaves open is searched
around the model's defaults. The first trial is the defaults themselves, so that a search is never worse than
none on the validation part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kg.errors import ConfigurationError, TrainingError, UsageError
from recommender.data.splits import Split
from recommender.evaluation.evaluate import evaluate, held_out_auc
from recommender.graph.joint import JointGraph
from recommender.models.base import SideData
from recommender.models.registry import find_model
from recommender.training.train import Options, Trained, train


@dataclass(frozen=True, slots=True)
class Between:
    """Any number from ``low`` to ``high``, on a logarithmic scale."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched, and which paper's search it is."""

    source: str
    choices: Mapping[str, Between | OneOf]


SPACES: Mapping[str, Space] = {
    "itemknn": Space(
        "Ferrari Dacrema et al., RecSys 2019",
        {"neighbours": OneOf((20, 50, 100, 200, 500)), "shrinkage": Between(1, 1000)},
    ),
    "ease": Space("Steck, WWW 2019", {"penalty": Between(10, 2000)}),
    "attributemap": Space(
        "here",
        {
            "n_factors": OneOf((20, 40, 80)),
            "strength": Between(0.3, 30),
            "text_weight": OneOf((0.5, 1.0, 2.0)),
            "hops": OneOf((1, 2)),
        },
    ),
    "lightgcn": Space(
        "He et al., SIGIR 2020",
        {
            "learning_rate": Between(1e-3, 1e-2),
            "penalty": Between(1e-6, 1e-2),
            "n_layers": OneOf((1, 2, 3, 4)),
        },
    ),
    "kgat": Space(
        "Wang et al., KDD 2019",
        {
            "learning_rate": OneOf((0.001, 0.005, 0.01, 0.05)),
            "penalty": Between(1e-5, 1e-1),
            "message_dropout": OneOf((0.0, 0.1, 0.2, 0.4)),
            "layers": OneOf(((64,), (64, 32), (64, 32, 16))),
        },
    ),
    "kgin": Space(
        "Huang et al., WWW 2021",
        {
            "learning_rate": OneOf((1e-4, 1e-3, 5e-3, 1e-2)),
            "penalty": Between(1e-5, 1e-2),
            "n_layers": OneOf((1, 2, 3)),
            "n_intents": OneOf((2, 4, 8)),
            "inverse": OneOf((True, False)),
        },
    ),
    "kgcn": Space(
        "Wang et al., WWW 2019",
        {
            "dim": OneOf((8, 16, 32, 64)),
            "neighbours": OneOf((4, 8, 16)),
            "hops": OneOf((1, 2)),
            "learning_rate": Between(5e-4, 2e-2),
            "penalty": Between(1e-7, 1e-4),
        },
    ),
    "ripplenet": Space(
        "Wang et al., CIKM 2018",
        {
            "dim": OneOf((8, 16, 32)),
            "memories": OneOf((16, 32)),
            "hops": OneOf((2, 3)),
            "learning_rate": Between(1e-3, 2e-2),
        },
    ),
}
"""By model. The values are as their papers give them, from memory where the code does not."""

_LEARNING_RATE, _PENALTY = (0.1, 10.0), (0.01, 100.0)
"""Beside a model's own default, where no paper's space is written down."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training: the settings that differ from the defaults, and how the validation part judges it."""

    settings: Mapping[str, Any]
    validation: float
    best_epoch: int
    seconds: float


def space_of(name: str) -> Space:
    """The space of a model; raises :class:`~kg.errors.UsageError` where there is nothing to search."""
    entry = find_model(name)
    known: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(entry.config_class())}
    if name in SPACES:
        space = SPACES[name]
        return Space(
            space.source, {setting: choice for setting, choice in space.choices.items() if setting in known}
        )
    choices: dict[str, Between | OneOf] = {}
    for setting, (low, high) in (("learning_rate", _LEARNING_RATE), ("penalty", _PENALTY)):
        if isinstance(known.get(setting), float) and known[setting] > 0:
            choices[setting] = Between(low * known[setting], high * known[setting])
    if not choices:
        raise UsageError(f"{name} has nothing to search.", hint="Train it.")
    return Space("around the defaults", choices)


def search(
    name: str,
    split: Split,
    graph: JointGraph | None = None,
    *,
    n_trials: int,
    side: SideData | None = None,
    fixed: Mapping[str, Any] | None = None,
    options: Options | None = None,
    progress: Callable[[int, Trial], None] | None = None,
) -> list[Trial]:
    """Train ``n_trials`` times and return the trials, best first.

    ``fixed`` settings hold in every trial; ``options`` as for :func:`~recommender.training.train.train`, its
    seed also that of the search. A trial whose loss is no number any more counts as the worst. Raises
    :class:`~kg.errors.UsageError` for an empty validation part and what ``train`` raises.
    """
    if n_trials < 1 or not len(split.validation):
        raise UsageError(
            "a search needs at least one trial and a validation part.", hint="Choose another split."
        )
    optuna, options = _optuna(), options or Options()
    space, trials = space_of(name), list[Trial]()
    choices = {setting: choice for setting, choice in space.choices.items() if setting not in (fixed or {})}

    def objective(asked: Any) -> float:
        drawn = {} if asked.number == 0 else _draw(asked, choices)
        trial = _try(name, split, graph, side, {**(fixed or {}), **drawn}, options)
        trials.append(trial)
        if progress is not None:
            progress(len(trials), trial)
        return trial.validation

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=options.seed, n_startup_trials=4)
    )
    study.optimize(objective, n_trials=n_trials)
    return sorted(trials, key=lambda trial: -trial.validation)


def _try(
    name: str,
    split: Split,
    graph: JointGraph | None,
    side: SideData | None,
    settings: Mapping[str, Any],
    options: Options,
) -> Trial:
    try:
        trained = train(name, split, graph, side=side, model_options=settings, options=options)
    except TrainingError:
        return Trial(settings, float("-inf"), 0, 0.0)
    return Trial(settings, _validation(trained, split, options), trained.best_epoch, trained.seconds)


def _validation(trained: Trained, split: Split, options: Options) -> float:
    if trained.best_validation is not None:
        return trained.best_validation
    if options.metric == "auc":
        return held_out_auc(trained.model, split.validation, seen=[split.train])
    return evaluate(trained.model, split.validation, seen=[split.train]).figures()[options.metric]


def _draw(asked: Any, choices: Mapping[str, Between | OneOf]) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for setting, choice in choices.items():
        if isinstance(choice, Between):
            drawn[setting] = asked.suggest_float(setting, choice.low, choice.high, log=True)
        else:
            place = asked.suggest_categorical(setting, list(range(len(choice.values))))
            drawn[setting] = choice.values[place]
    return drawn


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigurationError(
            "Optuna is not installed.", hint="Run pip install 'loregraph[search]'."
        ) from None
    return optuna
