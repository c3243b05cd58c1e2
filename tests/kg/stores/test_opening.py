"""Which store a URL opens, and how names are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from kg.errors import ConfigurationError
from kg.stores.likeness import rank
from kg.stores.opening import open_store, split_credentials
from tests.kg.stores.graphs import FILMS


def test_a_folder_opens_the_embedded_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "graph"), FILMS)
    try:
        assert store.version().version == 0
    finally:
        store.close()


@pytest.mark.parametrize("url", ["", "  ", "http://localhost", "postgres://x", "blot://127.0.0.1"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.url"):
        open_store(url, FILMS, password="x")


@pytest.mark.parametrize("url", ["bolt://127.0.0.1:9", "neo4j+s://somewhere", "bolt://neo4j@127.0.0.1:9"])
def test_a_missing_password_is_said_before_anything_is_tried(url: str) -> None:
    with pytest.raises(ConfigurationError, match="LORE_STORE__PASSWORD"):
        open_store(url, FILMS)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("bolt://h:1", ("bolt://h:1", None, None)),
        ("bolt://u:p@h:1", ("bolt://h:1", "u", "p")),
        ("bolt://u:p%40%3A@h:1", ("bolt://h:1", "u", "p@:")),
        ("neo4j+s://u@h", ("neo4j+s://h", "u", None)),
        ("bolt://u:a:b@[::1]:7687", ("bolt://[::1]:7687", "u", "a:b")),
    ],
)
def test_credentials_are_taken_out_of_a_url(url: str, expected: tuple[str, ...]) -> None:
    assert split_credentials(url) == expected


CANDIDATES = [
    ("1", "Amélie", "Film", ["Le Fabuleux Destin d'Amélie Poulain"]),
    ("2", "Alien", "Film", []),
    ("3", "Aliens", "Film", []),
    ("4", "Ridley Scott", "Person", ["Sir Ridley Scott"]),
]


@pytest.mark.parametrize(
    ("text", "first", "exact"),
    [
        ("alien", "2", True),
        ("ALIENS", "3", True),
        ("amelie", "1", False),
        ("Amélie", "1", True),
        ("le fabuleux destin d’amélie poulain", "1", True),
        ("Scott Ridley", "4", False),
        ("Ridly Scot", "4", False),
    ],
)
def test_the_likest_name_or_alias_comes_first(text: str, first: str, exact: bool) -> None:
    hits = rank(text, CANDIDATES, 3)
    assert hits[0].id == first
    assert (hits[0].score == 1.0) == exact
    assert all(0 <= hit.score <= 1 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_what_is_not_alike_is_no_hit() -> None:
    assert rank("zzzzqqqq", CANDIDATES, 5) == []
    assert rank("", CANDIDATES, 5) == []
