"""What ``lore doctor`` looks at: the installation, the workspace, the ledger, the graph."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from kg.errors import ConfigurationError, LoreError, StoreLocked
from loregraph.workspace import Workspace

OUR_PACKAGES = ("kg", "language", "extraction", "completion", "factcheck", "recommender", "loregraph")
OPTIONAL = {
    "ladybug": "embedded graph (pip install 'loregraph[embedded]')",
    "neo4j": "Neo4j driver (pip install 'loregraph[neo4j]')",
    "torch": "training (pip install 'loregraph[train]')",
    "fastapi": "the server (pip install 'loregraph[serve]')",
    "pypdf": "PDF files (pip install 'loregraph[pdf]')",
    "rdflib": "RDF files (pip install 'loregraph[rdf]')",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    check: str
    ok: bool
    detail: str


def examine(workspace: Path | None) -> list[Finding]:
    """Check everything that can be checked without cost, and never raise for what is found."""
    return [*_installation(), *_workspace(workspace)]


def _installation() -> Iterator[Finding]:
    try:
        yield Finding("loregraph", True, version("loregraph"))
    except PackageNotFoundError:
        yield Finding("loregraph", False, "not installed: run from a checkout with `pip install -e .`")
    owners = packages_distributions()
    for name in OUR_PACKAGES:
        others = sorted(set(owners.get(name, [])) - {"loregraph"})
        if others:
            yield Finding(
                f"package {name}",
                False,
                f"also installed by {', '.join(others)}: use an environment of its own",
            )
    for module, purpose in OPTIONAL.items():
        there = importlib.util.find_spec(module) is not None
        yield Finding(module, True, "installed" if there else f"not installed; needed for {purpose}")


def _workspace(named: Path | None) -> Iterator[Finding]:
    try:
        found = Workspace.find(named)
        settings = found.settings
    except LoreError as error:
        none_here = named is None and isinstance(error, ConfigurationError) and "no workspace" in error.what
        yield Finding("workspace", none_here, error.message)
        return
    yield Finding("workspace", True, str(found.root))
    free = shutil.disk_usage(found.root).free
    yield Finding("disk", free > 1_000_000_000, f"{free / 1e9:.1f} GB free")
    yield _try(
        "schema",
        lambda: f"{len(found.schema.entities)} entity types, {len(found.schema.relations)} relations",
    )
    yield _try("ledger", lambda: _ledger(found))
    yield _try("graph", lambda: _graph(found))
    key = (
        "set" if settings.language.api_key.get_secret_value() else "not set (OPENAI_API_KEY is used if there)"
    )
    yield Finding(
        "language model",
        True,
        f"{settings.language.model} at {settings.language.base_url or 'OpenAI'}; key {key}",
    )


def _try(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, look())
    except StoreLocked as locked:
        return Finding(check, True, locked.what)
    except LoreError as error:
        return Finding(check, False, error.message)


def _ledger(workspace: Workspace) -> str:
    from kg.errors import LedgerError

    with workspace.ledger() as ledger:
        wrong = ledger.check()
        if wrong:
            raise LedgerError(f"{len(wrong)} things are wrong: {wrong[0]}.", where=str(workspace.ledger_path))
        return f"version {ledger.version}, sound"


def _graph(workspace: Workspace) -> str:
    with workspace.ledger() as ledger, workspace.store(ledger) as store:
        return f"{workspace.store_url} shows version {store.version().version}"
