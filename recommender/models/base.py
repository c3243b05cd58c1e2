"""What every recommender is given and what it answers.

A model file holds a docstring with the equation and its source, a frozen ``Config`` whose defaults name their
origin, and the model. It reads no file, computes no metric and knows no dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from recommender.data import Floats, Interactions, Ints
from recommender.graph import JointGraph


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """All that a model may see: the training interactions and, where it uses one, the joint graph."""

    train: Interactions
    graph: JointGraph | None = None


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


class Recommender(Protocol):
    """A fitted model."""

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """Score ``items`` (all where not given) for ``users``: [len(users), n_items], higher is better."""

    def vectors(self) -> Vectors | None:
        """User and item vectors whose dot product is the score, or ``None`` where there are none."""

    def edge_weights(self) -> Floats | None:
        """What each joint edge weighs to the model: [n_edges]; ``None`` where it says nothing."""
