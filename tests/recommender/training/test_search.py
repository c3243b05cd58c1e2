"""The search looks at the validation part alone and is never worse there than the defaults."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split, random_split
from recommender.models.registry import MODELS
from recommender.training import search as module
from recommender.training.search import Between, OneOf, Space, search, space_of
from recommender.training.train import Options
from tests.recommender.tiny import tiny

OPTIONS = Options(epochs=4, evaluate_every=2, device="cpu", seed=3)


@pytest.mark.parametrize("name", MODELS)
def test_every_space_is_of_settings_that_the_model_has(name: str) -> None:
    try:
        space = space_of(name)
    except UsageError:
        assert name == "popularity"
        return
    entry = MODELS[name]
    for setting, choice in space.choices.items():
        values = choice.values if isinstance(choice, OneOf) else (choice.low, choice.high)
        for value in values:
            assert getattr(entry.configure({setting: value}), setting) == value
    if name in module.SPACES:
        unknown = set(module.SPACES[name].choices) - {
            field.name for field in dataclasses.fields(entry.config_class())
        }
        assert not unknown


def test_the_best_comes_first_and_the_defaults_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    split, _, _ = tiny()
    space = Space("here", {"learning_rate": Between(1e-9, 1e-2), "penalty": OneOf((1e-5, 1e-4))})
    monkeypatch.setattr(module, "SPACES", {"bpr": space})
    told = []
    trials = search("bpr", split, n_trials=5, options=OPTIONS, progress=lambda n, trial: told.append(n))
    assert told == [1, 2, 3, 4, 5]
    assert [trial.validation for trial in trials] == sorted((t.validation for t in trials), reverse=True)
    assert {} in [dict(trial.settings) for trial in trials]
    again = search("bpr", split, n_trials=5, options=OPTIONS)
    assert [trial.settings for trial in again] == [trial.settings for trial in trials]


def test_the_test_part_changes_nothing() -> None:
    split, _, _ = tiny()
    nothing = split.test.select(np.zeros(len(split.test), dtype=bool))
    with_test = search("ease", split, n_trials=3, options=OPTIONS)
    without = search("ease", Split(split.train, split.validation, nothing), n_trials=3, options=OPTIONS)
    assert [trial.validation for trial in with_test] == [trial.validation for trial in without]


def test_fixed_settings_stay_and_a_broken_trial_is_the_worst() -> None:
    split, _, _ = tiny()
    trials = search("bpr", split, n_trials=3, fixed={"learning_rate": 1e30}, options=OPTIONS)
    assert all(trial.settings["learning_rate"] == 1e30 for trial in trials)
    assert all(trial.validation == float("-inf") for trial in trials)


def test_nothing_to_validate_on() -> None:
    rows = Interactions.of(["a", "a"], ["x", "y"])
    split = random_split(rows, np.random.default_rng(0), (1.0, 0.0, 0.0))
    with pytest.raises(UsageError, match="validation part"):
        search("bpr", split, n_trials=1)
