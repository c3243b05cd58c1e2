"""From text to graph on real films: ingest, resolution, both stores, deltas, links to MovieLens items."""

from __future__ import annotations

import cProfile
import importlib.util
import io
import json
import os
import pstats
import random
import re
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.films_corpus import ROOT, read_leads, rows_of, write_rows
from benchmarks.machine import timed
from extraction.documents import ReadOptions
from extraction.extractor import Extractor
from extraction.linking import link_items, read_items, save_links
from extraction.local import LocalExtractor
from extraction.pipeline import run_ingest
from extraction.report import IngestReport
from kg.ledger.ledger import Ledger
from kg.resolve import resolve
from kg.stores.following import follow
from kg.stores.opening import open_store
from kg.stores.store import GraphStore
from loregraph.workspace import CONFIGURATION, Workspace

N_CHANGED = 100
N_PROFILED = 300
QUESTIONS = {
    "films by genre": "MATCH (f:Film)-[:HAS_GENRE]->(g:Genre) "
    "RETURN g.name AS genre, count(f) AS films ORDER BY films DESC, genre LIMIT 20",
    "who directed most": "MATCH (f:Film)-[:DIRECTED_BY]->(p:Person) "
    "RETURN p.name AS director, p.id AS id, count(f) AS films ORDER BY films DESC, id LIMIT 20",
    "directors and their stars": "MATCH (d:Person)<-[:DIRECTED_BY]-(f:Film)-[:STARS]->(s:Person) "
    "WHERE d.id <> s.id "
    "RETURN d.id AS director, s.id AS star, count(f) AS films ORDER BY films DESC, director, star LIMIT 20",
    "films of one person": "MATCH (f:Film)-[:STARS]->(p:Person) WHERE p.name = $name "
    "RETURN f.name AS film, f.release_year AS year ORDER BY year, film LIMIT 50",
    "two hops": "MATCH (a:Film)-[:DIRECTED_BY]->(p:Person)<-[:DIRECTED_BY]-(b:Film) WHERE a.name = $film "
    "AND a.id <> b.id RETURN DISTINCT b.name AS film, b.id AS id ORDER BY film, id LIMIT 50",
}
PARAMETERS = {"name": "Tom Hanks", "film": "Jurassic Park"}


def workspace_of(work: Path) -> Workspace:
    """The workspace of the benchmark, made with the schema of the films example at first."""
    root = work / "workspace"
    if not (root / CONFIGURATION).is_file():
        text = (ROOT / "examples" / "films" / "schema.toml").read_text(encoding="utf-8")
        return Workspace.create(root, text)
    return Workspace.find(root)


def ingest(work: Path) -> dict[str, Any]:
    """Read, extract, commit, then resolve; documents that an earlier, killed run stored are skipped."""
    workspace = workspace_of(work)
    found: dict[str, Any] = {}
    with workspace.ledger() as ledger:
        extractor = LocalExtractor(workspace.schema)
        before = _version_texts(ledger)
        with timed(found, "ingest"):
            report = _ingest(ledger, extractor, [work / "leads.jsonl", work / "corpus.jsonl"], work)
        found |= {
            "report": report.summary,
            "documents_per_s": round(report.stored / found["ingest_wall_s"], 1),
        }
        found["documents_per_cpu_s"] = round(report.stored / found["ingest_cpu_s"], 1)
        found["before_resolution"] = {**_version_texts(ledger), "already_there": before["documents"]}
        with timed(found, "resolve"):
            resolved = resolve(ledger, workspace.schema)
        found["merged"] = dict(Counter(proposal.reason for proposal in resolved.merged).most_common())
        found["ambiguous_names"] = resolved.n_ambiguous
        found["after_resolution"] = _version_texts(ledger)
        found["entities_by_type"] = dict(Counter(row.type for row in ledger.entities()).most_common())
        arrays = ledger.arrays()
        named = Counter(arrays.predicate_names[number] for number in arrays.predicate.tolist())
        found["edges_by_relation"] = dict(named.most_common())
        found["problems_of_the_ledger"] = ledger.check()
    found["ledger_mb"] = round(workspace.ledger_path.stat().st_size / 1e6, 1)
    found["profile"] = _profile(workspace, work)
    return found


def stores(work: Path) -> dict[str, Any]:
    """Load both stores from a copy of the ledger, ask them the same, and move them by deltas."""
    workspace = workspace_of(work)
    copy = work / "copy.sqlite"
    for path in (work / "embedded", copy, Path(f"{copy}-wal"), Path(f"{copy}-shm")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    with workspace.ledger() as ledger:
        ledger.backup(copy)
    found: dict[str, Any] = {}
    launcher = _launcher()
    ledger = Ledger(copy, symmetric=workspace.schema.symmetric)
    try:
        with launcher.launch() as server, _opened(workspace, work, server) as both:
            found["load"] = {name: _load(ledger, store, server) for name, store in both.items()}
            found["questions"] = _ask(both)
            found["deltas"] = _move(ledger, LocalExtractor(workspace.schema), both, work)
    finally:
        ledger.close()
    found["embedded_mb"] = round(_size(work / "embedded") / 1e6, 1)
    return found


def link(work: Path, data: Path) -> dict[str, Any]:
    """Link the MovieLens items to films, and see whether the leads' items found their own film."""
    workspace = workspace_of(work)
    found: dict[str, Any] = {}
    items = read_items(data / "rec" / "ml-100k" / "ml-100k.item")
    with workspace.ledger() as ledger:
        with timed(found):
            report = link_items(items, ledger, entity_type="Film", key_property="release_year")
        save_links(report.links, workspace.links_path)
        own = _own_films(ledger)
        links = {one.item: ledger.canonical(one.entity) for one in report.links}
        ambiguous = {one.item.id for one in report.ambiguous}
        fates: Counter[str] = Counter()
        examples: defaultdict[str, list[str]] = defaultdict(list)
        for lead in read_leads(data):
            item = lead["movielens_id"]
            fate = _fate(
                links.get(item), own.get(ledger.holds(f"leads.jsonl#ml-{item}") or ""), item, ambiguous
            )
            fates[fate] += 1
            if len(examples[fate]) < 8 and fate != "own film":
                examples[fate].append(f"{lead['title']} ({lead['year']})")
    found |= {
        "items": len(items),
        "linked": len(report.links),
        "ambiguous": len(report.ambiguous),
        "unlinked": len(report.unlinked),
        "methods": report.methods,
        "leads": dict(fates.most_common()),
        "examples": dict(examples),
    }
    return found


def _fate(linked: str | None, own: str | None, item: str, ambiguous: set[str]) -> str:
    if linked is None:
        return "ambiguous" if item in ambiguous else "unlinked"
    if own is None:
        return "linked, but the lead gave no edge of a film"
    return "own film" if linked == own else "another film"


def _own_films(ledger: Ledger) -> dict[str, str]:
    """For each document the film that most of its edges start from."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with ledger.projection() as projection:
        for batch in projection.batches("edges"):
            for row in batch.to_pylist():
                if row["source_type"] == "Film":
                    for document in row["documents"]:
                        counts[document][row["source"]] += 1
    return {document: min(films, key=lambda one: (-films[one], one)) for document, films in counts.items()}


def _ingest(ledger: Ledger, extractor: Extractor, paths: list[Path], base: Path) -> IngestReport:
    shown = [0.0]

    def progress(report: IngestReport) -> None:
        if time.monotonic() - shown[0] > 20:
            shown[0] = time.monotonic()
            print(f"  {report.stored + report.unchanged} documents", file=sys.stderr, flush=True)

    return run_ingest(
        paths,
        ledger=ledger,
        extractor=extractor,
        options=ReadOptions(relative_to=base),
        progress=progress,
    )


def _version_texts(ledger: Ledger) -> dict[str, int]:
    now = ledger.statistics()
    return {name: getattr(now, name) for name in ("documents", "chunks", "entities", "facts", "evidence")}


def _profile(workspace: Workspace, work: Path) -> list[dict[str, Any]]:
    """Where the time of an ingest goes: own seconds of the 12 heaviest functions on a part of the corpus."""
    rows = rows_of(work / "corpus.jsonl", 3000)[:: 3000 // N_PROFILED]
    folder = work / "profile"
    shutil.rmtree(folder, ignore_errors=True)
    write_rows(folder / "corpus.jsonl", rows)
    ledger = Ledger(folder / "ledger.sqlite", symmetric=workspace.schema.symmetric)
    profile = cProfile.Profile()
    profile.enable()
    _ingest(ledger, LocalExtractor(workspace.schema), [folder / "corpus.jsonl"], folder)
    profile.disable()
    ledger.close()
    stats = pstats.Stats(profile, stream=io.StringIO())
    total = stats.total_tt  # type: ignore[attr-defined]
    heavy = sorted(stats.stats.items(), key=lambda entry: -entry[1][2])[:12]  # type: ignore[attr-defined]
    return [
        {
            "function": f"{re.sub(r'.*/(?=[^/]+/[^/]+$)', '', place[0])}:{place[2]}",
            "calls": values[1],
            "share_of_own_time": round(values[2] / total, 3),
        }
        for place, values in heavy
    ]


def _launcher() -> ModuleType:
    """``docker/neo4j/launch.py``, which is a script and no part of a package."""
    where = ROOT / "docker" / "neo4j" / "launch.py"
    specification = importlib.util.spec_from_file_location("launch_neo4j", where)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["launch_neo4j"] = module
    specification.loader.exec_module(module)
    return module


@contextmanager
def _opened(workspace: Workspace, work: Path, server: Any) -> Iterator[dict[str, GraphStore]]:
    both = {
        "embedded": open_store(str(work / "embedded"), workspace.schema),
        "neo4j": open_store(server.url, workspace.schema, user=server.user, password=server.password),
    }
    try:
        yield both
    finally:
        for store in both.values():
            store.close()


def _load(ledger: Ledger, store: GraphStore, server: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    before = _server_seconds(server)
    with timed(found), ledger.projection() as projection:
        store.load(projection)
    labels, relationships = _counts(store)
    return {
        **found,
        "server_cpu_s": round(_server_seconds(server) - before, 1),
        "nodes": sum(labels.values()),
        "relationships": sum(relationships.values()),
    }


def _server_seconds(server: Any) -> float:
    """CPU seconds of the server's process so far."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ask(both: dict[str, GraphStore]) -> list[dict[str, Any]]:
    found = []
    for question, cypher in QUESTIONS.items():
        used = {name: value for name, value in PARAMETERS.items() if f"${name}" in cypher}
        row: dict[str, Any] = {"question": question}
        answers = {}
        for name, store in both.items():
            store.query(cypher, used)
            started = time.perf_counter()
            answers[name] = store.query(cypher, used)
            row[f"{name}_ms"] = round(1000 * (time.perf_counter() - started), 1)
        first = answers["embedded"]
        row |= {
            "rows": len(first),
            "equal": first == answers["neo4j"],
            "first": str(list(first[0].values()) if first else ""),
        }
        found.append(row)
    return found


def _move(
    ledger: Ledger, extractor: Extractor, both: dict[str, GraphStore], work: Path
) -> list[dict[str, Any]]:
    """Shorten 100 documents, restore them, delete them, add them again; the graph ends as it began."""
    rows = rows_of(work / "corpus.jsonl", 20_000)
    chosen = random.Random(0).sample(rows, N_CHANGED)
    short = [{**row, "text": row["text"][: len(row["text"]) // 2]} for row in chosen]
    places = [f"corpus.jsonl#{row['id']}" for row in chosen]
    started_as = _content(ledger)

    def put(changed: list[dict[str, Any]]) -> None:
        write_rows(work / "changed" / "corpus.jsonl", changed)
        _ingest(ledger, extractor, [work / "changed" / "corpus.jsonl"], work / "changed")

    def delete() -> None:
        with ledger.batch():
            for place in places:
                assert ledger.drop_place(place), f"nothing was stored at {place}"

    steps: dict[str, Callable[[], None]] = {
        "100 documents come back shortened": lambda: put(short),
        "the same 100 come back whole": lambda: put(chosen),
        "the same 100 are deleted": delete,
        "the same 100 are added again": lambda: put(chosen),
    }
    found = []
    for name, step in steps.items():
        line: dict[str, Any] = {"step": name}
        with timed(line, "ledger"):
            step()
        for engine, store in both.items():
            with timed(line, engine):
                line["rows"] = follow(ledger, store)
        line["counts_equal"] = _counts(both["embedded"]) == _counts(both["neo4j"])
        line["answers_equal"] = all(row["equal"] for row in _ask(both))
        line["as_at_first"] = _content(ledger) == started_as
        found.append(line)
    return found


def _counts(store: GraphStore) -> tuple[dict[str, int], dict[str, int]]:
    """Nodes by type and relationships by type; the label that every entity has beside its type is no type."""
    schema = store.schema()
    return (
        {label: count for label, count in schema.labels.items() if count and label != "Entity"},
        {name: count for name, count in schema.relationships.items() if count},
    )


def _content(ledger: Ledger) -> set[str]:
    """Everything that the graph shows, but for the versions at which it last changed."""
    found = set()
    with ledger.projection() as projection:
        for kind in ("nodes", "edges"):
            for batch in projection.batches(kind):
                for row in batch.to_pylist():
                    found.add(json.dumps({**row, "version": 0}, sort_keys=True))
    return found


def _size(path: Path) -> int:
    return (
        path.stat().st_size
        if path.is_file()
        else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    )
