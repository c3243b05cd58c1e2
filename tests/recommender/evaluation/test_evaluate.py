from __future__ import annotations

import numpy as np
import pytest

import recommender.evaluation.evaluate as module
from kg.errors import UsageError
from recommender.data.interactions import Floats, Interactions, Ints
from recommender.evaluation.evaluate import evaluate, held_out_auc, pair_auc
from recommender.models.base import TrainingData, Vectors
from recommender.models.popularity import Config, Popularity


class Fixed:
    """Scores from a table."""

    def __init__(self, table: Floats) -> None:
        self.table = np.asarray(table, dtype=np.float32)

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        rows = self.table[users]
        return rows if items is None else rows[:, items]

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        return self.table[users, items]

    def vectors(self) -> Vectors | None:
        return None

    def edge_weights(self) -> Floats | None:
        return None


CATALOGUE = [f"i{n}" for n in range(6)]
WHOLE = Interactions.of(["a", "a", "a", "b", "b"], ["i0", "i1", "i2", "i1", "i5"], catalogue=CATALOGUE)
TRAIN, TEST = WHOLE.select(np.asarray([0, 3])), WHOLE.select(np.asarray([1, 2, 4]))
TABLE = np.asarray([[9, 5, 1, 4, 3, 2], [1, 9, 2, 3, 4, 5]], dtype=np.float32)


def test_by_hand() -> None:
    found = evaluate(Fixed(TABLE), TEST, seen=[TRAIN], k=3)
    # a (i0 left out): i1 hit, i3, i4; i2 is missed. b (i1 left out): i5 hit, i4, i3.
    assert found.users.tolist() == [0, 1]
    assert found.values["recall"].tolist() == [0.5, 1.0]
    assert found.values["ndcg"] == pytest.approx([1 / (1 + 1 / np.log2(3)), 1.0])
    assert found.figures()["hit@3"] == 1
    assert found.coverage == pytest.approx(4 / 6)  # i1, i3, i4, i5


def test_without_leaving_out_what_was_had_the_list_changes() -> None:
    assert evaluate(Fixed(TABLE), TEST, k=1).values["hit"].tolist() == [0, 0]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    whole = Interactions.of(
        [f"u{u}" for u in rng.integers(0, 90, 600)], [f"i{i}" for i in rng.integers(0, 40, 600)]
    )
    mask = rng.random(len(whole)) < 0.3
    model = Fixed(rng.random((whole.n_users, whole.n_items)))
    one = evaluate(model, whole.select(mask), seen=[whole.select(~mask)], k=5)
    monkeypatch.setattr(module, "_CHUNK_CELLS", 100)
    many = evaluate(model, whole.select(mask), seen=[whole.select(~mask)], k=5)
    assert one.figures() == many.figures()
    assert np.array_equal(one.users, many.users)


def test_candidates_are_ranked_among_themselves() -> None:
    found = evaluate(Fixed(TABLE), TEST, k=1, candidates=np.asarray([2, 4, 5]))
    assert found.values["hit"].tolist() == [0, 1]  # a: i4 before i2; b: i5 first
    assert found.values["recall"].tolist() == [0, 1]
    assert evaluate(Fixed(TABLE), TEST, k=20, candidates=np.asarray([2, 4])).figures()["recall@20"] == 1


def test_a_constant_scorer_does_not_profit_from_the_order_of_ids() -> None:
    users = [f"u{n:03d}" for n in range(300)]
    whole = Interactions.of(users, ["i000"] * 300, catalogue=[f"i{n:03d}" for n in range(100)])
    constant = Fixed(np.zeros((300, 100)))
    found = [evaluate(constant, whole, k=10, seed=seed).figures()["recall@10"] for seed in range(40)]
    assert np.mean(found) == pytest.approx(0.1, abs=0.15)
    assert min(found) == 0


def test_pairs_in_the_lists_are_never_left_out_ones() -> None:
    # Everything but the relevant item is left out: lists are short, and hits never come from left-out places.
    table = np.zeros((2, 6))
    rest = Interactions.of(["a"] * 4 + ["b"], ["i0", "i3", "i4", "i5", "i1"], catalogue=CATALOGUE)
    found = evaluate(Fixed(table), TEST, seen=[rest], k=6)
    assert found.values["recall"].tolist() == [1, 1]
    assert found.coverage == 1.0


def test_gain_over_another_model_is_paired() -> None:
    rng = np.random.default_rng(0)
    good = evaluate(Fixed(TABLE), TEST, seen=[TRAIN], k=3)
    bad = evaluate(Fixed(-TABLE), TEST, seen=[TRAIN], k=3)
    assert good.gain_over(bad, "ndcg", rng).mean > 0
    assert good.interval("recall", rng).mean == 0.75
    alone = evaluate(Fixed(TABLE), TEST.select(np.asarray([0])), k=3)
    with pytest.raises(UsageError, match="different users"):
        good.gain_over(alone, "ndcg", rng)


def test_nothing_to_find_and_no_numbers() -> None:
    with pytest.raises(UsageError, match="no user has a relevant item"):
        evaluate(Fixed(TABLE), TEST, candidates=np.asarray([3]))
    with pytest.raises(UsageError, match="not finite"):
        evaluate(Fixed(TABLE * np.nan), TEST)


def test_pairs_score_as_in_the_table() -> None:
    rng = np.random.default_rng(0)
    vectors = Vectors(rng.random((9, 4), dtype=np.float32), rng.random((7, 4), dtype=np.float32))
    users, items = rng.integers(0, 9, 100), rng.integers(0, 7, 100)
    assert vectors.score_pairs(users, items) == pytest.approx(vectors.score(np.arange(9))[users, items])
    labels = items > 3
    assert pair_auc(Fixed(np.tile(np.arange(7), (9, 1))), users, items, labels) == 1


def test_popularity_is_the_count_and_its_auc_is_that_of_the_data() -> None:
    model = Popularity(TrainingData(TRAIN), Config())
    assert model.score(np.asarray([1, 0])).tolist() == [[1, 1, 0, 0, 0, 0]] * 2
    assert model.score(np.asarray([0]), np.asarray([2, 1])).tolist() == [[0, 1]]
    assert held_out_auc(Fixed(TABLE), TEST, seen=[TRAIN]) == held_out_auc(Fixed(TABLE), TEST, seen=[TRAIN])
