"""Entity resolution merges what is the same, and above all leaves apart what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kg.facts import Assertions, Entity, Fact
from kg.ledger.ledger import Ledger
from kg.resolve import fold, propose, resolve
from kg.schema import parse_schema

SCHEMA = parse_schema(
    """
[entity.Film]
key = "release_year"
[entity.Person]
key = "birth_year"
[relation.STARS]
domain = ["Film"]
range = ["Person"]
[property.release_year]
domain = ["Film"]
datatype = "integer"
[property.birth_year]
domain = ["Person"]
datatype = "integer"
"""
)
HEAT = Entity.of("Film", "Heat", discriminator="1995")


def film(name: str, year: str = "") -> Entity:
    return Entity.of("Film", name, discriminator=year)


def person(name: str, born: str = "") -> Entity:
    return Entity.of("Person", name, discriminator=born)


def ledger_of(path: Path, *entities: Entity, beside_heat: tuple[Entity, ...] = ()) -> Ledger:
    """A ledger in which each entity is asserted once; those named last also star in one film."""
    ledger = Ledger(path / "ledger")
    for number, entity in enumerate(entities):
        facts = (Fact(HEAT.id, "STARS", entity.id),) if entity in beside_heat else ()
        ledger.put_source(f"list {number}", "curated", Assertions((entity, HEAT), (), facts))
    return ledger


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (person("Mélanie Laurent"), person("Melanie Laurent")),
        (person("Robert Downey Jr."), person("Robert Downey, Jr")),
        (film("The Godfather", "1972"), film("Godfather", "1972")),
        (person("O'Brien"), person("OBrien")),
        (person("J. Lasseter"), person("John Lasseter")),
        (film("Alien"), film("Alien", "1979")),
        (person("Steve McQueen"), person("Steve McQueen", "1930")),
    ],
)
def test_the_same_is_merged(tmp_path: Path, one: Entity, other: Entity) -> None:
    for order in ((one, other), (other, one)):
        place = tmp_path / order[0].id
        place.mkdir()
        with ledger_of(place, *order) as ledger:
            assert len(resolve(ledger, SCHEMA).merged) == 1
            assert ledger.canonical(one.id) == ledger.canonical(other.id)
            assert resolve(ledger, SCHEMA).merged == ()


@pytest.mark.parametrize(
    "apart",
    [
        (person("Steve McQueen", "1930"), person("Steve McQueen", "1969")),
        (person("Steve McQueen", "1930"), person("Steve McQueen", "1969"), person("Steve McQueen")),
        (film("Psycho", "1960"), film("Psycho", "1998")),
        (film("Alien", "1979"), film("Aliens", "1986")),
        (film("Alien"), film("Aliens")),
        (film("Rocky III"), film("Rocky II")),
        (person("J. Coen"), person("Joel Coen"), person("Jen Coen")),
        (person("Joel Coen"), person("Ethan Coen")),
        (person("Michael Mann"), person("Michael Mannes")),
        (Entity.of("Person", "Paris"), Entity.of("Film", "Paris")),
    ],
)
def test_what_is_not_the_same_stays_apart(tmp_path: Path, apart: tuple[Entity, ...]) -> None:
    with ledger_of(tmp_path, *apart) as ledger:
        assert resolve(ledger, SCHEMA).merged == ()


def test_a_slip_of_the_pen_needs_a_common_neighbour(tmp_path: Path) -> None:
    right, wrong = person("Christopher Nolan"), person("Cristopher Nolan")
    (tmp_path / "alone").mkdir()
    (tmp_path / "beside").mkdir()
    with ledger_of(tmp_path / "alone", right, wrong) as ledger:
        assert resolve(ledger, SCHEMA).merged == ()
    with ledger_of(tmp_path / "beside", right, wrong, beside_heat=(right, wrong)) as ledger:
        (merged,) = resolve(ledger, SCHEMA).merged
        assert "slip" in merged.reason


def test_an_ambiguous_name_is_counted(tmp_path: Path) -> None:
    people = (person("Steve McQueen", "1930"), person("Steve McQueen", "1969"), person("Steve McQueen"))
    with ledger_of(tmp_path, *people) as ledger:
        assert propose(ledger, SCHEMA).n_ambiguous == 1


def test_what_was_undone_is_not_merged_again(tmp_path: Path) -> None:
    with ledger_of(tmp_path, person("Mélanie Laurent"), person("Melanie Laurent")) as ledger:
        resolve(ledger, SCHEMA)
        (merge,) = ledger.merges()
        ledger.undo_merge(merge.number)
        assert resolve(ledger, SCHEMA).merged == ()


def test_folding() -> None:
    assert fold("  The Þing’s “Own” — Père, Jr.") == fold("Þings Own Pere")
    assert fold("Se7en") != fold("Seen")
    assert fold("A") == "a"
    assert fold("...") == ""
