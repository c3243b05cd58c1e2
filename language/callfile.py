"""The call ledger: every request to a language model and its answer, kept by content, paid for once.

One SQLite file (write-ahead log). An answer is committed before it is handed on, so a killed run has lost
only the calls that were in flight. Only answers that fit are kept as answers; failures are kept for the
report and are asked again.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from kg.errors import LedgerError
from kg.facts import canonical_json, content_hash
from language.answers import Reading, read_answer
from language.chat import Answer
from language.request import Message, Request

APPLICATION_ID = 0x4C4F5243  # "LORC"
FORMAT = 1
_SUMS = "count(*), total(prompt_tokens), total(completion_tokens), total(dollars)"
_TABLES = """
CREATE TABLE texts (hash TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE calls (
  request_hash TEXT PRIMARY KEY, model TEXT NOT NULL, purpose TEXT NOT NULL, request TEXT NOT NULL, answer
  TEXT NOT NULL, answered_by TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT
  NULL, estimated INTEGER NOT NULL, dollars REAL NOT NULL, seconds REAL NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE failures (
  number INTEGER PRIMARY KEY, request_hash TEXT NOT NULL, model TEXT NOT NULL, purpose TEXT NOT NULL,
  reason TEXT NOT NULL, answer TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL, dollars REAL NOT NULL, at REAL NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in dollars per million tokens of the prompt and of the completion."""

    prompt: float
    completion: float

    def dollars(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The cost of so many tokens, in dollars."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over calls: paid ``calls``, ``cached`` answers, ``failed`` ones, tokens, dollars.

    Tokens and dollars include what failed answers cost. ``seconds`` adds up the durations of the paid calls,
    which overlap in time.
    """

    calls: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that brought no usable answer; ``at`` is a Unix time in seconds."""

    request_hash: str
    model: str
    purpose: str
    reason: str
    answer: str
    prompt_tokens: int
    completion_tokens: int
    dollars: float
    at: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What requests would cost if asked now: an estimate, see :func:`estimate`.

    ``cached`` requests are answered from the ledger and cost nothing. ``dollars`` is ``None`` where no price
    is known.
    """

    calls: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None


class Calls:
    """The file; opened or created at ``path``. Several processes may use it at once.

    Raises :class:`~kg.errors.LedgerError` where the file is something else, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(
                path, timeout=30.0, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except sqlite3.Error as problem:
            raise LedgerError(
                f"the call ledger cannot be opened: {problem}.",
                where=str(path),
                hint="Move the file away to begin a new one; its answers are then paid for again.",
            ) from None

    def __enter__(self) -> Calls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def answer(self, request: Request) -> Answer | None:
        """The stored answer to a request, marked as cached, or ``None``."""
        with self._lock:
            row = self._database.execute(
                "SELECT answer, answered_by, prompt_tokens, completion_tokens, estimated FROM calls"
                " WHERE request_hash = ?",
                (request.hash,),
            ).fetchone()
        if row is None:
            return None
        text, answered_by, prompt_tokens, completion_tokens, estimated = row
        reading = Reading(None) if request.schema is None else read_answer(text, request.schema, drop=True)
        return Answer(
            text=text,
            parsed=reading.value,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            model=answered_by,
            cached=True,
            request_hash=request.hash,
            dropped=reading.dropped,
            estimated=bool(estimated),
        )

    def put(self, request: Request, answer: Answer, *, dollars: float, seconds: float) -> None:
        """Keep an answer; the first one for a request stays."""
        stored, texts = _stored_form(request)
        row = (
            request.hash, request.model, request.purpose, stored, answer.text, answer.model,
            answer.prompt_tokens, answer.completion_tokens, int(answer.estimated), dollars, seconds,
            time.time(),
        )  # fmt: skip
        with self._write():
            self._database.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", texts.items())
            self._database.execute(
                "INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )

    def put_failure(self, failure: Failure) -> None:
        """Keep a failure for the report."""
        row = (
            failure.request_hash, failure.model, failure.purpose, failure.reason, failure.answer,
            failure.prompt_tokens, failure.completion_tokens, failure.dollars, failure.at,
        )  # fmt: skip
        with self._write():
            self._database.execute("INSERT INTO failures VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def totals(self) -> Totals:
        """Sums over everything ever paid with this file; ``cached`` is 0 here, as re-use is not recorded."""
        with self._lock:
            paid = self._database.execute(f"SELECT {_SUMS}, total(seconds) FROM calls").fetchone()
            lost = self._database.execute(f"SELECT {_SUMS} FROM failures").fetchone()
        return Totals(
            calls=paid[0],
            failed=lost[0],
            prompt_tokens=int(paid[1] + lost[1]),
            completion_tokens=int(paid[2] + lost[2]),
            dollars=paid[3] + lost[3],
            seconds=paid[4],
        )

    def failures(self) -> Iterator[Failure]:
        """Every failure, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT request_hash, model, purpose, reason, answer, prompt_tokens, completion_tokens,"
                " dollars, at FROM failures ORDER BY number"
            ).fetchall()
        yield from (Failure(*row) for row in rows)

    def requests(self, *, purpose: str | None = None) -> Iterator[tuple[Request, Answer]]:
        """Every stored request with its answer, for reports and for scoring recorded answers."""
        where, values = ("", ()) if purpose is None else (" WHERE purpose = ?", (purpose,))
        with self._lock:
            rows = self._database.execute(f"SELECT request FROM calls{where} ORDER BY at", values).fetchall()
        for (stored,) in rows:
            request = self._request(json.loads(stored))
            answer = self.answer(request)
            if answer is not None:
                yield request, answer

    def _request(self, stored: Mapping[str, Any]) -> Request:
        messages = tuple(
            Message(role=role, content=self._text(address)) for role, address in stored["messages"]
        )
        schema = None if stored["schema"] is None else json.loads(self._text(stored["schema"]))
        return Request(
            stored["model"], messages, schema, stored["temperature"], stored["max_tokens"], stored["purpose"]
        )

    def _text(self, address: str) -> str:
        with self._lock:
            row = self._database.execute("SELECT text FROM texts WHERE hash = ?", (address,)).fetchone()
        if row is None:
            raise LedgerError(f"the text {address} of a request is missing.", where=str(self.path))
        return str(row[0])

    def _prepare(self) -> None:
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        application = self._database.execute("PRAGMA application_id").fetchone()[0]
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        with self._write():
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            n_tables = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version == 0 and n_tables == 0:
                for statement in _TABLES.split(";"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._database.execute(f"PRAGMA user_version = {FORMAT}")
                return
        if application != APPLICATION_ID or version != FORMAT:
            raise LedgerError(
                f"this is no call ledger of format {FORMAT}.",
                where=str(self.path),
                hint="Name another file, or use the release that wrote it.",
            )

    @contextmanager
    def _write(self) -> Iterator[None]:
        """One write, alone in this process and in the file; rolled back on an exception."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield
                self._database.execute("COMMIT")
            except sqlite3.Error as problem:
                raise LedgerError(
                    f"the call ledger cannot be written: {problem}.",
                    where=str(self.path),
                    hint="Check the free space and the rights of its folder.",
                ) from None
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")


def estimate(
    requests: Iterable[Request],
    *,
    completion_tokens: int,
    prices: Mapping[str, Price] | None = None,
    calls: Calls | None = None,
) -> Estimate:
    """Estimate what requests would cost before the first of them is asked.

    Prompt tokens are estimated from the characters (:func:`~language.request.estimate_tokens`);
    ``completion_tokens`` is what one answer is expected to take. Equal requests count once. Retries and
    repairs are not foreseen.
    """
    seen: set[str] = set()
    n_calls = cached = prompt = 0
    dollars: float | None = 0.0
    for request in requests:
        if request.hash in seen or (calls is not None and calls.answer(request) is not None):
            cached += 1
            continue
        seen.add(request.hash)
        n_calls += 1
        prompt += request.estimated_tokens
        price = (prices or {}).get(request.model)
        if price is None or dollars is None:
            dollars = None
        else:
            dollars += price.dollars(request.estimated_tokens, completion_tokens)
    return Estimate(n_calls, cached, prompt, n_calls * completion_tokens, dollars if n_calls else 0.0)


def _stored_form(request: Request) -> tuple[str, dict[str, str]]:
    """The request with its texts replaced by addresses, and the texts: a constant prefix is stored once."""
    texts: dict[str, str] = {}

    def address(text: str) -> str:
        key = content_hash("text", text)
        texts[key] = text
        return key

    form = request.as_dict()
    form["messages"] = [[m["role"], address(m["content"])] for m in request.messages]
    form["schema"] = None if request.schema is None else address(canonical_json(request.schema))
    return canonical_json(form), texts
