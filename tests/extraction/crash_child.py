"""A process that ingests a folder and may be killed at any moment: FOLDER LEDGER DOCUMENTS_PER_COMMIT."""

from __future__ import annotations

import sys
from pathlib import Path

from extraction.pipeline import run_ingest
from kg.ledger.ledger import Ledger
from tests.extraction.words import WordExtractor


def main(folder: str, ledger_path: str, documents_per_commit: str) -> None:
    with Ledger(Path(ledger_path)) as ledger:
        print("open", flush=True)
        run_ingest(
            [folder],
            ledger=ledger,
            extractor=WordExtractor(seconds=0.003),
            concurrency=2,
            max_characters=60,
            documents_per_commit=int(documents_per_commit),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
