"""Precision, accumulated gradients, and what a run does when it cannot go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kg.errors import TrainingError
from recommender.data.interactions import Floats
from recommender.data.splits import random_split
from recommender.models.bpr import Bpr
from recommender.models.registry import MODELS, find_model
from recommender.training.descent import what_to_lower
from recommender.training.train import Options, Trained, train
from tests.recommender.tiny import fitted
from tests.worlds import planted_world

SPLIT = random_split(planted_world(1).split.train, np.random.default_rng(0), (0.8, 0.2, 0.0))
OPTIONS = Options(epochs=4, evaluate_every=2, device="cpu")
BY_GRADIENT = [name for name, entry in MODELS.items() if entry.by_gradient]


def run(folder: Path | None, options: Options = OPTIONS) -> Trained:
    settings = {"dim": 8, "learning_rate": 0.01}
    return train("bpr", SPLIT, model_options=settings, options=options, run_folder=folder)


def scores(trained: Trained) -> Floats:
    return trained.model.score(np.arange(SPLIT.train.n_users))


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_sixteen_bits_give_almost_the_same_losses(name: str) -> None:
    whole, half = (fitted(name, precision=precision) for precision in ("float32", "bfloat16"))
    assert all(value.dtype != torch.bfloat16 for value in half.model.state_dict().values())
    for exact, close in zip(whole.history, half.history, strict=True):
        for figure in exact:
            if figure.startswith("train/"):
                assert close[figure] == pytest.approx(exact[figure], rel=0.03)


def test_sixteen_bits_are_used_where_they_are_asked_for() -> None:
    assert fitted("kgat", precision="bfloat16").history != fitted("kgat").history


class _Failing(Bpr):
    """Fails in the third epoch, in a way that each test chooses."""

    failure: Callable[[Tensor], Tensor]
    epochs_begun = 0

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        self.epochs_begun += 1
        for phase, loss in super().losses(rng):
            yield phase, type(self).failure(loss) if self.epochs_begun == 3 else loss


def _fail(
    monkeypatch: pytest.MonkeyPatch, folder: Path, failure: Callable[[Tensor], Tensor]
) -> TrainingError:
    with monkeypatch.context() as patch:
        patch.setattr(_Failing, "failure", staticmethod(failure), raising=False)
        patch.setattr("recommender.models.bpr.Bpr", _Failing)
        with pytest.raises(TrainingError) as caught:
            run(folder)
    return caught.value


def _out_of_memory(problem: Exception) -> Callable[[Tensor], Tensor]:
    def fail(_: Tensor) -> Tensor:
        raise problem

    return fail


def _is_as_after_two_epochs(folder: Path) -> None:
    """The best weights up to the checkpoint can be had, and the run can go on."""
    two = Options(epochs=2, evaluate_every=2, device="cpu")
    kept = run(folder, two)
    assert (kept.best_epoch, kept.best_validation) == (2, run(None, two).best_validation)
    assert np.array_equal(scores(kept), scores(run(None, two)))
    assert np.array_equal(scores(run(folder)), scores(run(None)))


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = _fail(monkeypatch, tmp_path, lambda loss: loss * torch.nan)
    assert "the ranking loss of bpr is no number any more in epoch 3, at step 0" in problem.message
    assert "The checkpoint of epoch 2 is kept: training with epochs=2 gives" in problem.message
    assert "Lower learning_rate (it is 0.01)" in problem.message
    _is_as_after_two_epochs(tmp_path)


def test_weights_that_are_no_numbers_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finite_with_wild_gradient(loss: Tensor) -> Tensor:
        changed = loss * 1.0
        changed.register_hook(lambda gradient: gradient * torch.nan)
        return changed

    problem = _fail(monkeypatch, tmp_path, finite_with_wild_gradient)
    assert "of bpr is no number any more in epoch 3" in problem.message
    _is_as_after_two_epochs(tmp_path)


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 400000000000 bytes."),
    ],
)
def test_out_of_memory_says_what_to_lower_and_loses_nothing(
    problem: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _fail(monkeypatch, tmp_path, _out_of_memory(problem))
    assert "bpr has run out of memory in epoch 3, at step 0" in found.message
    assert "The checkpoint of epoch 2 is kept" in found.message
    assert "Lower batch_size (it is 1024) or dim (it is 8)." in found.message
    assert "accumulate=2" in found.message
    _is_as_after_two_epochs(tmp_path)


def test_a_model_too_large_to_begin_with() -> None:
    with pytest.raises(TrainingError, match=r"out of memory before its first epoch.*dim \(it is 10{11}\)"):
        train("bpr", SPLIT, model_options={"dim": 10**11}, options=OPTIONS)


def test_advice_names_what_the_model_has() -> None:
    said = what_to_lower(find_model("kgat").configure({}), OPTIONS)
    assert "batch_size (it is 1024), dim (it is 64)" in said  # and not knowledge_batch_size, which is 0
    assert "fan_out" in said
    assert "more memory" in what_to_lower(find_model("popularity").configure({}), OPTIONS)


def test_other_errors_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        _fail(monkeypatch, tmp_path, _out_of_memory(RuntimeError("shapes do not fit")))


class _Alternating(Bpr):
    """Yields each batch in two phases, one after the other."""

    phases = ("ranking", "shrinking")

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        for phase, loss in super().losses(rng):
            yield phase, loss
            yield "shrinking", self.items.mean() + self.users[:5].mean()


@pytest.mark.parametrize("model", [Bpr, _Alternating])
def test_accumulated_gradients_step_as_one_large_batch(
    model: type[Bpr], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.models.bpr.Bpr", model)
    n_rows = len(SPLIT.train) // 12 * 12
    few = replace(SPLIT, train=SPLIT.train.select(np.arange(n_rows)))

    def after(batch_size: int, accumulate: int) -> Floats:
        options = Options(epochs=2, evaluate_every=2, device="cpu", accumulate=accumulate)
        settings = {"dim": 8, "learning_rate": 0.01, "batch_size": batch_size}
        return scores(train("bpr", few, model_options=settings, options=options))

    large = after(n_rows // 3, 1)
    assert np.allclose(after(n_rows // 12, 4), large, atol=1e-5)
    assert not np.allclose(after(n_rows // 12, 3), large, atol=1e-3)
    # What is left over at the epoch's end is a step too, of the mean of what there is.
    assert np.allclose(after(n_rows // 12, 100), after(n_rows, 1), atol=1e-5)
