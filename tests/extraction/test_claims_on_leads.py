"""Claims about 1,219 real film leads: what is true gets through, what is made up does not."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from extraction.claims import ClaimedEntity, ClaimedFact, ground_claims
from kg.facts import Chunk, Document
from kg.schema import Schema, read_schema
from kg.sentences import sentences

ROOT = Path(__file__).parents[2]
LEADS = Path(os.environ.get("LORE_DATA", ROOT / "../shared/data")) / "rec/ml-100k/film_leads.jsonl"
LONGEST_QUOTE = 400

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not LEADS.exists(), reason="needs the shared data folder (LORE_DATA)"),
]


@pytest.fixture(scope="module")
def leads() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LEADS.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def schema() -> Schema:
    return read_schema(ROOT / "examples/films/schema.toml")


def quote_of(text: str, name: str) -> str:
    """The sentence that names something, or the part of it around the name."""
    place = text.index(name)
    start, end = next((a, b) for a, b in sentences(text) if a <= place < b)
    if end - start > LONGEST_QUOTE:
        start = max(start, place - LONGEST_QUOTE // 2)
        end = min(end, place + len(name) + LONGEST_QUOTE // 2)
    return text[start:end]


def ground(lead: dict[str, Any], schema: Schema, people: list[str], facts: list[ClaimedFact]) -> int:
    """How many of the facts are asserted."""
    document = Document.of(lead["text"], "lead", title=lead["title"])
    entities = [ClaimedEntity("film", "Film", lead["title"])]
    entities.extend(ClaimedEntity(name, "Person", name) for name in people)
    chunk = Chunk(document.id, 0, 0, len(lead["text"]))
    return len(ground_claims(entities, facts, document, chunk, schema).assertions.facts)


def test_true_claims_get_through(leads: list[dict[str, Any]], schema: Schema) -> None:
    claimed = asserted = 0
    for lead in leads:
        text, gold = lead["text"], lead["gold"]
        roles = [(name, "STARS") for name in gold["cast"]] + [(n, "DIRECTED_BY") for n in gold["directors"]]
        roles = [(name, role) for name, role in roles if name in text and name[0].isalpha()]
        facts = [ClaimedFact(quote_of(text, name), "film", role, name) for name, role in roles]
        if str(lead["year"]) in text:
            quote = quote_of(text, str(lead["year"]))
            facts.append(ClaimedFact(quote, "film", "release_year", None, lead["year"]))
        claimed += len(facts)
        asserted += ground(lead, schema, [name for name, _ in roles], facts)
    assert claimed > 5000
    assert asserted / claimed >= 0.995


def test_made_up_claims_do_not(leads: list[dict[str, Any]], schema: Schema) -> None:
    rng = random.Random(0)
    people = sorted({name for lead in leads for name in lead["gold"]["directors"]})
    for lead in leads:
        text, title, year = lead["text"], lead["title"], lead["year"]
        stranger = next(p for p in rng.sample(people, 50) if p.split()[-1] not in text)
        start, end = next(sentences(text))
        real = text[start : min(end, start + LONGEST_QUOTE)]
        words = real.split()
        rng.shuffle(words)
        made_up = [
            ClaimedFact(real, "film", "DIRECTED_BY", stranger),  # a real quote, a name from elsewhere
            ClaimedFact(f"{title} was directed by {stranger}", "film", "DIRECTED_BY", stranger),
            ClaimedFact(real, "film", "release_year", None, year + 7),  # a real quote, another year
            ClaimedFact(
                real.replace(str(year), str(year + 7)) + " in 2999", "film", "release_year", None, 2999
            ),
            ClaimedFact(" ".join(words), "film", "release_year", None, year),  # the right words in disorder
        ]
        assert ground(lead, schema, [stranger], made_up) == 0, title
