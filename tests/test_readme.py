"""The tables of the README are those of the results."""

from __future__ import annotations

import re

from benchmarks.recommender.tables import README, TABLES, filled
from recommender.models.registry import MODELS


def test_the_tables_are_what_was_measured() -> None:
    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"<!-- table: ([a-z0-9-]+) -->", text))
    assert named == set(TABLES)
    assert filled(text) == text, "run python -m benchmarks.recommender.tables"


def test_a_figure_that_was_changed_by_hand_is_seen() -> None:
    text = README.read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| KGAT, an epoch"))
    assert filled(text.replace(row, row.replace("|", "| 9", 2))) == text


def test_every_model_has_its_row_and_its_tests() -> None:
    text = (README.parent / "docs" / "systems.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| [`")}
    assert set(rows) == set(MODELS)
    for name, row in rows.items():
        assert f"\n## {name}\n" in text
        assert MODELS[name].source in row
        assert (README.parent / re.findall(r"`(tests/[^`]+)`", row)[0]).is_file()
