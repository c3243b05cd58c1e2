"""Operations over the edges of a graph that are sorted by head (CSR), with exact gradients.

Segment ``s`` of ``values`` is ``values[indptr[s]:indptr[s + 1]]``; a segment may be empty. Everything runs
on the device of its arguments and gives the same result each time on the CPU.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from recommender.data.interactions import Ints
from recommender.data.sampling import batches

_ROWS_AT_ONCE = 1 << 15


def segment_sum(values: Tensor, indptr: Tensor) -> Tensor:
    """Sum each segment.

    *Shape:* ``values`` [n_edges] or [n_edges, dim], ``indptr`` [n_segments + 1] -> [n_segments] or
    [n_segments, dim]. An empty segment sums to 0.
    """
    result: Tensor = _SegmentSum.apply(values, indptr)  # type: ignore[no-untyped-call]
    return result


def segment_mean(values: Tensor, indptr: Tensor) -> Tensor:
    """The mean of each segment, shaped as :func:`segment_sum`; 0 for an empty one."""
    sizes = torch.diff(indptr).clamp(min=1).to(values.dtype)
    return segment_sum(values, indptr) / (sizes if values.dim() == 1 else sizes[:, None])


def segment_max(values: Tensor, indptr: Tensor) -> Tensor:
    """The largest value of each segment, shaped as :func:`segment_sum`; 0 for an empty one.

    Equal largest values share the gradient.
    """
    result: Tensor = _SegmentMax.apply(values, indptr)  # type: ignore[no-untyped-call]
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


class _SegmentMax(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, indptr: Tensor) -> Tensor:
        highest = _reduce(values, indptr, "max", float("-inf"))
        chosen = (values == _spread(highest, indptr)).to(values.dtype)
        context.save_for_backward(chosen, indptr)
        return highest.masked_fill_(highest == float("-inf"), 0)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        chosen, indptr = context.saved_tensors
        sharing = _reduce(chosen, indptr, "sum", 0.0).clamp_(min=1)
        return chosen * _spread(gradients[0] / sharing, indptr), None


class _SegmentSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, indptr: Tensor) -> Tensor:
        highest = _reduce(values, indptr, "max", float("-inf"))
        grown = (values - _spread(highest, indptr)).exp_()
        result = grown.div_(_spread(_reduce(grown, indptr, "sum", 0.0), indptr))
        context.save_for_backward(result, indptr)
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        result, indptr = context.saved_tensors
        weighted = result * gradients[0]
        return weighted - result * _spread(_reduce(weighted, indptr, "sum", 0.0), indptr), None


class _Csr(NamedTuple):
    """Rows of a sparse matrix: [n_rows + 1], [n_values], [n_values]."""

    indptr: Tensor
    columns: Tensor
    values: Tensor


class SparseMatrix:
    """A constant sparse matrix that multiplies dense ones; its transpose is made once, when first needed.

    The values may be replaced (:meth:`set_values`) while the pattern stays, though not between a product and
    its gradient. No gradient reaches the values.

    *Shape:* [n_rows, n_columns], ``indptr`` [n_rows + 1], ``columns`` [n_values].
    """

    def __init__(
        self, indptr: Ints | Tensor, columns: Ints | Tensor, shape: tuple[int, int], device: torch.device
    ) -> None:
        self.shape = shape
        self.n_values = len(columns)
        self.indptr, self.columns = _indices(indptr, device), _indices(columns, device)
        self._values: Tensor | None = None
        self._transposed: _Csr | None = None

    def set_values(self, values: Tensor) -> None:
        """Give the values in CSR order: [n_values]."""
        self._values, self._transposed = values.detach(), None

    def __matmul__(self, dense: Tensor) -> Tensor:
        result: Tensor = _Multiply.apply(dense, self)  # type: ignore[no-untyped-call]
        return result

    def multiply(self, dense: Tensor) -> Tensor:
        """The product without its gradient: [n_columns, dim] -> [n_rows, dim]."""
        return _product(self._csr(), dense, self.shape)

    def multiply_transposed(self, dense: Tensor, out: Tensor | None = None) -> Tensor:
        """The transpose's product without its gradient, in ``out`` where given.

        *Shape:* [n_rows, dim] -> [n_columns, dim].
        """
        if self._transposed is None:
            self._transposed = _transpose(self._csr(), self.shape)
        shape = (self.shape[1], self.shape[0])
        if out is None:
            return _product(self._transposed, dense, shape)
        indptr, columns, values = self._transposed
        for rows in batches(shape[0], _ROWS_AT_ONCE):
            pointers = indptr[rows.start : rows.stop + 1]
            inside = slice(int(pointers[0]), int(pointers[-1]))
            part = _Csr(pointers - pointers[0], columns[inside], values[inside])
            out[rows] = _product(part, dense, (rows.stop - rows.start, shape[1]))
        return out

    def rows(self, wanted: Tensor) -> SparseMatrix:
        """Only the rows ``wanted``, in this order: [n_wanted] -> a matrix of shape [n_wanted, n_columns]."""
        part = _pick(self._csr(), wanted, self.shape)
        made = SparseMatrix(part.indptr, part.columns, (len(wanted), self.shape[1]), wanted.device)
        made.set_values(part.values)
        return made

    def thinned(self, kept: Tensor) -> SparseMatrix:
        """The pattern with only the ``kept`` values, which are to be set: [n_values] of booleans."""
        indptr = functional.pad(torch.cumsum(kept, 0, dtype=torch.int32), (1, 0)).index_select(0, self.indptr)
        return SparseMatrix(indptr, self.columns[kept], self.shape, indptr.device)

    def drop_out(self, probability: float, generator: torch.Generator) -> SparseMatrix:
        """Each value left out with this probability, the others raised to keep the expected product."""
        values = self._csr().values
        kept = torch.empty(self.n_values, dtype=torch.bool, device=values.device)
        kept.bernoulli_(1 - probability, generator=generator)
        thin = self.thinned(kept)
        thin.set_values(values[kept] / (1 - probability))
        return thin

    def renumbered(self, place: Tensor, n_columns: int) -> SparseMatrix:
        """The same rows over other columns: ``c`` becomes ``place[c]``, each of its own."""
        columns = place.index_select(0, self.columns)
        moved = SparseMatrix(self.indptr, columns, (self.shape[0], n_columns), columns.device)
        moved.set_values(self._csr().values)
        return moved

    def _csr(self) -> _Csr:
        assert self._values is not None, "set_values comes first"
        return _Csr(self.indptr, self.columns, self._values)


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, dense: Tensor, matrix: SparseMatrix) -> Tensor:
        context.matrix = matrix
        return matrix.multiply(dense)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return context.matrix.multiply_transposed(gradients[0]), None


def _indices(given: Ints | Tensor, device: torch.device) -> Tensor:
    """As 32-bit numbers, which take half the memory and are what the kernels are fastest with."""
    tensor = given if isinstance(given, Tensor) else torch.from_numpy(np.ascontiguousarray(given))
    return tensor.to(device, torch.int32)


def _product(matrix: _Csr, dense: Tensor, shape: tuple[int, int]) -> Tensor:
    # Detached, or what a gradient needs is put aside too. Under autocast rows may come in 16 bits.
    dense = dense.detach().to(matrix.values.dtype).contiguous()
    if dense.device.type == "cpu":
        # Four times as fast as a product with a CSR tensor: the rows to come are fetched ahead.
        return functional.embedding_bag(
            matrix.columns,
            dense,
            matrix.indptr,
            mode="sum",
            per_sample_weights=matrix.values,
            include_last_offset=True,
        )
    with warnings.catch_warnings():
        # torch announces on first use that its CSR tensors are in beta.
        warnings.simplefilter("ignore", UserWarning)
        tensor = torch.sparse_csr_tensor(*matrix, shape, check_invariants=False)
    with torch.autocast(dense.device.type, enabled=False):
        return torch.mm(tensor, dense)


def _pick(matrix: _Csr, wanted: Tensor, shape: tuple[int, int]) -> _Csr:
    if wanted.device.type == "cpu":  # copies run by run, where torch would gather number by number
        return _from_scipy(_as_scipy(matrix, shape)[wanted.numpy()])
    return _pick_by_gathering(matrix, wanted)


def _pick_by_gathering(matrix: _Csr, wanted: Tensor) -> _Csr:
    starts = matrix.indptr[wanted]
    sizes = matrix.indptr[wanted + 1] - starts
    indptr = functional.pad(torch.cumsum(sizes, 0, dtype=torch.int32), (1, 0))
    total = int(indptr[-1])
    places = torch.repeat_interleave(starts - indptr[:-1], sizes, output_size=total)
    places += torch.arange(total, dtype=torch.int32, device=places.device)
    return _Csr(indptr, matrix.columns.index_select(0, places), matrix.values.index_select(0, places))


def _as_scipy(matrix: _Csr, shape: tuple[int, int]) -> Any:
    """The same numbers, not copied."""
    arrays = (matrix.values.numpy(), matrix.columns.numpy(), matrix.indptr.numpy())
    return sparse.csr_array(arrays, shape=shape)


def _from_scipy(matrix: Any) -> _Csr:
    return _Csr(*(torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data)))


def _transpose(matrix: _Csr, shape: tuple[int, int]) -> _Csr:
    if matrix.indptr.device.type == "cpu":  # by counting, in linear time, where torch would sort
        return _from_scipy(_as_scipy(matrix, shape).tocsc())
    return _transpose_by_sorting(matrix, shape[1])


def _transpose_by_sorting(matrix: _Csr, n_columns: int) -> _Csr:
    order = torch.argsort(matrix.columns, stable=True)
    counts = torch.bincount(matrix.columns, minlength=n_columns)
    starts = functional.pad(torch.cumsum(counts, 0, dtype=torch.int32), (1, 0))
    rows = torch.repeat_interleave(torch.diff(matrix.indptr))[order].to(torch.int32)
    return _Csr(starts, rows, matrix.values[order])
