from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.sequences import PAD
from recommender.evaluation.evaluate import pair_auc
from recommender.evaluation.metrics import auc
from recommender.graph.item_paths import PathsOfRows, PathTrie
from recommender.graph.joint import JointGraph
from recommender.models.base import SideData, TrainingData
from recommender.models.eium import Config, Eium
from recommender.models.gradient import xavier
from recommender.models.path_attention import PathAttention
from recommender.training.train import Options, train
from tests.recommender.models.test_contract import tiny
from tests.recommender.ordered import in_random_order, ordered_world
from tests.recommender.planting import SEEDS, trained
from tests.worlds import PlainGraph, Variant, planted_world

CONFIG = Config(dim=6, dropout=0.0)


def small(config: Config = CONFIG, side: SideData | None = None) -> Eium:
    split, graph, _ = tiny()
    data = TrainingData(split.train, graph, side or SideData())
    model = Eium(data, config, torch.Generator().manual_seed(0))
    with torch.no_grad():  # far from zero, so that every part shows
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def reader(trie: PathTrie, ends: np.ndarray, dim: int = 5) -> tuple[PathAttention, Any]:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(10, dim, generator=generator)
    attention = PathAttention(4, dim, generator)
    return attention, attention.read(trie, ends, lambda nodes: table[torch.from_numpy(nodes)])


ENTITIES = np.asarray([(5, 2, 7, -1), (5, 2, 8, 1), (4, 2, 7, -1), (5, 2, -1, -1)])
RELATIONS = np.asarray([(0, 3, -1), (0, 1, 1), (0, 3, -1), (1, -1, -1)])


def test_paths_are_read_as_one_by_one() -> None:
    trie, ends = PathTrie.of(ENTITIES, RELATIONS)
    attention, read = reader(trie, ends)
    table = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    for row, end in enumerate(ends):
        state = torch.zeros(1, 5)
        for step, entity in enumerate(ENTITIES[row][ENTITIES[row] >= 0]):
            relation = RELATIONS[row][step - 1] if step else 4
            state = attention.unit(torch.cat([table[[entity]], attention.relations[[relation]]], 1), state)
        place = np.searchsorted(read.nodes, end)
        assert torch.allclose(read.vectors[place], state[0], atol=1e-6)
        logit = torch.tanh(state @ attention.hidden_weights) @ attention.logit_weights
        assert torch.allclose(read.logits[place], logit.squeeze(), atol=1e-6)


def test_one_path_has_all_the_weight_and_no_path_is_zero() -> None:
    trie, ends = PathTrie.of(ENTITIES, RELATIONS)
    attention, read = reader(trie, ends)
    pooled, alphas = attention.pool(read, PathsOfRows(np.asarray([0, 1, 1]), ends[:1]))
    assert alphas.tolist() == [1.0]
    assert torch.equal(pooled[0], read.vectors[np.searchsorted(read.nodes, ends[0])])
    assert not pooled[1].any()


def test_a_duplicated_path_changes_nothing_once_dropped() -> None:
    trie, ends = PathTrie.of(ENTITIES, RELATIONS)
    attention, read = reader(trie, ends)
    doubled = np.concatenate([ends, ends[[1]]])
    kept = PathsOfRows.best(np.zeros(5, np.int64), 1, doubled, doubled, 20)
    once = PathsOfRows.best(np.zeros(4, np.int64), 1, ends, ends, 20)
    pooled, alphas = attention.pool(read, kept)
    expected, weights = attention.pool(read, once)
    assert torch.equal(pooled, expected)
    assert torch.equal(alphas, weights)
    # Left in, both copies would weigh the same, and more together than the one.
    raw, both = attention.pool(read, PathsOfRows(np.asarray([0, 5]), doubled))
    place = int(np.flatnonzero(once.paths == ends[1])[0])
    assert both[1] == both[4]
    assert both[1] + both[4] > weights[place]
    assert not torch.allclose(raw, expected)


def test_equal_paths_from_the_search_come_once() -> None:
    trie, ends = PathTrie.of(np.tile(ENTITIES, (2, 1)), np.tile(RELATIONS, (2, 1)))
    best = PathsOfRows.best(np.zeros(8, np.int64), 1, ends, ends, 20)
    assert len(best.paths) == 4
    assert len(trie) == len(PathTrie.of(ENTITIES, RELATIONS)[0])


def test_what_comes_later_leaves_a_state_unchanged() -> None:
    model = small()
    user = int(np.argmax(model._n_had))
    history = model._histories[user].copy()
    n = int(model._n_had[user])

    def states() -> torch.Tensor:
        items = model._histories[[user]]
        row, place = np.nonzero(items != PAD)
        sources = np.stack([np.r_[items[0, :t][::-1], np.full(20 - t, PAD)] for t in place])
        vectors, _ = model.interactions(sources, items[row, place])
        return model.states(vectors, row, place, 1).detach()

    before = states()
    for step in range(1, n):
        model._histories[user] = history
        model._histories[user, step] = (history[step] + 5) % 18
        after = states()
        assert torch.allclose(after[:step], before[:step], atol=1e-6)
        assert not torch.allclose(after[step], before[step], atol=1e-3)


def test_no_path_uses_the_edge_between_the_user_and_the_candidate() -> None:
    """Paths are of the graph's relations only, and an item that the user had is no source of its own."""
    model = small()
    assert model.paths.trie.relation.max() < 2 * tiny()[1].n_relations
    for user in range(5):
        for item in model._histories[user][model._histories[user] >= 0].tolist():
            told = model.explain(user, item)
            history = model._histories[user].copy()
            place = int(np.flatnonzero(history == item)[0])
            model._histories[user, place:-1], model._n_had[user] = (
                history[place + 1 :],
                model._n_had[user] - 1,
            )
            assert model.explain(user, item) == told
            assert all(path.entities[0] != item for path in told)
            model._histories[user], model._n_had[user] = history, model._n_had[user] + 1


def test_states_equal_attention_step_by_step() -> None:
    model = small()
    generator = torch.Generator().manual_seed(1)
    row, place = np.asarray([0, 0, 0, 1, 1]), np.asarray([0, 1, 2, 0, 1])
    vectors = torch.randn(5, 6, generator=generator)
    found = model.states(vectors, row, place, 2)
    for n in range(5):
        own = [m for m in range(n + 1) if row[m] == row[n]]
        seen = vectors[own] + model.positions[place[own]]
        query, key, value = (
            seen[-1] @ model.attention[0],
            seen @ model.attention[1],
            seen @ model.attention[2],
        )
        weights = torch.softmax(key @ query / 6**0.5, dim=0)
        expected = weights @ value + seen[-1] @ model.state_weights + model.state_bias
        assert torch.allclose(found[n], expected, atol=1e-5)


def test_ranking_loss_equals_step_by_step() -> None:
    model = small(replace(CONFIG, penalty=0.0))
    users = np.asarray([4, 1])
    n_steps = int((model._n_had[users] - 1).sum())
    negative = np.random.default_rng(0).integers(0, 20, n_steps)
    losses, step, histories, counts = [], 0, model._histories.copy(), model._n_had.copy()
    for user in users:
        for n in range(1, int(counts[user])):
            model._histories[user] = np.r_[histories[user, :n], np.full(50 - n, PAD)]
            model._n_had[user] = n
            pair = torch.tensor([histories[user, n], negative[step]])
            positive, other = model.logits(torch.tensor([user, user]), pair).detach()
            losses.append(float(functional.softplus(other - positive)))
            step += 1
    model._histories, model._n_had = histories, counts
    assert model.ranking_loss(users, negative).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_an_item_without_a_path_has_the_base_score() -> None:
    model = small()
    users = np.arange(30)
    base = (model.last_states(users) @ model.features(np.arange(20)).T).detach().numpy()
    scores = model.score(users)
    assert np.allclose(scores[:, 19], base[:, 19], atol=1e-5)  # no link, no path
    reached = [bool(model.explain(3, item)) for item in range(20)]
    assert np.array_equal(np.abs(scores[3] - base[3]) > 1e-4, reached)
    assert any(reached)


def test_alphas_explain_and_sum_to_one() -> None:
    model = small()
    told = next(found for item in range(20) if len(found := model.explain(0, item)) > 2)
    assert sum(path.weight for path in told) == pytest.approx(1)
    assert [path.weight for path in told] == sorted((path.weight for path in told), reverse=True)
    assert len(told) <= 20


def test_structural_loss_and_content() -> None:
    rng = np.random.default_rng(0)
    content = rng.normal(size=(20, 4)).astype(np.float32)
    model = small(side=SideData(item_vectors=content))
    fused = model.entities.clone()
    fused[:20] += torch.from_numpy(content) @ model.content_weights
    assert torch.allclose(model.features(np.arange(25)), fused[:25], atol=1e-5)
    triples = model._triples[:7]
    apart = fused[triples[:, 0]] + model.reader.relations[triples[:, 1]] - fused[triples[:, 2]]
    expected = apart.square().sum(dim=1).sqrt().mean()
    assert torch.allclose(model.structural_loss(triples), expected, atol=1e-5)
    assert not torch.allclose(model.features(np.arange(20)), small().features(np.arange(20)))


def test_who_had_nothing_has_the_bias_and_a_graph_is_needed() -> None:
    split, graph, _ = tiny()
    kept = split.train.select(split.train.user != 3)
    model = Eium(TrainingData(kept, graph), CONFIG, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.state_bias.fill_(0.5)
    assert torch.equal(model.last_states(np.asarray([2, 3]))[1], model.state_bias)
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        Eium(TrainingData(split.train), CONFIG, torch.Generator())


def test_a_graph_that_knows_no_item_leaves_the_rest() -> None:
    split, _, _ = tiny()
    empty = PlainGraph(["a"], ["R"], np.zeros((0, 3), dtype=np.int64))
    graph = JointGraph.build(split, empty, {})
    run = Options(epochs=1, device="cpu")
    model = train("eium", split, graph, options=run).model
    assert np.isfinite(model.score(np.arange(5))).all()


@cache
def attention_figures(seed: int, shuffled: bool) -> tuple[float, float]:
    """6,000 pairs of 10 paths over 6 relations, half of them with one of a given sequence: AUC of telling
    them on 1,000 others, and how often that path has the largest alpha."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    n_pairs, n_paths, target = 7000, 10, np.asarray([1, 4, 2])
    relations = rng.integers(0, 6, (n_pairs, n_paths, 3))
    same = (relations == target).all(axis=2)
    relations[same, 0] = 0
    labels = np.arange(n_pairs) % 2
    planted = rng.integers(0, n_paths, n_pairs)
    relations[labels == 1, planted[labels == 1]] = target
    entities = rng.integers(0, 200, (n_pairs, n_paths, 4))
    if shuffled:
        labels = rng.permutation(labels)
    trie, ends = PathTrie.of(entities.reshape(-1, 4), relations.reshape(-1, 3))
    ends = ends.reshape(n_pairs, n_paths)
    table, head = xavier(generator, 200, 32), xavier(generator, 32, 1)
    attention = PathAttention(6, 32, generator)
    optimiser = torch.optim.Adam([table, head, *attention.parameters()], lr=0.005)

    def pool(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        read = attention.read(trie, ends[rows].ravel(), lambda nodes: table[torch.from_numpy(nodes)])
        indptr = np.arange(len(rows) + 1) * n_paths
        pooled, alphas = attention.pool(read, PathsOfRows(indptr, ends[rows].ravel()))
        return (pooled @ head).squeeze(1), alphas.view(-1, n_paths)

    for _ in range(6):
        for rows in np.split(rng.permutation(6000), 60):
            loss = functional.binary_cross_entropy_with_logits(
                pool(rows)[0], torch.from_numpy(labels[rows]).float()
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.no_grad():
        scores, alphas = pool(np.arange(6000, 7000))
    held_out = labels[6000:] == 1
    right = alphas.argmax(dim=1).numpy() == planted[6000:]
    return auc(scores.numpy(), held_out), float(right[held_out].mean())


@pytest.mark.planted
def test_the_path_that_decides_is_found_and_gets_the_weight() -> None:
    found = np.asarray([attention_figures(seed, False) for seed in SEEDS])
    print(f"eium attention: auc {found[:, 0].round(3)}, top path right {found[:, 1].round(3)}")
    assert found[:, 0].min() > 0.95
    assert found[:, 1].min() > 0.9


@pytest.mark.planted
def test_with_random_labels_no_path_decides() -> None:
    found = np.asarray([attention_figures(seed, True)[0] for seed in SEEDS])
    print(f"eium attention, shuffled: auc {found.round(3)}")
    assert ((found > 0.4) & (found < 0.6)).all()


@cache
def cold_auc(variant: Variant | None, *, shuffled: bool = False, epochs: int = 5) -> np.ndarray:
    """Of a planted world in random order, or of the ordered one."""
    found = []
    for seed in SEEDS:
        if variant is None:
            world = ordered_world(seed, shuffled=shuffled)
        else:
            world = in_random_order(planted_world(seed, variant), seed)
        model = trained("eium", world, seed, epochs=epochs, dim=16)
        found.append(pair_auc(model, world.cold.users, world.cold.items, world.cold.labels))
    print(f"eium {variant or 'ordered'}, shuffled {shuffled}: cold {np.round(found, 3)}")
    return np.asarray(found)


@pytest.mark.planted
def test_paths_reach_cold_items_and_a_wrong_graph_does_not() -> None:
    assert cold_auc("PG-1").min() > 0.98
    wrong = cold_auc("PG-1-shuffled")
    assert ((wrong > 0.4) & (wrong < 0.6)).all()


@pytest.mark.planted
def test_the_order_of_the_history_tells_which_cold_item_follows() -> None:
    found = cold_auc(None, epochs=20)
    assert found.mean() >= 0.85
    assert found.min() >= 0.8
    wrong = cold_auc(None, shuffled=True, epochs=20)
    assert ((wrong > 0.4) & (wrong < 0.6)).all()


@pytest.mark.planted
def test_the_heaviest_path_runs_through_the_attribute() -> None:
    world = in_random_order(planted_world(0), 0)
    model = trained("eium", world, 0, epochs=5, dim=16)
    assert isinstance(model, Eium)
    graph = JointGraph.build(world.split, world.graph, world.links)
    right = shown = 0
    for pair in np.flatnonzero(world.cold.labels)[::20]:
        told = model.explain(int(world.cold.users[pair]), int(world.cold.items[pair]))
        if told:
            shown += 1
            right += told[0].relations == (0, graph.n_relations)
    print(f"eium heaviest path right: {right} of {shown}")
    assert shown > 80
    assert right / shown > 0.9
