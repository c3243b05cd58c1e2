"""What an ingest would do, counted before anything is stored or asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from extraction.chunks import DEFAULT_MAX_CHARACTERS, split
from extraction.documents import ReadFailure, ReadOptions, read_documents
from extraction.extractor import Extractor
from extraction.stamps import is_stored, stamp_of, stamped
from kg.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an ingest would do: ``chunks`` and ``characters`` are those that would be extracted."""

    documents: int
    unchanged: int
    failed: int
    chunks: int
    characters: int


def estimate(
    paths: Sequence[str | Path],
    *,
    ledger: Ledger,
    extractor: Extractor,
    options: ReadOptions | None = None,
    max_characters: int = DEFAULT_MAX_CHARACTERS,
) -> Estimate:
    """Read everything and count what an ingest would extract; nothing is stored, nothing is asked."""
    count: Counter[str] = Counter()
    stamp = stamp_of(extractor, max_characters)
    for found in read_documents(paths, options):
        if isinstance(found, ReadFailure):
            count["failed"] += 1
        elif is_stored(ledger, stamped(found, stamp)):
            count["unchanged"] += 1
        else:
            chunks = split(found, max_characters=max_characters)
            count["documents"] += 1
            count["chunks"] += len(chunks)
            count["characters"] += sum(chunk.end - chunk.start for chunk in chunks)
    return Estimate(
        count["documents"], count["unchanged"], count["failed"], count["chunks"], count["characters"]
    )
