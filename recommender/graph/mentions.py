"""Where the texts of the items name entities of the graph: longest match on whole words.

Texts and names are cut into lower-case words; a text is read from its beginning, and at each word the
longest name that stands there is taken. Where several entities have that name, the item's own entity comes
first, then its neighbours in the graph, then the entity with the most edges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recommender.data.interactions import Ints
from recommender.graph.joint import JointGraph

_WORD = re.compile(r"[^\W_]+")
_Name = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Mentions:
    """Which words of which text name which node of the joint graph.

    *Shape:* all [n_mentions], sorted by item, then position: ``item`` is dense, ``start`` the first word's
    position in :func:`words_of` the text, ``n_words`` how many, ``node`` the joint graph's.
    """

    item: Ints
    start: Ints
    n_words: Ints
    node: Ints

    @classmethod
    def none(cls) -> Mentions:
        """No mention at all."""
        return cls(*(np.zeros(0, dtype=np.int64) for _ in range(4)))

    def __len__(self) -> int:
        return len(self.item)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits."""
    return _WORD.findall(text.lower())


def align_mentions(texts: Sequence[str], names: Mapping[int, Sequence[str]], graph: JointGraph) -> Mentions:
    """Find the entities that the items' texts name.

    ``texts`` is by dense item id; ``names`` gives an entity of the snapshot, by its dense id there, its name
    and aliases. Entities that are no node of the graph are not found.
    """
    known = _Names(names, graph)
    rows = [
        (item, start, n_words, node)
        for item, text in enumerate(texts)
        for start, n_words, node in known.found_in(words_of(text), item)
    ]
    return Mentions(*np.asarray(rows, dtype=np.int64).reshape(-1, 4).T.copy())


class _Names:
    """Every name, as words, with the nodes that have it."""

    def __init__(self, names: Mapping[int, Sequence[str]], graph: JointGraph) -> None:
        self._graph = graph
        self._degree = np.diff(graph.indptr)
        self._nodes: dict[_Name, list[int]] = {}
        self._longest: dict[str, int] = {}
        for number, entity in enumerate(graph.entity.tolist()):
            for name in {tuple(words_of(name)) for name in names.get(entity, ())} - {()}:
                self._nodes.setdefault(name, []).append(graph.n_users + number)
                self._longest[name[0]] = max(len(name), self._longest.get(name[0], 0))

    def found_in(self, words: Sequence[str], item: int) -> Iterator[tuple[int, int, int]]:
        """Start, number of words and node of each name in a text."""
        start = 0
        while start < len(words):
            n_words = self._match(words, start)
            if n_words:
                nodes = self._nodes[tuple(words[start : start + n_words])]
                yield start, n_words, nodes[0] if len(nodes) == 1 else self._meant(nodes, item)
            start += max(1, n_words)

    def _match(self, words: Sequence[str], start: int) -> int:
        longest = min(self._longest.get(words[start], 0), len(words) - start)
        return next((n for n in range(longest, 0, -1) if tuple(words[start : start + n]) in self._nodes), 0)

    def _meant(self, nodes: Sequence[int], item: int) -> int:
        own = self._graph.n_users + item
        nearby = set(self._graph.tail[self._graph.indptr[own] : self._graph.indptr[own + 1]].tolist())
        return max(nodes, key=lambda node: (node == own, node in nearby, self._degree[node], -node))
