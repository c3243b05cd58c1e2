"""What a model is trained on: a file of interactions and the workspace's graph, or a published dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kg.errors import ConfigurationError, UsageError
from loregraph.workspace import Workspace
from recommender.data.readers import read_rated
from recommender.models.registry import ModelEntry

if TYPE_CHECKING:
    from kg.snapshot import Snapshot
    from recommender.data.interactions import Interactions, Ints
    from recommender.data.splits import Split
    from recommender.graph.joint import JointGraph

HOPS_AT_MOST = 3
"""Entities farther from every item reach no item through the three layers that models have."""

SPLITS = ("random", "last", "leave-last", "time", "cold-item")


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """All that training needs; ``interactions`` are those of all parts, ``split_name`` how they were cut.

    ``rated`` are all ratings, where the model or a threshold asks for them. ``notes`` says what was not read.
    """

    interactions: Interactions
    rated: Interactions | None
    split: Split
    split_name: str
    links: Mapping[str, str]
    snapshot: Snapshot | None
    graph: JointGraph | None
    friends: Ints | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Where the interactions are, which count, and how to cut them; ``folder`` is a published dataset."""

    file: Path | None
    folder: Path | None
    positive_from: float | None
    split: str
    seed: int

    def read(self, workspace: Workspace, entry: ModelEntry) -> Ground:
        """Read everything; the workspace's own graph stays out where a dataset brings one.

        Raises :class:`~kg.errors.UsageError` unless one of file and folder is given, and for a split that
        the data do not allow; :class:`~kg.errors.ConfigurationError` where a model that needs the graph finds
        no linked item; :class:`~kg.errors.InputError` for files that cannot be used.
        """
        if self.split not in SPLITS:
            raise UsageError(f"there is no split {self.split!r}.", hint=f"Known: {', '.join(SPLITS)}.")
        if (self.file is None) == (self.folder is None):
            raise UsageError(
                "train on what?",
                hint="Name one: --interactions FILE, or --dataset FOLDER with its own graph.",
            )
        if self.folder is not None:
            return self._read_folder(self.folder, entry)
        assert self.file is not None
        return self._read_file(self.file, workspace, entry)

    def _read_file(self, file: Path, workspace: Workspace, entry: ModelEntry) -> Ground:
        from kg.snapshot import Snapshot
        from recommender.graph.joint import JointGraph

        with workspace.ledger() as ledger:
            links = workspace.links(ledger)
            if entry.needs_graph and not links:
                raise ConfigurationError(
                    f"{entry.name} needs items that are linked to the graph.",
                    where=str(workspace.links_path),
                    hint="Run `lore link ITEMS` first.",
                )
            rated, interactions = read_rated(file, positive_from=self.positive_from, catalogue=sorted(links))
            split = self._cut(interactions)
            snapshot = Snapshot.of(ledger) if links else None
        graph = (
            None if snapshot is None else JointGraph.build(split, snapshot, links, within_hops=HOPS_AT_MOST)
        )
        asked = self._ratings(rated, entry)
        return Ground(interactions, asked, split, self.split, links, snapshot, graph)

    def _read_folder(self, folder: Path, entry: ModelEntry) -> Ground:
        from recommender.data.datasets import read_dataset
        from recommender.graph.joint import JointGraph

        found = read_dataset(folder, positive_from=self.positive_from)
        split, name = self._cut_published(found.interactions, found.test)
        graph = JointGraph.build(split, found.snapshot, found.links, within_hops=HOPS_AT_MOST)
        if entry.needs_graph and not graph.n_linked_items:
            raise ConfigurationError(
                f"{entry.name} needs items that are linked to the graph, and none of the dataset is.",
                where=str(folder),
                hint="Check that links and graph use the same ids.",
            )
        asked = self._ratings(found.rated, entry)
        return Ground(
            found.whole, asked, split, name, found.links, found.snapshot, graph, found.friends, found.notes
        )

    def _ratings(self, rated: Interactions | None, entry: ModelEntry) -> Interactions | None:
        return rated if self.positive_from is not None or "ratings" in entry.needs else None

    def _cut_published(self, train: Interactions, test: Interactions | None) -> tuple[Split, str]:
        """The published test part where there is one; validation is then a tenth of the rest."""
        from recommender.data.splits import Split, random_split

        if test is None:
            return self._cut(train), self.split
        if self.split != "random":
            raise UsageError(
                f"the dataset fixes its test part, so the split cannot be {self.split}.",
                hint="Leave --split out.",
            )
        rest = random_split(train, np.random.default_rng(self.seed), (0.9, 0.1, 0.0))
        return Split(rest.train, rest.validation, test), "published"

    def _cut(self, interactions: Interactions) -> Split:
        from recommender.data import splits

        rng = np.random.default_rng(self.seed)
        by_name: dict[str, Callable[[], Split]] = {
            "random": lambda: splits.random_split(interactions, rng),
            "last": lambda: splits.last_split(interactions),
            "leave-last": lambda: splits.leave_last_split(interactions),
            "time": lambda: splits.time_split(interactions),
            "cold-item": lambda: splits.cold_item_split(interactions, rng),
        }
        return by_name[self.split]()
