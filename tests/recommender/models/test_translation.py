from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kg.errors import TrainingError
from recommender.data.interactions import Floats, Ints
from recommender.models.translation import (
    TranslationVectors,
    project_by_relation,
    train_transe,
    transr_loss,
)

N_ENTITIES, N_RELATIONS, DIM, RELATION_DIM = 12, 4, 5, 3


def batch(n_rows: int = 20) -> tuple[Ints, Ints, Ints, Ints]:
    rng = np.random.default_rng(0)
    relation = rng.choice([0, 1, 3], n_rows)  # relation 2 does not occur
    heads, tails, wrong = rng.integers(0, N_ENTITIES, (3, n_rows))
    return heads, relation, tails, wrong


def weights() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((N_ENTITIES, DIM), (N_RELATIONS, RELATION_DIM), (N_RELATIONS, DIM, RELATION_DIM))
    one, two, three = (
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes
    )
    return one, two, three


@pytest.mark.parametrize("normalised", [False, True])
def test_transr_equals_triple_by_triple_and_has_exact_gradients(normalised: bool) -> None:
    entities, relations, projections = weights()
    losses, squares = [], []
    for head, relation, tail, wrong in zip(*batch(), strict=True):
        parts = [entities[node] @ projections[relation] for node in (head, tail, wrong)]
        parts.append(relations[relation])
        h, t, c, r = (functional.normalize(part, dim=0) if normalised else part for part in parts)
        true, false = (h + r - t).square().sum(), (h + r - c).square().sum()
        losses.append(functional.softplus(true - false))
        squares.append(torch.stack([part.square().sum() for part in (h, t, c, r)]).sum() / 2)
    terms = transr_loss(entities, relations, projections, *batch(), normalised=normalised)
    assert torch.allclose(terms.loss, torch.stack(losses).mean(), atol=1e-12)
    assert torch.allclose(terms.squares, torch.stack(squares).mean(), atol=1e-12)

    def loss(*tables: Tensor) -> Tensor:
        found = transr_loss(*tables, *batch(), normalised=normalised)
        return found.loss + 0.1 * found.squares

    assert torch.autograd.gradcheck(loss, weights())


def test_with_the_identity_transr_is_transe() -> None:
    entities, relations, _ = weights()
    relations = torch.randn(N_RELATIONS, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    identity = torch.eye(DIM, dtype=torch.float64).expand(N_RELATIONS, DIM, DIM)
    heads, relation, tails, wrong = (torch.from_numpy(column) for column in batch())
    true = (entities[heads] + relations[relation] - entities[tails]).square().sum(dim=1)
    false = (entities[heads] + relations[relation] - entities[wrong]).square().sum(dim=1)
    found = transr_loss(entities, relations, identity, *batch()).loss
    assert torch.allclose(found, functional.softplus(true - false).mean(), atol=1e-12)


def test_each_row_meets_the_matrix_of_its_relation() -> None:
    _, _, projections = weights()
    rows = torch.randn(2, 6, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    relation = np.asarray([0, 0, 1, 3, 3, 3])
    expected = torch.einsum("and,ndk->ank", rows, projections[torch.from_numpy(relation)])
    assert torch.allclose(project_by_relation(rows, relation, projections), expected)


def learn(triples: Ints, n_entities: int, n_relations: int, **settings: float) -> TranslationVectors:
    return train_transe(
        triples,
        n_entities,
        n_relations,
        np.random.default_rng(0),
        torch.Generator().manual_seed(0),
        batch_size=128,
        **settings,  # type: ignore[arg-type]
    )


def reciprocal_ranks(vectors: TranslationVectors, held_out: Ints, known: Ints) -> Floats:
    """Of the true tails among the entities that are no other true tail."""
    ranks = []
    for head, relation, tail in held_out:
        moved = vectors.entities[head] + vectors.relations[relation]
        distance = np.linalg.norm(moved - vectors.entities, axis=1)
        others = known[(known[:, 0] == head) & (known[:, 1] == relation) & (known[:, 2] != tail), 2]
        distance[others] = np.inf
        ranks.append(1 + int((distance < distance[tail]).sum()))
    return 1 / np.asarray(ranks, dtype=np.float32)


def makers(seed: int) -> tuple[Ints, Ints]:
    """Items have makers, makers have cities, items are sold in their maker's city: 40 of 200 held out."""
    rng = np.random.default_rng(seed)
    maker, city = rng.integers(0, 40, 200), rng.integers(0, 20, 40)
    made = [(item, 0, 200 + maker[item]) for item in range(200)]
    placed = [(200 + one, 1, 240 + city[one]) for one in range(40)]
    sold = rng.permutation([(item, 2, 240 + city[maker[item]]) for item in range(200)])
    return np.concatenate([made, placed, sold[40:]]), sold[:40]


@pytest.mark.planted
def test_transe_finds_held_out_tails_and_not_in_a_shuffled_graph() -> None:
    found, shuffled = [], []
    for seed in range(3):
        known, held_out = makers(seed)
        vectors = learn(known, 260, 3)
        assert np.allclose(np.linalg.norm(vectors.entities, axis=1), 1, atol=1e-5)
        found.append(reciprocal_ranks(vectors, held_out, known).mean())
        wrong = known.copy()
        for relation in range(3):
            rows = wrong[:, 1] == relation
            wrong[rows, 2] = np.random.default_rng(seed).permutation(wrong[rows, 2])
        shuffled.append(reciprocal_ranks(learn(wrong, 260, 3), held_out, wrong).mean())
    print(f"transe: mean reciprocal rank {np.round(found, 3)}, shuffled {np.round(shuffled, 3)}")
    assert min(found) > 0.85
    assert max(shuffled) < 0.4


@pytest.mark.planted
def test_transe_learns_the_shifts_of_a_grid_off_the_sphere() -> None:
    rng = np.random.default_rng(0)
    shifts = [(1, 0), (0, 1), (1, 1), (2, 0)]
    triples = rng.permutation(
        [
            (10 * x + y, number, 10 * (x + right) + y + up)
            for x in range(10)
            for y in range(10)
            for number, (right, up) in enumerate(shifts)
            if x + right < 10 and y + up < 10
        ]
    )
    cut = len(triples) // 10
    vectors = learn(triples[cut:], 100, 4, epochs=3000, dim=20, unit_length=False)
    score = reciprocal_ranks(vectors, triples[:cut], triples).mean()
    early = learn(triples[cut:], 100, 4, epochs=300, dim=20, unit_length=False)
    print(f"transe on the grid: mean reciprocal rank {score:.3f} after 9000 steps")
    assert score > 0.9
    assert score > reciprocal_ranks(early, triples[:cut], triples).mean()


def test_same_seed_same_vectors_and_no_triple_is_refused() -> None:
    known, _ = makers(0)
    first, again = (learn(known, 260, 3, epochs=1) for _ in range(2))
    assert np.array_equal(first.entities, again.entities)
    with pytest.raises(TrainingError, match="no triple"):
        learn(known[:0], 260, 3)
