"""Beside interactions and graph: ratings, texts, vectors of texts, and friends, for the models that ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kg.errors import UsageError
from loregraph.training_data import Ground
from loregraph.workspace import Workspace

if TYPE_CHECKING:
    from kg.snapshot import Snapshot
    from recommender.data.interactions import Floats
    from recommender.models.base import SideData
    from recommender.models.registry import ModelEntry

FACTS_IN_A_TEXT = 12
"""Of an item's facts, as many as an encoder reads."""
VECTORS_OF_TEXTS = frozenset({"item_vectors", "user_vectors"})
"""What models may need that texts are encoded for."""


@dataclass(frozen=True, slots=True)
class SideSources:
    """Where it comes from: files that somebody named, or the language model, asked about a ``domain``."""

    texts: Path | None = None
    friends: Path | None = None
    domain: str | None = None
    send_interactions: bool = False

    def check(self, entry: ModelEntry) -> None:
        """Raise :class:`~kg.errors.UsageError` where a language model is asked for nothing of use."""
        if self.send_interactions and self.domain is None:
            raise UsageError(
                "--send-interactions is for a language model that is asked.", hint="Add --knowledge DOMAIN."
            )
        if self.domain is None:
            return
        if not self.domain.strip():
            raise UsageError("the domain is empty.", hint="Say what the items are: --knowledge films.")
        if not entry.needs & VECTORS_OF_TEXTS:
            raise UsageError(
                f"{entry.name} does not ask for vectors of texts, which is what a language model writes for.",
                hint="Leave --knowledge out, or train kar.",
            )


def gather(
    entry: ModelEntry,
    workspace: Workspace,
    ground: Ground,
    sources: SideSources,
) -> tuple[SideData, list[str]]:
    """What the model needs, and what was named; and notes on how it went.

    Without a file of texts an item's text is what the graph says of its entity; without one of friends they
    are those of the dataset; a user's vector is the mean of those of the items they had in training, where
    no language model writes about the users. Raises :class:`~kg.errors.InputError` and
    :class:`~kg.errors.UsageError` for files that cannot be used, and what :func:`loregraph.knowledge.write`
    raises.
    """
    from recommender.data.side import read_friends, read_item_texts
    from recommender.models.base import SideData

    interactions, snapshot = ground.interactions, ground.snapshot
    reads = entry.needs & VECTORS_OF_TEXTS
    texts: Sequence[str] | None = None
    if sources.texts is not None:
        texts = read_item_texts(sources.texts, interactions.item_ids)
    elif entry.needs & {"item_texts", *reads} and snapshot is not None and sources.domain is None:
        texts = describe_items(interactions.item_ids, snapshot, ground.links)
    friends = ground.friends
    if sources.friends is not None:
        friends = read_friends(sources.friends, interactions.user_ids)
    side = SideData(rated=ground.rated, item_texts=texts, friends=friends)
    if sources.domain is not None:
        return _written(workspace, ground, sources, sources.domain, side)
    if texts is not None and (sources.texts is not None or reads):
        from recommender.knowledge_text import mean_vectors

        vectors = _encode(workspace, texts)
        users = mean_vectors(vectors, ground.split.train) if "user_vectors" in reads else None
        side = replace(side, item_vectors=vectors, user_vectors=users)
    return side, []


def _written(
    workspace: Workspace, ground: Ground, sources: SideSources, domain: str, side: SideData
) -> tuple[SideData, list[str]]:
    """With the vectors of what the language model writes about a domain."""
    from language.encoder import SentenceEncoder
    from loregraph.knowledge import write

    encoder = SentenceEncoder(device="cpu")  # first: without it there is nothing to pay a model for
    texts = side.item_texts or [""] * len(ground.interactions.item_ids)
    found, notes = write(workspace, ground, texts, domain, send_interactions=sources.send_interactions)
    return found.side(encoder, workspace.root / "vectors", side), notes


def describe_items(item_ids: Sequence[str], snapshot: Snapshot, links: Mapping[str, str]) -> tuple[str, ...]:
    """Each item in words: the name of its entity and its facts, empty where it has none: [n_items]."""
    from recommender.serving.explain import relation_words

    dense = {identity: number for number, identity in enumerate(snapshot.entity_ids)}
    starts = np.searchsorted(snapshot.triples[:, 0], np.arange(len(dense) + 1))
    texts = []
    for item in item_ids:
        entity = dense.get(links.get(item, ""))
        if entity is None:
            texts.append("")
            continue
        facts = snapshot.triples[starts[entity] : starts[entity + 1]][:FACTS_IN_A_TEXT]
        said = [
            f"{relation_words(snapshot.relation_names[relation])} {snapshot.entity_names[tail]}"
            for _, relation, tail in facts
        ]
        texts.append(f"{snapshot.entity_names[entity]} {', '.join(said)}.")
    return tuple(texts)


def _encode(workspace: Workspace, texts: Sequence[str]) -> Floats:
    """Vectors of length 1, a row of zeros for an empty text; what was encoded once is not encoded again."""
    from language.encoder import CachedEncoder, SentenceEncoder

    encoder = CachedEncoder(SentenceEncoder(device="cpu"), workspace.root / "vectors")
    try:
        vectors = np.array(encoder.encode([text or " " for text in texts]), dtype=np.float32)
    finally:
        encoder.close()
    vectors[[not text for text in texts]] = 0
    return vectors
