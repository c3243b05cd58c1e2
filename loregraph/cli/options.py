"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="The workspace; else LORE_WORKSPACE, else the nearest lore.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
BundleOption = Annotated[
    str | None, typer.Option("--bundle", help="The trained model; the last one if not named.")
]
PositiveFromOption = Annotated[
    float | None, typer.Option(help="Ratings at or above this are positive; all rows where not set.")
]


def parse_parameters(pairs: list[str]) -> dict[str, Any]:
    """Turn ``name=value`` pairs into Cypher parameters; a value that is no JSON is taken as text."""
    import json

    from kg.errors import UsageError

    def refuse(constant: str) -> float:
        raise UsageError(f"{constant} is no value for a parameter.")

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{pair!r} is not of the form name=value.", hint="Write it as in year=1995.")
        try:
            found[name] = json.loads(value, parse_constant=refuse)
        except json.JSONDecodeError:
            found[name] = value
    return found
