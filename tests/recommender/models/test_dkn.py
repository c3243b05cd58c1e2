from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.evaluation.evaluate import pair_auc
from recommender.graph.joint import JointGraph
from recommender.graph.mentions import Mentions, align_mentions
from recommender.models.base import SideData, TrainingData
from recommender.models.dkn import Config, Dkn
from recommender.training.train import Options, train
from tests.recommender.planting import SEEDS
from tests.worlds import N_ITEMS, PlainGraph, planted_world

CONFIG = Config(
    word_dim=6, entity_dim=5, filters=4, widths=(1, 2, 3), words=5, history=4, translation_epochs=2
)
TEXTS = ["Red Alien of Rome", "old Rome", "Alien", "green tea and red tea and more", "", "rome"]
HAD = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3), (2, 5)]


def small(config: Config = CONFIG, mentions: Mentions | None = None, *, named: bool = True) -> Dkn:
    """Users with 1, 2, 5 and no items; entity 6 is called rome, entity 7 alien; item 4 has no text."""
    whole = Interactions.of(
        [f"u{u}" for u, _ in HAD] + ["u3"],
        [f"i{i}" for _, i in HAD] + ["i0"],
        catalogue=[f"i{i}" for i in range(6)],
    )
    split = Split(whole.select(whole.user < 3), *[whole.select(np.zeros(len(whole), dtype=bool))] * 2)
    triples = np.asarray([[n, 0, 6 + n % 3] for n in range(6)] + [[6, 1, 8]])
    graph = JointGraph.build(
        split,
        PlainGraph([f"e{n}" for n in range(9)], ["A", "B"], triples),
        {f"i{n}": f"e{n}" for n in range(6)},
    )
    found = align_mentions(TEXTS, {6: ["rome"], 7: ["alien"]}, graph) if named else mentions
    side = SideData(item_texts=TEXTS, item_mentions=found)
    return Dkn(TrainingData(split.train, graph, side), config, torch.Generator().manual_seed(0))


def kim_cnn(words: Tensor, filters: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Kim (EMNLP 2014): convolutions of several widths, ReLU, the maximum over positions."""
    channels = words.transpose(1, 2)
    heard = [functional.conv1d(channels, f, b) for f, b in zip(filters, biases, strict=True)]
    return torch.cat([functional.relu(part).max(dim=2).values for part in heard], dim=1)


def by_word(model: Dkn) -> list[Tensor]:
    config = model.config
    return [
        weight.view(config.filters, config.word_dim, width)
        for weight, width in zip(model.word_filters, config.widths, strict=True)
    ]


def test_without_entities_it_is_a_convolution_over_words_bit_for_bit() -> None:
    items = torch.arange(6)
    model = small(mentions=Mentions.none(), named=False)
    plain = kim_cnn(model.words[model._words], by_word(model), list(model.biases))
    assert torch.equal(model.read(items), plain)
    assert not torch.equal(small().read(items), plain)  # the entities of these texts do say something


def test_words_entities_and_contexts_are_channels_of_one_convolution() -> None:
    """The paper's form: one filter over the rows [w, g(e), g(c)] of a text."""
    model = small()
    rows = torch.zeros(6, 5, 3, model.config.word_dim)
    rows[:, :, 0] = model.words[model._words]
    for item, start, node in ((0, 1, 7), (0, 3, 6), (1, 1, 6), (2, 0, 7), (5, 0, 6)):
        number = model._entities[item, start]
        assert number > 0
        rows[item, start, 1:] = torch.tanh(model.entities[number] @ model.transform + model.transform_bias)
        assert model._entities[model._entities == number].numel() == (3 if node == 6 else 2)
    filters = [
        torch.cat([words, entities.view(4, -1, words.shape[2])], dim=1)
        for words, entities in zip(by_word(model), model.entity_filters, strict=True)
    ]
    whole = kim_cnn(rows.flatten(2), filters, list(model.biases))
    torch.testing.assert_close(model.read(torch.arange(6)), whole)


def test_entities_hold_their_vector_and_the_mean_of_their_neighbours() -> None:
    model = small()
    table = model.entities
    assert table.shape == (3, 2, 5)
    assert (table[0] == 0).all()
    assert table[1:, 0].norm(dim=1) == pytest.approx([1, 1], abs=1e-4)
    assert not table[1:, 1].equal(table[1:, 0])
    assert small(Config(context=False, translation_epochs=1)).entities.shape == (3, 1, 50)


def test_padding_stays_zero_after_the_transformation_and_after_training() -> None:
    model = small()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    rng = np.random.default_rng(0)
    for _ in range(3):
        for _, loss in model.losses(rng):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert model.transform_bias.abs().min() > 0  # which a transformed padding row would be the tanh of
    assert (model.transformed(torch.tensor([0, 1, 0]))[[0, 2]] == 0).all()
    assert (model.transformed(torch.tensor([1])) != 0).all()
    assert (model.words[0] == 0).all()
    assert (model.entities[0] == 0).all()


def attention(model: Dkn, user: int, item: int) -> tuple[Tensor, Tensor]:
    """The weights over the user's other items, and the user's vector, written out."""
    others = [i for u, i in HAD if u == user and i != item][-model.config.history :]
    had, candidate = model.read(torch.tensor(others)), model.read(torch.tensor([item]))[0]
    weights = torch.softmax(had @ candidate, dim=0)
    return weights, weights @ had


def test_one_item_is_the_whole_of_a_user() -> None:
    model = small()
    vectors = model.read(torch.arange(6))
    weights, user = attention(model, 0, 3)
    assert weights.tolist() == [1.0]
    torch.testing.assert_close(user, vectors[0])
    score = model.logits(torch.tensor([0]), torch.tensor([3]))
    torch.testing.assert_close(score[0], vectors[0] @ vectors[3])


def test_scores_are_the_products_of_user_and_candidate() -> None:
    model = small(Config(**{**_plain(CONFIG), "history": 8}))
    expected = torch.zeros(4, 6)
    for user in range(3):
        for item in range(6):
            if any(u == user and i != item for u, i in HAD):
                expected[user, item] = attention(model, user, item)[1] @ model.read(torch.tensor([item]))[0]
    users, items = torch.arange(4).repeat_interleave(6), torch.arange(6).repeat(4)
    torch.testing.assert_close(model.logits(users, items).view(4, 6), expected)
    np.testing.assert_allclose(model.score(np.arange(4)), expected.detach(), rtol=1e-4, atol=1e-5)
    pairs = model.score_pairs(users.numpy(), items.numpy()).reshape(4, 6)
    np.testing.assert_allclose(pairs, expected.detach(), rtol=1e-4, atol=1e-5)


def test_the_order_of_a_users_items_changes_nothing() -> None:
    model = small()
    users, items = torch.full((6,), 2), torch.arange(6)
    before = model.logits(users, items)
    model._history[2] = model._history[2].flip(0)
    model._mask[2] = model._mask[2].flip(0)
    torch.testing.assert_close(model.logits(users, items), before, rtol=1e-6, atol=1e-6)


def test_a_positive_is_not_known_by_itself() -> None:
    """A user's only item, asked for: nothing is left to compare it with."""
    model = small()
    assert model.logits(torch.tensor([0, 3]), torch.tensor([0, 0])).tolist() == [0.0, 0.0]
    assert model.score(np.asarray([0]), np.asarray([0])).tolist() == [[0.0]]


def test_without_mentions_a_text_names_its_own_item() -> None:
    model = small(named=False)
    assert (model._entities > 0).sum(dim=1).tolist() == [4, 2, 1, 5, 1, 1]
    assert model.entities.shape[0] == 7


def test_long_texts_are_cut_and_short_ones_padded() -> None:
    model = small(Config(**{**_plain(CONFIG), "words": 2, "widths": (1, 3)}))
    assert model._words.shape == (6, 3)
    assert (model._words[:, 2] == 0).all()
    assert model.read(torch.arange(6)).shape == (6, 8)


def test_texts_and_graph_are_asked_for() -> None:
    model = small()
    train_ = Interactions.of(["u"], ["i"])
    with pytest.raises(UsageError, match="item texts"):
        Dkn(TrainingData(train_), model.config, torch.Generator())


def _plain(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__slots__}


Texts = Literal["entities", "words only", "shuffled"]
PLANTED: dict[str, Any] = {
    "word_dim": 16, "entity_dim": 16, "filters": 32, "history": 15, "learning_rate": 0.01, "batch_size": 512,
    "penalty": 0.0,
}  # fmt: skip


@cache
def planted(kind: Texts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Warm and cold AUC of each seed: every text names its item by a word that occurs in no other text."""
    found = []
    for seed in SEEDS:
        world = planted_world(seed, "PG-1-shuffled" if kind == "shuffled" else "PG-1")
        graph = JointGraph.build(world.split, world.graph, world.links)
        rng = np.random.default_rng(seed)
        filler = np.asarray(["a", "the", "tale", "of", "great", "new", "big", "life"])
        texts = [
            " ".join([*rng.choice(filler, 3), f"Zor{n}", *rng.choice(filler, 2)]) for n in range(N_ITEMS)
        ]
        aliases = {n: [f"zor{n}"] for n in range(N_ITEMS)}  # items come first among the entities
        mentions = Mentions.none() if kind == "words only" else align_mentions(texts, aliases, graph)
        side, run = (
            SideData(item_texts=texts, item_mentions=mentions),
            Options(epochs=5, seed=seed, device="cpu"),
        )
        model = train("dkn", world.split, graph, side=side, model_options=PLANTED, options=run).model
        found.append([pair_auc(model, p.users, p.items, p.labels) for p in (world.warm, world.cold)])
    warm, cold = np.asarray(found).T
    print(f"dkn {kind}: warm {warm.round(3)}, cold {cold.round(3)}")
    return warm, cold


@pytest.mark.planted
def test_entities_tell_what_words_that_occur_once_cannot() -> None:
    _, cold = planted("entities")
    assert cold.mean() > 0.9
    assert cold.min() > 0.85


@pytest.mark.planted
@pytest.mark.parametrize("kind", ["words only", "shuffled"])
def test_without_them_or_with_others_it_is_chance(kind: Texts) -> None:
    warm, cold = planted(kind)
    assert warm.min() > 0.6  # it did learn what it can
    assert ((cold > 0.4) & (cold < 0.6)).all()
