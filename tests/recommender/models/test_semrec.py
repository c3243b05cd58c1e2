from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from kg.errors import TrainingError
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.evaluation.evaluate import pair_auc
from recommender.graph.joint import JointGraph
from recommender.graph.metapaths import path_sim, row_normalised
from recommender.models import semrec
from recommender.models.base import SideData, TrainingData
from recommender.models.semrec import Config, SemRec, personal_weights, rating_levels, shared_weights
from recommender.training.train import train
from tests.recommender.planting import SEEDS
from tests.worlds import PlainGraph, Variant, planted_world, rated_pairs

RATINGS = {
    "a": {"i0": 5, "i1": 1, "i2": 4},
    "b": {"i0": 5, "i1": 1, "i3": 2},
    "c": {"i0": 1, "i1": 1, "i3": 5},
}
Rows = dict[str, dict[str, int]]


def ratings(rows: Rows) -> Interactions:
    flat = [(user, item, float(rating)) for user, own in rows.items() for item, rating in own.items()]
    return Interactions.of(
        *(list(column) for column in zip(*[row[:2] for row in flat], strict=True)),
        weight=[row[2] for row in flat],
        catalogue=[f"i{n}" for n in range(5)],
    )


def fitted(
    rows: Rows, config: Config, *, with_graph: bool = True, friends: list[list[int]] | None = None
) -> SemRec:
    """Items 0-2 share an entity, items 3 and 4 another one."""
    rated = ratings(rows)
    nothing = rated.select(np.zeros(len(rated), dtype=bool))
    plain = PlainGraph(
        [f"e{n}" for n in range(7)],
        ["HAS"],
        np.asarray([(0, 0, 5), (1, 0, 5), (2, 0, 5), (3, 0, 6), (4, 0, 6)]),
    )
    split = Split(rated, nothing, nothing)
    graph = JointGraph.build(split, plain, {f"i{n}": f"e{n}" for n in range(5)}) if with_graph else None
    side = SideData(rated=rated, friends=None if friends is None else np.asarray(friends))
    return SemRec(TrainingData(rated, graph, side), config)


def by_hand(model: SemRec, path: int, user: int, item: int) -> float:
    """``sum_r r Q(u, i, r) / sum_r Q(u, i, r)`` over the other users, or the mean."""
    votes: dict[float, float] = {}
    for other, one, rating in zip(model.rated.user, model.rated.item, model.rated.weight, strict=True):
        if one == item:
            similarity = float(model.paths[path].similar[[user]].toarray()[0, other])
            votes[float(rating)] = votes.get(float(rating), 0) + similarity
    total = sum(votes.values())
    return sum(rating * vote for rating, vote in votes.items()) / total if total else model.mean


def test_one_path_alone_predicts_its_ratings() -> None:
    model = fitted(RATINGS, Config(rank_by="rating"), friends=[[0, 2]])
    assert [path.name for path in model.paths] == ["item", "relation 0", "friend"]
    for path in range(3):
        model.path_weights = np.repeat(np.eye(3)[[path]], 3, axis=0)
        expected = [[by_hand(model, path, user, item) for item in range(5)] for user in range(3)]
        assert model.score(np.arange(3)) == pytest.approx(np.asarray(expected), abs=1e-5)
    model.path_weights = np.asarray([[0.2, 0.3, 0.5]] * 3)
    mixed = sum(w * by_hand(model, path, 0, 3) for path, w in enumerate((0.2, 0.3, 0.5)))
    assert model.predicted_ratings(np.asarray([0]), np.asarray([3])) == pytest.approx(mixed, abs=1e-5)


def test_similarity_counts_equal_ratings_only() -> None:
    similar = fitted(RATINGS, Config()).paths[0].similar.toarray()
    assert similar[0, 1] == pytest.approx(2 * 2 / (3 + 3))  # items 0 and 1 alike
    assert similar[0, 2] == pytest.approx(2 * 1 / (3 + 3))  # only item 1
    assert similar[1, 2] == pytest.approx(2 * 1 / (3 + 3))  # item 1 alike, items 0 and 3 not
    assert not similar.diagonal().any()


def test_a_user_s_own_rating_is_no_evidence() -> None:
    alone = fitted({**RATINGS, "a": {"i0": 5, "i1": 1, "i4": 1}}, Config(rank_by="rating"))
    assert alone.score(np.asarray([0]), np.asarray([4])) == pytest.approx(alone.mean)


@pytest.mark.parametrize("rating", [1, 3, 5])
def test_where_all_ratings_are_one_every_prediction_is(rating: int) -> None:
    rows = {user: dict.fromkeys(own, rating) for user, own in RATINGS.items()}
    model = fitted(rows, Config(rank_by="rating"), friends=[[0, 1]])
    assert model.score(np.arange(3)) == pytest.approx(rating)
    for path in range(3):
        assert by_hand(model, path, 0, 3) == pytest.approx(rating)
    votes = fitted(rows, Config()).score(np.arange(3))
    assert votes[0, 3] > votes[0, 4] == 0  # lists are still ordered


def test_the_constraint_never_adds_a_walk() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 6, (12, 9))  # 0: not rated
    middle = (rng.random((9, 4)) < 0.5).astype(float)
    for half in (np.eye(9), middle):
        unequal = (levels > 0).astype(float) @ half
        equal = sum(
            ((levels == r).astype(float) @ half) @ ((levels == r).astype(float) @ half).T for r in range(1, 6)
        )
        assert (equal <= unequal @ unequal.T).all()
        assert (equal < unequal @ unequal.T).any()
    rated = {f"u{u:02d}": {f"i{i}": int(levels[u, i]) for i in np.flatnonzero(levels[u])} for u in range(12)}
    alike = fitted(rated, Config(), with_graph=False).paths[0].similar
    plain = fitted(rated, Config(equal_ratings=False), with_graph=False).paths[0].similar
    # On the path over items both have the same diagonal, so similarities compare as the counts do.
    assert (alike.toarray() <= plain.toarray() + 1e-6).all()
    assert alike.sum() < plain.sum()
    counts = sparse.csr_array((levels > 0).astype(float))
    whole = path_sim(counts @ counts.T).toarray()
    np.fill_diagonal(whole, 0)
    assert plain.toarray() == pytest.approx(whole, abs=1e-6)


def objective(
    w: NDArray[np.float64],
    grams: NDArray[np.float64],
    slopes: NDArray[np.float64],
    sbar: list[sparse.csr_array],
    config: Config,
) -> float:
    fit = np.einsum("uk,ukl,ul->", w, grams, w) / 2 - (w * slopes).sum()
    rough = sum(((w[:, n] - one @ w[:, n]) ** 2).sum() for n, one in enumerate(sbar))
    return float(fit + config.smoothing / 2 * rough + config.penalty / 2 * (w**2).sum())


def problem(n_users: int = 8) -> tuple[NDArray[np.float64], NDArray[np.float64], list[sparse.csr_array]]:
    """Random fits, and a connected ring of users along each of two paths."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_users, 6, 2))
    targets = rng.normal(size=(n_users, 6)) + rows[:, :, 0] * rng.random((n_users, 1)) * 2
    ring = sparse.csr_array(np.roll(np.eye(n_users), 1, axis=1) + np.roll(np.eye(n_users), -1, axis=1))
    grams, slopes = np.einsum("unk,unl->ukl", rows, rows), np.einsum("unk,un->uk", rows, targets)
    return grams, slopes, [row_normalised(ring), row_normalised(ring + sparse.eye_array(n_users))]


def test_weights_reach_the_minimum_of_the_loss() -> None:
    """No gradient is left but where the bound of 0 holds."""
    grams, slopes, sbar = problem()
    config = Config(smoothing=0.7, penalty=0.3, steps=3000)
    found = personal_weights(np.full((8, 2), 0.5), grams, slopes, sbar, config)
    assert (found >= 0).all()
    for user in range(8):
        for path in range(2):
            step = np.zeros((8, 2))
            step[user, path] = 1e-5
            up, down = (objective(found + s * step, grams, slopes, sbar, config) for s in (1, -1))
            slope = (up - down) / 2e-5
            assert abs(slope) < 1e-4 if found[user, path] > 0 else slope > -1e-4


def test_without_smoothing_each_user_is_its_own_regression() -> None:
    grams, slopes, sbar = problem()
    config = Config(smoothing=0.0, penalty=0.3, steps=3000)
    found = personal_weights(np.full((8, 2), 0.5), grams, slopes, sbar, config)
    for user in range(8):
        assert found[user] == pytest.approx(
            shared_weights(grams[user] + 0.3 * np.eye(2), slopes[user]), abs=1e-5
        )


def test_huge_smoothing_makes_all_weights_equal() -> None:
    grams, slopes, sbar = problem()
    shared = shared_weights(grams.sum(axis=0) + 8 * 0.3 * np.eye(2), slopes.sum(axis=0))
    loose, tight = (
        personal_weights(np.repeat(shared[None], 8, axis=0), grams, slopes, sbar, config)
        for config in (Config(smoothing=0.0, penalty=0.3), Config(smoothing=1e5, penalty=0.3, steps=2000))
    )
    assert np.ptp(loose, axis=0).max() > 0.3
    assert np.ptp(tight, axis=0).max() < 1e-3
    assert tight == pytest.approx(np.repeat(shared[None], 8, axis=0), abs=1e-3)  # the best that all can share
    apart = np.random.default_rng(1).random((8, 2))
    together = personal_weights(apart, grams, slopes, sbar, Config(smoothing=1e5, penalty=0.3, steps=2000))
    assert np.ptp(together, axis=0).max() < 1e-3 < np.ptp(apart, axis=0).min()


def test_a_user_without_neighbours_gets_the_mean_and_is_counted() -> None:
    model = fitted({**RATINGS, "d": {"i4": 3}}, Config(rank_by="rating"), with_graph=False)
    assert model.n_without_neighbours == 1
    assert model.score(np.asarray([3])) == pytest.approx(model.mean)
    users, items = np.asarray([3, 0, 0]), np.asarray([0, 3, 4])
    assert model.reached(users, items).tolist() == [False, True, False]
    assert model.score(np.asarray([0]), np.asarray([4])) == pytest.approx(model.mean)
    connected = fitted({**RATINGS, "d": {"i4": 3}}, Config(), with_graph=False, friends=[[0, 3]])
    assert connected.n_without_neighbours == 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(rank_by="rating")
    whole = fitted(RATINGS, config)
    monkeypatch.setattr(semrec, "_CELLS_PER_BLOCK", 1)
    single = fitted(RATINGS, config)
    users, items = np.asarray([2, 0, 1, 0]), np.asarray([2, 3, 2, 4])
    assert np.array_equal(whole.path_weights, single.path_weights)
    assert np.array_equal(whole.score(np.asarray([2, 0])), single.score(np.asarray([2, 0])))
    assert single.score_pairs(users, items) == pytest.approx(whole.score(np.arange(3))[users, items])


def test_many_ratings_are_cut_at_their_quantiles() -> None:
    counts = np.arange(100, dtype=np.float32)
    assert np.bincount(rating_levels(counts, 4)).tolist() == [25, 25, 25, 25]
    assert len(np.unique(rating_levels(counts, 1))) == 1
    assert rating_levels(np.asarray([1, 5, 1, 3], dtype=np.float32), 4).tolist() == [0, 2, 0, 1]
    heavy = np.asarray([1.0] * 90 + list(range(2, 12)), dtype=np.float32)
    assert len(np.unique(rating_levels(heavy, 4))) < 4  # ties are never split


def test_no_rating_is_refused() -> None:
    rated = ratings(RATINGS)
    nothing = rated.select(np.zeros(len(rated), dtype=bool))
    with pytest.raises(TrainingError, match="no rating"):
        SemRec(TrainingData(rated, None, SideData(rated=nothing)), Config())


@cache
def aucs(
    variant: Variant, n_rated: int, rank_by: str, *, with_graph: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Warm and cold AUC of each seed, with so many likes and as many dislikes a user."""
    found = []
    for seed in SEEDS:
        world = planted_world(seed, variant)
        graph = JointGraph.build(world.split, world.graph, world.links) if with_graph else None
        side = SideData(rated=rated_pairs(world, seed, n_rated))
        model = train("semrec", world.split, graph, side=side, model_options={"rank_by": rank_by}).model
        found.append([pair_auc(model, p.users, p.items, p.labels) for p in (world.warm, world.cold)])
    warm, cold = np.asarray(found).T
    print(f"semrec {variant} {n_rated} {rank_by} {with_graph}: warm {warm.round(3)}, cold {cold.round(3)}")
    return warm, cold


@pytest.mark.planted
@pytest.mark.parametrize("rank_by", ["votes", "rating"])
def test_users_who_rated_alike_tell_and_cold_items_get_no_vote(rank_by: str) -> None:
    warm, cold = aucs("PG-1", 15, rank_by)
    assert warm.mean() > 0.94
    assert warm.min() > 0.92
    assert (cold == 0.5).all()  # exactly: nobody rated them


@pytest.mark.planted
@pytest.mark.parametrize(("rank_by", "gain"), [("votes", 0.15), ("rating", 0.08)])
def test_attributes_connect_users_who_rated_little(rank_by: str, gain: float) -> None:
    true, _ = aucs("PG-1", 2, rank_by)
    shuffled, _ = aucs("PG-1-shuffled", 2, rank_by)
    none, _ = aucs("PG-1", 2, rank_by, with_graph=False)
    assert true.mean() > 0.62
    assert 0.4 < shuffled.mean() < 0.6
    assert 0.4 < none.mean() < 0.6
    assert true.min() > max(shuffled.max(), none.max()) + gain / 2
    assert true.mean() > max(shuffled.mean(), none.mean()) + gain
