from __future__ import annotations

import torch

from recommender.graph.rows import RowGather


def test_rows_and_gradient_equal_plain_indexing() -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(9, 3, generator=generator).requires_grad_()
    ids = torch.tensor([4, 0, 4, 8])
    weights = torch.randn(4, 3, generator=generator)
    ours = RowGather()(ids, table)
    assert torch.equal(ours, table[ids])
    (found,) = torch.autograd.grad((ours * weights).sum(), table)
    (expected,) = torch.autograd.grad((table[ids] * weights).sum(), table)
    assert torch.allclose(found, expected)
    wide = table.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: RowGather()(ids, given), wide)


def test_memory_is_used_again_only_when_nobody_holds_it() -> None:
    gather, table = RowGather(), torch.nn.Parameter(torch.zeros(5, 2))

    def step(row: int) -> torch.Tensor:
        gather(torch.tensor([row]), table).sum().backward()
        assert table.grad is not None
        return table.grad

    first = step(0)
    place = first.data_ptr()
    both = step(1)  # added to the first, which is still the gradient
    assert both[:2].sum() == 4
    held = both[0]  # a view: the memory is in use as long as it lives
    table.grad = None
    del first, both
    other = step(2)
    assert other.data_ptr() != held.data_ptr() == place
    assert held.tolist() == [1, 1]
    table.grad = None
    place = other.data_ptr()
    del other
    again = step(3)
    assert again.data_ptr() == place
    assert again.tolist() == [[0, 0], [0, 0], [0, 0], [1, 1], [0, 0]]


def test_two_gathers_of_one_step_add_up() -> None:
    gather, table = RowGather(), torch.nn.Parameter(torch.zeros(4, 2))
    loss = gather(torch.tensor([0, 1]), table).sum() + 2 * gather(torch.tensor([1, 3]), table).sum()
    loss.backward()
    assert table.grad is not None
    assert table.grad[:, 0].tolist() == [1, 3, 0, 2]
