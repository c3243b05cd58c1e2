from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from recommender.graph import segment
from recommender.graph.segment import SparseMatrix, segment_max, segment_mean, segment_softmax, segment_sum

INDPTR = torch.tensor([0, 2, 2, 5, 6, 6])  # segments 1 and 4 are empty


def values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_softmax_equals_a_dense_masked_one() -> None:
    given = values(6)
    dense = torch.full((5, 6), float("-inf"), dtype=torch.float64)
    for row in range(5):
        dense[row, INDPTR[row] : INDPTR[row + 1]] = given[INDPTR[row] : INDPTR[row + 1]]
    filled = [0, 2, 3]
    expected = torch.softmax(dense[filled], dim=1).sum(dim=0)
    found = segment_softmax(given, INDPTR)
    assert torch.allclose(found, expected, atol=1e-12)
    assert torch.allclose(segment_sum(found, INDPTR)[filled], torch.ones(3, dtype=torch.float64), atol=1e-6)


def test_softmax_survives_large_values() -> None:
    found = segment_softmax(torch.tensor([1e4, 1e4 - 1, -1e4, 0.0, 3e38, 1.0]), INDPTR)
    assert torch.isfinite(found).all()
    assert found[4] == 1


def test_sum_equals_a_loop() -> None:
    given = values(6, 3)
    expected = torch.stack([given[a:b].sum(dim=0) for a, b in pairwise(INDPTR.tolist())])
    assert torch.allclose(segment_sum(given, INDPTR), expected)


@pytest.mark.parametrize("shape", [(6,), (6, 3)])
def test_mean_and_max_equal_a_loop_and_empty_segments_give_0(shape: tuple[int, ...]) -> None:
    given = values(*shape)
    zero = torch.zeros(shape[1:], dtype=torch.float64)
    parts = [given[a:b] for a, b in pairwise(INDPTR.tolist())]
    means = torch.stack([part.mean(dim=0) if len(part) else zero for part in parts])
    maxima = torch.stack([part.amax(dim=0) if len(part) else zero for part in parts])
    assert torch.allclose(segment_mean(given, INDPTR), means, atol=1e-12)
    assert torch.equal(segment_max(given, INDPTR), maxima)


def test_equal_maxima_share_the_gradient() -> None:
    given = torch.tensor([2.0, 2.0, 1.0, 3.0, 0.0, 5.0], requires_grad=True)
    segment_max(given, INDPTR).sum().backward()
    assert given.grad is not None
    assert given.grad.tolist() == [0.5, 0.5, 0, 1, 0, 1]


def test_gradients_are_exact() -> None:
    assert torch.autograd.gradcheck(lambda v: segment_softmax(v, INDPTR), values(6).requires_grad_())
    for operation in (segment_sum, segment_mean, segment_max):
        for shape in ((6,), (6, 2)):
            given = values(*shape).requires_grad_()
            assert torch.autograd.gradcheck(lambda v, of=operation: of(v, INDPTR), given)


def sparse_matrix(device: str = "cpu") -> tuple[SparseMatrix, torch.Tensor]:
    # Row 1 is empty, row 2 names column 0 twice: those values add up.
    indptr, columns = np.asarray([0, 2, 2, 5]), np.asarray([3, 0, 0, 1, 0])
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64, device=device)
    matrix = SparseMatrix(indptr, columns, (3, 4), torch.device(device))
    matrix.set_values(weights)
    dense = torch.tensor([[2.0, 0, 0, 1], [0, 0, 0, 0], [8, 4, 0, 0]], dtype=torch.float64, device=device)
    return matrix, dense


def test_sparse_product_and_its_gradient() -> None:
    matrix, dense = sparse_matrix()
    assert torch.allclose(matrix @ values(4, 2), dense @ values(4, 2))
    assert torch.autograd.gradcheck(lambda x: matrix @ x, values(4, 2).requires_grad_())
    matrix.set_values(torch.zeros(5, dtype=torch.float64))
    assert (matrix @ values(4, 2) == 0).all()


@pytest.mark.parametrize("kept", [[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
def test_a_thinned_matrix_is_the_matrix_with_zeros(kept: list[int]) -> None:
    matrix, _ = sparse_matrix()
    chosen = torch.tensor(kept, dtype=torch.bool)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    thin = matrix.thinned(chosen)
    thin.set_values(weights[chosen])
    matrix.set_values(weights * chosen)
    assert torch.equal(thin @ values(4, 2), matrix @ values(4, 2))
    assert torch.autograd.gradcheck(lambda x: thin @ x, values(4, 2).requires_grad_())


@pytest.mark.parametrize("seed", range(5))
def test_some_rows_over_other_columns_equal_the_dense_ones(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hubs, empty rows, rows asked for twice, and the gradient of what is left."""
    rng = np.random.default_rng(seed)
    sizes = np.where(rng.random(20) < 0.3, 0, (30 * rng.random(20) ** 3).astype(np.int64) + 1)
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    columns = rng.integers(0, 12, indptr[-1])
    weights = torch.from_numpy(rng.random(indptr[-1]))
    matrix = SparseMatrix(indptr, columns, (20, 12), torch.device("cpu"))
    matrix.set_values(weights)
    dense = torch.zeros(20, 12, dtype=torch.float64)
    rows = torch.from_numpy(np.repeat(np.arange(20), sizes))
    dense.index_put_((rows, torch.from_numpy(columns)), weights, accumulate=True)
    wanted = torch.from_numpy(rng.integers(0, 20, 9))
    part, x = matrix.rows(wanted), values(12, 3)
    assert part.shape == (9, 12)
    assert torch.allclose(part @ x, dense[wanted] @ x, atol=1e-12)
    assert torch.allclose(part.multiply_transposed(values(9, 2)), dense[wanted].T @ values(9, 2), atol=1e-12)
    assert torch.autograd.gradcheck(lambda given: part @ given, values(12, 3).requires_grad_())
    place = torch.from_numpy(rng.permutation(15)[:12])
    moved = torch.zeros(15, 3, dtype=torch.float64).index_copy_(0, place, x)
    assert torch.allclose(part.renumbered(place, 15) @ moved, part @ x, atol=1e-12)
    assert (matrix.rows(wanted[:0]) @ x).shape == (0, 3)
    monkeypatch.setattr(segment, "_ROWS_AT_ONCE", 5)
    into = torch.full((12, 2), 7.0, dtype=torch.float64)
    assert part.multiply_transposed(values(9, 2), into) is into
    assert torch.equal(into, part.multiply_transposed(values(9, 2)))
    # What runs where scipy cannot: the same three arrays.
    csr = segment._Csr(matrix.indptr, matrix.columns, weights)
    for one, other in (
        (segment._pick_by_gathering(csr, wanted), segment._pick(csr, wanted, matrix.shape)),
        (segment._transpose_by_sorting(csr, 12), segment._transpose(csr, matrix.shape)),
    ):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_as_on_the_cpu() -> None:
    given = values(6)
    assert torch.allclose(segment_softmax(given.cuda(), INDPTR.cuda()).cpu(), segment_softmax(given, INDPTR))
    assert torch.allclose(
        segment_sum(values(6, 3).cuda(), INDPTR.cuda()).cpu(), segment_sum(values(6, 3), INDPTR)
    )
    matrix, dense = sparse_matrix("cuda")
    x = values(4, 2).cuda().requires_grad_()
    product = matrix @ x
    product.sum().backward()
    assert torch.allclose(product, dense @ x)
    assert x.grad is not None
    assert torch.allclose(x.grad, dense.sum(dim=0)[:, None].expand(4, 2))
