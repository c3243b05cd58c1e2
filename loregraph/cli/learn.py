"""Commands that learn and recommend: train, evaluate, recommend, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loregraph.cli.models import TrainCommand
from loregraph.cli.options import BundleOption, JsonOption, WorkspaceOption, parse_parameters
from loregraph.cli.output import (
    end_progress,
    next_step,
    print_json,
    print_path,
    print_rows,
    progress_line,
    say,
)
from loregraph.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add these commands to the root."""
    app.command(cls=TrainCommand)(train)
    app.command()(evaluate)
    app.command()(recommend)
    app.command()(explain)


def train(
    model: Annotated[str, typer.Argument(help="One of the models below.")],
    interactions: Annotated[Path, typer.Option(help="CSV, Parquet, RecBole .inter, KGCN or KGAT file.")],
    workspace: WorkspaceOption = None,
    positive_from: Annotated[
        float | None, typer.Option(help="Ratings at or above this are positive; all rows where not set.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="How to hold out: random, last (each user's last) or time.")
    ] = "random",
    epochs: Annotated[
        int | None, typer.Option(help="At most this many; the model's default if not set.", min=1)
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="A setting of the model, name=value, repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Makes the run repeatable.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int, typer.Option(help="CPU threads; more than one helps on large graphs only.", min=1)
    ] = 1,
    name: Annotated[str | None, typer.Option(help="The bundle's name; the model's if not set.")] = None,
    json_: JsonOption = False,
) -> None:
    """Train a recommender on interactions and the graph; test it beside its baselines; write a bundle."""
    from loregraph.training_run import TrainingRequest, train_bundle

    request = TrainingRequest(
        model,
        interactions,
        positive_from=positive_from,
        split=split,
        epochs=epochs,
        settings=parse_parameters(setting or []),
        seed=seed,
        device=device,
        threads=threads,
        name=name,
    )
    try:
        report = train_bundle(Workspace.find(workspace), request, progress_line)
    finally:
        end_progress()
    print_rows(report.rows, as_json=json_)
    say(f"bundle: {report.bundle}")
    next_step("lore recommend USER", workspace)


def evaluate(
    workspace: WorkspaceOption = None,
    bundle: BundleOption = None,
    json_: JsonOption = False,
) -> None:
    """Print the test figures of a bundle, with the baselines of the same run and the intervals of each."""
    from loregraph.training_run import figures_of

    print_rows(figures_of(Workspace.find(workspace).bundle(bundle)), as_json=json_)
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
    from recommender.service import Service

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
    from recommender.service import Service

    found = Workspace.find(workspace)
    service = Service.open(found.bundle(bundle))
    with found.ledger() as ledger:
        explanation = explain_with_sources(service, ledger, user, item, k=k)
    if json_:
        print_json(explanation.as_json())
        return
    print(f"{explanation.name}: {explanation.reason}")
    for path in explanation.paths:
        print_path(path)
