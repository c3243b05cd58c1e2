"""The command that shows how a training went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loregraph.cli.options import WorkspaceOption
from loregraph.cli.output import say
from loregraph.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(curves)


def curves(
    run: Annotated[
        str | None, typer.Argument(help="A folder's name in runs, or a model's; the last run if not set.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help=".svg, .png or .pdf; curves.svg in the run's folder if not set.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Draw how loss and validation went in a training, as a picture."""
    from loregraph.runs import find_run
    from recommender.training.curves import draw_curves

    folder = find_run(Workspace.find(workspace), run)
    picture = out or folder / "curves.svg"
    draw_curves(folder, picture)
    say(f"picture: {picture}")
