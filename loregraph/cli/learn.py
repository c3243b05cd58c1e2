"""Commands around a trained recommender: evaluate, refresh, recommend, explain; and convert, for data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loregraph.cli.options import BundleOption, JsonOption, PositiveFromOption, WorkspaceOption
from loregraph.cli.output import (
    next_step,
    print_json,
    print_pairs,
    print_path,
    print_rows,
    say,
)
from loregraph.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add these commands to the root."""
    app.command()(evaluate)
    app.command()(refresh)
    app.command()(recommend)
    app.command()(explain)
    app.command()(convert)


def evaluate(
    workspace: WorkspaceOption = None,
    bundle: BundleOption = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Beside popularity, EASE and matrix factorisation.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Print the test figures of a bundle by groups of users and items, or beside its baselines."""
    from loregraph.training_run import metrics_of

    metrics = metrics_of(Workspace.find(workspace).bundle(bundle))
    if compare:
        print_rows(metrics["rows"], as_json=json_)
        next_step("lore recommend USER", workspace)
        return
    own = {**metrics["rows"][-1], **metrics["beyond"], "split": metrics["split"]}
    if json_:
        print_json({"figures": own, "slices": metrics["slices"], "data": metrics["data"]})
        return
    print_pairs({name: value for name, value in own.items() if value != ""}, as_json=False)
    print()
    print_rows(metrics["slices"], as_json=False)
    next_step("lore evaluate --compare", workspace)


def refresh(
    interactions: Annotated[Path, typer.Option(help="All interactions, the earlier ones too.")],
    workspace: WorkspaceOption = None,
    bundle: BundleOption = None,
    positive_from: Annotated[
        float | None, typer.Option(help="As in the training: ratings at or above this are positive.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Bring a bundle up to date with new users, items and facts, without training it again.

    New users are folded in from what they had, new items mapped through what the graph says of them. The
    test figures stay those of the training.
    """
    from loregraph.refreshing import refresh_bundle

    found = Workspace.find(workspace)
    growth = refresh_bundle(found, found.bundle(bundle), interactions, positive_from)
    counts = {
        "new_users": growth.new_users,
        "moved_users": growth.moved_users,
        "new_items": growth.new_items,
        "unmapped_items": growth.unmapped_items,
    }
    print_pairs(counts, as_json=json_)
    next_step("lore recommend USER", workspace)


def recommend(
    user: Annotated[str | None, typer.Argument(help="A user of the training data.")] = None,
    workspace: WorkspaceOption = None,
    had: Annotated[
        list[str] | None, typer.Option("--had", help="Instead of a user: an item somebody had, repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many.", min=1)] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also what the user already had.")
    ] = False,
    bundle: BundleOption = None,
    json_: JsonOption = False,
) -> None:
    """Recommend items to a user, or to somebody new from the items they had."""
    from kg.errors import UsageError
    from recommender.serving.service import Service

    if (user is None) == (not had):
        raise UsageError("recommend to whom?", hint="Name a user, or the items somebody had: --had ITEM.")
    service = Service.open(Workspace.find(workspace).bundle(bundle))
    if user is None:
        hits = service.recommend_for_history(had or [], k, exclude_seen=not include_seen)
    else:
        hits = service.recommend(user, k, exclude_seen=not include_seen)
    print_rows([{"item": hit.item, "name": hit.name, "score": hit.score} for hit in hits], as_json=json_)
    if hits and user is not None:
        next_step(f"lore explain {user} {hits[0].item}", workspace)


def explain(
    user: Annotated[str, typer.Argument(help="A user of the training data.")],
    item: Annotated[str, typer.Argument(help="An item of the catalogue.")],
    workspace: WorkspaceOption = None,
    k: Annotated[int, typer.Option("-k", help="At most this many paths.", min=1)] = 3,
    bundle: BundleOption = None,
    json_: JsonOption = False,
) -> None:
    """Explain a recommendation: the paths that support it, and the sentence behind every step."""
    from loregraph.explaining import explain as explain_with_sources
    from recommender.serving.service import Service

    found = Workspace.find(workspace)
    service = Service.open(found.bundle(bundle))
    with found.ledger() as ledger:
        explanation = explain_with_sources(service, ledger, user, item, k=k)
    if explanation.warning:
        say(f"warning: {explanation.warning}")
    if json_:
        print_json(explanation.as_json())
        return
    print(f"{explanation.name}: {explanation.reason}")
    for path in explanation.paths:
        print_path(path)


def convert(
    dataset: Annotated[
        Path, typer.Argument(help="A folder in the layout of RecBole, KGCN, KGAT or a HIN, with its graph.")
    ],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    to: Annotated[str, typer.Option(help="recbole, kgcn or kgat.")] = "recbole",
    positive_from: PositiveFromOption = None,
) -> None:
    """Write a dataset in another layout, for other programs to train on; say what that cannot hold."""
    from recommender.data.dataset_files import parse_layout, write_dataset
    from recommender.data.datasets import read_dataset

    layout = parse_layout(to)
    found = read_dataset(dataset, positive_from=positive_from)
    lost = write_dataset(found, folder, layout)
    for note in found.notes:
        say(f"note: {note}.")
    for part in lost:
        say(f"left out: {part}.")
    if positive_from is not None and found.rated is not None and layout != "kgat":
        say(f"ratings below {positive_from:g} are written too: read them with the same threshold.")
    say(f"written as {layout}: {folder}")
