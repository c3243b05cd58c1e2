from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from kg.errors import UsageError
from recommender.data.sequences import PAD
from recommender.data.splits import last_split
from recommender.evaluation.evaluate import pair_auc
from recommender.graph.joint import JointGraph
from recommender.models.base import TrainingData
from recommender.models.ksr import Config, Ksr
from recommender.training.train import Options, train
from tests.recommender.models.test_contract import tiny
from tests.recommender.ordered import in_random_order, ordered_world
from tests.recommender.planting import SEEDS, trained
from tests.worlds import PlainGraph, planted_world

CONFIG = Config(dim=5, hidden_dim=7, output_dim=6, transe_epochs=3, negatives=2)


def small(config: Config = CONFIG, relations: int = 3) -> Ksr:
    """The tiny world, with only some of its relations."""
    split, graph, _ = tiny()
    if relations < 3:
        edges = graph.triple >= 0
        head, tail = graph.head[edges] - graph.n_users, graph.tail[edges] - graph.n_users
        kept = graph.relation[edges] < relations
        triples = np.stack([head, graph.relation[edges], tail], axis=1)[kept]
        names = [f"e{n:02d}" for n in range(graph.n_entities)]
        links = {item: names[n] for n, item in enumerate(split.train.item_ids)}
        plain = PlainGraph(names, ["BY", "HAS", "OF"][:relations], triples)
        graph = JointGraph.build(split, plain, links)
    return Ksr(TrainingData(split.train, graph), config, torch.Generator().manual_seed(0)).eval()


def test_one_relation_is_read_whole() -> None:
    model = small(relations=1)
    assert model.relations.shape == (1, 5)
    state, memory = torch.randn(4, 7), torch.randn(4, 1, 5)
    assert torch.equal(model.read_weights(state), torch.ones(4, 1))
    assert torch.allclose(model.read(memory, state), memory[:, 0])


def test_the_first_write_is_half_the_candidate() -> None:
    model = small()
    items = torch.tensor([0, 3, 7])
    guess = torch.tanh(model.entities[items] @ model.write_weights + model.write_bias)
    expected = (guess[:, None] + model.relations) / 2
    assert torch.allclose(model.write(model.empty_memory(3), items), expected)


def test_a_later_write_goes_through_the_gate() -> None:
    model = small()
    memory, item = torch.randn(1, len(model.relations), 5), torch.tensor([2])
    found = model.write(memory, item)[0]
    guess = torch.tanh(model.entities[2] @ model.write_weights + model.write_bias)
    for slot, relation in enumerate(model.relations):
        candidate = guess + relation
        gate = torch.sigmoid(memory[0, slot] @ candidate)
        assert torch.allclose(found[slot], (1 - gate) * memory[0, slot] + gate * candidate, atol=1e-6)


def test_without_memory_it_is_a_plain_gru() -> None:
    model, plain = small(), small(replace(CONFIG, knowledge=False))
    assert plain.relations.shape == (0, 5)
    assert not plain.entities.any()
    with torch.no_grad():
        model.user_weights[7:] = 0
        model.item_weights[5:] = 0
    own = {
        name: value for name, value in model.state_dict().items() if name in dict(model.named_parameters())
    }
    plain.load_state_dict(own, strict=False)
    unit = torch.nn.GRU(5, 7, batch_first=True)
    with torch.no_grad():
        unit.weight_ih_l0.copy_(model.unit.input_weights)
        unit.weight_hh_l0.copy_(model.unit.state_weights)
        unit.bias_ih_l0.copy_(model.unit.input_bias)
        unit.bias_hh_l0.copy_(model.unit.state_bias)
    items = torch.tensor([[0, 3, 7, 2], [5, 1, 1, 9]])
    expected = torch.tanh(unit(model.items[items])[0] @ model.user_weights[:7])
    assert torch.allclose(model.states(items), expected, atol=1e-6)
    assert torch.allclose(plain.states(items), expected, atol=1e-6)
    every = torch.arange(20)
    assert torch.allclose(plain.item_vectors(every), torch.tanh(model.items @ model.item_weights[:5]))
    assert torch.allclose(model.item_vectors(every), plain.item_vectors(every))


def test_padding_neither_writes_nor_moves_the_state() -> None:
    model = small()
    items = torch.tensor([[0, 3, 7]])
    padded = torch.cat([items, torch.full((1, 4), PAD)], dim=1)
    states = model.states(padded)
    assert torch.allclose(states[:, :3], model.states(items))
    assert torch.equal(states[:, 2:], states[:, 2:3].expand(1, 5, -1))


def test_what_the_graph_does_not_know_writes_nothing() -> None:
    model = small()
    unknown = np.flatnonzero(~model.entities.any(dim=1).numpy())
    assert 19 in unknown  # the last item has no link
    both = model.states(torch.tensor([[0, 19]]))
    with torch.no_grad():
        model.user_weights[:7] = 0  # the memory alone; reading it depends on the state
        model.query_weights.zero_()
    assert torch.allclose(
        model.states(torch.tensor([[0, 19]]))[:, 1], model.states(torch.tensor([[0]]))[:, 0]
    )
    assert not torch.allclose(both[:, 0], both[:, 1])


def test_slots_are_the_relations_that_leave_items_in_either_direction() -> None:
    split, _, _ = tiny()
    triples = np.asarray([(0, 0, 30), (31, 1, 1), (30, 2, 31)])
    names = [f"e{n:02d}" for n in range(32)]
    links = {item: names[n] for n, item in enumerate(split.train.item_ids)}
    graph = JointGraph.build(split, PlainGraph(names, ["BY", "HAS", "OF"], triples), links)
    model = Ksr(TrainingData(split.train, graph), CONFIG, torch.Generator().manual_seed(0))
    assert model.relations.shape == (2, 5)  # BY, and HAS against its direction


def test_the_last_state_is_the_user_and_who_had_nothing_has_one_too() -> None:
    model = small()
    users, items = model.embed()
    history = model._histories[3]
    real = torch.from_numpy(history[history != PAD])[None]
    assert torch.allclose(users[3], model.states(real)[0, -1], atol=1e-6)
    assert users.shape == (model.n_users, 6)
    assert items.shape == (20, 6)
    model._histories[3] = PAD
    assert torch.isfinite(model.embed()[0][3]).all()


def test_loss_equals_step_by_step() -> None:
    model = small()
    users, negatives = np.asarray([4, 2]), 2
    row, place = np.nonzero(model._histories[users, 1:] != PAD)
    drawn = np.random.default_rng(0).integers(0, 20, (len(row), negatives))
    items = model.embed()[1].detach()
    total = 0.0
    for step, (r, t) in enumerate(zip(row, place, strict=True)):
        history = torch.from_numpy(model._histories[users[r], : t + 1])[None]
        state = model.states(history)[0, -1].detach()
        gaps = [state @ (items[n] - items[model._histories[users[r], t + 1]]) for n in drawn[step]]
        total += float(sum(torch.nn.functional.softplus(gap) for gap in gaps))
    expected = total / (len(row) * negatives)
    assert model.loss(users, row, place, drawn).item() == pytest.approx(expected, rel=1e-5)


def test_a_graph_is_needed() -> None:
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        Ksr(TrainingData(tiny()[0].train), CONFIG, torch.Generator())


def test_histories_of_one_item_train_nothing() -> None:
    split, graph, _ = tiny()
    first = split.train.select(np.unique(split.train.user, return_index=True)[1])
    model = Ksr(TrainingData(first, graph), CONFIG, torch.Generator().manual_seed(0))
    assert list(model.losses(np.random.default_rng(0))) == []


def test_a_graph_that_knows_no_item_leaves_the_rest() -> None:
    split, _, _ = tiny()
    empty = PlainGraph(["a"], ["R"], np.zeros((0, 3), dtype=np.int64))
    graph = JointGraph.build(split, empty, {})
    run = Options(epochs=1, device="cpu")
    model = train("ksr", split, graph, options=run).model
    assert np.isfinite(model.score(np.arange(5))).all()


FLAT: dict[str, Any] = {
    "dim": 16,
    "hidden_dim": 32,
    "output_dim": 16,
    "learning_rate": 0.01,
    "negatives": 2,
    "batch_size": 100,
}


@cache
def cold_auc(shuffled: bool = False, **options: Any) -> np.ndarray:
    found = []
    for seed in SEEDS:
        world = ordered_world(seed, shuffled=shuffled)
        model = trained("ksr", world, seed, epochs=15, **FLAT, **options)
        assert pair_auc(model, world.warm.users, world.warm.items, world.warm.labels) > 0.97
        found.append(pair_auc(model, world.cold.users, world.cold.items, world.cold.labels))
    print(f"ksr ordered, shuffled {shuffled}, {options}: cold {np.round(found, 3)}")
    return np.asarray(found)


@pytest.mark.planted
def test_what_comes_next_is_found_among_cold_items_too() -> None:
    cold, plain = cold_auc(), cold_auc(knowledge=False)
    assert cold.mean() >= 0.80
    assert cold.min() >= 0.75
    assert ((plain > 0.4) & (plain < 0.6)).all()


@pytest.mark.planted
def test_with_the_wrong_graph_cold_items_are_at_chance() -> None:
    cold = cold_auc(shuffled=True)
    assert ((cold > 0.4) & (cold < 0.6)).all()


@pytest.mark.planted
def test_cold_items_of_the_first_planted_world() -> None:
    for variant, low, high in (("PG-1", 0.7, 1.0), ("PG-1-shuffled", 0.4, 0.6)):
        cold = []
        for seed in SEEDS:
            world = in_random_order(planted_world(seed, variant), seed)  # type: ignore[arg-type]
            model = trained("ksr", world, seed, epochs=15, **FLAT)
            cold.append(pair_auc(model, world.cold.users, world.cold.items, world.cold.labels))
        print(f"ksr {variant}: cold {np.round(cold, 3)}")
        assert low < np.mean(cold) < high


@pytest.mark.planted
def test_ranks_the_held_out_last_items() -> None:
    """A real order: the last item of each history is held out and found among the first of 400."""
    world = ordered_world(0)
    split = last_split(world.split.train, (0.8, 0.1, 0.1))
    graph = JointGraph.build(split, world.graph, world.links)
    run = Options(epochs=15, seed=0, device="cpu", evaluate_every=15)
    found = train("ksr", split, graph, model_options=FLAT, options=run)
    assert found.best_validation is not None
    assert found.best_validation > 0.1
