"""The command that trains: ``lore train``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loregraph.cli.models import TrainCommand
from loregraph.cli.options import JsonOption, PositiveFromOption, WorkspaceOption, parse_parameters
from loregraph.cli.output import end_progress, next_step, print_rows, progress_line, say
from loregraph.workspace import Workspace

if TYPE_CHECKING:
    from loregraph.training_run import TrainingReport

Model = Annotated[str, typer.Argument(help="One of the models below.")]

# What it learns from.
InteractionsFile = Annotated[
    Path | None, typer.Option(help="CSV, Parquet, RecBole .inter, KGCN or KGAT file.")
]
DatasetFolder = Annotated[
    Path | None,
    typer.Option(help="Instead: a folder in the layout of RecBole, KGCN, KGAT or a HIN, with its own graph."),
]
SplitName = Annotated[
    str,
    typer.Option(
        help="How to hold out: random, last (each user's last tenth), leave-last (each user's last one),"
        " time (one moment for all) or cold-item (whole items)."
    ),
]
Texts = Annotated[
    Path | None, typer.Option(help="CSV or JSON lines of item_id and text, for models that read.")
]
Friends = Annotated[
    Path | None, typer.Option(help="CSV of user_id and friend_id, for models that ask who knows whom.")
]
Knowledge = Annotated[
    str | None,
    typer.Option(
        metavar="DOMAIN",
        help="Have the language model write what it knows of the items and makes of the users, for kar; name"
        " what they are: films, say.",
    ),
]
SendInteractions = Annotated[
    bool,
    typer.Option(
        "--send-interactions", help="Let what users chose go to a language model that is not on this machine."
    ),
]

# How it learns.
Epochs = Annotated[int | None, typer.Option(help="At most this many; the model's default if not set.", min=1)]
Settings = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="A setting of the model, name=value, repeatable.")
]
Trials = Annotated[
    int, typer.Option(help="Search the settings first, this many trainings, on the validation part.", min=0)
]
Seed = Annotated[int, typer.Option(help="Makes the run repeatable.", min=0)]
Accumulate = Annotated[
    int, typer.Option(help="Batches to a step: less memory with a smaller -s batch_size=.", min=1)
]

# What it runs on.
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int, typer.Option(help="CPU threads; more than one helps on large graphs only.", min=1)]
WorkerCount = Annotated[
    int, typer.Option(help="Processes that train together; a step takes the batches of all of them.", min=1)
]
Precision = Annotated[str, typer.Option(help="float32, or bfloat16 for products in 16 bits.")]

# What comes of it.
Track = Annotated[str | None, typer.Option(help="Show the figures in tensorboard or mlflow as well.")]
BundleName = Annotated[str | None, typer.Option(help="The bundle's name; the model's if not set.")]


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command(cls=TrainCommand)(train)


def train(
    model: Model,
    interactions: InteractionsFile = None,
    dataset: DatasetFolder = None,
    workspace: WorkspaceOption = None,
    positive_from: PositiveFromOption = None,
    split: SplitName = "random",
    texts: Texts = None,
    friends: Friends = None,
    knowledge: Knowledge = None,
    send_interactions: SendInteractions = False,
    epochs: Epochs = None,
    setting: Settings = None,
    trials: Trials = 0,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = 1,
    workers: WorkerCount = 1,
    precision: Precision = "float32",
    accumulate: Accumulate = 1,
    track: Track = None,
    name: BundleName = None,
    json_: JsonOption = False,
) -> None:
    """Train a recommender on interactions and the graph; test it beside its baselines; write a bundle."""
    from loregraph.runs import parse_precision
    from loregraph.side_data import SideSources
    from loregraph.training_run import TrainingRequest, train_bundle

    request = TrainingRequest(
        model,
        interactions,
        dataset,
        positive_from=positive_from,
        split=split,
        epochs=epochs,
        settings=parse_parameters(setting or []),
        seed=seed,
        device=device,
        threads=threads,
        name=name,
        side=SideSources(texts, friends, knowledge, send_interactions),
        trials=trials,
        precision=parse_precision(precision),
        accumulate=accumulate,
        workers=workers,
        tracker=track,
    )
    try:
        report = train_bundle(Workspace.find(workspace), request, progress_line)
    finally:
        end_progress()
    _print(report, json_)
    next_step("lore evaluate --compare", workspace)


def _print(report: TrainingReport, as_json: bool) -> None:
    print_rows(report.rows, as_json=as_json)
    for note in report.notes:
        say(f"note: {note}.")
    data = report.data
    say(
        f"data: {data['interactions']} interactions of {data['users']} users with {data['items']} items,"
        f" popularity Gini {data['popularity_gini']:.2f}, {data['duplicate_rows']} duplicate rows,"
        f" {data['contradictory_pairs']} pairs with several ratings (the latest counts);"
        f" {data['cold_test_items']} tested items are cold."
    )
    if report.found:
        found = " ".join(f"-s {name}={json.dumps(value)}" for name, value in report.found.items())
        say(f"settings found: {found}")
    say(f"bundle: {report.bundle}")
