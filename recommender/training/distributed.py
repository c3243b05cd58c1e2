"""Data-parallel training: several processes, each with the whole model and data, that step together.

Each worker draws its own batches; after the gradients are averaged all take the same step, so their weights
stay the same. A step is thus that of a batch as large as all workers' batches together: with ``n`` workers
it is ``n * batch_size``, and the learning rate may want to be raised. A round, in which each worker draws one
epoch, counts as ``n`` epochs: with as many epochs, as many pairs are drawn as on one worker, in an ``n``-th
of the steps. Only the first worker validates, records and writes; it tells the others when to stop.

Three ways to have workers: :func:`train_on_workers` starts them on this machine; under ``torchrun`` a script
trains inside ``with join() as workers``; :func:`ray_trainer` hands the training to Ray Train.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from kg.errors import ConfigurationError, TrainingError, UsageError
from recommender.models.registry import find_model
from recommender.training.run import Options, Trained
from recommender.training.train import find_device, train
from recommender.training.workers import Workers

if TYPE_CHECKING:
    from recommender.data.splits import Split
    from recommender.graph.joint import JointGraph


@contextmanager
def join() -> Iterator[Workers]:
    """Join the workers that ``torchrun`` or Ray started: NCCL where there is a CUDA device, else Gloo.

    A group made here is left at the end; one that Ray made is Ray's. Raises
    :class:`~kg.errors.UsageError` where nobody started any.
    """
    if distributed.is_initialized():
        yield Workers(distributed.get_rank(), distributed.get_world_size())
        return
    if "RANK" not in os.environ:
        raise UsageError(
            "this process is no worker of a group.",
            hint="Start it by torchrun --nproc-per-node N SCRIPT, or use train_on_workers.",
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _group(device, int(os.environ.get("LOCAL_RANK", "0"))) as workers:
        yield workers


def train_on_workers(
    n_workers: int, name: str, split: Split, graph: JointGraph | None = None, **how: Any
) -> Trained:
    """As :func:`~recommender.training.train.train`, on ``n_workers`` processes here; this is the first.

    The others are started anew, so a script that calls this needs its ``if __name__ == "__main__"``. With a
    CUDA device as ``options.device`` each worker takes one of its own. A model that is not trained by
    gradient is fitted here.
    """
    if n_workers == 1 or not find_model(name).by_gradient:
        return train(name, split, graph, **how)
    options = how.pop("options", None) or Options()
    device = find_device(options.device)
    _refuse_too_many(n_workers, device)
    told = {key: value for key, value in how.items() if key not in ("run_folder", "progress", "trackers")}
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        context = multiprocessing.get_context("spawn")
        arguments = [
            (rank, n_workers, meeting, torch.get_num_threads(), name, split, graph, options, told)
            for rank in range(1, n_workers)
        ]
        others = [context.Process(target=_work, args=given, daemon=True) for given in arguments]
        for other in others:
            other.start()
        try:
            with joined(0, n_workers, meeting, device) as workers:
                own = replace(options, device=_own_device(device, 0))
                trained = train(name, split, graph, options=own, workers=workers, **how)
            for other in others:
                other.join(timeout=60)
            return trained
        except RuntimeError as problem:
            if not _is_lost_connection(problem):
                raise
            raise TrainingError(
                "another worker has ended.", hint="Its own message is above. Or train on one worker."
            ) from problem
        finally:
            for other in others:
                other.terminate()


def joined(rank: int, size: int, meeting: str, device: torch.device) -> AbstractContextManager[Workers]:
    """Meet the other workers at a URL, and part again."""
    return _group(device, rank, init_method=meeting, rank=rank, world_size=size)


@contextmanager
def _group(device: torch.device, local_rank: int, **meeting: Any) -> Iterator[Workers]:
    # Imported later, by an optimiser, it would keep this group for good, and the group its threads.
    import_module("torch.distributed.nn.functional")
    if device.type == "cuda":
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", **meeting)
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def ray_trainer(
    n_workers: int,
    name: str,
    split: Split,
    graph: JointGraph | None = None,
    *,
    use_gpu: bool = False,
    **how: Any,
) -> Any:
    """A ``ray.train.torch.TorchTrainer``: ``fit()`` runs :func:`~recommender.training.train.train` on Ray.

    Each worker reports ``best_epoch``, ``best_validation`` and ``seconds``, which Ray keeps in its log. The
    model is in ``run_folder``: ``train`` with the same arguments reads it from there: nothing is left to do.
    Raises :class:`~kg.errors.ConfigurationError` where Ray is not installed.
    """
    ray_train, ray_torch = _ray("ray.train"), _ray("ray.train.torch")
    run = _RayRun(name, split, graph, how)
    scaling = ray_train.ScalingConfig(num_workers=n_workers, use_gpu=use_gpu)
    return ray_torch.TorchTrainer(run, scaling_config=scaling)


class _RayRun:
    """What each of Ray's workers does."""

    def __init__(self, name: str, split: Split, graph: JointGraph | None, how: dict[str, Any]) -> None:
        self._name, self._split, self._graph, self._how = name, split, graph, how

    def __call__(self) -> None:
        with join() as workers:
            trained = train(self._name, self._split, self._graph, workers=workers, **self._how)
        found = {
            "best_epoch": trained.best_epoch,
            "best_validation": trained.best_validation,
            "seconds": trained.seconds,
        }
        _ray("ray.train").report(found)


def _work(
    rank: int,
    size: int,
    meeting: str,
    n_threads: int,
    name: str,
    split: Split,
    graph: JointGraph | None,
    options: Options,
    how: dict[str, Any],
) -> None:
    torch.set_num_threads(n_threads)
    device = find_device(options.device)
    with joined(rank, size, meeting, device) as workers:
        own = replace(options, device=_own_device(device, rank))
        train(name, split, graph, options=own, workers=workers, **how)


def _is_lost_connection(problem: RuntimeError) -> bool:
    return isinstance(problem, distributed.DistError) or "gloo" in str(problem).lower()


def _own_device(device: torch.device, rank: int) -> str:
    return f"cuda:{rank}" if device.type == "cuda" else str(device)


def _refuse_too_many(n_workers: int, device: torch.device) -> None:
    most = torch.cuda.device_count() if device.type == "cuda" else n_workers
    if not 1 <= n_workers <= most:
        raise UsageError(
            f"there cannot be {n_workers} workers.",
            hint="Use at least one." if n_workers < 1 else f"There are {most} CUDA devices, one for each.",
        )


def _ray(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigurationError(
            "Ray Train is not installed.", hint="Run pip install 'loregraph[ray]'."
        ) from None
