"""The models, for people: a line each under ``lore train --help``, and all settings of one."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from loregraph.cli.options import JsonOption
from loregraph.cli.output import next_step, print_json, print_rows, say

_NEEDED = {
    "graph": "graph",
    "times": "times",
    "ratings": "ratings",
    "item_texts": "item texts",
    "item_vectors": "item texts",
    "user_vectors": "item texts",
    "friends": "friends",
}


def register(app: typer.Typer) -> None:
    """Add this command to the root."""
    app.command()(models)


def models(
    model: Annotated[str | None, typer.Argument(help="One model: all its settings.")] = None,
    json_: JsonOption = False,
) -> None:
    """List the recommenders, or the settings of one with the source of every default."""
    from recommender.models.registry import MODELS, find_model

    if model is None:
        print_rows([_row(entry) for entry in MODELS.values()], as_json=json_)
        next_step("lore models MODEL")
        return
    entry = find_model(model)
    settings = entry.settings()
    rows = [
        {"setting": field.name, "default": field.default, "type": field.type, "note": field.note}
        for field in settings.fields
    ]
    if json_:
        print_json({**_row(entry), "origin": settings.origin, "settings": rows})
        return
    say(f"{entry.name}: {entry.description} ({entry.source}).")
    say(f"Where a default has no note: {settings.origin}")
    print_rows(rows, as_json=False)
    next_step(f"lore train {entry.name} --interactions FILE")


def _row(entry: Any) -> dict[str, Any]:
    needs = sorted({_NEEDED[need] for need in entry.needs})
    return {
        "model": entry.name,
        "what": entry.description,
        "needs": ", ".join(needs),
        "source": entry.source,
    }


class TrainCommand(TyperCommand):
    """``lore train``, whose help ends with the models."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each model, and its defaults under it."""
        from recommender.models.registry import MODELS

        formatter.write_paragraph()
        formatter.write_text("Models (`lore models MODEL` gives the source of every default):")
        for entry in MODELS.values():
            row, settings = _row(entry), entry.settings()
            needs = f" Needs {row['needs']}." if row["needs"] else ""
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(f"{entry.name}: {entry.description} ({entry.source}).{needs}")
                with formatter.indentation():
                    given = ", ".join(f"{field.name} {field.default}" for field in settings.fields)
                    formatter.write_text(f"{given or 'nothing to set'}. {settings.origin}")
