"""What every recommender is given and what it answers.

A model file holds a docstring with the equation and its source, a frozen ``Config`` whose defaults name their
origin, and the model. It reads no file, computes no metric and knows no dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recommender.data.interactions import Floats, Interactions, Ints
from recommender.graph.joint import JointGraph
from recommender.graph.mentions import Mentions


@dataclass(frozen=True, slots=True, eq=False)
class SideData:
    """What some models use beside interactions and graph, by the dense ids of the interactions.

    ``rated`` holds every rated pair with its rating as weight, the low ones too; held-out pairs are taken out
    before a model sees it. ``item_texts`` [n_items] is empty where an item has none; ``item_vectors``
    [n_items, dim] and ``user_vectors`` [n_users, dim] are encoded texts; ``friends`` [n_friendships, 2] are
    pairs of users. ``item_mentions`` says where the texts name entities of the graph; ``user_vectors_from``
    holds the training pairs that the users' texts tell of, from which a model must not learn again.
    ``associations`` [n_pairs, 2] are items that belong together, also bought say, where the data says so.
    """

    rated: Interactions | None = None
    item_texts: Sequence[str] | None = None
    item_vectors: Floats | None = None
    user_vectors: Floats | None = None
    friends: Ints | None = None
    item_mentions: Mentions | None = None
    user_vectors_from: Interactions | None = None
    associations: Ints | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """All that a model may see: the training interactions and, where it uses them, graph and side data."""

    train: Interactions
    graph: JointGraph | None = None
    side: SideData = SideData()


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """A model whose score is a dot product, as two tables.

    *Shape:* ``user`` [n_users, dim], ``item`` [n_items, dim].
    """

    user: Floats
    item: Floats

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """Score ``items`` (all where not given) for each user: [len(users), n_items]."""
        table = self.item if items is None else self.item[items]
        scores: Floats = self.user[users] @ table.T
        return scores

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """Score pairs: [n_pairs] users and items -> [n_pairs]."""
        scores: Floats = np.einsum("nd,nd->n", self.user[users], self.item[items])
        return scores


class Recommender(Protocol):
    """A fitted model."""

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """Score ``items`` (all where not given) for ``users``: [len(users), n_items], higher is better."""

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """Score pairs: [n_pairs] users and items -> [n_pairs]; the same numbers as :meth:`score` gives."""

    def vectors(self) -> Vectors | None:
        """User and item vectors whose dot product is the score, or ``None`` where there are none."""

    def edge_weights(self) -> Floats | None:
        """What each joint edge weighs to the model: [n_edges]; ``None`` where it says nothing."""
