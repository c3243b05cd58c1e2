"""What a command prints: results on stdout, narration on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loregraph.explaining import SupportedPath


def say(text: str) -> None:
    """Narrate on stderr."""
    print(text, file=sys.stderr)


def next_step(command: str, workspace: Path | None = None) -> None:
    """Name the next useful command, for the workspace that this one named."""
    say(f"next: {command}" if workspace is None else f"next: {command} -w {workspace}")


def print_json(value: object) -> None:
    """Print one JSON document on stdout; a number that is none (NaN, infinity) becomes null."""
    print(json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False))


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows as JSON, as a table on a terminal, or as tab-separated lines in a pipe."""
    if as_json:
        print_json([dict(row) for row in rows])
    elif not rows:
        say("no rows")
    elif sys.stdout.isatty():
        _print_table(rows)
    else:
        columns = list(rows[0])
        print("\t".join(columns))
        for row in rows:
            print("\t".join(_cell(row.get(column)) for column in columns))


def print_pairs(pairs: Mapping[str, Any], *, as_json: bool) -> None:
    """Print names and values as a JSON object, or one a line."""
    if as_json:
        print_json(dict(pairs))
        return
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        print(f"{name:<{width}}  {_cell(value)}")


def print_path(path: SupportedPath) -> None:
    """Print a path, and under it every step with the sentence that says it."""
    print(f"- {path.text}")
    for step in path.steps:
        source = f'"{step.sentence}" ({step.document})' if step.sentence else "no document says it any more"
        print(f"    {step.subject} {step.predicate} {step.object} — {source}")


def progress_line(text: str) -> None:
    """Rewrite one line on a terminal's stderr; silent in a pipe."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)


def end_progress() -> None:
    """End the progress line."""
    if sys.stderr.isatty():
        print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in rows[0]))
    Console().print(table)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool | int):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
