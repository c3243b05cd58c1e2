"""Run the real ``lore`` command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILMS = ROOT / "examples" / "films"


@dataclass(frozen=True)
class Done:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**extra: str) -> dict[str, str]:
    """The environment of a child: no workspace or settings of the caller's leak in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LORE_", "OPENAI_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **extra}


def lore(*arguments: object, cwd: Path | None = None, stdin: str | None = None, **extra: str) -> Done:
    """Run ``lore`` and wait for it."""
    done = subprocess.run(
        [sys.executable, "-m", "loregraph.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        input=stdin,
        cwd=cwd,
        env=environment(**extra),
        timeout=300,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def films_workspace(folder: Path, *articles: str) -> Path:
    """A workspace with the films schema and some of the example articles in it."""
    made = lore("init", folder, "--schema", FILMS / "schema.toml")
    assert made.code == 0, made.err
    if articles:
        done = lore("ingest", "-w", folder, *(FILMS / "articles" / name for name in articles))
        assert done.code == 0, done.err
    return folder


def linked_films(folder: Path, users: Collection[str] = ()) -> Path:
    """A workspace of all articles with the catalogue linked.

    ``all.csv`` holds what all users had, ``some.csv`` what these had.
    """
    found = films_workspace(folder, "")
    whole = found / "all.csv"
    subprocess.run([sys.executable, FILMS / "make_interactions.py", whole], check=True)
    header, *rows = whole.read_text(encoding="utf-8").splitlines()
    some = [row for row in rows if row.split(",")[0] in users]
    (found / "some.csv").write_text("\n".join([header, *some]) + "\n", encoding="utf-8")
    done = lore("link", FILMS / "items.csv", "-w", found)
    assert done.code == 0, done.err
    return found
