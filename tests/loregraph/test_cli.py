"""The command contract: what is printed where, exit codes, and what a mistake is told."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.loregraph.commands import FILMS, films_workspace, lore

DIRECTORS = (
    "MATCH (f:Film)-[:DIRECTED_BY]->(p:Person) RETURN f.name AS film, p.name AS director ORDER BY film"
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films_workspace(tmp_path_factory.mktemp("films") / "w", "alien.md", "ponyo.md", "vertigo.md")


def test_text_becomes_rows(films: Path) -> None:
    done = lore("query", "-w", films, DIRECTORS, "--json")
    assert done.code == 0, done.err
    assert done.json == [
        {"film": "Alien", "director": "Ridley Scott"},
        {"film": "Ponyo", "director": "Hayao Miyazaki"},
        {"film": "Vertigo", "director": "Alfred Hitchcock"},
    ]


def test_parameters_and_limit(films: Path) -> None:
    text = "MATCH (f:Film) WHERE f.release_year > $after RETURN f.name AS film ORDER BY film"
    assert lore("query", "-w", films, text, "-p", "after=1970", "--json").json == [
        {"film": "Alien"},
        {"film": "Ponyo"},
    ]
    assert len(lore("query", "-w", films, text, "-p", "after=1900", "--limit", 1, "--json").json) == 1


def test_two_things_are_connected_by_sentences(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w", "alien.md", "blade-runner.md")
    found = lore("paths", "-w", folder, "Alien", "blade runner", "--json").json
    assert found[0]["text"] == "Alien -DIRECTED_BY-> Ridley Scott <-DIRECTED_BY- Blade Runner"
    assert [step["sentence"] for step in found[0]["steps"]] == [
        "Alien is a 1979 science fiction horror film directed by Ridley Scott and written by Dan O'Bannon.",
        "Blade Runner is a 1982 science fiction film directed by Ridley Scott.",
    ]
    assert lore("paths", "-w", folder, "Alien", "Nobody At All").code == 4


def test_statistics_have_the_agreed_names(films: Path) -> None:
    counts = lore("stats", "-w", films, "--json").json
    assert set(counts) == {"documents", "chunks", "entities", "facts", "evidence", "version"}
    assert counts["documents"] == 3
    assert counts["facts"] > 9
    assert counts["evidence"] >= counts["facts"] - 3


def test_every_exported_fact_quotes_its_document(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "facts.jsonl"
    assert lore("export", "-w", films, out, "--format", "jsonl").code == 0
    facts = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    with sqlite3.connect(films / "ledger.sqlite") as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    texts = {
        name: (FILMS / "articles" / name).read_text(encoding="utf-8") for name in ("alien.md", "ponyo.md")
    }
    checked = 0
    for fact in facts:
        assert {"subject", "predicate", "object", "status", "confidence", "evidence"} <= set(fact)
        assert fact["evidence"]
        for evidence in fact["evidence"]:
            assert {"document", "start", "end", "quote"} <= set(evidence)
            assert evidence["end"] - evidence["start"] == len(evidence["quote"])
            checked += any(evidence["quote"] in " ".join(text.split("\n")) for text in texts.values())
    assert checked > 5


def test_a_catalogue_is_linked_and_exported_for_recbole(films: Path, tmp_path: Path) -> None:
    linked = lore("link", "-w", films, FILMS / "items.csv", "--json").json
    assert (linked["linked"], linked["unlinked"]) == (3, 74)
    assert lore("export", "-w", films, tmp_path / "films.kg").code == 0
    links = (tmp_path / "films.link").read_text(encoding="utf-8").splitlines()
    assert len(links) == 4
    assert lore("export", "-w", films, tmp_path / "entities.csv", "--entities").code == 0
    assert "Ridley Scott" in (tmp_path / "entities.csv").read_text(encoding="utf-8")


def test_results_on_stdout_and_narration_on_stderr(films: Path) -> None:
    done = lore("documents", "list", "-w", films, "--json")
    assert len(done.json) == 3
    assert "next:" in done.err


def test_ingesting_twice_changes_nothing(films: Path) -> None:
    before = lore("stats", "-w", films, "--json").json
    assert lore("ingest", "-w", films, FILMS / "articles" / "alien.md").code == 0
    assert lore("stats", "-w", films, "--json").json == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["query", "CREATE (n:Film) RETURN n"], 2, "CREATE"),
        (["query", "MATCH (n) DELETE n"], 2, "DELETE"),
        (["query", "MATCH (n RETURN n"], 2, "never closed"),
        (["query", "RETURN $x", "-p", "x"], 2, "name=value"),
        (["documents", "delete", "nosuch"], 4, "documents list"),
        (["ingest", "/no/such/place"], 2, "/no/such/place"),
        (["recommend", "u1"], 78, "lore train"),
        (["link", "/no/such/items.csv"], 2, "items.csv"),
        (["export", "x.abc", "--format", "abc"], 2, "abc"),
    ],
)
def test_mistakes_get_one_clear_line_and_their_exit_code(
    films: Path, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    command, *rest = arguments
    at = 1 if command == "documents" else 0
    done = lore(command, *rest[:at], "-w", films, *rest[at:], cwd=tmp_path)
    assert done.code == code, (done.code, done.err)
    assert says in done.err
    assert "Traceback" not in done.err


def test_no_workspace_and_a_workspace_twice(tmp_path: Path) -> None:
    assert lore("stats", cwd=tmp_path).code == 78
    films_workspace(tmp_path / "w")
    assert lore("init", tmp_path / "w").code == 2
    assert lore("stats", cwd=tmp_path / "w").code == 0
    assert lore("stats", cwd=tmp_path, LORE_WORKSPACE=str(tmp_path / "w")).code == 0


def test_a_schema_that_contradicts_itself_makes_no_workspace(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[entity.Film]\nkey = "year"\n', encoding="utf-8")
    done = lore("init", tmp_path / "w", "--schema", bad)
    assert done.code == 78
    assert "is no property of it" in done.err
    assert not (tmp_path / "w" / "lore.toml").exists()


def test_an_unreachable_neo4j(films: Path) -> None:
    done = lore(
        "query", "-w", films, "RETURN 1 AS x", LORE_STORE__URL="bolt://127.0.0.1:1", LORE_STORE__PASSWORD="x"
    )
    assert done.code == 69
    assert "127.0.0.1:1" in done.err
    assert "Traceback" not in done.err


def test_a_document_deleted_and_added_again(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w", "alien.md", "blade-runner.md")
    everything = (
        "MATCH (a:Entity)-[r]->(b:Entity) "
        "RETURN a.id AS one, type(r) AS kind, b.id AS two, r.support AS n, r.confidence AS c "
        "ORDER BY one, kind, two"
    )
    before = lore("query", "-w", folder, everything, "--json").json
    listed = lore("documents", "list", "-w", folder, "--json").json
    (alien,) = [row["id"] for row in listed if row["title"] == "Alien"]
    assert lore("documents", "delete", alien, "-w", folder).code == 0
    assert len(lore("query", "-w", folder, everything, "--json").json) < len(before)
    assert lore("ingest", "-w", folder, FILMS / "articles" / "alien.md").code == 0
    assert lore("query", "-w", folder, everything, "--json").json == before


@pytest.mark.parametrize("harm", ["delete", "overwrite"])
def test_a_lost_or_damaged_graph_is_rebuilt_from_the_ledger(tmp_path: Path, harm: str) -> None:
    folder = films_workspace(tmp_path / "w", "alien.md")
    before = lore("query", "-w", folder, DIRECTORS, "--json").json
    for path in sorted((folder / "graph").rglob("*"), reverse=True):
        if path.is_file():
            if harm == "delete":
                path.unlink()
            else:
                path.write_bytes(b"garbage" * 999)
    if harm == "overwrite":
        broken = lore("query", "-w", folder, DIRECTORS)
        assert broken.code == 1
        assert "lore store rebuild" in broken.err
    assert lore("store", "rebuild", "-w", folder).code == 0
    assert lore("query", "-w", folder, DIRECTORS, "--json").json == before


def test_one_bad_document_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w")
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_bytes(b"\xff\xfe\x00broken")
    (texts / "b.txt").write_text("", encoding="utf-8")
    (texts / "c.md").write_text(
        (FILMS / "articles" / "alien.md").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (texts / "d.xyz").write_text("what is this", encoding="utf-8")
    done = lore("ingest", "-w", folder, texts, "--json")
    assert done.code == 0, done.err
    assert done.json["stored"] == 1
    assert done.json["failed"] == 3
    for name in ("a.txt", "b.txt", "d.xyz"):
        assert name in done.err
    assert lore("stats", "-w", folder, "--json").json["documents"] == 1


def test_standard_input_is_read(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w")
    text = "Stalker is a 1979 science fiction film directed by Andrei Tarkovsky."
    assert lore("ingest", "-w", folder, "-", stdin=text).code == 0
    rows = lore("query", "-w", folder, DIRECTORS, "--json").json
    assert rows == [{"film": "Stalker", "director": "Andrei Tarkovsky"}]


def test_a_rebuild_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w", "alien.md")
    mine = folder / "graph" / "mine.txt"
    mine.write_text("keep", encoding="utf-8")
    (folder / "graph" / "current").write_text("junk", encoding="utf-8")
    assert lore("store", "rebuild", "-w", folder).code == 0
    assert mine.read_text(encoding="utf-8") == "keep"
    assert len(lore("query", "-w", folder, DIRECTORS, "--json").json) == 1


def test_a_query_without_end_is_stopped(films: Path) -> None:
    done = lore("query", "-w", films, "UNWIND range(1, 1000000000) AS x RETURN sum(x)", "--timeout", 2)
    assert done.code == 1
    assert "Traceback" not in done.err


def test_numbers_that_are_none_are_null_in_json(films: Path) -> None:
    assert lore("query", "-w", films, "RETURN sqrt(-1.0) AS x", "--json").json == [{"x": None}]
    assert lore("query", "-w", films, "RETURN $a AS x", "-p", "a=NaN").code == 2


def test_resolution_left_over_by_a_killed_run_is_made_up(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w")
    texts = tmp_path / "texts.jsonl"
    sentences = (
        "One is a 1990 film directed by Mélanie Laurent.",
        "Two is a 1991 film directed by Melanie Laurent.",
    )
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in sentences), encoding="utf-8")
    assert lore("ingest", "-w", folder, texts, LORE_EXTRACTION__RESOLVE="false").code == 0
    assert lore("ingest", "-w", folder, texts, "--json").json["merged"] == 1
    assert lore("ingest", "-w", folder, texts, "--json").json["merged"] == 0


def test_where_nothing_could_be_read_the_exit_code_says_so(tmp_path: Path) -> None:
    folder = films_workspace(tmp_path / "w")
    empty = tmp_path / "empty.txt"
    empty.write_text("", encoding="utf-8")
    assert lore("ingest", "-w", folder, empty).code == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["init", "{tmp}/w", "--schema", "/nope.toml"], 2),
        (["init", "/proc/nothing/here"], 2),
        (["documents", "list", "--limit", "-1"], 2),
        (["train", "bpr", "--interactions", "x.csv", "--epochs", "0"], 2),
        (["recommend"], 2),
    ],
)
def test_more_mistakes_without_a_traceback(
    films: Path, tmp_path: Path, arguments: list[str], code: int
) -> None:
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    done = lore(*filled, LORE_WORKSPACE=str(films))
    assert done.code == code, done.err
    assert "Traceback" not in done.err


def test_the_version_is_told() -> None:
    assert lore("--version").out.strip()[0].isdigit()
