"""From paths to facts in the ledger: read, skip what is known, cut, extract, commit.

A document is committed whole or not at all, together with a stamp of what extracted it. So a run that is
killed at any moment loses and doubles nothing, and the next one goes on where it was. A document that has
vanished from its folder stays in the ledger until it is deleted there.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from extraction.chunks import DEFAULT_MAX_CHARACTERS, split
from extraction.combining import combine
from extraction.documents import ReadFailure, ReadOptions, read_documents
from extraction.extractor import Extraction, Extractor
from extraction.report import FailureLog, IngestReport
from extraction.stamps import is_stored, stamp_of, stamped
from kg.errors import (
    BudgetExceeded,
    ConfigurationError,
    LedgerError,
    LoreError,
    ServiceUnavailable,
    StoreLocked,
)
from kg.facts import Assertions, Chunk, Document
from kg.ledger.ledger import Ledger

DEFAULT_CONCURRENCY = 8
LOCAL_DOCUMENTS_PER_COMMIT = 50
"""The local extractor pays nothing for a document, so it may lose a few; a commit costs a disk flush."""

CHARACTERS_IN_FLIGHT = 8_000_000
"""How much text is held at most between reading and committing, beyond one document."""

_CHARACTERS_READ_AHEAD = 500_000
_DOCUMENTS_READ_AHEAD = 32
_SECONDS_BETWEEN_PROGRESS = 0.1

_STOPPING = (BudgetExceeded, ConfigurationError, ServiceUnavailable)
"""Errors that every later document would meet as well."""

Progress = Callable[[IngestReport], None]


@runtime_checkable
class Metered(Protocol):
    """An extractor that counts what it spends."""

    def usage(self) -> Mapping[str, float]:
        """Name and amount of each thing spent since the extractor was made (tokens, dollars, calls)."""


@runtime_checkable
class Closing(Protocol):
    """An extractor that holds connections open."""

    async def close(self) -> None:
        """Close them; the extractor may be used again and opens new ones."""


class IngestInterrupted(KeyboardInterrupt):
    """Ctrl-C during an ingest; ``report`` says what was stored before it."""

    def __init__(self, report: IngestReport) -> None:
        super().__init__("interrupted")
        self.report = report


async def ingest(
    paths: Sequence[str | Path],
    *,
    ledger: Ledger,
    extractor: Extractor,
    options: ReadOptions | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    max_characters: int = DEFAULT_MAX_CHARACTERS,
    documents_per_commit: int | None = None,
    progress: Progress | None = None,
    refresh: bool = False,
    failures_path: Path | None = None,
    report: IngestReport | None = None,
) -> IngestReport:
    """Read documents and store what the extractor finds in them.

    A document is skipped where its place holds the same text, title and metadata, extracted in the same
    way; ``refresh`` extracts it all the same. ``concurrency`` bounds the chunks in extraction at once,
    ``max_characters`` a chunk. ``documents_per_commit`` is 1 if not given, and 50 for the local extractor.
    Commits follow the order of reading. ``progress`` is shown the growing report up to ten times a second,
    and ``failures_path`` names a JSON-lines file for every failed document. ``report`` is filled in and
    returned.

    One bad document never stops the others. An error that the next document would meet too (a spent budget,
    an unreachable service, a failing disk) ends the run early as ``report.stopped``. Raises
    :class:`~kg.errors.UsageError` at once for paths that do not exist.
    """
    report = IngestReport() if report is None else report
    stream = read_documents(paths, options)
    if documents_per_commit is None:
        documents_per_commit = LOCAL_DOCUMENTS_PER_COMMIT if extractor.name == "local" else 1
    failures = FailureLog(report, failures_path)
    run = _Run(
        ledger,
        extractor,
        report,
        failures,
        progress,
        max_characters,
        concurrency,
        documents_per_commit,
        refresh,
    )
    started = time.monotonic()
    try:
        await run.through(stream)
    finally:
        if isinstance(extractor, Closing):
            await extractor.close()
        failures.close()
        report.seconds = time.monotonic() - started
        if isinstance(extractor, Metered):
            report.usage = dict(extractor.usage())
    return report


def run_ingest(
    paths: Sequence[str | Path],
    *,
    ledger: Ledger,
    extractor: Extractor,
    options: ReadOptions | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    max_characters: int = DEFAULT_MAX_CHARACTERS,
    documents_per_commit: int | None = None,
    progress: Progress | None = None,
    refresh: bool = False,
    failures_path: Path | None = None,
) -> IngestReport:
    """Run :func:`ingest` to its end.

    Raises :class:`IngestInterrupted` on Ctrl-C, after committing the documents that were extracted already.
    """
    report = IngestReport()
    try:
        return asyncio.run(
            ingest(
                paths,
                ledger=ledger,
                extractor=extractor,
                options=options,
                concurrency=concurrency,
                max_characters=max_characters,
                documents_per_commit=documents_per_commit,
                progress=progress,
                refresh=refresh,
                failures_path=failures_path,
                report=report,
            )
        )
    except KeyboardInterrupt:
        report.interrupted = True
        raise IngestInterrupted(report) from None


@dataclass(slots=True)
class _Extracted:
    document: Document
    chunks: list[Chunk]
    assertions: Assertions
    refused: Counter[str]
    duplicate: bool = False


class _Run:
    """One ingest: a queue of documents in extraction, in reading order, and a batch to be committed."""

    def __init__(
        self,
        ledger: Ledger,
        extractor: Extractor,
        report: IngestReport,
        failures: FailureLog,
        progress: Progress | None,
        max_characters: int,
        concurrency: int,
        documents_per_commit: int,
        refresh: bool,
    ) -> None:
        self._ledger = ledger
        self._extractor = extractor
        self._report = report
        self._failures = failures
        self._progress = progress
        self._max_characters = max_characters
        self._documents_per_commit = documents_per_commit
        self._refresh = refresh
        self._stamp = stamp_of(extractor, max_characters)
        self._slots = asyncio.Semaphore(concurrency)
        self._max_waiting = 4 * concurrency
        self._waiting: deque[tuple[Document, asyncio.Task[_Extracted]]] = deque()
        self._characters_waiting = 0
        self._batch: list[_Extracted] = []
        self._ledger_failed = False
        self._shown = 0.0

    async def through(self, stream: Iterator[Document | ReadFailure]) -> None:
        """Take every document of the stream to its end, or up to an error that ends the run."""
        try:
            async for found in _read_ahead(stream):
                await self._take(found)
            while self._waiting:
                await self._finish_first()
        except (*_STOPPING, LedgerError) as error:
            self._report.stopped = error
        finally:
            await self._let_go()
            self._commit_rest()
            self._show(always=True)

    async def _take(self, found: Document | ReadFailure) -> None:
        if isinstance(found, ReadFailure):
            self._failures.add(found.where, found.error)
            self._show()
            return
        self._report.read += 1
        if not self._refresh and is_stored(self._ledger, stamped(found, self._stamp)):
            self._report.unchanged += 1
            self._show()
            return
        self._waiting.append((found, asyncio.create_task(self._extract(found))))
        self._characters_waiting += len(found.text)
        while len(self._waiting) > self._max_waiting or self._characters_waiting > CHARACTERS_IN_FLIGHT:
            await self._finish_first()

    async def _extract(self, document: Document) -> _Extracted:
        chunks = split(document, max_characters=self._max_characters)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._extract_chunk(document, chunk)) for chunk in chunks]
        except BaseExceptionGroup as problems:
            stopping = [problem for problem in problems.exceptions if isinstance(problem, _STOPPING)]
            raise (stopping or problems.exceptions)[0] from None
        extractions = [task.result() for task in tasks]
        refused = Counter(refusal.reason for extraction in extractions for refusal in extraction.refused)
        return _Extracted(stamped(document, self._stamp), chunks, combine(extractions), refused)

    async def _extract_chunk(self, document: Document, chunk: Chunk) -> Extraction:
        async with self._slots:
            return await self._extractor.extract(document, chunk)

    async def _finish_first(self) -> None:
        """Wait for the document that was read first, and commit when a batch is full."""
        document, task = self._waiting[0]
        await asyncio.wait([task])
        self._waiting.popleft()
        self._characters_waiting -= len(document.text)
        self._collect(document, task)
        if len(self._batch) >= self._documents_per_commit:
            self._commit()

    def _collect(self, document: Document, task: asyncio.Task[_Extracted]) -> None:
        problem = task.exception()
        if problem is None:
            self._batch.append(task.result())
        elif isinstance(problem, _STOPPING) or not isinstance(problem, Exception):
            raise problem
        else:
            self._failures.add(document.uri, _as_lore_error(problem, document))
            self._show()

    def _commit(self) -> None:
        """Commit the batch; a document that the ledger refuses fails alone."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        try:
            with self._ledger.batch():
                outcomes = [self._put(done) for done in batch]
        except LoreError:
            self._ledger_failed = True
            raise
        for done, outcome in zip(batch, outcomes, strict=True):
            self._count(done, outcome)
        self._show()

    def _put(self, done: _Extracted) -> bool | LedgerError:
        document = done.document
        done.duplicate = (
            self._ledger.has_document(document.id) and self._ledger.holds(document.uri) != document.id
        )
        try:
            return self._ledger.put_document(done.document, done.chunks, done.assertions)
        except LedgerError as error:
            if isinstance(error.__cause__, sqlite3.Error):
                raise
            return error

    def _count(self, done: _Extracted, outcome: bool | LedgerError) -> None:
        report = self._report
        if isinstance(outcome, LedgerError):
            self._failures.add(done.document.uri, outcome)
            return
        report.refused.update(done.refused)
        if not outcome:
            report.unchanged += 1
            return
        report.stored += 1
        report.duplicates += done.duplicate
        report.chunks += len(done.chunks)
        report.entities += len(done.assertions.entities)
        report.facts += len(done.assertions.facts)

    async def _let_go(self) -> None:
        """End what is still in extraction; what is extracted already joins the batch, for it was paid for."""
        waiting, self._waiting = list(self._waiting), deque()
        for _, task in waiting:
            if not task.done():
                task.cancel()
        if waiting:
            await asyncio.wait([task for _, task in waiting])
        for _, task in waiting:
            if not task.cancelled() and task.exception() is None:
                self._batch.append(task.result())

    def _commit_rest(self) -> None:
        if self._ledger_failed:
            return
        try:
            self._commit()
        except (LedgerError, StoreLocked) as error:
            self._report.stopped = self._report.stopped or error

    def _show(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if self._progress is not None and (always or now - self._shown >= _SECONDS_BETWEEN_PROGRESS):
            self._shown = now
            self._progress(self._report)


def _as_lore_error(problem: Exception, document: Document) -> LoreError:
    """One chunk that makes an extractor fail in an unforeseen way must not stop the other documents."""
    if isinstance(problem, LoreError):
        return problem
    return LoreError(f"the extractor failed: {type(problem).__name__}: {problem}.", where=document.uri)


async def _read_ahead(stream: Iterator[Document | ReadFailure]) -> AsyncIterator[Document | ReadFailure]:
    """Read in another thread, a little at a time, so that a slow file holds up no call in flight."""
    while found := await asyncio.to_thread(_some, stream):
        for item in found:
            yield item


def _some(stream: Iterator[Document | ReadFailure]) -> list[Document | ReadFailure]:
    found: list[Document | ReadFailure] = []
    n_characters = 0
    for item in stream:
        found.append(item)
        n_characters += len(item.text) if isinstance(item, Document) else 0
        if len(found) >= _DOCUMENTS_READ_AHEAD or n_characters >= _CHARACTERS_READ_AHEAD:
            break
    return found
