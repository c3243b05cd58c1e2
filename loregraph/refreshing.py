"""``lore refresh``: a trained bundle learns of new users, items and facts without being trained again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kg.errors import ConfigurationError
from loregraph.training_data import HOPS_AT_MOST
from loregraph.workspace import Workspace
from recommender.data.readers import read_interactions

if TYPE_CHECKING:
    from recommender.serving.growth import Growth


def refresh_bundle(
    workspace: Workspace, path: Path, interactions: Path, positive_from: float | None = None
) -> Growth:
    """Grow the bundle at ``path`` to all interactions of a file and to the graph as it is now, in place.

    Raises what :func:`~recommender.serving.growth.grow` and
    :func:`~recommender.data.readers.read_interactions` raise, and :class:`~kg.errors.ConfigurationError`
    where no item is linked. The old bundle stays until the new one is complete.
    """
    from kg.snapshot import Snapshot
    from recommender.data.splits import Split
    from recommender.graph.joint import JointGraph
    from recommender.serving.bundle import open_bundle
    from recommender.serving.growth import grow

    bundle = open_bundle(path)
    with workspace.ledger() as ledger:
        links = workspace.links(ledger)
        if not links:
            raise ConfigurationError(
                "no item is linked to the graph, so new ones cannot be mapped.",
                where=str(workspace.links_path),
                hint="Run `lore link ITEMS` first.",
            )
        snapshot = Snapshot.of(ledger)
    catalogue = sorted({*links, *bundle.item_ids})
    known = read_interactions(interactions, positive_from=positive_from, catalogue=catalogue)
    nothing = known.select(np.zeros(len(known), dtype=bool))
    graph = JointGraph.build(Split(known, nothing, nothing), snapshot, links, within_hops=HOPS_AT_MOST)
    growth = grow(bundle, known, graph, snapshot)
    growth.bundle.write(path)
    return growth
