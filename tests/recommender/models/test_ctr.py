from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from recommender.models.ctr import Backbone, DcnV2, DeepFm, Dice, Din, Network, second_order

DIM, N_FIELDS, HIDDEN = 3, 3, (5, 4)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def rows(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(n: int = 4, length: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Two own fields, the candidate, a history of 0, 1, 3 and 5 items, no extra field."""
    mask = torch.arange(length) < torch.tensor([0, 1, 3, 5])[:, None]
    return rows(n, 2, DIM), rows(n, DIM, seed=2), rows(n, length, DIM, seed=3), mask, rows(n, 0, DIM)


def backbones() -> dict[str, Backbone]:
    return {
        "deepfm": DeepFm(DIM, N_FIELDS, HIDDEN, generator()),
        "dcnv2": DcnV2(DIM, N_FIELDS, HIDDEN, 3, generator()),
        "din": Din(DIM, N_FIELDS, HIDDEN, (6, 4), generator()),
    }


def network(model: Network, row: Tensor) -> Tensor:
    """A network written out, without Dice."""
    for number, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        row = row @ weight + bias
        if number < len(model.weights) - 1:
            row = torch.relu(row)
    return row


def test_the_second_order_is_the_sum_over_all_pairs() -> None:
    fields = rows(6, 5, 4).double()
    pairs = torch.stack([(fields[:, i] * fields[:, j]).sum(dim=1) for i, j in combinations(range(5), 2)])
    torch.testing.assert_close(second_order(fields), pairs.sum(dim=0))


def test_deepfm_is_linear_part_pairs_and_network() -> None:
    model, fields = backbones()["deepfm"], rows(4, N_FIELDS, DIM)
    assert isinstance(model, DeepFm)
    flat = fields.flatten(1)
    expected = (flat @ model.linear)[:, 0] + second_order(fields) + network(model.deep, flat)[:, 0]
    torch.testing.assert_close(model.interact(fields), expected)


def test_cross_layers_follow_their_equation() -> None:
    model, first = backbones()["dcnv2"], rows(4, DIM * N_FIELDS)
    assert isinstance(model, DcnV2)
    expected = first
    for weight, bias in zip(model.cross_weights, model.cross_biases, strict=True):
        with torch.no_grad():
            bias.copy_(rows(len(bias), seed=7))
        expected = first * (expected @ weight + bias) + expected
    torch.testing.assert_close(model.cross(first), expected)
    assert not torch.equal(expected, first)


def test_cross_layers_of_zeros_change_nothing() -> None:
    model, first = backbones()["dcnv2"], rows(4, DIM * N_FIELDS)
    assert isinstance(model, DcnV2)
    with torch.no_grad():
        for part in [*model.cross_weights, *model.cross_biases]:
            part.zero_()
    assert torch.equal(model.cross(first), first)


def test_the_history_is_a_mean_over_what_is_there() -> None:
    _, candidate, history, mask, _ = inputs()
    pooled = backbones()["deepfm"].pool(candidate, history, mask)
    assert (pooled[0] == 0).all()
    torch.testing.assert_close(pooled[1], history[1, 0])
    torch.testing.assert_close(pooled[2], history[2, :3].mean(dim=0))


def test_din_weighs_each_item_by_a_network_of_four_parts() -> None:
    model = backbones()["din"].eval()
    assert isinstance(model, Din)
    _, candidate, history, mask, _ = inputs()
    weights = model.attend(candidate, history, mask)
    for row, length in enumerate([0, 1, 3, 5]):
        q = candidate[row]
        for place in range(5):
            k = history[row, place]
            alone = model.attention(torch.cat([q, k, q - k, q * k])[None])[0, 0]
            expected = alone if place < length else torch.zeros(())
            torch.testing.assert_close(weights[row, place], expected)
    pooled = model.pool(candidate, history, mask)
    torch.testing.assert_close(pooled, torch.einsum("bl,bld->bd", weights, history))


def test_dins_weights_are_no_softmax() -> None:
    """The same item twice weighs twice."""
    model = backbones()["din"].eval()
    candidate, item = rows(1, DIM), rows(1, 1, DIM, seed=5)
    once = model.pool(candidate, item, torch.ones(1, 1, dtype=torch.bool))
    twice = model.pool(candidate, item.repeat(1, 2, 1), torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize("name", ["deepfm", "dcnv2", "din"])
def test_what_the_mask_hides_changes_nothing(name: str) -> None:
    for training in (True, False):
        fields, candidate, history, mask, extra = inputs()
        first, second = backbones()[name].train(training), backbones()[name].train(training)
        seen = first(fields, candidate, history, mask, extra)
        hidden = torch.where(mask[:, :, None], history, torch.full_like(history, 1e3))
        assert torch.equal(second(fields, candidate, hidden, mask, extra), seen)


@pytest.mark.parametrize("name", ["deepfm", "dcnv2", "din"])
def test_a_batch_without_any_history_is_scored(name: str) -> None:
    fields, candidate, history, mask, extra = inputs()
    model = backbones()[name]
    logits = model(fields, candidate, history, torch.zeros_like(mask), extra)
    assert torch.isfinite(logits).all()
    logits.sum().backward()


def test_dice_follows_its_equation() -> None:
    dice, values = Dice(3, generator()), 2 * rows(50, 3) + 1
    with torch.no_grad():
        dice.alpha.copy_(torch.tensor([0.0, 0.25, 1.0]))
    share = torch.sigmoid((values - values.mean(dim=0)) / values.std(dim=0, unbiased=False))
    torch.testing.assert_close(dice(values), share * values + (1 - share) * dice.alpha * values)
    torch.testing.assert_close(dice(values)[:, 2], values[:, 2])  # alpha 1: the identity


def test_dice_takes_the_statistics_of_training_afterwards() -> None:
    dice, values = Dice(2, generator()), 3 * rows(64, 2) + 5
    for _ in range(100):
        dice(values)
    dice.eval()
    torch.testing.assert_close(dice.mean, values.mean(dim=0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(dice.variance, values.var(dim=0, unbiased=False), rtol=1e-3, atol=1e-3)
    before = dice.mean.clone()
    one = dice(values[:1])
    torch.testing.assert_close(one, dice(values)[:1])
    assert torch.equal(dice.mean, before)
    assert {"mean", "variance"} <= dice.state_dict().keys()  # a resumed run needs them


def test_gradients_are_exact() -> None:
    for model in (second_order, Network((4, 3, 1), generator(), dice=True).double()):
        values = rows(5, 4, 2).double() if model is second_order else rows(5, 4).double()
        assert torch.autograd.gradcheck(model, (values.requires_grad_(),))
