"""Commands that ask the graph: query, stats, doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from loregraph.cli.options import JsonOption, WorkspaceOption, parse_parameters
from loregraph.cli.output import next_step, print_json, print_pairs, print_path, print_rows, say
from loregraph.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add these commands to the root."""
    app.command()(query)
    app.command()(paths)
    app.command()(stats)
    app.command()(doctor)


def query(
    cypher: Annotated[str, typer.Argument(help="One read-only Cypher query.")],
    workspace: WorkspaceOption = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="name=value, repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most this many rows.", min=1)] = 1000,
    timeout: Annotated[float, typer.Option(help="Seconds before it is stopped.", min=0.1)] = 30.0,
    json_: JsonOption = False,
) -> None:
    """Ask the graph in Cypher."""
    found = Workspace.find(workspace)
    with found.ledger() as ledger, found.store(ledger) as store:
        rows = store.query_untrusted(cypher, parse_parameters(parameter or []), limit=limit, timeout=timeout)
    print_rows(rows, as_json=json_)
    if len(rows) == limit:
        say(f"stopped at {limit} rows; --limit asks for more")


def paths(
    source: Annotated[str, typer.Argument(help="The name of a thing.")],
    target: Annotated[str, typer.Argument(help="The name of another.")],
    workspace: WorkspaceOption = None,
    k: Annotated[int, typer.Option("-k", help="At most this many paths.", min=1)] = 3,
    max_length: Annotated[int, typer.Option(help="At most this many steps.", min=1, max=4)] = 3,
    json_: JsonOption = False,
) -> None:
    """Show how two things are connected, with the sentence behind every step."""
    from loregraph.connecting import connections

    with Workspace.find(workspace).ledger() as ledger:
        found = connections(ledger, source, target, k=k, max_length=max_length)
    if json_:
        print_json([path.as_json() for path in found])
        return
    for path in found:
        print_path(path)


def stats(workspace: WorkspaceOption = None, json_: JsonOption = False) -> None:
    """Count what is stored."""
    with Workspace.find(workspace).ledger() as ledger:
        counts = ledger.statistics()
    print_pairs(asdict(counts), as_json=json_)
    if counts.documents == 0:
        next_step("lore ingest PATH…", workspace)


def doctor(workspace: WorkspaceOption = None, json_: JsonOption = False) -> None:
    """Check the installation, the workspace, the ledger and the graph store."""
    from loregraph.doctor import examine

    findings = examine(workspace)
    print_rows([{"check": f.check, "ok": f.ok, "detail": f.detail} for f in findings], as_json=json_)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
