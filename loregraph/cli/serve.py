"""The command that serves: REST over recommendations, explanations and read-only Cypher."""

from __future__ import annotations

from typing import Annotated

import typer

from loregraph.cli.options import BundleOption, WorkspaceOption
from loregraph.cli.output import say
from loregraph.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add these commands to the root."""
    app.command()(serve)


def serve(
    workspace: WorkspaceOption = None,
    host: Annotated[
        str | None, typer.Option(help="Where to listen; off loopback an API key is needed.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 picks a free one.", min=0, max=65535)] = None,
    bundle: BundleOption = None,
) -> None:
    """Serve recommendations, explanations and read-only Cypher over HTTP."""
    from loregraph.api.running import run

    run(Workspace.find(workspace), host=host, port=port, bundle=bundle, announce=say)
