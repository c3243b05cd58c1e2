"""Beside interactions and graph: ratings, texts, vectors of texts, and friends, for the models that ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loregraph.training_data import Ground
from loregraph.workspace import Workspace

if TYPE_CHECKING:
    from kg.snapshot import Snapshot
    from recommender.data.interactions import Floats, Interactions
    from recommender.models.base import SideData
    from recommender.models.registry import ModelEntry

FACTS_IN_A_TEXT = 12
"""Of an item's facts, as many as an encoder reads."""


@dataclass(frozen=True, slots=True)
class SideFiles:
    """Files that somebody named."""

    texts: Path | None = None
    friends: Path | None = None


def gather(
    entry: ModelEntry,
    workspace: Workspace,
    ground: Ground,
    files: SideFiles,
) -> SideData:
    """What the model needs, and what was named.

    Without a file of texts an item's text is what the graph says of its entity; without one of friends they
    are those of the dataset; a user's vector is the mean of those of the items they had in training. Raises
    :class:`~kg.errors.InputError` and :class:`~kg.errors.UsageError` for files that cannot be used.
    """
    from recommender.data.side import read_friends, read_item_texts
    from recommender.models.base import SideData

    interactions, snapshot = ground.interactions, ground.snapshot
    texts: Sequence[str] | None = None
    if files.texts is not None:
        texts = read_item_texts(files.texts, interactions.item_ids)
    elif entry.needs & {"item_texts", "item_vectors", "user_vectors"} and snapshot is not None:
        texts = describe_items(interactions.item_ids, snapshot, ground.links)
    vectors = None
    if texts is not None and (files.texts is not None or entry.needs & {"item_vectors", "user_vectors"}):
        vectors = _encode(workspace, texts)
    return SideData(
        rated=ground.rated,
        item_texts=texts,
        item_vectors=vectors,
        user_vectors=_of_users(entry, vectors, ground.split.train),
        friends=ground.friends
        if files.friends is None
        else read_friends(files.friends, interactions.user_ids),
    )


def _of_users(entry: ModelEntry, vectors: Floats | None, train: Interactions) -> Floats | None:
    """The mean of what each user had, where nobody wrote about the users."""
    if vectors is None or "user_vectors" not in entry.needs:
        return None
    from recommender.knowledge_text import mean_vectors

    return mean_vectors(vectors, train)


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
