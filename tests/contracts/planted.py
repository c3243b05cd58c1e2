"""A small graph of real films, planted by hand: what the questions are asked of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kg.schema import parse_schema
from kg.stores.store import Delta
from tests.kg.stores.graphs import Row, chunk, delta, edge, node

SCHEMA = parse_schema(
    """
    name = "planted films"
    [entity.Film]
    key = "release_year"
    [entity.Person]
    [entity.Genre]
    [entity.Country]
    [entity.Company]
    [relation.DIRECTED_BY]
    domain = ["Film"]
    range = ["Person"]
    [relation.STARS]
    domain = ["Film"]
    range = ["Person"]
    qualifiers = ["role"]
    [relation.COMPOSED_BY]
    domain = ["Film"]
    range = ["Person"]
    [relation.HAS_GENRE]
    domain = ["Film"]
    range = ["Genre"]
    [relation.PRODUCED_IN]
    domain = ["Film"]
    range = ["Country"]
    [relation.DISTRIBUTED_BY]
    domain = ["Film"]
    range = ["Company"]
    [relation.SIBLING_OF]
    domain = ["Person"]
    range = ["Person"]
    symmetric = true
    [property.release_year]
    domain = ["Film"]
    datatype = "integer"
    [property.runtime_minutes]
    domain = ["Film"]
    datatype = "integer"
    [property.release_date]
    domain = ["Film"]
    datatype = "date"
    [property.languages]
    domain = ["Film"]
    datatype = "string"
    cardinality = "many"
    [property.birth_year]
    domain = ["Person"]
    datatype = "integer"
    [property.alive]
    domain = ["Person"]
    datatype = "boolean"
    [property.height_metres]
    domain = ["Person"]
    datatype = "number"
    """
)

_FILMS = """
alien       | Alien        | 1979 | 117 | Ridley Scott         | Sigourney Weaver, Tom Skerritt, John Hurt  | Jerry Goldsmith    | Horror, Science Fiction | United Kingdom, United States | 20th Century Fox
blade       | Blade Runner | 1982 | 117 | Ridley Scott         | Harrison Ford, Rutger Hauer, Sean Young    | Vangelis           | Science Fiction         | United States                 | Warner Bros.
gladiator   | Gladiator    | 2000 | 155 | Ridley Scott         | Russell Crowe, Joaquin Phoenix             | Hans Zimmer        | Action, Drama           | United Kingdom, United States | Universal Pictures
heat        | Heat         | 1995 | 170 | Michael Mann         | Al Pacino, Robert De Niro, Val Kilmer      | Elliot Goldenthal  | Crime                   | United States                 | Warner Bros.
collateral  | Collateral   | 2004 | 120 | Michael Mann         | Tom Cruise, Jamie Foxx                     | James Newton Howard| Crime, Thriller         | United States                 |
insider     | The Insider  | 1999 | 157 | Michael Mann         | Al Pacino, Russell Crowe                   |                    | Drama                   | United States                 |
solaris1972 | Solaris      | 1972 | 166 | Andrei Tarkovsky     | Natalya Bondarchuk, Donatas Banionis       | Eduard Artemyev    | Science Fiction         | Soviet Union                  |
stalker     | Stalker      | 1979 | 162 | Andrei Tarkovsky     | Alexander Kaidanovsky                      | Eduard Artemyev    | Science Fiction         | Soviet Union                  |
solaris2002 | Solaris      | 2002 | 98  | Steven Soderbergh    | George Clooney, Natascha McElhone          | Cliff Martinez     | Science Fiction         | United States                 | 20th Century Fox
amelie      | Amélie       | 2001 | 122 | Jean-Pierre Jeunet   | Audrey Tautou                              | Yann Tiersen       | Comedy, Romance         | France                        |
ronin       | Ronin        | 1998 | 121 | John Frankenheimer   | Robert De Niro, Jean Reno                  | Elia Cmiral        | Thriller                | United States                 |
topgun      | Top Gun      | 1986 | 110 | Tony Scott           | Tom Cruise, Val Kilmer                     | Harold Faltermeyer | Action                  | United States                 | Paramount Pictures
"""  # noqa: E501
_ALIASES = {"amelie": ["Le Fabuleux Destin d'Amélie Poulain"], "stalker": ["Сталкер"]}
_LANGUAGES = {"amelie": ["French"], "ronin": ["English", "French"], "stalker": ["Russian"]}
_DATES = {"alien": "1979-05-25", "heat": "1995-12-15", "amelie": "2001-04-25"}
_BORN = {"Ridley Scott": 1937, "Tony Scott": 1944, "Michael Mann": 1943, "Al Pacino": 1940, "Jean Reno": 1948,
         "Audrey Tautou": 1976, "Andrei Tarkovsky": 1932}  # fmt: skip
_ALIVE = {"Tony Scott": False, "Ridley Scott": True, "Andrei Tarkovsky": False}
_HEIGHTS = {"Jean Reno": 1.88, "Al Pacino": 1.68}
_ROLES = {("alien", "Sigourney Weaver"): "Ripley", ("blade", "Harrison Ford"): "Rick Deckard",
          ("heat", "Al Pacino"): "Vincent Hanna", ("insider", "Al Pacino"): "Lowell Bergman"}  # fmt: skip
_PROPOSED = {("ronin", "COMPOSED_BY"): 0.4, ("topgun", "DISTRIBUTED_BY"): 0.7}
_ACCEPTED = {("gladiator", "COMPOSED_BY")}
_COLUMNS = (
    (4, "DIRECTED_BY", "Person"), (5, "STARS", "Person"), (6, "COMPOSED_BY", "Person"),
    (7, "HAS_GENRE", "Genre"), (8, "PRODUCED_IN", "Country"), (9, "DISTRIBUTED_BY", "Company"),
)  # fmt: skip
_TEXTS = {
    "doc-scott": ("file:scott.txt", "Ridley Scott",
                  ["Ridley Scott directed Alien in 1979.", "Blade Runner followed in 1982."]),
    "doc-mann": ("file:mann.txt", "Michael Mann",
                 ["Heat is a film by Michael Mann; Al Pacino stars in Heat."]),
    "doc-empty": ("file:empty.txt", "", ["Nothing is said here."]),
}  # fmt: skip
_MENTIONED = [
    ("doc-scott#0", "Ridley Scott", 1), ("doc-scott#0", "alien", 1), ("doc-scott#1", "blade", 1),
    ("doc-mann#0", "heat", 2), ("doc-mann#0", "Michael Mann", 1), ("doc-mann#0", "Al Pacino", 1),
]  # fmt: skip
_SOURCES = {("alien", "DIRECTED_BY"): ["doc-scott"], ("blade", "DIRECTED_BY"): ["doc-scott"],
            ("heat", "DIRECTED_BY"): ["doc-mann"], ("heat", "STARS"): ["doc-mann"]}  # fmt: skip


def planted() -> Mapping[str, Sequence[Row]]:
    """All rows at version 1."""
    nodes: dict[str, Row] = {}
    edges: list[Row] = []
    for line in _FILMS.strip().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        key = cells[0]
        film = _film(key, cells[1], int(cells[2]), int(cells[3]))
        nodes[key] = film
        for column, predicate, type_ in _COLUMNS:
            for name in filter(None, (part.strip() for part in cells[column].split(","))):
                target = nodes.setdefault(name, _other(type_, name))
                edges.append(_edge(f"{key}-{predicate}-{name}", predicate, film, target))
    edges.append(_edge("scotts", "SIBLING_OF", nodes["Ridley Scott"], nodes["Tony Scott"]))
    return {"nodes": list(nodes.values()), "edges": edges, **_texts(nodes)}


def news() -> Delta:
    """What changes at version 2: a film arrives, another is renamed."""
    leon = _film("leon", "Léon", 1994, 110, version=2)
    besson = _other("Person", "Luc Besson", version=2)
    reno = _other("Person", "Jean Reno")
    return delta(
        1, 2,
        nodes=[leon, besson, _film("insider", "The Insider", 1999, 158, version=2)],
        edges=[_edge("leon-DIRECTED_BY-Luc Besson", "DIRECTED_BY", leon, besson, version=2),
               _edge("leon-STARS-Jean Reno", "STARS", leon, reno, version=2)],
    )  # fmt: skip


def _film(key: str, name: str, year: int, minutes: int, *, version: int = 1) -> Row:
    properties: dict[str, Any] = {"release_year": year, "runtime_minutes": minutes}
    if key in _DATES:
        properties["release_date"] = _DATES[key]
    if key in _LANGUAGES:
        properties["languages"] = _LANGUAGES[key]
    return node(key, "Film", name, *_ALIASES.get(key, ()), version=version, **properties)


def _other(type_: str, name: str, *, version: int = 1) -> Row:
    known = {"birth_year": _BORN, "alive": _ALIVE, "height_metres": _HEIGHTS}
    properties = {prop: values[name] for prop, values in known.items() if name in values}
    return node(name, type_, name, version=version, **properties)


def _edge(identity: str, predicate: str, film: Row, target: Row, *, version: int = 1) -> Row:
    key = (film["id"], predicate)
    role = _ROLES.get((film["id"], target["id"]))
    qualifiers = {"role": role} if role and predicate == "STARS" else {}
    row = edge(identity, predicate, film, target, version=version, **qualifiers)
    row["documents"] = _SOURCES.get(key, [])
    row["support"] = max(1, len(row["documents"]))
    if key in _PROPOSED:
        row |= {"status": "proposed", "confidence": _PROPOSED[key]}
    if key in _ACCEPTED:
        row["status"] = "accepted"
    return row


def _texts(nodes: Mapping[str, Row]) -> Mapping[str, Sequence[Row]]:
    documents = [
        {"id": key, "uri": uri, "title": title, "version": 1} for key, (uri, title, _) in _TEXTS.items()
    ]
    chunks = [chunk(key, at, text) for key, (_, _, texts) in _TEXTS.items() for at, text in enumerate(texts)]
    mentions = [
        {"chunk": place, "entity": key, "entity_type": nodes[key]["type"], "count": count}
        for place, key, count in _MENTIONED
    ]
    return {"documents": documents, "chunks": chunks, "mentions": mentions}
