from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from recommender.segment import SparseMatrix, segment_softmax, segment_sum

INDPTR = torch.tensor([0, 2, 2, 5, 6, 6])  # segments 1 and 4 are empty


def values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_softmax_equals_a_dense_masked_one() -> None:
    given = values(6)
    dense = torch.full((5, 6), float("-inf"), dtype=torch.float64)
    for segment in range(5):
        dense[segment, INDPTR[segment] : INDPTR[segment + 1]] = given[INDPTR[segment] : INDPTR[segment + 1]]
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


def test_gradients_are_exact() -> None:
    assert torch.autograd.gradcheck(lambda v: segment_softmax(v, INDPTR), values(6).requires_grad_())
    assert torch.autograd.gradcheck(lambda v: segment_sum(v, INDPTR), values(6, 2).requires_grad_())


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
