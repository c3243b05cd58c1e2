"""What people ask of a graph of films, and the answers on the planted one; the same text on every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Question:
    """A question; ``rows`` are tuples in the order of ``columns``, and in order where the text orders."""

    asks: str
    cypher: str
    columns: Sequence[str]
    rows: Sequence[tuple[Any, ...]]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_ordered(self) -> bool:
        """Whether the order of the rows is part of the answer."""
        return "ORDER BY" in self.cypher.rpartition("RETURN")[2]


QUESTIONS = [
    Question("how many films are there", "MATCH (f:Film) RETURN count(f) AS films", ["films"], [(13,)]),
    Question(
        "how many things of each type",
        "MATCH (e:Entity) RETURN e.type AS type, count(*) AS n ORDER BY n DESC, type",
        ["type", "n"],
        [("Person", 38), ("Film", 13), ("Genre", 8), ("Company", 4), ("Country", 4)],
    ),
    Question(
        "who directed a film",
        "MATCH (f:Film {name: $film})-[:DIRECTED_BY]->(p:Person) RETURN p.name AS director",
        ["director"],
        [("Michael Mann",)],
        {"film": "Heat"},
    ),
    Question(
        "what did somebody direct",
        "MATCH (f:Film)-[:DIRECTED_BY]->(:Person {name: $name}) "
        "RETURN f.name AS film, f.release_year AS year ORDER BY year",
        ["film", "year"],
        [("Alien", 1979), ("Blade Runner", 1982), ("Gladiator", 2000)],
        {"name": "Ridley Scott"},
    ),
    Question(
        "which films share a name",
        "MATCH (a:Film), (b:Film) WHERE a.name = b.name AND a.release_year < b.release_year "
        "RETURN a.name AS name, a.release_year AS first, b.release_year AS second",
        ["name", "first", "second"],
        [("Solaris", 1972, 2002)],
    ),
    Question(
        "who played beside somebody",
        "MATCH (:Person {name: 'Al Pacino'})<-[:STARS]-(f:Film)-[:STARS]->(other:Person) "
        "RETURN DISTINCT other.name AS name ORDER BY name",
        ["name"],
        [("Robert De Niro",), ("Russell Crowe",), ("Val Kilmer",)],
    ),
    Question(
        "who is in more than one film",
        "MATCH (p:Person)<-[:STARS]-(f:Film) WITH p, count(f) AS films WHERE films > 1 "
        "RETURN p.name AS name, films ORDER BY name",
        ["name", "films"],
        [("Al Pacino", 2), ("Jean Reno", 2), ("Robert De Niro", 2), ("Russell Crowe", 2), ("Tom Cruise", 2),
         ("Val Kilmer", 2)],
    ),
    Question(
        "which genres have most films",
        "MATCH (f:Film)-[:HAS_GENRE]->(g:Genre) RETURN g.name AS genre, count(f) AS films "
        "ORDER BY films DESC, genre LIMIT 3",
        ["genre", "films"],
        [("Science Fiction", 5), ("Action", 2), ("Crime", 2)],
    ),
    Question(
        "how many films in each decade",
        "MATCH (f:Film) RETURN f.release_year - f.release_year % 10 AS decade, count(*) AS films "
        "ORDER BY decade",
        ["decade", "films"],
        [(1970, 3), (1980, 2), (1990, 4), (2000, 4)],
    ),
    Question(
        "how long are the films of those who made several",
        "MATCH (f:Film)-[:DIRECTED_BY]->(p:Person) WITH p, count(f) AS films, "
        "avg(f.runtime_minutes) AS minutes WHERE films > 1 "
        "RETURN p.name AS name, minutes ORDER BY minutes DESC",
        ["name", "minutes"],
        [("Andrei Tarkovsky", 164.0), ("Michael Mann", 448 / 3), ("Ridley Scott", 389 / 3)],
    ),
    Question(
        "whose name contains a text",
        "MATCH (f:Film) WHERE toLower(f.name) CONTAINS $text RETURN f.name AS name ORDER BY name",
        ["name"],
        [("Blade Runner",), ("Gladiator",)],
        {"text": "lad"},
    ),
    Question(
        "whose name starts and ends with a text",
        "MATCH (e:Entity) WHERE e.name STARTS WITH 'J' AND e.name ENDS WITH 't' RETURN e.name AS name",
        ["name"],
        [("John Hurt",), ("Jean-Pierre Jeunet",)],
    ),
    Question(
        "whose name fits a pattern",
        "MATCH (f:Film) WHERE f.name =~ 'S.*' RETURN f.name AS name, f.release_year AS year ORDER BY year",
        ["name", "year"],
        [("Solaris", 1972), ("Stalker", 1979), ("Solaris", 2002)],
    ),
    Question(
        "who distributed it, if anybody is known to have",
        "MATCH (f:Film)-[:HAS_GENRE]->(:Genre {name: 'Drama'}) "
        "OPTIONAL MATCH (f)-[:DISTRIBUTED_BY]->(c:Company) "
        "RETURN f.name AS film, c.name AS company ORDER BY film",
        ["film", "company"],
        [("Gladiator", "Universal Pictures"), ("The Insider", None)],
    ),
    Question(
        "which films lack a composer",
        "MATCH (f:Film) WHERE NOT EXISTS { MATCH (f)-[:COMPOSED_BY]->(:Person) } "
        "RETURN f.name AS name ORDER BY name",
        ["name"],
        [("Léon",), ("The Insider",)],
    ),
    Question(
        "which films lack a distributor",
        "MATCH (f:Film) WHERE NOT (f)-[:DISTRIBUTED_BY]->(:Company) RETURN f.id AS id ORDER BY id",
        ["id"],
        [("amelie",), ("collateral",), ("insider",), ("leon",), ("ronin",), ("solaris1972",), ("stalker",)],
    ),
    Question(
        "which document says who directed a film",
        "MATCH (:Film {id: 'alien'})-[r:DIRECTED_BY]->(:Person) UNWIND r.documents AS source "
        "MATCH (d:Document {id: source}) RETURN d.title AS title, d.uri AS uri",
        ["title", "uri"],
        [("Ridley Scott", "file:scott.txt")],
    ),
    Question(
        "which sentences mention somebody",
        "MATCH (c:Chunk)-[:MENTIONS]->(:Person {name: 'Ridley Scott'}) RETURN c.text AS text",
        ["text"],
        [("Ridley Scott directed Alien in 1979.",)],
    ),
    Question(
        "where do a film and its director stand together",
        "MATCH (d:Document)<-[:PART_OF]-(c:Chunk)-[:MENTIONS]->(f:Film)-[:DIRECTED_BY]->(p:Person)"
        "<-[:MENTIONS]-(c) RETURN d.title AS title, f.name AS film, p.name AS director ORDER BY film",
        ["title", "film", "director"],
        [("Ridley Scott", "Alien", "Ridley Scott"), ("Michael Mann", "Heat", "Michael Mann")],
    ),
    Question(
        "what is mentioned most",
        "MATCH (:Chunk)-[m:MENTIONS]->(e:Entity) RETURN e.name AS name, sum(m.count) AS n "
        "ORDER BY n DESC, name LIMIT 2",
        ["name", "n"],
        [("Heat", 2), ("Al Pacino", 1)],
    ),
    Question(
        "which documents mention nothing",
        "MATCH (d:Document) WHERE NOT EXISTS { MATCH (d)<-[:PART_OF]-(:Chunk)-[:MENTIONS]->(:Entity) } "
        "RETURN d.uri AS uri",
        ["uri"],
        [("file:empty.txt",)],
    ),
    Question(
        "what changed since a version",
        "MATCH (e:Entity) WHERE e.version > $version RETURN e.name AS name, e.type AS type",
        ["name", "type"],
        [("Léon", "Film"), ("Luc Besson", "Person"), ("The Insider", "Film")],
        {"version": 1},
    ),
    Question(
        "which facts are new since a version",
        "MATCH (a:Entity)-[r]->(b:Entity) WHERE r.version > $version "
        "RETURN a.name AS subject, type(r) AS predicate, b.name AS object",
        ["subject", "predicate", "object"],
        [("Léon", "DIRECTED_BY", "Luc Besson"), ("Léon", "STARS", "Jean Reno")],
        {"version": 1},
    ),
    Question(
        "what is proposed",
        "MATCH (a:Entity)-[r]->(b:Entity) WHERE r.status = 'proposed' "
        "RETURN a.name AS subject, type(r) AS predicate, b.name AS object, r.confidence AS confidence "
        "ORDER BY confidence DESC",
        ["subject", "predicate", "object", "confidence"],
        [("Top Gun", "DISTRIBUTED_BY", "Paramount Pictures", 0.7),
         ("Ronin", "COMPOSED_BY", "Elia Cmiral", 0.4)],
    ),
    Question(
        "how many facts have each status",
        "MATCH (:Entity)-[r]->(:Entity) RETURN r.status AS status, count(r) AS n ORDER BY n DESC",
        ["status", "n"],
        [("extracted", 84), ("proposed", 2), ("accepted", 1)],
    ),
    Question(
        "how are two people linked, through casts only",
        "MATCH p = shortestPath((:Person {id: 'Jean Reno'})-[:STARS*..8]-(:Person {id: 'Russell Crowe'})) "
        "RETURN length(p) AS steps, [n IN nodes(p) | n.name] AS names",
        ["steps", "names"],
        [(6, ["Jean Reno", "Ronin", "Robert De Niro", "Heat", "Al Pacino", "The Insider", "Russell Crowe"])],
    ),
    Question(
        "how far apart are two people",
        "MATCH p = shortestPath((a:Person {id: 'Jean Reno'})-[*..6]-(b:Person {id: 'Russell Crowe'})) "
        "RETURN length(p) AS steps",
        ["steps"],
        [(4,)],
    ),
    Question(
        "who is two films away",
        "MATCH (:Person {name: 'Al Pacino'})-[:STARS*4]-(p:Person) "
        "RETURN DISTINCT p.name AS name ORDER BY name",
        ["name"],
        [("Jean Reno",), ("Joaquin Phoenix",), ("Tom Cruise",)],
    ),
    Question(
        "who made it, in either craft",
        "MATCH (:Film {id: 'stalker'})-[:DIRECTED_BY]->(p:Person) RETURN p.name AS name, 'director' AS craft "
        "UNION MATCH (:Film {id: 'stalker'})-[:COMPOSED_BY]->(p:Person) "
        "RETURN p.name AS name, 'composer' AS craft",
        ["name", "craft"],
        [("Andrei Tarkovsky", "director"), ("Eduard Artemyev", "composer")],
    ),
    Question(
        "how many films are long, middling or short",
        "MATCH (f:Film) RETURN CASE WHEN f.runtime_minutes >= 150 THEN 'long' "
        "WHEN f.runtime_minutes >= 100 THEN 'middling' ELSE 'short' END AS length, count(*) AS n",
        ["length", "n"],
        [("long", 5), ("middling", 7), ("short", 1)],
    ),
    Question(
        "who is in the cast, as one list",
        "MATCH (:Film {id: 'heat'})-[:STARS]->(p:Person) WITH p ORDER BY p.name "
        "RETURN collect(p.name) AS names",
        ["names"],
        [(["Al Pacino", "Robert De Niro", "Val Kilmer"],)],
    ),
    Question(
        "which languages are spoken",
        "MATCH (f:Film) UNWIND f.languages AS language RETURN DISTINCT language ORDER BY language",
        ["language"],
        [("English",), ("French",), ("Russian",)],
    ),
    Question(
        "which films speak a language",
        "MATCH (f:Film) WHERE $language IN f.languages RETURN f.name AS name ORDER BY name",
        ["name"],
        [("Amélie",), ("Ronin",)],
        {"language": "French"},
    ),
    Question(
        "what came out after a date",
        "MATCH (f:Film) WHERE f.release_date >= '1995-12-01' "
        "RETURN f.name AS name, f.release_date AS date ORDER BY date",
        ["name", "date"],
        [("Heat", "1995-12-15"), ("Amélie", "2001-04-25")],
    ),
    Question(
        "who is somebody's sibling, in either direction",
        "MATCH (:Person {name: 'Tony Scott'})-[:SIBLING_OF]-(p:Person) RETURN p.name AS name",
        ["name"],
        [("Ridley Scott",)],
    ),
    Question(
        "who played which role",
        "MATCH (f:Film)-[r:STARS]->(p:Person) WHERE r.role IS NOT NULL AND f.release_year > 1990 "
        "RETURN p.name AS name, r.role AS role ORDER BY role",
        ["name", "role"],
        [("Al Pacino", "Lowell Bergman"), ("Al Pacino", "Vincent Hanna")],
    ),
    Question(
        "what is known under another name",
        "MATCH (e:Entity) WHERE $alias IN e.aliases RETURN e.name AS name, e.type AS type",
        ["name", "type"],
        [("Stalker", "Film")],
        {"alias": "Сталкер"},
    ),
    Question(
        "when was the first, the last, how long are all together",
        "MATCH (f:Film) RETURN min(f.release_year) AS first, max(f.release_year) AS last, "
        "sum(f.runtime_minutes) AS minutes",
        ["first", "last", "minutes"],
        [(1972, 2004, 1726)],
    ),
    Question(
        "the next page of films",
        "MATCH (f:Film) RETURN f.name AS name, f.release_year AS year ORDER BY year, name SKIP 2 LIMIT 3",
        ["name", "year"],
        [("Stalker", 1979), ("Blade Runner", 1982), ("Top Gun", 1986)],
    ),
    Question(
        "who worked on it behind the camera",
        "MATCH (:Film {id: 'heat'})-[r:DIRECTED_BY|COMPOSED_BY]->(p:Person) "
        "RETURN type(r) AS craft, p.name AS name ORDER BY name",
        ["craft", "name"],
        [("COMPOSED_BY", "Elliot Goldenthal"), ("DIRECTED_BY", "Michael Mann")],
    ),
    Question(
        "which films have the largest casts",
        "MATCH (f:Film) RETURN f.name AS name, COUNT { MATCH (f)-[:STARS]->(:Person) } AS cast "
        "ORDER BY cast DESC, name LIMIT 3",
        ["name", "cast"],
        [("Alien", 3), ("Blade Runner", 3), ("Heat", 3)],
    ),
    Question(
        "which directors shared an actor",
        "MATCH (a:Person)<-[:DIRECTED_BY]-(:Film)-[:STARS]->(p:Person)<-[:STARS]-(:Film)"
        "-[:DIRECTED_BY]->(b:Person) WHERE a.name < b.name "
        "RETURN a.name AS a, b.name AS b, collect(DISTINCT p.name) AS shared ORDER BY a, b",
        ["a", "b", "shared"],
        [("John Frankenheimer", "Luc Besson", ["Jean Reno"]),
         ("John Frankenheimer", "Michael Mann", ["Robert De Niro"]),
         ("Michael Mann", "Ridley Scott", ["Russell Crowe"]),
         ("Michael Mann", "Tony Scott", ["Tom Cruise", "Val Kilmer"])],
    ),
    Question(
        "what is around something",
        "MATCH (e:Entity {name: $name})-[r]-(other:Entity) RETURN type(r) AS how, other.name AS name",
        ["how", "name"],
        [("STARS", "Ronin"), ("STARS", "Léon")],
        {"name": "Jean Reno"},
    ),
    Question(
        "what has most links",
        "MATCH (e:Entity)-[r]-(:Entity) WITH e, count(r) AS links RETURN e.name AS name, links "
        "ORDER BY links DESC, name LIMIT 3",
        ["name", "links"],
        [("Alien", 10), ("Gladiator", 9), ("United States", 9)],
    ),
    Question(
        "who is not alive",
        "MATCH (p:Person) WHERE p.alive = false RETURN p.name AS name ORDER BY name",
        ["name"],
        [("Andrei Tarkovsky",), ("Tony Scott",)],
    ),
    Question(
        "who is tall, as far as is known",
        "MATCH (p:Person) WHERE p.height_metres > 1.7 RETURN p.name AS name, p.height_metres AS metres",
        ["name", "metres"],
        [("Jean Reno", 1.88)],
    ),
    Question(
        "where is a property missing",
        "MATCH (f:Film) WHERE f.release_date IS NULL RETURN count(*) AS n",
        ["n"],
        [(10,)],
    ),
    Question(
        "which films have English among their languages",
        "MATCH (f:Film) WHERE any(l IN f.languages WHERE l = 'English') RETURN f.name AS name",
        ["name"],
        [("Ronin",)],
    ),
    Question(
        "when was somebody born, or else",
        "MATCH (:Film {id: 'ronin'})-[:STARS]->(p:Person) "
        "RETURN p.name AS name, coalesce(p.birth_year, 0) AS born ORDER BY name",
        ["name", "born"],
        [("Jean Reno", 1948), ("Robert De Niro", 0)],
    ),
    Question(
        "everything about one thing",
        "MATCH (f:Film {id: 'ronin'}) RETURN f",
        ["f"],
        [({"id": "ronin", "type": "Film", "name": "Ronin", "aliases": [], "description": "", "version": 1,
           "release_year": 1998, "runtime_minutes": 121, "languages": ["English", "French"],
           "_labels": ["Entity", "Film"]},)],
    ),
    Question(
        "one fact as a path",
        "MATCH p = (:Person {id: 'Ridley Scott'})-[:SIBLING_OF]->(:Person) "
        "RETURN [n IN nodes(p) | n.name] AS names, [r IN relationships(p) | r.status] AS statuses",
        ["names", "statuses"],
        [(["Ridley Scott", "Tony Scott"], ["extracted"])],
    ),
    Question(
        "how many genres does each country's cinema have",
        "MATCH (c:Country)<-[:PRODUCED_IN]-(f:Film)-[:HAS_GENRE]->(g:Genre) "
        "RETURN c.name AS country, count(DISTINCT g) AS genres, count(DISTINCT f) AS films ORDER BY country",
        ["country", "genres", "films"],
        [("France", 2, 1), ("Soviet Union", 1, 2), ("United Kingdom", 4, 2), ("United States", 6, 9)],
    ),
]  # fmt: skip
