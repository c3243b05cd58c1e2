"""What an ingest did: counts, failures with examples, and the full list of failures in a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from kg.errors import LoreError, UsageError

EXAMPLES_KEPT = 20
"""How many failures a report holds; a run over millions of documents may have any number of them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that was not stored: its place, and why."""

    where: str
    error: LoreError

    def as_json(self) -> str:
        """One line of the file of failures."""
        line = {"where": self.where, "what": self.error.what, "hint": self.error.hint}
        return json.dumps(line, ensure_ascii=False)


@dataclass(slots=True)
class IngestReport:
    """Counts of one run, growing while it runs.

    Every document is counted once in ``stored``, ``unchanged`` or ``n_failed``; ``read`` counts those that
    could be read. ``duplicates`` counts the stored ones whose text another place held already: one document
    with several places. ``failed`` holds the first :data:`EXAMPLES_KEPT` failures. ``refused`` counts by
    reason what the extractor found and would not assert. ``chunks``, ``entities`` and ``facts`` are those of
    the stored documents, each counted once a document. ``usage`` is what the extractor spent (tokens,
    dollars), empty where it spends nothing. ``stopped`` is the error that ended the run early,
    ``interrupted`` says that Ctrl-C did.
    """

    read: int = 0
    stored: int = 0
    unchanged: int = 0
    duplicates: int = 0
    n_failed: int = 0
    failed: list[Failure] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    chunks: int = 0
    entities: int = 0
    facts: int = 0
    seconds: float = 0.0
    usage: Mapping[str, float] = field(default_factory=dict)
    stopped: LoreError | None = None
    interrupted: bool = False

    @property
    def summary(self) -> dict[str, object]:
        """The report as plain values, for printing."""
        found: dict[str, object] = {
            "read": self.read,
            "stored": self.stored,
            "unchanged": self.unchanged,
            "duplicates": self.duplicates,
            "failed": self.n_failed,
            "chunks": self.chunks,
            "entities": self.entities,
            "facts": self.facts,
            "refused": dict(self.refused.most_common()),
            "seconds": round(self.seconds, 2),
        }
        return {**found, **self.usage}


class FailureLog:
    """Keeps the first failures in the report, and writes all of them to a file where one is named."""

    def __init__(self, report: IngestReport, path: Path | None) -> None:
        self._report = report
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("w", encoding="utf-8", errors="backslashreplace")
            except OSError as problem:
                raise UsageError(
                    f"the file for failures cannot be written: {problem.strerror}.", where=str(path)
                ) from None

    def add(self, where: str, error: LoreError) -> None:
        """Count one failure."""
        failure = Failure(where, error)
        self._report.n_failed += 1
        if len(self._report.failed) < EXAMPLES_KEPT:
            self._report.failed.append(failure)
        if self._file is not None:
            self._file.write(failure.as_json() + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
