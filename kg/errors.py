"""Every error that loregraph raises on purpose, in one tree.

::

    LoreError                     exit 1   HTTP 500   the work failed
    ├── UsageError                exit 2   HTTP 400   the caller asked for something that makes no sense
    │   └── QueryRefused          exit 2   HTTP 400   Cypher that is not read-only, or not portable
    ├── ConfigurationError        exit 78  HTTP 500   a setting, a schema or a workspace is wrong
    │   └── SchemaError           exit 78  HTTP 500   the schema contradicts itself or names an unknown thing
    ├── InputError                exit 1   HTTP 422   a file, a row or an answer that cannot be used
    │   └── DocumentError         exit 1   HTTP 422   one document cannot be read
    ├── NotFound                  exit 4   HTTP 404   there is no such thing
    ├── QueryFailed               exit 1   HTTP 400   the database rejected or could not finish a query
    │   └── QueryTimeout          exit 1   HTTP 408   the query ran past its time limit
    ├── ServiceUnavailable        exit 69  HTTP 503   a server did not answer or refused the login
    │   └── StoreLocked           exit 69  HTTP 503   another process owns the file
    ├── LedgerError               exit 1   HTTP 500   the ledger is damaged, or of another version
    ├── StoreError                exit 1   HTTP 500   a graph store is damaged, or ahead of its ledger
    ├── LanguageModelError        exit 1   HTTP 502   a language model gave no usable answer
    │   └── BudgetExceeded        exit 1   HTTP 402   the money or token limit is reached
    ├── TrainingError             exit 1   HTTP 500   training cannot go on
    └── BundleError               exit 1   HTTP 500   a model bundle is damaged, or of another version

A message says what is wrong, where, and what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class LoreError(Exception):
    """The root of the tree.

    ``what`` is one sentence; ``where`` names the file, row or setting; ``hint`` says what to do next.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    title: ClassVar[str] = "The work failed"

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The whole message on one line: where, what, hint."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head} {self.hint}" if self.hint else head


class UsageError(LoreError):
    """The caller asked for something that makes no sense."""

    exit_code = 2
    http_status = 400
    title = "The request makes no sense"


class QueryRefused(UsageError):
    """A Cypher text that is not read-only, or that the store's dialect cannot run."""

    title = "The query is refused"


class ConfigurationError(LoreError):
    """A setting or a workspace is wrong."""

    exit_code = 78
    title = "The configuration is wrong"


class SchemaError(ConfigurationError):
    """A schema contradicts itself or names an unknown thing."""

    title = "The schema is wrong"


class InputError(LoreError):
    """A file, a row or an answer cannot be used."""

    http_status = 422
    title = "The input cannot be used"


class DocumentError(InputError):
    """One document cannot be read."""

    title = "The document cannot be read"


class NotFound(LoreError):
    """There is no such thing."""

    exit_code = 4
    http_status = 404
    title = "Not found"


class QueryFailed(LoreError):
    """The database rejected a query or could not finish it."""

    http_status = 400
    title = "The query failed"


class QueryTimeout(QueryFailed):
    """A query ran past its time limit."""

    http_status = 408
    title = "The query took too long"


class ServiceUnavailable(LoreError):
    """A server did not answer, or refused the login."""

    exit_code = 69
    http_status = 503
    title = "A service is unavailable"


class StoreLocked(ServiceUnavailable):
    """Another process owns the file."""

    title = "The database is in use"


class LedgerError(LoreError):
    """The ledger is damaged, or of another version."""

    title = "The ledger cannot be used"


class StoreError(LoreError):
    """A graph store is damaged, or ahead of its ledger."""

    title = "The graph store cannot be used"


class LanguageModelError(LoreError):
    """A language model gave no usable answer.

    ``prompt_tokens`` and ``completion_tokens`` are what was paid for nothing; ``answer`` is what it said.
    """

    http_status = 502
    title = "The language model gave no usable answer"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        answer: str = "",
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self.answer = answer


class BudgetExceeded(LanguageModelError):
    """The money or token limit is reached."""

    http_status = 402
    title = "The budget is spent"


class TrainingError(LoreError):
    """Training cannot go on."""

    title = "Training stopped"


class BundleError(LoreError):
    """A model bundle is damaged, or of another version."""

    title = "The bundle cannot be used"
