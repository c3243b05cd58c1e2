"""A process among those that train one model together: what it sends to the others, and what it takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, distributed

from kg.errors import TrainingError

_FINISHED = -1


class Workers:
    """This process among those that train together; alone unless ``size`` is more than 1."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this one validates, records and writes."""
        return self.rank == 0

    def all_at(self, phase: int) -> bool:
        """Whether all are about to step in this phase; ``False`` where one has finished its epoch.

        Raises :class:`~kg.errors.TrainingError` where they are in different phases.
        """
        if self.size == 1:
            return True
        phases = self._gather(phase)
        if _FINISHED in phases:
            return False
        if len(set(phases)) > 1:
            raise TrainingError(
                f"the workers are in different phases of the epoch: {phases}.",
                hint="Train this model on one worker.",
            )
        return True

    def finish_epoch(self) -> None:
        """Tell the others that this one has no more batch; whoever has one leaves it."""
        if self.size > 1:
            self._gather(_FINISHED)

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Put the mean over all workers in the place of each gradient."""
        if self.size == 1:
            return
        waiting = [distributed.all_reduce(gradient, async_op=True) for gradient in gradients]
        for one, gradient in zip(waiting, gradients, strict=True):
            one.wait()
            gradient.div_(self.size)

    def tell(self, number: int) -> int:
        """The first worker's number, to all."""
        if self.size == 1:
            return number
        told = torch.tensor([number], device=self._device)
        distributed.broadcast(told, 0)
        return int(told)

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite these with the first worker's."""
        if self.size == 1:
            return
        for tensor in tensors:
            placed = tensor.detach().to(self._device).contiguous()
            distributed.broadcast(placed, 0)
            if placed.data_ptr() != tensor.data_ptr():
                tensor.copy_(placed)

    def spread_optimiser(self, optimiser: torch.optim.Optimizer) -> None:
        """Give all workers the first one's moments."""
        if self.size == 1:
            return
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        known = torch.tensor([bool(optimiser.state.get(p)) for p in parameters], dtype=torch.int32)
        self.spread([known])
        for parameter in (p for p, has in zip(parameters, known.tolist(), strict=True) if has):
            state = optimiser.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in range(2))
            self.spread([state["step"], state["exp_avg"], state["exp_avg_sq"]])

    def seed(self, seed: int, epoch: int) -> tuple[np.random.Generator, int]:
        """What a worker that is not the first draws with in the round after ``epoch``.

        It depends on nothing that went before, so a resumed run repeats it without a state.
        """
        rng = np.random.default_rng((seed, self.rank, epoch))
        return rng, int(rng.integers(2**63 - 1))

    @property
    def _device(self) -> torch.device:
        by_nccl = distributed.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if by_nccl else torch.device("cpu")

    def _gather(self, number: int) -> list[int]:
        numbers = torch.zeros(self.size, dtype=torch.int64, device=self._device)
        numbers[self.rank] = number
        distributed.all_reduce(numbers)
        return [int(one) for one in numbers]
