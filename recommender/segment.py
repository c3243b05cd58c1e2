"""Operations over the edges of a graph that are sorted by head (CSR), with exact gradients.

Segment ``s`` of ``values`` is ``values[indptr[s]:indptr[s + 1]]``; a segment may be empty. Everything runs
on the device of its arguments and gives the same result each time on the CPU.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from recommender.data import Ints


def segment_sum(values: Tensor, indptr: Tensor) -> Tensor:
    """Sum each segment.

    *Shape:* ``values`` [n_edges] or [n_edges, dim], ``indptr`` [n_segments + 1] -> [n_segments] or
    [n_segments, dim]. An empty segment sums to 0.
    """
    result: Tensor = _SegmentSum.apply(values, indptr)  # type: ignore[no-untyped-call]
    return result


def segment_softmax(values: Tensor, indptr: Tensor) -> Tensor:
    """Softmax within each segment, the segment's maximum subtracted first.

    *Shape:* ``values`` [n_edges], ``indptr`` [n_segments + 1] -> [n_edges].
    """
    result: Tensor = _SegmentSoftmax.apply(values, indptr)  # type: ignore[no-untyped-call]
    return result


def _spread(per_segment: Tensor, indptr: Tensor) -> Tensor:
    return torch.repeat_interleave(per_segment, torch.diff(indptr), dim=0)


def _reduce(values: Tensor, indptr: Tensor, how: str, initial: float) -> Tensor:
    return torch.segment_reduce(values, how, offsets=indptr, axis=0, unsafe=True, initial=initial)


class _SegmentSum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, indptr: Tensor) -> Tensor:
        context.save_for_backward(indptr)
        return _reduce(values, indptr, "sum", 0.0)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (indptr,) = context.saved_tensors
        return _spread(gradients[0].contiguous(), indptr), None


class _SegmentSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, indptr: Tensor) -> Tensor:
        highest = _reduce(values, indptr, "max", float("-inf"))
        grown = torch.exp(values - _spread(highest, indptr))
        result = grown / _spread(_reduce(grown, indptr, "sum", 0.0), indptr)
        context.save_for_backward(result, indptr)
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        result, indptr = context.saved_tensors
        weighted = result * gradients[0]
        return weighted - result * _spread(_reduce(weighted, indptr, "sum", 0.0), indptr), None


class SparseMatrix:
    """A constant sparse matrix that multiplies dense ones; its transpose is sorted once and kept.

    The values may be replaced (:meth:`set_values`) while the pattern stays. No gradient reaches the values.

    *Shape:* [n_rows, n_columns], ``indptr`` [n_rows + 1], ``columns`` [n_values].
    """

    def __init__(self, indptr: Ints, columns: Ints, shape: tuple[int, int], device: torch.device) -> None:
        import numpy as np

        self.shape = shape
        self.n_values = len(columns)
        self.indptr = torch.from_numpy(np.ascontiguousarray(indptr, dtype=np.int64)).to(device)
        self._columns = torch.from_numpy(np.ascontiguousarray(columns, dtype=np.int64)).to(device)
        order = np.argsort(columns, kind="stable")
        rows = np.repeat(np.arange(shape[0]), np.diff(indptr))
        counts = np.bincount(columns, minlength=shape[1])
        transposed_indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._order = torch.from_numpy(order).to(device)
        self._transposed_indptr = torch.from_numpy(transposed_indptr).to(device)
        self._transposed_columns = torch.from_numpy(rows[order].astype(np.int64)).to(device)
        self._forward: Tensor | None = None
        self._backward: Tensor | None = None

    def set_values(self, values: Tensor) -> None:
        """Give the values in CSR order: [n_values]."""
        values = values.detach()
        with warnings.catch_warnings():
            # torch announces on first use that its CSR tensors are in beta.
            warnings.simplefilter("ignore", UserWarning)
            self._forward = torch.sparse_csr_tensor(
                self.indptr, self._columns, values, self.shape, check_invariants=False
            )
            self._backward = torch.sparse_csr_tensor(
                self._transposed_indptr,
                self._transposed_columns,
                values[self._order],
                (self.shape[1], self.shape[0]),
                check_invariants=False,
            )

    def __matmul__(self, dense: Tensor) -> Tensor:
        assert self._forward is not None, "set_values comes first"
        result: Tensor = _Multiply.apply(dense, self._forward, self._backward)  # type: ignore[no-untyped-call]
        return result


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, dense: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        context.transposed = transposed
        return torch.mm(matrix, dense)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return torch.mm(context.transposed, gradients[0].contiguous()), None, None
