"""Starting is light: no command but training loads torch, and help comes at once."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loregraph.commands import FILMS, ROOT, environment, films_workspace

REPORT = """
import atexit, sys
HEAVY = ("torch", "spacy", "openai", "pandas")
atexit.register(lambda: print("LOADED", *(name for name in HEAVY if name in sys.modules)))
sys.argv = ["lore", *sys.argv[1:]]
from loregraph.cli.main import main
main()
"""


def heavy_modules(*arguments: object) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=120,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    return set(line.split()[1:])


def test_help_takes_little_cpu_time() -> None:
    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    best = 99.0
    for _ in range(3):
        before = cpu()
        subprocess.run(
            [sys.executable, "-m", "loregraph.cli.main", "--help"],
            check=True,
            capture_output=True,
            env=environment(),
        )
        best = min(best, cpu() - before)
    assert best <= 0.4


def test_help_loads_nothing_heavy() -> None:
    assert heavy_modules("--help") == set()


def test_ingest_and_query_load_no_torch(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w")
    assert "torch" not in heavy_modules("ingest", "-w", folder, FILMS / "articles" / "alien.md")
    assert heavy_modules("query", "-w", folder, "MATCH (f:Film) RETURN f.name") == set()


@pytest.mark.parametrize(
    "module", ["kg", "loregraph.api.app", "recommender.serving.service", "loregraph.explaining"]
)
def test_importing_the_serving_side_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=False)
    assert done.returncode == 0
