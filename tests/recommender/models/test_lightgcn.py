from __future__ import annotations

import numpy as np
import torch

from recommender.data.interactions import Interactions
from recommender.models.base import TrainingData
from recommender.models.bpr import Bpr
from recommender.models.bpr import Config as BprConfig
from recommender.models.lightgcn import Config, LightGcn, normalised_adjacency
from tests.worlds import planted_world


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_without_layers_it_is_matrix_factorisation() -> None:
    data = TrainingData(planted_world(0).split.train)
    flat = LightGcn(data, Config(dim=8, n_layers=0, penalty=0.1), generator())
    plain = Bpr(data, BprConfig(dim=8, penalty=0.1), generator())
    with torch.no_grad():
        plain.users.copy_(flat.nodes[: flat.n_users])
        plain.items.copy_(flat.nodes[flat.n_users :])
    rng = np.random.default_rng(0)
    user, positive, negative = rng.integers(0, 600, 50), rng.integers(0, 400, 50), rng.integers(0, 400, 50)
    assert torch.equal(flat.loss(user, positive, negative), plain.loss(user, positive, negative))
    flat_epoch = [loss.item() for _, loss in flat.losses(np.random.default_rng(1))]
    plain.config = BprConfig(dim=8, penalty=0.1, batch_size=flat.config.batch_size)
    assert flat_epoch == [loss.item() for _, loss in plain.losses(np.random.default_rng(1))]


def test_one_layer_by_hand() -> None:
    # a has x and y, b has y: degrees 2 and 1, 1 and 2.
    data = TrainingData(Interactions.of(["a", "a", "b"], ["x", "y", "y"]))
    model = LightGcn(data, Config(dim=1, n_layers=1), generator())
    with torch.no_grad():
        model.nodes.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
    users, items = model.embed()
    half, root = 1 / np.sqrt(2 * 2), 1 / np.sqrt(2 * 1)
    smoothed = [3 * root + 4 * half, 4 * root, 1 * root, 1 * half + 2 * root]
    expected = (np.asarray([1, 2, 3, 4]) + smoothed) / 2
    assert np.allclose(torch.cat([users, items]).detach().numpy()[:, 0], expected)


def test_ones_stay_ones_on_a_regular_graph() -> None:
    users, items = np.divmod(np.arange(5 * 3), 3)
    train = Interactions.of(
        [f"u{u}" for u in users], [f"i{(u + j) % 5}" for u, j in zip(users, items, strict=True)]
    )
    adjacency = normalised_adjacency(train, torch.device("cpu"))
    assert torch.allclose(adjacency @ torch.ones(10, 2), torch.ones(10, 2))


def test_renumbering_users_renumbers_vectors() -> None:
    users, items = ["a", "a", "b", "c"], ["x", "y", "y", "z"]
    renamed = [{"a": "c", "b": "a", "c": "b"}[user] for user in users]
    place = [2, 0, 1]  # where a, b, c are after renaming
    models = [
        LightGcn(TrainingData(Interactions.of(u, items)), Config(dim=4), generator())
        for u in (users, renamed)
    ]
    with torch.no_grad():
        models[1].nodes[:3][place] = models[0].nodes[:3].clone()
        models[1].nodes[3:] = models[0].nodes[3:]
    (before, items_before), (after, items_after) = (model.embed() for model in models)
    assert torch.allclose(after[place], before)
    assert torch.allclose(items_after, items_before)
