from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extraction.catalogue import Item, name_forms, read_items
from extraction.linking import Link, LinkReport, fold_name, link_items, load_links, save_links
from kg.errors import InputError, UsageError
from kg.facts import Assertions, Entity, Fact
from kg.ledger.ledger import Ledger

DATA = Path(os.environ.get("LORE_DATA", Path(__file__).parents[2] / "../shared/data"))

THINGS: Sequence[tuple[str, int | None, tuple[str, ...]]] = (
    ("Psycho", 1960, ()),
    ("Psycho", 1998, ()),
    ("The Godfather", 1972, ()),
    ("Seven", 1995, ("Se7en",)),
    ("Amélie", 2001, ("Le Fabuleux Destin d'Amélie Poulain",)),
    ("Rocky II", 1979, ()),
    ("Fargo", None, ()),
    ("Twin", 1990, ("Shared",)),
    ("Other Twin", 1990, ("Shared",)),
    ("Terminator 2: Judgment Day", 1991, ()),
    ("MouseHunt", 1997, ()),
    ("12 Monkeys", 1995, ()),
    ("Robinson Crusoe", 1997, ()),
    ("Léon: The Professional", 1994, ()),
    ("Series: One", 1980, ()),
    ("Series: Two", 1980, ()),
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    entities, facts = [], []
    for name, year, aliases in THINGS:
        entity = Entity.of("Thing", name, discriminator=str(year or ""))
        entities.append(entity)
        if year is not None:
            facts.append(Fact(entity.id, "made_in", literal=year))
        for alias in aliases:
            other = Entity.of("Thing", alias, discriminator=f"alias of {name}")
            entities.append(other)
    entities.append(Entity.of("Place", "Fargo"))
    with Ledger(tmp_path_factory.mktemp("linking") / "ledger.sqlite") as opened:
        opened.put_source("things", "curated", Assertions(tuple(entities), (), tuple(facts)))
        for name, year, aliases in THINGS:
            winner = Entity.of("Thing", name, discriminator=str(year or "")).id
            for alias in aliases:
                loser = Entity.of("Thing", alias, discriminator=f"alias of {name}").id
                opened.merge(loser, winner)
        yield opened


def identity(name: str, year: int | None = None) -> str:
    return Entity.of("Thing", name, discriminator=str(year or "")).id


def link(ledger: Ledger, *items: Item, key: str | None = "made_in") -> LinkReport:
    return link_items(items, ledger, entity_type="Thing", key_property=key)


@pytest.mark.parametrize(
    ("name", "year", "entity", "method"),
    [
        ("Psycho", 1998, ("Psycho", 1998), "name and year"),
        ("Godfather, The", 1972, ("The Godfather", 1972), "name and year"),
        ("GODFATHER", 1972, ("The Godfather", 1972), "name and year"),
        ("The Godfather", 1973, ("The Godfather", 1972), "name and near year"),
        ("Se7en", 1995, ("Seven", 1995), "alias and year"),
        ("Seven (Se7en)", 1995, ("Seven", 1995), "alias and year"),
        ("Fabuleux Destin d'Amelie Poulain, Le", 2002, ("Amélie", 2001), "alias and near year"),
        ("Amelie", None, ("Amélie", 2001), "name alone"),
        ("Fargo", 1996, ("Fargo", None), "name alone"),
        ("Terminator 2 - Judgement Day", 1991, ("Terminator 2: Judgment Day", 1991), "spelling and year"),
        ("Mouse Hunt", 1997, ("MouseHunt", 1997), "name and year"),
        ("Twelve Monkeys", 1995, ("12 Monkeys", 1995), "name and year"),
        ("Professional, The", 1994, ("Léon: The Professional", 1994), "part of the name and year"),
        ("Daniel Defoe's Robinson Crusoe", 1997, ("Robinson Crusoe", 1997), "part of the name and year"),
    ],
)
def test_links(ledger: Ledger, name: str, year: int | None, entity: tuple[str, int], method: str) -> None:
    report = link(ledger, Item("1", name, year))
    assert [(found.entity, found.method) for found in report.links] == [(identity(*entity), method)]
    assert 0.7 < report.links[0].score <= 1.0


@pytest.mark.parametrize(
    ("name", "year"),
    [
        ("Psycho", 1980),
        ("The Godfather", 1990),
        ("Rocky III", 1979),
        ("Nothing", 1999),
        ("", None),
        ("!?", 1),
        ("Professional, The", 1995),
        ("Godfather", 1973),
    ],
)
def test_links_to_nothing(ledger: Ledger, name: str, year: int | None) -> None:
    report = link(ledger, Item("1", name, year))
    assert (report.links, report.ambiguous, len(report.unlinked)) == ([], [], 1)


def test_what_links_to_nothing_is_shown_with_the_nearest(ledger: Ledger) -> None:
    (unlinked,) = link(ledger, Item("1", "Psycho", 1980)).unlinked
    assert set(unlinked.nearest[:2]) == {"Psycho (1960)", "Psycho (1998)"}


@pytest.mark.parametrize(
    ("name", "year", "n_candidates"), [("Psycho", None, 2), ("Shared", 1990, 2), ("Series", 1980, 2)]
)
def test_ambiguity_is_reported_and_not_guessed(
    ledger: Ledger, name: str, year: int | None, n_candidates: int
) -> None:
    report = link(ledger, Item("1", name, year))
    assert report.links == []
    assert len(report.ambiguous[0].candidates) == n_candidates


def test_without_a_key_property_names_alone_decide(ledger: Ledger) -> None:
    report = link(ledger, Item("1", "The Godfather", 1972), Item("2", "Psycho", 1960), key=None)
    assert [found.method for found in report.links] == ["name alone"]
    assert [found.item.id for found in report.ambiguous] == ["2"]


def test_every_item_is_somewhere_in_the_report(ledger: Ledger) -> None:
    items = [Item(str(number), name, year) for number, (name, year, _) in enumerate(THINGS)]
    items += [Item("a", "Psycho"), Item("b", "Nothing like it")]
    report = link(ledger, *items)
    assert (len(report.links), len(report.ambiguous), len(report.unlinked)) == (len(THINGS), 1, 1)
    assert sum(report.methods.values()) == len(THINGS)


def test_links_round_trip(ledger: Ledger, tmp_path: Path) -> None:
    links = link(ledger, Item("1, or so", "Psycho", 1998), Item("2", "Amélie")).links
    save_links(links, tmp_path / "links.csv")
    assert load_links(tmp_path / "links.csv") == links
    save_links([], tmp_path / "links.csv")
    assert load_links(tmp_path / "links.csv") == []


def test_links_by_hand_need_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text("entity_id,item_id\ne1,i1\n", encoding="utf-8")
    assert load_links(path) == [Link("i1", "e1", 1.0, "by hand")]
    path.write_text("item,entity\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="entity, item"):
        load_links(path)
    path.write_text("item_id,entity_id\n1,e1\n,e2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"links\.csv:3: the item has no id"):
        load_links(path)
    with pytest.raises(InputError, match="lore link"):
        load_links(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("Godfather, The", ["The Godfather"]),
        ("Avventura, L'", ["L'Avventura"]),
        ("Postino, Il", ["Il Postino"]),
        ("I, the Jury", ["I, the Jury"]),
        (
            "Shanghai Triad (Yao a yao)",
            ["Shanghai Triad (Yao a yao)", "Shanghai Triad", "Yao a yao"],
        ),
        ("Net, The (a.k.a. Web, A)", ["Net, The (a.k.a. Web, A)", "The Net", "A Web"]),
        ("(500) Days", ["(500) Days", "Days", "500"]),
    ],
)
def test_name_forms(name: str, forms: list[str]) -> None:
    assert name_forms(name) == forms


def test_folding() -> None:
    assert fold_name("The  Amélie & Co.: L’été") == "amelie and co lete"
    assert fold_name("A") == "a"
    assert fold_name("Ⅸ 映画") == "ix 映画"


def test_reads_csv_with_years_in_names(tmp_path: Path) -> None:
    path = tmp_path / "movies.csv"
    path.write_text(
        'movieId,title,genres\n1,"Godfather, The (1972)",Crime|Drama\n2,Fargo,\n', encoding="utf-8"
    )
    assert read_items(path) == [
        Item("1", "Godfather, The", 1972, {"genres": "Crime|Drama"}),
        Item("2", "Fargo", None, {"genres": ""}),
    ]


def test_reads_recbole_parquet_tsv_and_movielens(tmp_path: Path) -> None:
    wanted = [("1", "Fargo", 1996), ("2", "Seven", 1995)]

    def read(name: str, text: str) -> list[tuple[str, str, int | None]]:
        (tmp_path / name).write_text(text, encoding="latin-1")
        return [(item.id, item.name, item.year) for item in read_items(tmp_path / name)]

    head = "item_id:token\tmovie_title:token_seq\trelease_year:token\n"
    assert read("ml.item", f"{head}1\tFargo\t1996\n2\tSeven\t1995\n") == wanted
    assert read("a.tsv", "id\tname\tdate\n1\tFargo\t1996-03-08\n2\tSeven\t1995-09-22\n") == wanted
    assert read("movies.dat", "1::Fargo (1996)::Crime\n2::Seven (1995)::Thriller\n") == wanted
    assert read("u.item", "1|Fargo (1996)|08-Mar-1996||\n2|Seven (1995)|22-Sep-1995||\n") == wanted
    assert read("b.csv", "ID;Title;Year\n1;Fargo;1996.0\n2;Seven;1995\n") == wanted
    table = pa.table({"item_id": [1, 2], "title": ["Fargo", "Seven"], "year": [1996, 1995]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [(i.id, i.name, i.year) for i in read_items(tmp_path / "a.parquet")] == wanted
    assert read("movies.dat", "1::Amélie::\n") == [("1", "Amélie", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,label\n1,Fargo\n", "item's id.*key, label"),
        ("id,year\n1,1996\n", "item's name"),
        ("id,title\n1,Fargo\n1,Seven\n", "comes twice: 'Fargo' and 'Seven'"),
        ("id,title\n1,Fargo,more\n", "3 cells"),
        ("id,title\n", "no item"),
        ("id,title\n1,Fargo\n ,Seven\n", "a.csv:3: the item has no id"),
        ("id,title,year\n1,Fargo,1996\n2,Seven,soon\n", "a.csv:3: the year 'soon'"),
        ("", "empty"),
    ],
)
def test_a_catalogue_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_items(path)


def test_a_year_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,title,year\n1,Fargo,\n2,Seven (1995),\n3,Heat,0\n4,Cube,0.0\n", encoding="utf-8")
    assert [item.year for item in read_items(path)] == [None, 1995, None, None]
    recbole = tmp_path / "a.item"
    recbole.write_text("item_id:token\tname:token_seq\tyear:token\n1\tLand (V)\tV\n", encoding="utf-8")
    assert [item.year for item in read_items(recbole)] == [None]
    rows = {"id": [1, None], "title": ["Fargo", "Seven"], "year": [float("nan"), 1995.0]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet:2: the item has no id"):
        read_items(tmp_path / "a.parquet")


def test_a_catalogue_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_items(tmp_path / "nothing.csv")
    (tmp_path / "a.csv").write_bytes("id,title\n1,Amélie\n".encode("latin-1"))
    with pytest.raises(InputError, match="0xe9"):
        read_items(tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="Parquet"):
        read_items(tmp_path / "a.parquet")


def test_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("key,called,made\n1,Fargo,1996\n", encoding="utf-8")
    (item,) = read_items(path, id_column="key", name_column="called", year_column="made")
    assert (item.id, item.name, item.year) == ("1", "Fargo", 1996)
    with pytest.raises(InputError, match="'wrong'"):
        read_items(path, id_column="wrong", name_column="called")


@pytest.mark.data
def test_movielens_catalogue(tmp_path: Path) -> None:
    path = DATA / "rec/ml-100k/ml-100k.item"
    if not path.exists():
        pytest.skip(f"no data folder at {DATA}")
    items = read_items(path)
    assert len(items) == 1682
    assert sum(item.year is None for item in items) <= 5
