"""Worlds in which the order of a history tells what comes next.

The ordered world: every item has one true attribute and one noise entity; a user's next item has the
attribute that follows the last item's (of eight, in a circle), and is otherwise drawn at random. A fifth of
the items is cold. Which cold items fit a user is told by the graph and by the last item, by nothing else:
everyone has had items of every attribute.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from tests.worlds import N_ATTRIBUTES, N_ITEMS, N_NOISE, N_USERS, Pairs, PlainGraph, World

N_STEPS, N_PAIRS = 10, 4


def in_random_order(world: World, seed: int) -> World:
    """The world with a random moment for each interaction."""
    train = world.split.train
    time = np.random.default_rng(seed).permutation(len(train))
    timed = replace(train, time=time)
    empty = timed.select(np.zeros(len(timed), dtype=bool))
    return replace(world, split=Split(timed, empty, empty))


def ordered_world(seed: int, *, shuffled: bool = False) -> World:
    """Plant an ordered world; ``shuffled`` gives the graph the attributes of other items."""
    rng = np.random.default_rng(seed)
    attribute = rng.integers(0, N_ATTRIBUTES, N_ITEMS)
    cold = rng.permutation(N_ITEMS) < N_ITEMS // 5
    members = [np.flatnonzero((attribute == a) & ~cold) for a in range(N_ATTRIBUTES)]
    first = rng.integers(0, N_ATTRIBUTES, N_USERS)
    asked = (first[:, None] + np.arange(N_STEPS)) % N_ATTRIBUTES
    rows = [
        (user, int(item), step)
        for user in range(N_USERS)
        for step, item in enumerate(_one_each(rng, members, asked[user].tolist()))
    ]
    train = Interactions.of(
        [f"u{user:03d}" for user, _, _ in rows],
        [f"i{item:03d}" for _, item, _ in rows],
        time=[step for _, _, step in rows],
        catalogue=[f"i{item:03d}" for item in range(N_ITEMS)],
    )
    empty = train.select(np.zeros(len(train), dtype=bool))
    following = (first + N_STEPS) % N_ATTRIBUTES
    fits = attribute == following[:, None]
    had = np.zeros_like(fits)
    had[train.user, train.item] = True
    return World(
        Split(train, empty, empty),
        _graph(rng, rng.permutation(attribute) if shuffled else attribute),
        {f"i{item:03d}": f"item {item:03d}" for item in range(N_ITEMS)},
        attribute,
        np.eye(N_ATTRIBUTES, dtype=bool)[following],
        _pairs(rng, fits, ~had & ~cold),
        _pairs(rng, fits, ~had & cold),
    )


def _one_each(rng: np.random.Generator, members: list[np.ndarray], asked: list[int]) -> list[int]:
    """An item of each attribute asked for, none twice."""
    chosen: list[int] = []
    for attribute in asked:
        chosen.append(int(rng.choice(np.setdiff1d(members[attribute], chosen))))
    return chosen


def _graph(rng: np.random.Generator, attribute: np.ndarray) -> PlainGraph:
    entities = [f"item {n:03d}" for n in range(N_ITEMS)]
    entities += [f"attribute {n}" for n in range(N_ATTRIBUTES)]
    entities += [f"noise {n:03d}" for n in range(N_NOISE)]
    items, zero = np.arange(N_ITEMS), np.zeros(N_ITEMS, dtype=np.int64)
    noise = N_ITEMS + N_ATTRIBUTES + rng.integers(0, N_NOISE, N_ITEMS)
    triples = np.concatenate(
        [np.stack([items, zero, N_ITEMS + attribute], axis=1), np.stack([items, zero + 1, noise], axis=1)]
    )
    return PlainGraph(entities, ["HAS", "NEAR"], triples)


def _pairs(rng: np.random.Generator, fits: np.ndarray, candidate: np.ndarray) -> Pairs:
    users, items, labels = [], [], []
    for user in range(N_USERS):
        good, bad = (np.flatnonzero(candidate[user] & (fits[user] == label)) for label in (True, False))
        for pool, label in ((good, True), (bad, False)):
            chosen = rng.permutation(pool)[: min(N_PAIRS, len(good), len(bad))]
            users += [user] * len(chosen)
            items += chosen.tolist()
            labels += [label] * len(chosen)
    return Pairs(np.asarray(users), np.asarray(items), np.asarray(labels))
