"""Planted worlds: made-up users, items and graphs whose right answer is known.

PG-1: every item has one true attribute and one noise entity; every user likes two attributes and has had
items of them. A fifth of the items is cold: nobody had them, so only the graph says who would like them.
How often an item was had says nothing by construction, and counting the user's items with the same
attribute says everything. PG-1-shuffled gives the model the attributes of other items. PG-2 puts the
attribute two hops away, behind authors that items share; in PG-2u every item has its own author, so one hop
says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kg.snapshot import Snapshot
from recommender.data.interactions import Interactions, Ints
from recommender.data.splits import Split

Variant = Literal["PG-1", "PG-1-shuffled", "PG-2", "PG-2u"]
N_USERS, N_ITEMS, N_ATTRIBUTES, N_NOISE, N_AUTHORS = 600, 400, 8, 100, 100
N_TRAIN, N_PAIRS = 15, 4


@dataclass(frozen=True)
class PlainGraph:
    """Entities, relations and triples, as a snapshot names them."""

    entity_ids: list[str]
    relation_names: list[str]
    triples: Ints

    def described(self) -> Snapshot:
        """As a snapshot in which every entity is called by its id."""
        order = np.lexsort(self.triples.T[::-1])
        triples = self.triples[order]
        return Snapshot.from_arrays(
            self.entity_ids,
            self.entity_ids,
            [name.split()[0].capitalize() for name in self.entity_ids],
            self.relation_names,
            triples,
            np.ones(len(triples), dtype=np.float32),
            np.ones(len(triples), dtype=np.int32),
            [f"edge {h} {r} {t}" for h, r, t in triples.tolist()],
            version=1,
        )


@dataclass(frozen=True)
class Pairs:
    """Labelled (user, item) pairs, as many liked as not."""

    users: Ints
    items: Ints
    labels: NDArray[np.bool_]


@dataclass(frozen=True)
class World:
    """What a model is given (split, graph, links) and what tells whether it understood (the rest)."""

    split: Split
    graph: PlainGraph
    links: Mapping[str, str]
    attribute: Ints  # [N_ITEMS] the true one
    likes: NDArray[np.bool_]  # [N_USERS, N_ATTRIBUTES]
    warm: Pairs
    cold: Pairs

    def counted(self, pairs: Pairs) -> NDArray[np.int64]:
        """The oracle: how many of the user's training items share the item's attribute."""
        train = self.split.train
        counts = np.zeros((N_USERS, N_ATTRIBUTES), dtype=np.int64)
        np.add.at(counts, (train.user, self.attribute[train.item]), 1)
        return counts[pairs.users, self.attribute[pairs.items]]


def planted_world(seed: int, variant: Variant = "PG-1") -> World:
    """Plant a world; the same seed gives the same one."""
    rng = np.random.default_rng(seed)
    author = np.arange(N_ITEMS) if variant == "PG-2u" else rng.integers(0, N_AUTHORS, N_ITEMS)
    if variant.startswith("PG-2"):
        attribute = rng.integers(0, N_ATTRIBUTES, N_ITEMS)[author]
    else:
        attribute = rng.integers(0, N_ATTRIBUTES, N_ITEMS)
    cold = np.zeros(N_ITEMS, dtype=bool)
    cold[rng.permutation(N_ITEMS)[: N_ITEMS // 5]] = True
    likes = np.zeros((N_USERS, N_ATTRIBUTES), dtype=bool)
    for user in range(N_USERS):
        likes[user, rng.choice(N_ATTRIBUTES, 2, replace=False)] = True
    train, warm, cold_pairs = _draw(rng, likes[:, attribute], cold)
    shown = rng.permutation(attribute) if variant == "PG-1-shuffled" else attribute
    graph = _graph(rng, variant, shown, author)
    interactions = _interactions(train)
    empty = interactions.select(np.zeros(len(interactions), dtype=bool))
    links = {f"i{item:03d}": f"item {item:03d}" for item in range(N_ITEMS)}
    return World(Split(interactions, empty, empty), graph, links, attribute, likes, warm, cold_pairs)


def with_noise(world: World, share: float, seed: int) -> World:
    """The world with ``share`` times as many triples more, from random items to random entities."""
    rng, graph = np.random.default_rng(2000 + seed), world.graph  # not the numbers that planted the world
    n = round(share * len(graph.triples))
    heads, relations = rng.integers(0, N_ITEMS, n), rng.integers(0, len(graph.relation_names), n)
    drawn = np.stack([heads, relations, rng.integers(N_ITEMS, len(graph.entity_ids), n)], axis=1)
    triples = np.unique(np.concatenate([graph.triples, drawn]), axis=0)
    return replace(world, graph=PlainGraph(graph.entity_ids, graph.relation_names, triples))


def _draw(
    rng: np.random.Generator, liked: NDArray[np.bool_], cold: NDArray[np.bool_]
) -> tuple[list[tuple[int, int]], Pairs, Pairs]:
    train: list[tuple[int, int]] = []
    rows: dict[bool, list[tuple[int, int, bool]]] = {False: [], True: []}
    for user in range(N_USERS):
        good = rng.permutation(np.flatnonzero(liked[user] & ~cold))
        train += [(user, int(item)) for item in good[:N_TRAIN]]
        for is_cold, positives in ((False, good[N_TRAIN:]), (True, np.flatnonzero(liked[user] & cold))):
            negatives = np.flatnonzero(~liked[user] & (cold == is_cold))
            n = min(N_PAIRS, len(positives), len(negatives))
            for items, label in ((positives, True), (negatives, False)):
                rows[is_cold] += [(user, int(item), label) for item in rng.permutation(items)[:n]]
    return train, _pairs(rows[False]), _pairs(rows[True])


def _pairs(rows: list[tuple[int, int, bool]]) -> Pairs:
    users, items, labels = zip(*rows, strict=True)
    return Pairs(np.asarray(users), np.asarray(items), np.asarray(labels))


def _graph(rng: np.random.Generator, variant: Variant, attribute: Ints, author: Ints) -> PlainGraph:
    entities = [f"item {n:03d}" for n in range(N_ITEMS)]
    first_attribute = len(entities)
    entities += [f"attribute {n}" for n in range(N_ATTRIBUTES)]
    first_noise = len(entities)
    entities += [f"noise {n:03d}" for n in range(N_NOISE)]
    items = np.arange(N_ITEMS)
    noise = np.stack([items, np.ones_like(items), first_noise + rng.integers(0, N_NOISE, N_ITEMS)], axis=1)
    if variant.startswith("PG-1"):
        true = np.stack([items, np.zeros_like(items), first_attribute + attribute], axis=1)
        return PlainGraph(entities, ["HAS", "NEAR"], np.concatenate([true, noise]))
    first_author = len(entities)
    authors, first_item = np.unique(author, return_index=True)
    entities += [f"author {n:03d}" for n in authors]
    node = first_author + np.searchsorted(authors, author)
    written = np.stack([items, np.zeros_like(items), node], axis=1)
    schooled = np.stack(
        [
            first_author + np.arange(len(authors)),
            np.full(len(authors), 2),
            first_attribute + attribute[first_item],
        ],
        axis=1,
    )
    return PlainGraph(entities, ["BY", "NEAR", "OF"], np.concatenate([written, noise, schooled]))


def _interactions(train: list[tuple[int, int]]) -> Interactions:
    return Interactions.of(
        [f"u{user:03d}" for user, _ in train],
        [f"i{item:03d}" for _, item in train],
        catalogue=[f"i{item:03d}" for item in range(N_ITEMS)],
    )


def rated_pairs(world: World, seed: int, n_positive: int = N_TRAIN) -> Interactions:
    """``n_positive`` training pairs of each user, rated 5, and as many disliked warm items, rated 1."""
    rng = np.random.default_rng(1000 + seed)
    train = world.split.train
    warm = train.popularity > 0
    pairs: list[tuple[int, int, float]] = []
    for user in range(N_USERS):
        good = rng.permutation(train.item[train.user == user])[:n_positive]
        bad = rng.permutation(np.flatnonzero(~world.likes[user, world.attribute] & warm))[:n_positive]
        pairs += [(user, int(item), 5.0) for item in good] + [(user, int(item), 1.0) for item in bad]
    return Interactions.of(
        [train.user_ids[user] for user, _, _ in pairs],
        [train.item_ids[item] for _, item, _ in pairs],
        weight=[rating for _, _, rating in pairs],
        catalogue=train.item_ids,
    )
