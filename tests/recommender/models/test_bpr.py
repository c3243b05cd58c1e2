from __future__ import annotations

import numpy as np
import pytest
import torch

from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.evaluation.evaluate import pair_auc
from recommender.models.base import TrainingData
from recommender.models.bpr import Bpr, Config
from recommender.models.gradient import ranking_loss, squared_norm
from recommender.training.train import Options, train


def test_loss_is_minus_log_sigmoid_and_finite() -> None:
    for x in torch.linspace(-30, 30, 61, dtype=torch.float64):
        one = torch.ones(1, 1, dtype=torch.float64)
        assert torch.allclose(
            ranking_loss(one, x * one, 0 * one), -torch.log(torch.sigmoid(x)), atol=1e-12, rtol=0
        )
    far = ranking_loss(torch.ones(1, 1), torch.full((1, 1), -1e4), torch.zeros(1, 1))
    assert far.item() == 1e4


def test_gradients_are_exact() -> None:
    rows = [torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda u, p, n: ranking_loss(u, p, n) + 0.1 * squared_norm(u, p, n), rows)


def test_penalty_is_half_the_squares_per_row() -> None:
    assert squared_norm(torch.full((4, 2), 2.0), torch.ones(4, 2)).item() == (4 * 8 + 4 * 2) / 8


def test_loss_by_hand() -> None:
    data = TrainingData(Interactions.of(["a", "b"], ["x", "y"]))
    model = Bpr(data, Config(dim=2, penalty=0.5), torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.users.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
        model.items.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    loss = model.loss(np.asarray([0]), np.asarray([0]), np.asarray([1]))
    assert loss.item() == pytest.approx(np.log1p(np.exp(1.0)) + 0.5 * (5 + 1 + 1) / 2)


def test_finds_a_planted_rank_one_matrix() -> None:
    rng = np.random.default_rng(0)
    taste, kind = rng.choice([-1, 1], 60), rng.choice([-1, 1], 50)
    liked = np.outer(taste, kind) > 0
    shown = rng.random(liked.shape) < 0.5
    user, item = np.nonzero(liked & shown)
    whole = Interactions.of(
        [f"u{u:02d}" for u in user], [f"i{i:02d}" for i in item], catalogue=[f"i{i:02d}" for i in range(50)]
    )
    empty = whole.select(np.zeros(len(whole), dtype=bool))
    options = Options(epochs=30, device="cpu")
    config = {"dim": 4, "learning_rate": 0.05}
    model = train("bpr", Split(whole, empty, empty), model_options=config, options=options).model
    users, items = np.nonzero(~shown)
    assert pair_auc(model, users, items, liked[users, items]) > 0.99
