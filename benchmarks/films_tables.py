"""The results of ``films_end_to_end.py`` as tables to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.machine import table


def all_tables(results: Mapping[str, Any]) -> str:
    """Every stage that has a result, one table after another."""
    shown = [f"{name}: {value}" for name, value in results["machine"].items()]
    for name, write in _WRITERS.items():
        if name in results:
            shown += [*write(results[name]), f"({name}: {results[name]['stage_wall_s']} s)"]
    return "\n".join(shown)


def _corpus(found: Mapping[str, Any]) -> list[str]:
    return [
        _facts(
            found, "Corpus", ("leads", "more", "skipped_as_leads", "characters", "years_of_more", "choice")
        )
    ]


def _ingest(found: Mapping[str, Any]) -> list[str]:
    report = found["report"]
    names = ("ingest_wall_s", "ingest_cpu_s", "documents_per_s", "documents_per_cpu_s", "resolve_wall_s")
    return [
        _facts(
            {**found, **report}, "Ingest", ("stored", "duplicates", "failed", "refused", *names, "ledger_mb")
        ),
        _facts(found, "Graph", ("after_resolution", "merged", "entities_by_type", "edges_by_relation")),
        table(found["profile"], "Where an ingest spends its time, as the profiler sees it"),
    ]


def _stores(found: Mapping[str, Any]) -> list[str]:
    return [
        table([{"store": name, **line} for name, line in found["load"].items()], "Full load"),
        table(found["questions"], "Questions"),
        table(found["deltas"], "Deltas"),
    ]


def _link(found: Mapping[str, Any]) -> list[str]:
    return [_facts(found, "Links", ("items", "linked", "ambiguous", "unlinked", "methods", "leads"))]


def _warm(found: Mapping[str, Any]) -> list[str]:
    shown = [
        _facts(
            found,
            "Warm",
            ("interactions", "users", "items", "linked_items", "budget", "stopping", "graph_used"),
        )
    ]
    for name, split in found["splits"].items():
        shown.append(
            table(split["rows"], f"Split {name}: {split['what']}, {split['tested_users']} users tested")
        )
        title = "Paired differences with 95 % bootstrap intervals over users"
        shown.append(table(split["differences"], title))
    return [*shown, _facts(found, "KGAT on everything ingested", ("kgat_on_the_whole_graph",))]


def _cold(found: Mapping[str, Any]) -> list[str]:
    differences = [{"NDCG@20": pair, "mean (95 %)": gain} for pair, gain in found["differences"].items()]
    names = ("items", "linked_items", "links_an_item", "users", "positives", "graph", "kgat")
    return [
        _facts(found, "Cold items", names),
        table(found["rows"], "Beside: what the report measured with its own graph"),
        table(differences, "Paired differences, each user's mean over the seeds"),
    ]


def _facts(found: Mapping[str, Any], title: str, names: tuple[str, ...]) -> str:
    return table([{"what": name, "value": found.get(name)} for name in names], title)


_WRITERS = {
    "corpus": _corpus, "ingest": _ingest, "stores": _stores, "link": _link, "warm": _warm, "cold": _cold,
}  # fmt: skip
