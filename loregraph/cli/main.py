"""The ``lore`` command: the root, and what an error turns into."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from kg.errors import LoreError
from loregraph.cli import ask, build, learn, models, runs, serve, train

app = typer.Typer(
    name="lore",
    help="Text becomes facts, facts become a graph, the graph becomes recommendations that can be traced.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (build, ask, train, learn, models, runs, serve):
    room.register(app)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Text becomes facts, facts become a graph, the graph becomes recommendations that can be traced."""
    if version:
        from importlib.metadata import version as version_of

        print(version_of("loregraph"))
        raise typer.Exit


def main() -> None:
    """Run ``lore``: an error is one line on stderr and its exit code; ``LORE_TRACEBACK=1`` shows more."""
    try:
        app()
        sys.stdout.flush()
    except LoreError as error:
        print(f"lore: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has enough; nothing more can be written there.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        sys.exit(0)
    except Exception as error:
        if os.environ.get("LORE_TRACEBACK"):
            raise
        hint = "" if isinstance(error, OSError) else " This should not happen: LORE_TRACEBACK=1 shows where."
        print(f"lore: {type(error).__name__}: {error}.{hint}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
