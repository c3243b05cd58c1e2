"""SemRec (Shi et al., CIKM 2015): ratings of similar users along weighted meta-paths, each path weighed.

Two users are similar along user - item - user where they gave an item the *same* rating: the commuting matrix
is the sum over rating values ``r`` of ``A_r A_r'``, with ``A_r`` the pairs rated ``r``, and similarity is
PathSim of it. With a graph there is user - item - X - item - user for its relations, ``(A_r X)(A_r X)'``
summed likewise; with friends, user - user. Path ``l`` predicts, over others ``v``::

    Q_l(u, i, r) = sum_v S_l(u, v) [v rated i as r]        Rhat_l(u, i) = sum_r r Q_l / sum_r Q_l

and the prediction is ``mean + sum_l w_u^l (Rhat_l - mean)``. The weights, at least 0, are personal and
borrowed from similar users, or one set for all. They minimise over the rated pairs::

    1/2 |Y (R - prediction)|² + l1 / 2 sum_l |w^l - Sbar_l w^l|² + l0 / 2 |W|²

with ``Sbar_l`` row-normalised, by projected gradient steps from the best weights that all users can share.
Written from the equations as they are remembered: there is no official code. There the ratings are not
centred, which is the same where the weights of a user sum to 1; centred, a path that says nothing of a pair
says the mean, and so does the whole for a user without neighbours.

A predicted rating orders what a user will rate, not what it will take up: one neighbour's 5 beats fifty 4.9s.
So lists are by ``votes``, ``sum_l w_u^l sum_v S_l(u, v) R(v, i)``. An item that nobody rated gets no vote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import nnls

from kg.errors import TrainingError, UsageError
from recommender.data.interactions import Floats, Interactions, Ints
from recommender.graph.metapaths import (
    nearest_by_path,
    row_normalised,
    symmetric_item_paths,
    too_common,
    without_columns,
)
from recommender.models.base import TrainingData, Vectors

_CELLS_PER_BLOCK = 1 << 22
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Config:
    """The strengths were chosen on the validation part of ML-100K, the bounds for their cost."""

    weights: Literal["personal", "global"] = "personal"
    smoothing: float = 10.0
    """l1."""
    penalty: float = 1.0
    """l0."""
    steps: int = 100
    """Projected gradient steps for personal weights."""
    rank_by: Literal["votes", "rating"] = "votes"
    """The paper predicts ratings; see above."""
    equal_ratings: bool = True
    """False takes plain meta-paths, which ask for no agreement: the ablation."""
    max_levels: int = 10
    """Ratings of more distinct values are cut at their quantiles into so many levels that must agree."""
    max_paths: int = 4
    """Relations of the graph that become a path."""
    max_degree: int = 5000
    """An item or entity that more users share tells too little for its cost, and is left out of paths."""
    n_nearest: int = 100
    """Most similar users kept per user and path; the paper keeps all."""


@dataclass(frozen=True, slots=True, eq=False)
class UserPath:
    """How similar users are along one path: ``similar`` [n_users, n_users] without a diagonal.

    ``n_hubs`` items or entities in the middle were too common and left out.
    """

    name: str
    similar: sparse.csr_array
    n_hubs: int = 0


class SemRec:
    """Similarities along paths; ``path_weights`` [n_users, n_paths] is what each path weighs to each user."""

    def __init__(self, data: TrainingData, config: Config) -> None:
        if data.side.rated is None:
            raise UsageError("semrec needs ratings, low ones too.", hint="Give them, or train itemknn.")
        if not len(data.side.rated):
            raise TrainingError("there is no rating to learn from.", hint="Check the split.")
        self.config, self.rated = config, data.side.rated
        self.mean = float(self.rated.weight.mean())
        self.paths = tuple(user_paths(data, self.rated, config))
        self._sbar = [_stochastic(path.similar) for path in self.paths]
        connected = np.sum([np.diff(path.similar.indptr) for path in self.paths], axis=0) > 0
        self.n_without_neighbours = int((~connected).sum())
        """Users who get the mean for everything."""
        self._had = _pairs_matrix(self.rated)
        self._centred = _pairs_matrix(self.rated, self.rated.weight - self.mean)
        self._ratings = _pairs_matrix(self.rated, self.rated.weight)
        self.path_weights = self._fit()

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`."""
        wanted = np.arange(self.rated.n_items) if items is None else items
        parts = [self._block(users[rows])[:, wanted] for rows in self._slices(len(users))]
        return np.concatenate(parts) if parts else np.zeros((0, len(wanted)), np.float32)

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        found = np.zeros(len(users), np.float32)
        for distinct, chosen, row in self._by_user(users):
            found[chosen] = self._block(distinct)[row, items[chosen]]
        return found

    def predicted_ratings(self, users: Ints, items: Ints) -> Floats:
        """The predicted rating of pairs, however lists are ordered: [n_pairs] each -> [n_pairs]."""
        weighed = (self.path_weights[users] * self._deviations(users, items)).sum(axis=1)
        return np.asarray(self.mean + weighed, dtype=np.float32)

    def reached(self, users: Ints, items: Ints) -> NDArray[np.bool_]:
        """Whether some neighbour rated the item; the mean is all that is said of the others: [n_pairs]."""
        found = np.zeros(len(users), dtype=bool)
        for distinct, chosen, row in self._by_user(users):
            for path in self.paths:
                found[chosen] |= (path.similar[distinct] @ self._had).toarray()[row, items[chosen]] > 0
        return found

    def vectors(self) -> Vectors | None:
        """None: the score is a sum over neighbours."""
        return None

    def edge_weights(self) -> Floats | None:
        """None: paths are weighed between users, not edges."""
        return None

    def _block(self, users: Ints) -> Floats:
        """The scores of all items: [n_users, n_items]."""
        weights = self.path_weights[users]
        if self.config.rank_by == "rating":
            parts = [weights[:, [n]] * self._deviation(users, n) for n in range(len(self.paths))]
            return np.asarray(self.mean + np.sum(parts, axis=0), dtype=np.float32)
        sums = weights.sum(axis=1, keepdims=True)
        shares = np.divide(weights, sums, out=np.full_like(weights, 1 / len(self.paths)), where=sums > 0)
        votes = [
            (path.similar[users] @ self._ratings).toarray() * shares[:, [n]]
            for n, path in enumerate(self.paths)
        ]
        return np.asarray(np.sum(votes, axis=0), dtype=np.float32)

    def _deviation(self, users: Ints, path: int) -> Doubles:
        """``Rhat_l - mean`` for all items, 0 where no neighbour rated: [n_users, n_items]."""
        similar = self.paths[path].similar[users]
        total, support = (similar @ self._centred).toarray(), (similar @ self._had).toarray()
        found: Doubles = np.divide(total, support, out=np.zeros_like(total), where=support > 0)
        return found

    def _deviations(self, users: Ints, items: Ints) -> Doubles:
        """``Rhat_l - mean`` of pairs: [n_pairs, n_paths]."""
        found = np.zeros((len(users), len(self.paths)))
        for distinct, chosen, row in self._by_user(users):
            for path in range(len(self.paths)):
                found[chosen, path] = self._deviation(distinct, path)[row, items[chosen]]
        return found

    def _by_user(self, users: Ints) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Blocks of distinct users, which pairs are theirs, and the row of each pair in the block."""
        distinct, row = np.unique(users, return_inverse=True)
        order = np.argsort(row, kind="stable")
        for rows in self._slices(len(distinct)):
            first, last = np.searchsorted(row[order], [rows.start, rows.stop])
            chosen = order[first:last]
            yield distinct[rows], chosen, row[chosen] - rows.start

    def _slices(self, n_users: int) -> list[slice]:
        size = max(1, _CELLS_PER_BLOCK // max(self.rated.n_items, 1))
        return [slice(start, min(start + size, n_users)) for start in range(0, n_users, size)]

    def _fit(self) -> Doubles:
        rated, config, n_paths = self.rated, self.config, len(self.paths)
        target = rated.weight - self.mean
        if not target.any():  # one rating for all: nothing tells paths apart
            return np.full((rated.n_users, n_paths), 1 / n_paths)
        found = self._deviations(rated.user, rated.item)
        indptr, _ = rated.by_user()
        columns = np.arange(len(rated))
        owner = sparse.csr_array((np.ones(len(rated)), columns, indptr), shape=(rated.n_users, len(rated)))
        outer = np.einsum("nk,nl->nkl", found, found).reshape(len(rated), -1)
        grams = (owner @ outer).reshape(rated.n_users, n_paths, n_paths)
        slopes = owner @ (found * target[:, None])
        ridge = config.penalty * rated.n_users * np.eye(n_paths)
        shared = shared_weights(grams.sum(axis=0) + ridge, slopes.sum(axis=0))
        start = np.repeat(shared[None], rated.n_users, axis=0)
        if config.weights == "global":
            return start
        return personal_weights(start, grams, slopes, self._sbar, config)


def user_paths(data: TrainingData, rated: Interactions, config: Config) -> Iterator[UserPath]:
    """The paths between users that the data allows, the one over items first."""
    levels = rating_levels(rated.weight, config.max_levels if config.equal_ratings else 1)
    per_level = [_pairs_matrix(rated.select(levels == level)) for level in np.unique(levels)]
    middles = [("item", sparse.eye_array(rated.n_items, format="csr"))]
    if data.graph is not None:
        found = symmetric_item_paths(data.graph, max_paths=config.max_paths, max_degree=config.max_degree)
        middles += [(f"relation {path.relations[0]}", path.half) for path in found.paths]
    had = _pairs_matrix(rated)
    for name, middle in middles:
        common = too_common(sparse.csr_array(had @ middle), config.max_degree)
        kept = without_columns(middle, common)
        similar = nearest_by_path([one @ kept for one in per_level], config.n_nearest)
        yield UserPath(name, similar, int(common.sum()))
    if data.side.friends is not None:
        yield UserPath("friend", _friendships(data.side.friends, rated.n_users))


def rating_levels(ratings: Floats, max_levels: int) -> Ints:
    """Which ratings count as the same: their values, or equally full bins where those are too many: [n]."""
    values, level = np.unique(ratings, return_inverse=True)
    if len(values) > max_levels:
        inner = np.quantile(ratings, np.arange(1, max_levels) / max_levels)
        level = np.searchsorted(np.unique(inner), ratings, side="right")
    return level.astype(np.int64)


def shared_weights(gram: Doubles, slope: Doubles) -> Doubles:
    """The ``w >= 0`` that minimises ``w' gram w / 2 - slope' w``: [n, n] and [n] -> [n]."""
    values, vectors = np.linalg.eigh(gram)
    root = np.sqrt(np.maximum(values, 1e-12))  # a path that says nothing leaves the matrix singular
    found: Doubles = nnls(root[:, None] * vectors.T, (vectors.T @ slope) / root)[0]
    return found


def personal_weights(
    start: Doubles,
    grams: Doubles,
    slopes: Doubles,
    sbar: Sequence[sparse.csr_array],
    config: Config,
) -> Doubles:
    """Each user's weights by accelerated projected gradient steps from ``start`` (Beck and Teboulle, 2009).

    *Shape:* ``start`` and ``slopes`` [n_users, n_paths], ``grams`` [n_users, n_paths, n_paths], one ``sbar``
    per path [n_users, n_users] -> [n_users, n_paths]
    """
    differences = [sparse.eye_array(len(start), format="csr") - one for one in sbar]
    roughest = max(_squared_norm(one) for one in differences)
    steepest = np.linalg.eigvalsh(grams)[:, -1].max() + config.smoothing * roughest + config.penalty
    weights, ahead, momentum = start, start, 1.0
    for _ in range(config.steps):
        rough = np.stack([one.T @ (one @ ahead[:, n]) for n, one in enumerate(differences)], axis=1)
        fitted = np.einsum("ukl,ul->uk", grams, ahead) - slopes
        gradient = fitted + config.smoothing * rough + config.penalty * ahead
        following = np.maximum(ahead - gradient / steepest, 0)
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / faster * (following - weights)
        weights, momentum = following, faster
    return weights


def _squared_norm(matrix: sparse.csr_array) -> float:
    """An upper estimate of the largest eigenvalue of ``M' M``, by power iteration."""
    vector = np.random.default_rng(0).normal(size=matrix.shape[1])
    size = 0.0
    for _ in range(30):
        vector = matrix.T @ (matrix @ vector)
        size = float(np.linalg.norm(vector))
        if size == 0:
            return 0.0
        vector = vector / size
    return 1.2 * size


def _stochastic(similar: sparse.csr_array) -> sparse.csr_array:
    """Row-normalised; a user without neighbours is its own, so that nothing pulls its weights to 0."""
    alone = np.diff(similar.indptr) == 0
    return sparse.csr_array(row_normalised(similar) + sparse.diags_array(alone.astype(np.float64)))


def _pairs_matrix(rated: Interactions, values: Floats | None = None) -> sparse.csr_array:
    """The rated pairs as [n_users, n_items], with 1 or ``values``."""
    given = np.ones(len(rated)) if values is None else values.astype(np.float64)
    indptr, items = rated.by_user()
    return sparse.csr_array((given, items, indptr), shape=(rated.n_users, rated.n_items))


def _friendships(friends: Ints, n_users: int) -> sparse.csr_array:
    one, other = friends[friends[:, 0] != friends[:, 1]].T
    rows, columns = np.concatenate([one, other]), np.concatenate([other, one])
    both = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(n_users, n_users))
    return sparse.csr_array((np.ones(both.nnz, np.float32), both.indices, both.indptr), shape=both.shape)
