"""A workspace: one folder with ``lore.toml``, ``schema.toml``, the ledger, the graph and the bundles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kg.errors import ConfigurationError, StoreLocked, UsageError

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger
    from kg.schema import Schema
    from kg.stores.store import GraphStore
    from loregraph.settings import Settings

CONFIGURATION = "lore.toml"
LATEST = "latest"
"""No bundle may have this name: it is that of the file which names the one trained last."""

_NEW_CONFIGURATION = """\
# Settings of this workspace. An environment variable wins: LORE_STORE__URL, LORE_LANGUAGE__MODEL, ...

[store]
url = "graph"            # a folder here (embedded), or bolt://host:7687 with LORE_STORE__PASSWORD set

[extraction]
extractor = "local"      # "llm" reads [language]

[language]
# model = "gpt-5-mini"
# base_url = "http://localhost:11434/v1"
"""


@dataclass(frozen=True)
class Workspace:
    """The paths and the opened parts of one workspace."""

    root: Path

    @classmethod
    def find(cls, named: Path | None = None) -> Workspace:
        """The named folder, else ``LORE_WORKSPACE``, else the nearest parent folder with a ``lore.toml``.

        Raises :class:`~kg.errors.ConfigurationError` where there is none.
        """
        chosen = named or (Path(value) if (value := os.environ.get("LORE_WORKSPACE")) else None)
        if chosen is not None:
            if not (chosen / CONFIGURATION).is_file():
                raise ConfigurationError(
                    f"there is no {CONFIGURATION} in this folder.",
                    where=str(chosen),
                    hint=f"Make a workspace with `lore init {chosen}`.",
                )
            return cls(chosen.resolve())
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / CONFIGURATION).is_file():
                return cls(folder)
        raise ConfigurationError(
            "no workspace here or above.",
            where=str(here),
            hint="Make one with `lore init DIR`, or name it: -w DIR.",
        )

    @classmethod
    def create(cls, root: Path, schema_text: str) -> Workspace:
        """Make a new workspace with this schema.

        Raises :class:`~kg.errors.UsageError` where the folder already is one.
        """
        if (root / CONFIGURATION).exists():
            raise UsageError("this folder already is a workspace.", where=str(root))
        try:
            root.mkdir(parents=True, exist_ok=True)
            (root / "schema.toml").write_text(schema_text, encoding="utf-8")
        except OSError as problem:
            raise UsageError(f"the folder cannot be made: {problem.strerror}.", where=str(root)) from None
        workspace = cls(root.resolve())
        workspace.schema  # noqa: B018  (a bad schema is refused before the workspace exists)
        (root / CONFIGURATION).write_text(_NEW_CONFIGURATION, encoding="utf-8")
        with workspace.ledger():
            pass
        return workspace

    @property
    def schema_path(self) -> Path:
        """Where the schema is."""
        return self.root / "schema.toml"

    @property
    def ledger_path(self) -> Path:
        """Where the ledger is."""
        return self.root / "ledger.sqlite"

    @property
    def calls_path(self) -> Path:
        """Where every language-model call is kept."""
        return self.root / "calls.sqlite"

    @property
    def links_path(self) -> Path:
        """Where the links from items to entities are (CSV)."""
        return self.root / "links.csv"

    @property
    def bundles_path(self) -> Path:
        """The folder of trained bundles, one folder each."""
        return self.root / "bundles"

    @property
    def latest_path(self) -> Path:
        """The file that names the bundle trained last."""
        return self.bundles_path / LATEST

    def links(self, ledger: Ledger) -> dict[str, str]:
        """Which entity each linked item is, as the ledger knows it today; empty before ``lore link``."""
        from extraction.linking import load_links

        if not self.links_path.is_file():
            return {}
        return {link.item: ledger.canonical(link.entity) for link in load_links(self.links_path)}

    @cached_property
    def settings(self) -> Settings:
        """The settings in force."""
        from loregraph.settings import read_settings

        return read_settings(self.root / CONFIGURATION)

    @cached_property
    def schema(self) -> Schema:
        """The schema."""
        from kg.schema import read_schema

        return read_schema(self.schema_path)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Open the ledger."""
        from kg.ledger.ledger import Ledger

        ledger = Ledger(self.ledger_path, symmetric=self.schema.symmetric)
        try:
            yield ledger
        finally:
            ledger.close()

    @property
    def store_url(self) -> str:
        """The store's URL; a relative folder is taken from the workspace."""
        url = self.settings.store.url
        return url if "://" in url else str(self.root / url)

    @contextmanager
    def store(self, ledger: Ledger | None = None) -> Iterator[GraphStore]:
        """Open the graph store, brought up to date with ``ledger`` where one is given."""
        from kg.stores.following import follow
        from kg.stores.opening import open_store

        settings = self.settings.store
        store = open_store(
            self.store_url,
            self.schema,
            user=settings.user,
            password=settings.password.get_secret_value(),
            database=settings.database,
        )
        try:
            if ledger is not None:
                follow(ledger, store)
            yield store
        finally:
            store.close()

    def project(self, ledger: Ledger) -> str | None:
        """Bring the graph up to date; a sentence says so where its owner, another process, has to do it."""
        try:
            with self.store(ledger):
                return None
        except StoreLocked as locked:
            return f"{locked.what} It will show the new facts within a second if it is `lore serve`."

    def bundle(self, name: str | None) -> Path:
        """The bundle of that name, else the one trained last.

        Raises :class:`~kg.errors.ConfigurationError` where there is none.
        """
        if name is not None:
            return self.bundles_path / name
        if not self.latest_path.is_file():
            raise ConfigurationError(
                "no model is trained yet.", where=str(self.bundles_path), hint="Run `lore train MODEL`."
            )
        return self.bundles_path / (self.latest_path.read_text(encoding="utf-8").strip() or "unnamed")
