"""``lore ingest``: the extractor asked for, the pipeline, resolution, and the graph after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extraction.documents import ReadFailure, ReadOptions, read_documents
from extraction.extractor import Extraction, Extractor
from extraction.pipeline import IngestInterrupted, run_ingest
from extraction.report import IngestReport
from kg.errors import LoreError, UsageError
from kg.facts import Chunk, Document
from loregraph.language_model import budget, open_client, prices
from loregraph.workspace import Workspace

if TYPE_CHECKING:
    from extraction.llm import LanguageModelExtractor
    from kg.ledger.ledger import Ledger
    from language.calls import LedgeredChatModel
    from language.chat import OpenAIChatModel
    from language.request import Request

EXPECTED_ANSWER_TOKENS = 350
"""What one answer is taken to need in an estimate: about 25 facts or entities of a dense chunk."""


@dataclass(frozen=True)
class Ingested:
    """What an ingest did: figures for stdout, sentences for stderr."""

    summary: dict[str, Any]
    narration: list[str] = field(default_factory=list)
    stopped: LoreError | None = None
    all_failed: bool = False


class _Metered:
    """The LLM extractor with the figures of its call ledger."""

    def __init__(
        self, extractor: LanguageModelExtractor, model: LedgeredChatModel, client: OpenAIChatModel
    ) -> None:
        self._extractor = extractor
        self._model = model
        self._client = client

    @property
    def name(self) -> str:
        return self._extractor.name

    @property
    def fingerprint(self) -> str:
        return self._extractor.fingerprint

    async def extract(self, document: Document, chunk: Chunk) -> Extraction:
        return await self._extractor.extract(document, chunk)

    def request(self, document: Document, chunk: Chunk) -> Request:
        return self._extractor.request(document, chunk)

    async def close(self) -> None:
        await self._client.close()

    def usage(self) -> Mapping[str, float]:
        totals = self._model.totals
        return {
            "calls": totals.calls,
            "cached_calls": totals.cached,
            "failed_calls": totals.failed,
            "prompt_tokens": totals.prompt_tokens,
            "completion_tokens": totals.completion_tokens,
            "dollars": round(totals.dollars, 6),
        }


def ingest_paths(
    workspace: Workspace,
    paths: list[str],
    options: ReadOptions,
    extractor: str | None,
    failures_path: Path | None,
    progress: Callable[[str], None],
    say: Callable[[str], None],
) -> Ingested:
    """Read, extract, commit, resolve, and bring the graph up to date.

    ``stopped`` of the result is the error that ended the run early, if one did: what was stored stays.
    """
    settings = workspace.settings.extraction
    with workspace.ledger() as ledger, _extractor(workspace, extractor) as chosen:
        narration: list[str] = []
        try:
            report = run_ingest(
                paths,
                ledger=ledger,
                extractor=chosen,
                options=options,
                concurrency=settings.concurrency,
                max_characters=settings.max_characters,
                failures_path=failures_path,
                progress=lambda so_far: progress(_one_line(so_far)),
            )
        except IngestInterrupted as interrupted:
            stored = interrupted.report.stored
            say(f"interrupted; {stored} documents were stored, and the same command goes on from there")
            workspace.project(ledger)
            raise
        summary = dict(report.summary)
        if settings.resolve:
            summary["merged"] = _resolve(workspace, ledger)
        waiting = workspace.project(ledger)
    narration += _narrate(report, failures_path)
    narration += [waiting] if waiting else []
    if not report.read and not report.n_failed:
        narration.append("there was nothing to read")
    return Ingested(summary, narration, report.stopped, report.n_failed > 0 and report.read == 0)


def _resolve(workspace: Workspace, ledger: Ledger) -> int:
    """Merge what is the same, unless that was done for this version; a killed run leaves it to the next."""
    from kg.resolve import resolve

    mark = workspace.root / "resolved"
    if mark.is_file() and mark.read_text(encoding="ascii").strip() == str(ledger.version):
        return 0
    merged = len(resolve(ledger, workspace.schema).merged)
    mark.write_text(f"{ledger.version}\n", encoding="ascii")
    return merged


def estimate_paths(
    workspace: Workspace, paths: list[str], options: ReadOptions, extractor: str | None
) -> dict[str, Any]:
    """What an ingest would extract, and what a language model would cost; nothing is stored or asked."""
    from extraction.chunks import split
    from extraction.estimate import estimate

    limit = workspace.settings.extraction.max_characters
    with workspace.ledger() as ledger, _extractor(workspace, extractor) as chosen:
        found = estimate(paths, ledger=ledger, extractor=chosen, options=options, max_characters=limit)
        summary: dict[str, Any] = {
            "documents": found.documents,
            "unchanged": found.unchanged,
            "failed": found.failed,
            "chunks": found.chunks,
            "characters": found.characters,
        }
        if not isinstance(chosen, _Metered):
            return summary
        from language.calls import Calls
        from language.calls import estimate as estimate_calls

        requests = (
            chosen.request(document, chunk)
            for document in read_documents(paths, options)
            if not isinstance(document, ReadFailure)
            for chunk in split(document, max_characters=limit)
        )
        with Calls(workspace.calls_path) as calls:
            cost = estimate_calls(
                requests, completion_tokens=EXPECTED_ANSWER_TOKENS, prices=prices(workspace), calls=calls
            )
    return {
        **summary,
        "calls": cost.calls,
        "cached_calls": cost.cached,
        "prompt_tokens": cost.prompt_tokens,
        "completion_tokens": cost.completion_tokens,
        "dollars": cost.dollars if cost.dollars is not None else "unknown: set the prices in [language]",
    }


@contextmanager
def _extractor(workspace: Workspace, named: str | None) -> Iterator[Extractor]:
    name = named or workspace.settings.extraction.extractor
    if name == "local":
        from extraction.local import LocalExtractor

        yield LocalExtractor(workspace.schema)
    elif name == "llm":
        from extraction.llm import LanguageModelExtractor
        from language.calls import Calls, LedgeredChatModel

        client = open_client(workspace)
        with Calls(workspace.calls_path) as calls:
            model = LedgeredChatModel(client, calls, budget=budget(workspace), prices=prices(workspace))
            yield _Metered(LanguageModelExtractor(model, workspace.schema), model, client)
    else:
        raise UsageError(f"there is no extractor {name!r}.", hint="Known: local, llm.")


def _one_line(report: IngestReport) -> str:
    counts = f"{report.stored} stored, {report.unchanged} unchanged, {report.n_failed} failed"
    return f"{counts}, {report.facts} facts"


def _narrate(report: IngestReport, failures_path: Path | None) -> list[str]:
    lines = [f"not read: {failure.error.message}" for failure in report.failed]
    if report.n_failed > len(report.failed):
        more = report.n_failed - len(report.failed)
        lines.append(f"and {more} more; {failures_path or '--failures FILE'} has them all")
    if report.refused:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in report.refused.most_common(5))
        lines.append(f"refused by the extractor: {reasons}")
    return lines
