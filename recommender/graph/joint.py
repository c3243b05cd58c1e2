"""The joint graph: users, items and entities as nodes of one id space, all edges as CSR sorted by head.

Nodes: users ``0..U-1``; then entities, items first, so item ``i`` is node ``U + i``. Entities that are no
item follow by their distance from the nearest item, so the nodes within ``h`` hops of users and items are
the first ``n_within[h]``: a model can leave out the rows that a layer does not need by slicing.

Relations: ``0..R-1`` from the snapshot; the inverse of ``r`` is ``r + R``; ``2R`` is "interacted with"
(user to item) and ``2R + 1`` its inverse. Only training interactions enter, which every build asserts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kg.errors import InputError
from recommender.data.interactions import Interactions, Ints
from recommender.data.splits import Split


class KnowledgeGraph(Protocol):
    """What a graph is built from; :class:`kg.snapshot.Snapshot` is one."""

    @property
    def entity_ids(self) -> Sequence[str]:
        """Public ids by dense id."""

    @property
    def relation_names(self) -> Sequence[str]:
        """Names by dense id."""

    @property
    def triples(self) -> Ints:
        """Head, relation, tail: [n_triples, 3]."""


@dataclass(frozen=True, slots=True, eq=False)
class KnowledgeView:
    """The knowledge of a joint graph without its users and interactions, sorted by head (CSR).

    Entity ``e`` is node ``n_users + e`` of the joint graph, so item ``i`` is entity ``i``; relations keep
    their numbers, inverses included. ``edge`` is each triple's position in the joint graph.

    *Shape:* ``indptr`` [n_entities + 1]; ``head``, ``relation``, ``tail``, ``edge`` [n_triples].
    """

    n_entities: int
    n_relations: int
    indptr: Ints
    head: Ints
    relation: Ints
    tail: Ints
    edge: Ints

    @property
    def triples(self) -> Ints:
        """Head, relation, tail: [n_triples, 3]."""
        return np.stack([self.head, self.relation, self.tail], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class JointGraph:
    """The collaborative knowledge graph.

    *Shape:* ``indptr`` [n_nodes + 1]; ``tail``, ``relation``, ``triple`` [n_edges]; ``entity``
    [n_entities]. ``triple`` is the row of the snapshot an edge comes from, -1 for an interaction.
    ``entity`` is the snapshot's dense id behind an entity node, -1 for an item without a linked entity.
    What there is one of for each edge has 32 bits: take :attr:`head` or :meth:`knowledge` to count with.
    """

    n_users: int
    n_items: int
    n_entities: int
    n_relations: int
    indptr: Ints
    tail: NDArray[np.int32]
    relation: NDArray[np.int32]
    triple: NDArray[np.int32]
    entity: Ints
    n_within: tuple[int, ...]

    @property
    def n_nodes(self) -> int:
        """Users and entities."""
        return self.n_users + self.n_entities

    @property
    def n_edges(self) -> int:
        """All edges, each direction counted."""
        return len(self.tail)

    @property
    def n_all_relations(self) -> int:
        """Relations, their inverses, and the two of interactions."""
        return 2 * self.n_relations + 2

    @property
    def head(self) -> Ints:
        """The head of each edge: [n_edges]."""
        return np.repeat(np.arange(self.n_nodes), np.diff(self.indptr))

    @property
    def n_linked_items(self) -> int:
        """Items that have an entity in the snapshot."""
        return int((self.entity[: self.n_items] >= 0).sum())

    @classmethod
    def build(
        cls,
        split: Split,
        graph: KnowledgeGraph,
        links: Mapping[str, str],
        *,
        within_hops: int | None = None,
    ) -> JointGraph:
        """Join the training part of ``split`` with ``graph``; ``links`` maps item ids to entity ids.

        ``within_hops`` leaves out entities further than so many edges from every item: in a large graph with
        a small catalogue they cost time, and a model with as many layers never looks further.
        An item whose entity is not in the graph is a node without knowledge. Where several items link to one
        entity, each gets that entity's edges. Raises :class:`~kg.errors.InputError` where a held-out pair got
        in.
        """
        train = split.train
        nodes = _EntityNodes.of(train.item_ids, graph, links, within_hops)
        head, relation, tail, triple = nodes.expand(graph.triples)
        n_relations, n_users = len(graph.relation_names), train.n_users
        item_node = n_users + train.item
        minus_one = np.full(len(train), -1, dtype=np.int64)
        joint = cls._sorted(
            np.concatenate([head + n_users, tail + n_users, train.user, item_node]),
            np.concatenate(
                [
                    relation,
                    relation + n_relations,
                    np.full(len(train), 2 * n_relations),
                    np.full(len(train), 2 * n_relations + 1),
                ]
            ),
            np.concatenate([tail + n_users, head + n_users, item_node, train.user]),
            np.concatenate([triple, triple, minus_one, minus_one]),
            nodes,
            (n_users, train.n_items, n_relations),
        )
        joint._assert_no_leak(split.validation)
        joint._assert_no_leak(split.test)
        return joint

    @classmethod
    def _sorted(
        cls,
        head: Ints,
        relation: Ints,
        tail: Ints,
        triple: Ints,
        nodes: _EntityNodes,
        sizes: tuple[int, int, int],
    ) -> JointGraph:
        n_users, n_items, n_relations = sizes
        n_nodes = n_users + len(nodes.entity)
        order = np.argsort((head * (2 * n_relations + 2) + relation) * n_nodes + tail, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(head, minlength=n_nodes))]).astype(np.int64)
        return cls(
            n_users,
            n_items,
            len(nodes.entity),
            n_relations,
            indptr,
            tail[order].astype(np.int32),
            relation[order].astype(np.int32),
            triple[order].astype(np.int32),
            nodes.entity,
            tuple(n_users + n for n in nodes.n_within),
        )

    def interactions(self) -> tuple[Ints, Ints]:
        """The (user, item) pairs that the edges hold, read back from the CSR."""
        chosen = self.relation == 2 * self.n_relations
        return self.head[chosen], self.tail[chosen] - self.n_users

    def knowledge(self, *, inverse: bool) -> KnowledgeView:
        """The triples as given, and with ``inverse`` each one backwards too."""
        n_relations = self.n_relations * (2 if inverse else 1)
        edge = np.flatnonzero(self.relation < n_relations)
        head = self.head[edge] - self.n_users
        counts = np.bincount(head, minlength=self.n_entities)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        tail = self.tail[edge].astype(np.int64) - self.n_users
        return KnowledgeView(
            self.n_entities, n_relations, indptr, head, self.relation[edge].astype(np.int64), tail, edge
        )

    def item_entities(self) -> Any:
        """Which entities each item has a fact with, either way: scipy CSR of ones, [n_items, n_entities]."""
        known = self.knowledge(inverse=True)
        of_items = slice(int(known.indptr[self.n_items]))
        cells = (known.head[of_items], known.tail[of_items])
        beside = sparse.csr_matrix((np.ones(len(cells[0])), cells), shape=(self.n_items, self.n_entities))
        beside.data[:] = 1
        return beside

    def _assert_no_leak(self, held_out: Interactions) -> None:
        user, item = self.interactions()
        leaked = np.isin(held_out.keys, user * self.n_items + item)
        if leaked.any():
            raise InputError(
                f"{int(leaked.sum())} held-out interactions are edges of the training graph.",
                hint="Build the graph from the training part only.",
            )


@dataclass(frozen=True, slots=True, eq=False)
class _EntityNodes:
    """Which entity nodes stand for which entity of the snapshot."""

    entity: Ints  # [n_entities] snapshot id or -1
    n_within: tuple[int, ...]
    n_snapshot: int

    @classmethod
    def of(
        cls,
        item_ids: tuple[str, ...],
        graph: KnowledgeGraph,
        links: Mapping[str, str],
        within_hops: int | None,
    ) -> _EntityNodes:
        dense = {identity: number for number, identity in enumerate(graph.entity_ids)}
        n_items, n_snapshot = len(item_ids), len(dense)
        linked = np.asarray([dense.get(links.get(item, ""), -1) for item in item_ids], dtype=np.int64)
        distance = _distances(linked[linked >= 0], graph.triples, n_snapshot)
        farthest = n_snapshot + 1 if within_hops is None else within_hops
        others = np.flatnonzero((distance > 0) & (distance <= farthest))
        others = others[np.argsort(distance[others], kind="stable")]
        reached = np.sort(distance[others])
        hops = range(int(reached[reached < n_snapshot + 1].max(initial=0)) + 1)
        n_within = tuple(n_items + int(np.searchsorted(reached, hop, side="right")) for hop in hops)
        return cls(np.concatenate([linked, others]), n_within, n_snapshot)

    def expand(self, triples: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Head, relation, tail over entity nodes, and the triple's row; one row per pair of nodes."""
        known = np.flatnonzero(self.entity >= 0)
        order = known[np.argsort(self.entity[known], kind="stable")]
        counts = np.bincount(self.entity[known], minlength=self.n_snapshot)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        row = np.arange(len(triples), dtype=np.int64)
        head, row = _expand_one(triples[row, 0], row, starts, counts, order)
        tail, chosen = _expand_one(triples[row, 2], np.arange(len(row)), starts, counts, order)
        head, row = head[chosen], row[chosen]
        return head, triples[row, 1].astype(np.int64), tail, row


def _expand_one(
    entity: Ints, carried: Ints, starts: Ints, counts: NDArray[np.int64], nodes: Ints
) -> tuple[Ints, Ints]:
    """Replace each entity by all its nodes, repeating what is carried along."""
    n = counts[entity]
    offset = np.arange(int(n.sum())) - np.repeat(np.cumsum(n) - n, n)
    return nodes[np.repeat(starts[entity], n) + offset], np.repeat(carried, n)


def _distances(seeds: Ints, triples: Ints, n: int) -> Ints:
    """Hops from the nearest seed in either direction; ``n + 1`` where there is no way."""
    distance = np.full(n, n + 1, dtype=np.int64)
    distance[seeds] = 0
    ones = np.ones(len(triples), dtype=np.int32)
    forward = sparse.csr_matrix((ones, (triples[:, 0], triples[:, 2])), shape=(n, n))
    either = (forward + forward.T).tocsr()
    frontier, hop = np.unique(seeds), 0
    while len(frontier):
        hop += 1
        nearby = np.unique(either[frontier].indices)
        frontier = nearby[distance[nearby] > hop]
        distance[frontier] = hop
    return distance
