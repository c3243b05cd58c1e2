"""Recommendations from a bundle, with numpy alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kg.errors import NotFound, UsageError
from recommender.data.interactions import Floats, Ints
from recommender.evaluation.ranking import top_k
from recommender.serving.bundle import Bundle, open_bundle
from recommender.serving.explain import Explainer, Explanation

_USERS_PER_BLOCK = 1024
_WITH_VECTORS = "Train a model with vectors: bpr, lightgcn, cke, kgat."


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommended item; ``score`` is comparable within one answer only."""

    item: str
    name: str
    score: float


class Service:
    """A loaded bundle that answers. Nothing in it changes, so any number of threads may ask."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._users = {identity: number for number, identity in enumerate(bundle.user_ids)}
        self._items = {identity: number for number, identity in enumerate(bundle.item_ids)}
        self._item_ids, self._item_names = list(bundle.item_ids), list(bundle.item_names)
        self._explainer = Explainer(bundle)

    @classmethod
    def open(cls, path: Path) -> Service:
        """Open the bundle at ``path``; raises what :func:`~recommender.serving.bundle.open_bundle` raises."""
        return cls(open_bundle(path))

    def recommend(self, user: str, k: int = 10, *, exclude_seen: bool = True) -> list[Recommendation]:
        """The ``k`` best items for a user, best first; what most users had for one who had nothing.

        Raises :class:`~kg.errors.NotFound` for a user that the bundle does not know.
        """
        return self.recommend_batch([user], k, exclude_seen=exclude_seen)[0]

    def recommend_batch(
        self, users: Sequence[str], k: int = 10, *, exclude_seen: bool = True
    ) -> list[list[Recommendation]]:
        """As :meth:`recommend`, for many users at once, in their order."""
        _refuse_no_list(k)
        dense = np.asarray([self._user(user) for user in users], dtype=np.int64)
        answers = []
        for start in range(0, len(dense), _USERS_PER_BLOCK):
            block = dense[start : start + _USERS_PER_BLOCK]
            scores = self._scores(block)
            for row, user in enumerate(block):
                if not len(self._history(user)):  # what a model learns of nobody is its initial noise
                    scores[row] = self.bundle.popularity
            if exclude_seen:
                for row, user in enumerate(block):
                    scores[row, self._history(user)] = -np.inf
            answers += self._lists(scores, k)
        return answers

    def recommend_for_history(
        self, items: Iterable[str], k: int = 10, *, exclude_seen: bool = True
    ) -> list[Recommendation]:
        """For someone the bundle does not know: what is near the items they had, on average.

        Without any item, or with the same scores for everyone, what most users had. Raises
        :class:`~kg.errors.NotFound` for an unknown item and :class:`~kg.errors.UsageError` for a model that
        scores the users of its training only.
        """
        _refuse_no_list(k)
        had = np.asarray([self._item(item) for item in items], dtype=np.int64)
        bundle = self.bundle
        if not len(had) or bundle.item_scores is not None:
            scores = bundle.popularity[None, :].astype(np.float32)
        elif bundle.item_vectors is not None:
            scores = bundle.item_vectors[had].mean(axis=0, keepdims=True) @ bundle.item_vectors.T
        elif bundle.item_weights is not None:
            scores = bundle.item_weights.total(had, len(self._item_ids))[None, :]
        else:
            raise UsageError(
                f"{bundle.model} scores only the users that it was trained with.", hint=_WITH_VECTORS
            )
        if exclude_seen:
            scores[:, had] = -np.inf
        return self._lists(scores, k)[0]

    def similar_items(self, item: str, k: int = 10) -> list[Recommendation]:
        """The ``k`` items nearest to one, by the cosine of their vectors.

        Raises :class:`~kg.errors.NotFound` for an unknown item and :class:`~kg.errors.UsageError` for a model
        without vectors.
        """
        _refuse_no_list(k)
        number, vectors = self._item(item), self.bundle.item_vectors
        if vectors is None:
            raise UsageError(f"{self.bundle.model} has no item vectors.", hint=_WITH_VECTORS)
        length = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        scores = (vectors @ vectors[number] / (length * length[number])).astype(np.float32)[None, :]
        scores[0, number] = -np.inf
        return self._lists(scores, k)[0]

    def explain(self, user: str, item: str, *, k: int = 3) -> Explanation:
        """Why ``item`` for ``user``: at most ``k`` paths, or an honest word where there is none.

        Raises :class:`~kg.errors.NotFound` for an unknown user or item.
        """
        number = self._user(user)
        return self._explainer.explain(self._history(number), self._item(item), k=k)

    def card(self) -> dict[str, Any]:
        """What is loaded: model, settings, sizes and test figures."""
        return {
            "model": self.bundle.model,
            "settings": dict(self.bundle.settings),
            "n_users": len(self._users),
            "n_items": len(self._items),
            "metrics": dict(self.bundle.metrics),
        }

    def _user(self, user: str) -> int:
        number = self._users.get(user)
        if number is None:
            raise NotFound(
                f"user {user!r} is not in the training data of this bundle.",
                hint="Check the id; for somebody new, recommend from the items they had.",
            )
        return number

    def _item(self, item: str) -> int:
        number = self._items.get(item)
        if number is None:
            raise NotFound(
                f"item {item!r} is not in the catalogue of this bundle.",
                hint="Check the id; a new item is known after the next training.",
            )
        return number

    def _history(self, user: int) -> Ints:
        indptr = self.bundle.history_indptr
        return self.bundle.history_items[indptr[user] : indptr[user + 1]]

    def _scores(self, users: Ints) -> Floats:
        bundle, n_items = self.bundle, len(self._item_ids)
        if bundle.user_vectors is not None and bundle.item_vectors is not None:
            return np.asarray(bundle.user_vectors[users] @ bundle.item_vectors.T)
        if bundle.item_weights is not None:
            return np.stack([bundle.item_weights.total(self._history(user), n_items) for user in users])
        if bundle.lists is not None:
            return bundle.lists.dense(users, n_items, absent=-np.inf)
        assert bundle.item_scores is not None  # a bundle without any does not open
        return np.tile(bundle.item_scores, (len(users), 1))

    def _lists(self, scores: Floats, k: int) -> list[list[Recommendation]]:
        columns, values = top_k(scores, k)
        return [
            [
                Recommendation(self._item_ids[column], self._item_names[column], value)
                for column, value in zip(row, scored, strict=True)
                if value != -np.inf
            ]
            for row, scored in zip(columns.tolist(), values.tolist(), strict=True)
        ]


def _refuse_no_list(k: int) -> None:
    if k < 1:
        raise UsageError(f"k is how many to recommend, at least 1, not {k}.")
