"""Finding the entities that texts name."""

from __future__ import annotations

import numpy as np

from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.graph.joint import JointGraph
from recommender.graph.mentions import Mentions, align_mentions, words_of
from tests.worlds import PlainGraph


def joint(within_hops: int | None = None) -> JointGraph:
    """Items 0 and 1 are entities 0 and 1; item 2 has none; entities 2 and 3 hang on item 0, 4 on item 1."""
    train = Interactions.of(["u0", "u1"], ["i0", "i1"], catalogue=["i0", "i1", "i2"])
    nothing = train.select(np.zeros(2, dtype=bool))
    triples = np.asarray([[0, 0, 2], [0, 0, 3], [1, 0, 4], [4, 0, 5], [4, 0, 3]])
    graph = PlainGraph([f"e{n}" for n in range(7)], ["HAS"], triples)
    links = {"i0": "e0", "i1": "e1"}
    return JointGraph.build(Split(train, nothing, nothing), graph, links, within_hops=within_hops)


def found(texts: list[str], names: dict[int, list[str]]) -> list[tuple[int, int, int, int]]:
    """Item, start, words, entity of the snapshot."""
    graph = joint()
    mentions = align_mentions(texts, names, graph)
    entity = graph.entity[mentions.node - graph.n_users]
    return list(
        zip(
            *(part.tolist() for part in (mentions.item, mentions.start, mentions.n_words, entity)),
            strict=True,
        )
    )


def test_words_are_runs_of_letters_and_digits_in_lower_case() -> None:
    assert words_of("Amélie's 2nd—Trip_to  PARIS!") == ["amélie", "s", "2nd", "trip", "to", "paris"]
    assert words_of("...") == []


def test_the_longest_name_is_taken_and_names_do_not_overlap() -> None:
    names = {2: ["New York", "York"], 3: ["york city"], 4: ["New York City Ballet"]}
    assert found(["In New York City", "new york city ballet, York"], names) == [
        (0, 1, 2, 2),
        (1, 0, 4, 4),
        (1, 4, 1, 2),
    ]


def test_a_name_that_only_begins_is_none_and_aliases_count() -> None:
    assert found(["new", "the big apple", ""], {2: ["New York", "Big Apple", "…"]}) == [(1, 1, 2, 2)]


def test_an_ambiguous_name_means_the_own_entity_then_a_neighbour_then_the_busiest() -> None:
    names = {0: ["alien"], 1: ["alien"], 2: ["scott"], 4: ["scott"], 5: ["rome"], 3: ["rome"]}
    assert found(["Alien Scott", "Alien Scott", "Alien Scott Rome"], names) == [
        (0, 0, 1, 0),
        (0, 1, 1, 2),
        (1, 0, 1, 1),
        (1, 1, 1, 4),
        (2, 0, 1, 0),  # three edges with the interaction, entity 1 has two
        (2, 1, 1, 4),
        (2, 2, 1, 3),
    ]


def test_what_is_no_node_is_not_found() -> None:
    names = {4: ["near"], 5: ["far"]}
    assert len(align_mentions(["near far"], names, joint())) == 2
    assert align_mentions(["near far"], names, joint(within_hops=1)).start.tolist() == [0]
    assert len(Mentions.none()) == len(align_mentions([], {}, joint())) == 0
