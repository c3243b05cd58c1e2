"""Rows of a table, with a gradient that costs little where a step uses few of many rows."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recommender.data.interactions import Floats


class RowGather:
    """Gathers rows of a table, the same table each time.

    The gradient is a table too, which must be zero but for these rows. A new one for each step takes longer
    to map than to fill, so the memory of an earlier gradient is used again once nobody holds it.
    """

    def __init__(self) -> None:
        self._memory: Floats | None = None
        self._lent: weakref.ref[Floats] | None = None

    def __call__(self, ids: Tensor, table: Tensor) -> Tensor:
        """``table[ids]``: [n_ids], [n_rows, dim] -> [n_ids, dim]."""
        rows: Tensor = _Gather.apply(table, ids, self)  # type: ignore[no-untyped-call]
        return rows

    def zeros(self, like: Tensor) -> Tensor:
        """A table of zeros that no other tensor shares."""
        table = self.borrow(like.shape, like)
        return torch.zeros_like(like) if table is None else table.zero_()

    def borrow(self, shape: Sequence[int], like: Tensor) -> Tensor | None:
        """A table that no other tensor shares, with anything in it; ``None`` but on the CPU in 32 bits."""
        if like.device.type != "cpu" or like.dtype != torch.float32:
            return None
        if self._memory is None or self._memory.shape != tuple(shape) or self._is_held():
            self._memory = np.empty(shape, dtype=np.float32)
        lent = self._memory.view()
        self._lent = weakref.ref(lent)
        return torch.from_numpy(lent)

    def _is_held(self) -> bool:
        """Whether a tensor over the memory is alive: each keeps the array that it was made from."""
        return self._lent is not None and self._lent() is not None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, table: Tensor, ids: Tensor, gather: RowGather) -> Tensor:
        context.save_for_backward(table, ids)
        context.gather = gather
        return table.index_select(0, ids)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        table, ids = context.saved_tensors
        return context.gather.zeros(table).index_add_(0, ids, gradients[0]), None, None
