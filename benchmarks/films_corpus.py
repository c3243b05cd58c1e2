"""The real input of ``films_end_to_end.py``: 1,219 film leads and 20,000 more, as two files of JSON lines."""

from __future__ import annotations

import json
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
N_MORE = 20_000


def data_folder(given: Path | None) -> Path:
    """The shared data: ``given``, else LORE_DATA, else ``../shared/data``; exits where there is none."""
    folder = given or Path(os.environ.get("LORE_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "rec" / "ml-100k" / "film_leads.jsonl").is_file():
        sys.exit(f"no film leads under {folder}: give --data or set LORE_DATA")
    return folder


def read_leads(data: Path) -> list[dict[str, Any]]:
    """The leads in increasing MovieLens id: ``movielens_id, title, year, text, gold``."""
    lines = (data / "rec" / "ml-100k" / "film_leads.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted(map(json.loads, lines), key=lambda lead: int(lead["movielens_id"]))


def write_corpus(data: Path, work: Path) -> dict[str, Any]:
    """Write ``leads.jsonl`` and ``corpus.jsonl`` into the work folder and say what is in them.

    The 20,000 are the first films with a lead text, the decades' files in the order of their names and each
    in its own order, films of a title and year that is among the leads left out.
    """
    leads = read_leads(data)
    known = {_key(lead["title"], lead["year"]) for lead in leads}
    rows = [{"id": f"ml-{lead['movielens_id']}", **_kept(lead, lead["text"])} for lead in leads]
    _write(work / "leads.jsonl", rows)
    more: list[dict[str, Any]] = []
    skipped = 0
    for film in _films(data / "text" / "wikipedia-movies.tar.xz"):
        if _key(film["title"], film["year"]) in known:
            skipped += 1
            continue
        more.append({"id": f"film-{len(more)}", **_kept(film, film["extract"])})
        if len(more) == N_MORE:
            break
    _write(work / "corpus.jsonl", more)
    years = [int(film["year"]) for film in more]
    return {
        "leads": len(rows),
        "more": len(more),
        "skipped_as_leads": skipped,
        "characters": sum(len(row["text"]) for row in [*rows, *more]),
        "years_of_more": [min(years), max(years)],
        "choice": "the first films with a text, by decade and in the order of the files",
    }


def rows_of(path: Path, n: int) -> list[dict[str, Any]]:
    """The first ``n`` rows of a file of JSON lines."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(n), strict=False)]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, rows)


def _films(archive_path: Path) -> Iterator[dict[str, Any]]:
    with tarfile.open(archive_path) as archive:
        for member in sorted(archive.getmembers(), key=lambda found: found.name):
            stream = archive.extractfile(member) if "/movies-" in member.name else None
            for film in json.load(stream) if stream else ():
                if (film.get("extract") or "").strip():
                    yield film


def _kept(film: dict[str, Any], text: str) -> dict[str, Any]:
    return {"title": film["title"], "year": film["year"], "text": text}


def _key(title: str, year: object) -> tuple[str, int]:
    return re.sub(r"\W+", "", title.casefold()), int(str(year))


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
