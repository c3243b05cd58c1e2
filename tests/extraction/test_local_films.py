"""The films schema on real leads: the levels that the benchmark reached must hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.extraction_films import Film, Score, leads, predict, score, shuffled
from extraction.local import LocalExtractor
from kg.schema import read_schema

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("LORE_DATA") or ROOT.parent / "shared" / "data")
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not (DATA / "rec" / "ml-100k" / "film_leads.jsonl").exists(),
        reason="the shared data folder is absent",
    ),
]


@pytest.fixture(scope="module")
def extracted() -> list[tuple[Film, dict[str, list[str]]]]:
    extractor = LocalExtractor(read_schema(ROOT / "examples" / "films" / "schema.toml"))
    return [(film, predict(extractor, film)) for film in leads(DATA)]


def figures(score: Score) -> tuple[float, float]:
    return score.right / score.predicted, score.found / score.in_text


@pytest.mark.parametrize("half", [0, 1], ids=["held out", "development"])
def test_levels(extracted: list[tuple[Film, dict[str, list[str]]]], half: int) -> None:
    scores = score((film, got) for film, got in extracted if int(film.key) % 2 == half)
    for kind, (precision, recall) in {
        "directors": (0.96, 0.95),
        "credits": (0.975, 0.0),
        "cast": (0.74, 0.93),
        "genres": (0.975, 0.84),
    }.items():
        reached = figures(scores[kind])
        assert reached[0] >= precision, (kind, reached)
        assert reached[1] >= recall, (kind, reached)


def test_the_gold_of_another_film_is_not_found(extracted: list[tuple[Film, dict[str, list[str]]]]) -> None:
    scores = shuffled(extracted)
    assert figures(scores["directors"])[0] < 0.02
    assert figures(scores["credits"])[0] < 0.02
