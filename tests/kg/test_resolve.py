"""Entity resolution merges what is the same, and above all leaves apart what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kg.facts import Assertions, Entity, Fact
from kg.ledger.ledger import Ledger
from kg.naming import fold
from kg.resolve import propose, resolve
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


def ledger_of(
    path: Path, *entities: Entity, beside_heat: tuple[Entity, ...] = (), facts: tuple[Fact, ...] = ()
) -> Ledger:
    """A ledger in which each entity is asserted once; those named last also star in one film."""
    ledger = Ledger(path / "ledger")
    with ledger.batch():
        for number, entity in enumerate(entities):
            said = [Fact(HEAT.id, "STARS", entity.id)] if entity in beside_heat else []
            said += [fact for fact in facts if fact.subject == entity.id]
            ledger.put_source(f"list {number}", "curated", Assertions((entity, HEAT), (), tuple(said)))
    return ledger


def merged(path: Path, *entities: Entity, beside: bool = True) -> int:
    """How many merges these entities lead to, all of them beside one film or none."""
    path.mkdir(exist_ok=True)
    with ledger_of(path, *entities, beside_heat=entities if beside else ()) as ledger:
        return len(resolve(ledger, SCHEMA).merged)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (person("Mélanie Laurent"), person("Melanie Laurent")),
        (person("Robert Downey Jr."), person("Robert Downey, Jr")),
        (film("The Godfather", "1972"), film("Godfather", "1972")),
        (person("O'Brien"), person("OBrien")),
        (person("W. Earl Brown"), person("William Earl Brown")),
        (person("Michael K. Williams"), person("Michael Kenneth Williams")),
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


@pytest.mark.parametrize("keyed", [film("Alien", "1979"), person("Steve McQueen", "1930")])
def test_what_lacks_a_key_needs_a_common_neighbour(tmp_path: Path, keyed: Entity) -> None:
    """Another Batman than the only one whose year is known is a remake more often than not."""
    keyless = Entity.of(keyed.type, keyed.name)
    assert merged(tmp_path / "alone", keyless, keyed, beside=False) == 0
    assert merged(tmp_path / "beside", keyless, keyed, beside=True) == 1


@pytest.mark.parametrize(
    "apart",
    [
        (person("Steve McQueen", "1930"), person("Steve McQueen", "1969")),
        (person("Steve McQueen", "1930"), person("Steve McQueen", "1969"), person("Steve McQueen")),
        (film("Psycho", "1960"), film("Psycho", "1998")),
        (film("Alien", "1979"), film("Aliens", "1986")),
        (film("Alien"), film("Aliens")),
        (film("Rocky III"), film("Rocky II")),
        (film("Interview"), film("The Interview", "2014")),
        (film("A Hungry Heart", "1917"), film("The Hungry Heart", "1917")),
        (person("J. Coen"), person("Joel Coen"), person("Jen Coen")),
        (person("Joel Coen"), person("Ethan Coen")),
        (person("Michael Mann"), person("Michael Mannes")),
        (Entity.of("Person", "Paris"), Entity.of("Film", "Paris")),
    ],
)
def test_what_is_not_the_same_stays_apart(tmp_path: Path, apart: tuple[Entity, ...]) -> None:
    with ledger_of(tmp_path, *apart) as ledger:
        assert resolve(ledger, SCHEMA).merged == ()


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("Christopher Nolan", "Cristopher Nolan", "slip"),
        ("John Lasseter", "John Lassetter", "slip"),
        ("Robert De Niro", "Robert DeNiro", "slip"),
        ("Samuel L. Jackson", "Samuel Jackson", "middle"),
        ("John Lasseter", "J. Lasseter", "initials"),
    ],
)
def test_weak_evidence_needs_a_common_neighbour(tmp_path: Path, one: str, other: str, reason: str) -> None:
    pair = (person(one), person(other))
    assert merged(tmp_path / "alone", *pair, beside=False) == 0
    assert merged(tmp_path / "keys", person(one, "1930"), person(other, "1969")) == 0
    with ledger_of(tmp_path, *pair, beside_heat=pair) as ledger:
        (found,) = resolve(ledger, SCHEMA).merged
        assert reason in found.reason


@pytest.mark.parametrize(
    "apart",
    [
        ("Robert Downey Jr.", "Robert Downey Sr.", "Robert Downey"),
        ("A. J. Bowen", "Julie Bowen"),
        ("J. Coen", "Joel Coen", "Jen Coen"),
        ("Christina Ricci", "Christine Ricci"),
        ("Alien Nations", "Aliens Nations"),
        ("Jan Hammermann", "Jane Hammermann"),
        ("Christopher Nolan", "Kristopher Nolan"),
        ("Samuel Jackson", "Samuel L. Jackson", "Samuel B. Jackson"),
        ("The Fast Seven", "The Fast Eleven"),
        ("Apollo Lander 11", "Apollo Lander 13"),
    ],
)
def test_even_beside_a_neighbour_these_stay_apart(tmp_path: Path, apart: tuple[str, ...]) -> None:
    assert merged(tmp_path, *(person(name) for name in apart)) == 0


def test_a_neighbour_that_everybody_has_is_no_evidence(tmp_path: Path) -> None:
    crowd = tuple(person(f"Extra{number} Number{number}") for number in range(40))
    pair = (person("Christopher Nolan"), person("Cristopher Nolan"))
    assert merged(tmp_path, *crowd, *pair) == 0


def test_an_article_is_part_of_a_name_without_key(tmp_path: Path) -> None:
    sequel, first = film("The Final Destination", "2009"), film("Final Destination")
    star = person("Devon Sawa")
    facts = tuple(Fact(one.id, "STARS", star.id) for one in (sequel, first))
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.put_source("list", "curated", Assertions((sequel, first, star), (), facts))
        assert resolve(ledger, SCHEMA).merged == ()


def test_a_chain_of_slips_is_not_followed(tmp_path: Path) -> None:
    names = ("Christopher Nolan", "Christophar Nolan", "Christaphar Nolan")
    chain = tuple(person(name) for name in names)
    with ledger_of(tmp_path, *chain, beside_heat=chain) as ledger:
        for _ in range(3):
            resolve(ledger, SCHEMA)
        assert ledger.canonical(chain[0].id) != ledger.canonical(chain[2].id)


def test_the_key_property_tells_apart_what_has_no_discriminator(tmp_path: Path) -> None:
    old, new = film("Psycho", "1960"), film("Psycho")
    year = (Fact(new.id, "release_year", literal=1998),)
    with ledger_of(tmp_path, old, new, facts=year) as ledger:
        assert resolve(ledger, SCHEMA).merged == ()
    (tmp_path / "same").mkdir()
    year = (Fact(new.id, "release_year", literal=1960),)
    with ledger_of(tmp_path / "same", old, new, facts=year) as ledger:
        assert len(resolve(ledger, SCHEMA).merged) == 1


def test_a_name_turned_round_and_an_alias(tmp_path: Path) -> None:
    assert (
        merged(tmp_path / "a", person("Nolan, Christopher"), person("Christopher Nolan"), beside=False) == 1
    )
    assert merged(tmp_path / "b", film("Godfather, The", "1972"), film("The Godfather", "1972")) == 1
    called, other = person("Dwayne Johnson"), person("The Rock Johnson")
    with ledger_of(tmp_path, called, other, beside_heat=(called, other)) as ledger:
        assert resolve(ledger, SCHEMA).merged == ()
        alias = Entity(called.id, "Person", "The Rock Johnson")
        ledger.put_source("a", "curated", Assertions((called,)))
        ledger.put_source("b", "curated", Assertions((alias,)))
        ledger.put_source("c", "curated", Assertions((called, HEAT)))
        (found,) = resolve(ledger, SCHEMA).merged
        assert "also called" in found.reason


def test_who_stands_for_the_pair_is_spelt_out(tmp_path: Path) -> None:
    short, full = person("J. Lasseter"), person("John Lasseter")
    with ledger_of(tmp_path, short, full, beside_heat=(short, full)) as ledger:
        resolve(ledger, SCHEMA)
        assert ledger.canonical(short.id) == full.id
        (row,) = ledger.entities(type="Person")
        assert row.name == "John Lasseter"


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


def test_what_was_undone_does_not_come_back_through_a_third(tmp_path: Path) -> None:
    one, other, third = (person(name) for name in ("Mélanie Laurent", "Melanie Laurent", "Mélanie-Laurent"))
    with ledger_of(tmp_path, one, other) as ledger:
        resolve(ledger, SCHEMA)
        ledger.undo_merge(ledger.merges()[0].number)
        ledger.put_source("third", "curated", Assertions((third,)))
        assert len(resolve(ledger, SCHEMA).merged) == 1
        assert ledger.canonical(one.id) != ledger.canonical(other.id)


def test_folding() -> None:
    assert fold("  The Þing’s “Own” — Père, Jr.") == fold("Þings Own Pere")
    assert fold("Se7en") != fold("Seen")
    assert fold("J. J. Abrams") == fold("JJ Abrams")
    assert fold("Thelma & Louise") == fold("Thelma and Louise")
    assert fold("Søren Łukasz") == fold("Soren Lukasz")
    assert fold("WALL·E") == fold("Wall-E")
    assert fold("A") == "a"
    assert fold("...") == ""
