"""The ``lore`` command: the root, and what an error turns into."""

from __future__ import annotations

import sys

import typer

from kg.errors import LoreError
from loregraph.cli import ask, build, learn, serve

app = typer.Typer(
    name="lore",
    help="Text becomes facts, facts become a graph, the graph becomes recommendations that can be traced.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (build, ask, learn, serve):
    room.register(app)


def main() -> None:
    """Run ``lore``: a known error is one line on stderr and its exit code."""
    try:
        app()
    except LoreError as error:
        print(f"lore: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
