"""How well the local extractor reads films: precision and recall against known casts, directors and genres.

Run from the repository root: ``python benchmarks/extraction_films.py [--data FOLDER] [--errors KIND]``.
Needs the shared data folder (``--data``, the environment variable LORE_DATA, or ``../shared/data``).

Data: 1,219 leads of encyclopaedia articles on films, with the cast and genres that a list of films gives and
the directors that another database names; and 2,000 further films, drawn with a fixed seed from a corpus of
36,273, with cast and genres. The leads are split by the parity of their MovieLens id: patterns were written
on the odd half, the even half was only scored, and so were the 2,000. One rule is an exception: that a name
inside the film's own title is nobody (two errors of the even half, seen while reading the audit).

Two golds for the cast. ``cast`` is the list's own, which names about six people a film, so that a star whom
the text names is often no part of it: every such prediction counts as wrong. ``credits`` adds the full
credits that the other database has for the same films, and says how many predicted stars are in the film; its
recall would mean nothing and is not stated. ``audit`` in the results is a reading, by hand, of
the 100 random predictions counted as wrong by ``cast`` that ``--audit`` prints.

Scoring: a film counts for a kind only where its gold is not empty. Names are equal after NFKD without
accents, lower case, without punctuation and spaces ("P. J. Hogan" = "P.J. Hogan") and nothing else: a
middle name or initial too many is an error. Gold entries that are no name ("(voices)", "Voices of") are
dropped. Every prediction outside the gold is a false positive. ``recall_in_text`` is over the gold names
that stand literally in the text, under the same normalisation; ``recall_all`` over all of them;
``films_reached`` is the share of films with at least one right prediction. Genres are compared after
:data:`GENRES`; nothing in the gold is dropped, and ``recall_in_text`` is over all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import sys
import tarfile
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from extraction.local import LocalExtractor  # noqa: E402
from kg.facts import Document, content_hash  # noqa: E402
from kg.schema import read_schema  # noqa: E402

GENRES = {"Animated": "Animation"}
"""Gold names of genres that the films schema names otherwise."""
KINDS = {"directors": "DIRECTED_BY", "cast": "STARS", "credits": "STARS", "genres": "HAS_GENRE"}
_NO_NAME = re.compile(r"\(|voices? of$", re.IGNORECASE)
SAMPLE, SEED, AUDITED = 2000, 20, 100
RESULTS = ROOT / "benchmarks" / "results" / "extraction_films.json"


@dataclass
class Film:
    """One text with its gold values; a kind without gold is absent."""

    key: str
    title: str
    text: str
    gold: dict[str, list[str]]


@dataclass
class Score:
    """Counts of one kind over many films."""

    predicted: int = 0
    right: int = 0
    gold: int = 0
    in_text: int = 0
    found: int = 0
    films: int = 0
    reached: int = 0
    """Films with at least one right prediction."""
    wrong: list[tuple[Film, str]] = field(default_factory=list)
    missed: list[tuple[Film, str]] = field(default_factory=list)

    def table(self, kind: str) -> dict[str, float | int]:
        """The figures as they are reported."""
        precision = round(self.right / max(1, self.predicted), 4)
        counts: dict[str, float | int] = {"films": self.films, "predicted": self.predicted}
        if kind == "credits":
            return counts | {"precision": precision}
        return counts | {
            "gold": self.gold,
            "gold_in_text": self.in_text,
            "precision": precision,
            "recall_in_text": round(self.found / max(1, self.in_text), 4),
            "recall_all": round(self.right / max(1, self.gold), 4),
            "films_reached": round(self.reached / max(1, self.films), 4),
        }


def fold(name: str) -> str:
    """A name without accents, case, punctuation and spaces."""
    plain = unicodedata.normalize("NFKD", name)
    return "".join(c for c in plain.lower() if c.isalnum())


def literally(name: str, text: str) -> bool:
    """Whether a name stands in a text as whole words, both folded."""
    words = re.findall(r"[a-z0-9]+", _plain(name))
    text = _plain(text)
    if not words or words[0] not in text:
        return False
    return re.search(r"\b" + r"[^a-z0-9]*".join(words) + r"\b", text) is not None


@lru_cache(maxsize=256)
def _plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))


def data_folder(given: str | None) -> Path:
    """The shared data folder, or exit where there is none."""
    folder = Path(given or os.environ.get("LORE_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        sys.exit(f"no data at {folder}: give --data or set LORE_DATA")
    return folder


def leads(folder: Path) -> list[Film]:
    """The 1,219 film leads."""
    place = folder / "rec" / "ml-100k"
    items = json.loads((place / "items_info.json").read_text(encoding="utf-8"))
    credits = {item["movielens_id"]: item["cast"].split(", ") for item in items}
    films = []
    for row in map(json.loads, (place / "film_leads.jsonl").read_text(encoding="utf-8").splitlines()):
        gold = row["gold"]
        full = [*gold["cast"], *credits[row["movielens_id"]]] if gold["cast"] else []
        films.append(Film(row["movielens_id"], row["title"], row["text"], gold | {"credits": full}))
    return films


def corpus(folder: Path, without: Iterable[str]) -> Iterator[Film]:
    """The films of the corpus that have a lead, cast and genres, except texts in ``without``."""
    seen = set(without)
    with tarfile.open(folder / "text" / "wikipedia-movies.tar.xz") as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            if re.search(r"movies-\d{4}s\.json$", member.name) is None:
                continue
            file = archive.extractfile(member)
            for row in json.load(file) if file is not None else ():
                text = row.get("extract") or ""
                if text and text not in seen:
                    seen.add(text)
                    gold = {"cast": row.get("cast") or [], "genres": row.get("genres") or []}
                    yield Film(row.get("href") or row["title"], row["title"], text, gold)


def predict(extractor: LocalExtractor, film: Film) -> dict[str, list[str]]:
    """The names that the extractor finds, by kind."""
    read = extractor.read(Document.of(film.text, film.key, title=film.title)).assertions
    names = {entity.id: entity.name for entity in read.entities}
    found: dict[str, list[str]] = defaultdict(list)
    for fact in read.facts:
        if fact.object is not None:
            found[fact.predicate].append(names[fact.object])
    return {kind: found[predicate] for kind, predicate in KINDS.items()}


def score(predictions: Iterable[tuple[Film, dict[str, list[str]]]]) -> dict[str, Score]:
    """Count what is right, wrong and missed over films, by kind."""
    scores = {kind: Score() for kind in KINDS}
    for film, predicted in predictions:
        for kind, result in scores.items():
            names = [GENRES.get(n, n) if kind == "genres" else n for n in film.gold.get(kind, ())]
            gold = {fold(n): n for n in names if fold(n) and _NO_NAME.match(n) is None}
            if not gold:
                continue
            got = {fold(n): n for n in predicted[kind]}
            result.films += 1
            result.predicted += len(got)
            result.right += len(got.keys() & gold.keys())
            result.reached += bool(got.keys() & gold.keys())
            result.gold += len(gold)
            result.wrong += [(film, got[key]) for key in got.keys() - gold.keys()]
            present = gold if kind == "genres" else {k: n for k, n in gold.items() if literally(n, film.text)}
            result.in_text += len(present)
            result.found += len(present.keys() & got.keys())
            result.missed += [(film, present[key]) for key in present.keys() - got.keys()]
    return scores


def by_rule(extractor: LocalExtractor, films: Iterable[Film]) -> dict[str, dict[str, float | int]]:
    """The precision of every pattern on its own: where the confidences of the schema come from.

    Stars are looked for in the full credits.
    """
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for film in films:
        for kind, name, rule in extractor.rules(Document.of(film.text, film.key, title=film.title)):
            gold_kind = next((k for k, predicate in reversed(KINDS.items()) if predicate == kind), None)
            if gold_kind is None or not film.gold.get(gold_kind):
                continue
            names = film.gold[gold_kind]
            gold = {fold(GENRES.get(n, n) if gold_kind == "genres" else n) for n in names}
            total[rule] += 1
            right[rule] += fold(name) in gold
    return {
        rule: {"predicted": count, "precision": round(right[rule] / count, 3)}
        for rule, count in total.most_common()
    }


def shuffled(extracted: list[tuple[Film, dict[str, list[str]]]]) -> dict[str, Score]:
    """The control: every film scored against the next film's gold."""
    golds = [film.gold for film, _ in extracted]
    moved = golds[1:] + golds[:1]
    return score(
        (Film(film.key, film.title, film.text, gold), predicted)
        for (film, predicted), gold in zip(extracted, moved, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="the shared data folder")
    parser.add_argument(
        "--errors", choices=[*KINDS, "none"], default="none", help="print errors on the odd half"
    )
    parser.add_argument("--audit", action="store_true", help="print the predictions that the audit read")
    arguments = parser.parse_args()
    folder = data_folder(arguments.data)
    extractor = LocalExtractor(read_schema(ROOT / "examples" / "films" / "schema.toml"))
    films = leads(folder)
    began = time.process_time()
    extracted = [(film, predict(extractor, film)) for film in films]
    seconds = time.process_time() - began
    odd = [(film, got) for film, got in extracted if int(film.key) % 2 == 1]
    even = [(film, got) for film, got in extracted if int(film.key) % 2 == 0]
    if arguments.errors != "none":
        show_errors(score(odd)[arguments.errors])
        return
    if arguments.audit:
        show_audit(score(extracted)["cast"])
        return
    rest = list(corpus(folder, (film.text for film in films)))
    sample = random.Random(SEED).sample(rest, SAMPLE)
    parts = {
        "development (odd ids)": score(odd),
        "held out (even ids)": score(even),
        "all leads": score(extracted),
        "corpus sample": score((film, predict(extractor, film)) for film in sample),
        "control: gold of the next film": shuffled(extracted),
    }
    report: dict[str, Any] = {
        part: {kind: result.table(kind) for kind, result in scores.items() if result.films}
        for part, scores in parts.items()
    }
    report["rules on the development half"] = by_rule(extractor, (film for film, _ in odd))
    characters = sum(len(film.text) for film in films)
    report["speed"] = {
        "documents": len(films),
        "characters": characters,
        "cpu_seconds": round(seconds, 2),
        "documents_per_cpu_second": round(len(films) / seconds, 1),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print_report(report)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kept = {key: known[key] for key in ("audit",) if key in known}
    RESULTS.write_text(json.dumps(report | kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def print_report(report: dict[str, Any]) -> None:
    for part, kinds in report.items():
        if part.startswith(("rules", "speed")):
            continue
        for kind, row in kinds.items():
            recall = "".join(
                f"  {name.replace('_', ' ')} {row[name]:.3f}"
                for name in ("recall_in_text", "recall_all", "films_reached")
                if name in row
            )
            print(f"{part:32} {kind:10} {row['predicted']:5} found  precision {row['precision']:.3f}{recall}")
    print(report["speed"])


def show_audit(result: Score) -> None:
    """Print 100 random predictions that the plain gold counts as wrong, with the text around them."""
    wrong = sorted(result.wrong, key=lambda found: content_hash(found[0].key, found[1]))
    for number, (film, name) in enumerate(wrong[:AUDITED], start=1):
        place = max(0, film.text.find(name))
        print(f"{number} {film.key} {film.title}: {name} | {film.text[max(0, place - 200) : place + 120]!r}")


def show_errors(result: Score) -> None:
    for title, errors in (("WRONG", result.wrong), ("MISSED", result.missed)):
        for film, name in errors:
            print(f"{title} {film.key} {name!r} | {film.title} | {film.text}")
    print(result.table(""))


if __name__ == "__main__":
    main()
