"""A chat model behind the call ledger and a budget: the way every part of the project asks a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kg.errors import BudgetExceeded, ConfigurationError, LanguageModelError, LoreError
from language.callfile import Calls, Estimate, Failure, Price, Totals, estimate
from language.chat import Answer, ChatModel
from language.request import Message, Request

__all__ = ["Budget", "Calls", "Estimate", "Failure", "LedgeredChatModel", "Price", "Totals", "estimate"]

UNBOUNDED_ANSWER_TOKENS = 4096
"""What an answer without ``max_tokens`` is taken to cost at most, when a budget is checked."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A hard stop for one run, in dollars, in tokens, or both (``None``: no limit)."""

    dollars: float | None = None
    tokens: int | None = None


class LedgeredChatModel:
    """Answers from the call ledger where it can, asks ``model`` where it must, and keeps every answer.

    Equal requests in flight at once share one call. ``budget`` counts what this object spends: a call begins
    only if its worst case, with a repair, still fits beside those in flight; it waits for them where only
    they stand in the way. With ``replay`` nothing is ever asked, and a request that is not in the ledger is
    an error.

    Raises :class:`~kg.errors.ConfigurationError` where dollars are limited and the model has no price.
    """

    def __init__(
        self,
        model: ChatModel,
        calls: Calls,
        *,
        budget: Budget | None = None,
        prices: Mapping[str, Price] | None = None,
        replay: bool = False,
    ) -> None:
        self._model = model
        self._calls = calls
        self._budget = budget or Budget()
        self._price = (prices or {}).get(model.name)
        self._replay = replay
        self._totals = Totals()
        self._in_flight: dict[str, asyncio.Task[Answer]] = {}
        self._reserved: dict[str, tuple[float, int]] = {}
        self._waiting: list[asyncio.Future[None]] = []
        if self._budget.dollars is not None and self._price is None:
            raise ConfigurationError(
                f"a budget in dollars needs the price of {model.name!r}.",
                hint="Give its price per million tokens, or limit tokens instead.",
            )

    @property
    def name(self) -> str:
        """The name of the model behind."""
        return self._model.name

    @property
    def totals(self) -> Totals:
        """What this object has asked, re-used and spent so far."""
        return self._totals

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        temperature: float = 0.0,
        max_tokens: int | None = None,
        purpose: str = "",
    ) -> Answer:
        """Answer from the ledger or from the model; see :class:`~language.chat.ChatModel`.

        Raises :class:`~kg.errors.BudgetExceeded` before a call that the budget does not cover: what was
        answered is kept, so that a run with a larger budget goes on from there.
        """
        request = Request(self.name, tuple(messages), schema, temperature, max_tokens, purpose)
        task = self._in_flight.get(request.hash)
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            answer = await asyncio.shield(task)
            self._count(cached=1)
            return replace(answer, cached=True)
        stored = self._calls.answer(request)
        if stored is not None:
            self._count(cached=1)
            return stored
        if self._replay:
            raise LanguageModelError(
                "the answer is not in the call ledger, and a replay asks nobody.",
                where=f"{purpose or 'request'} {request.hash} in {self._calls.path}",
                hint="Run once without replay; a changed text, prompt, schema or model is a new request.",
            )
        task = asyncio.create_task(self._pay(request))
        self._in_flight[request.hash] = task
        task.add_done_callback(lambda done: self._forget(request.hash, done))
        return await asyncio.shield(task)

    async def _pay(self, request: Request) -> Answer:
        await self._reserve(request)
        began = time.monotonic()
        try:
            answer = await self._model.complete(
                request.messages,
                schema=request.schema,
                temperature=request.temperature,
                max_tokens=request.max_tokens,
                purpose=request.purpose,
            )
        except LoreError as problem:
            self._book_failure(request, problem)
            raise
        finally:
            self._release(request)
        seconds = time.monotonic() - began
        dollars = self._dollars(answer.prompt_tokens, answer.completion_tokens)
        self._count(1, 0, 0, answer.prompt_tokens, answer.completion_tokens, dollars, seconds)
        self._calls.put(request, answer, dollars=dollars, seconds=seconds)
        return answer

    async def _reserve(self, request: Request) -> None:
        """Set the worst case of a request aside; wait while only calls in flight stand in the way."""
        if self._budget == Budget():
            return
        prompt, completion = _worst_case(request)
        need = (self._dollars(prompt, completion), prompt + completion)
        while True:
            if not self._fits((0.0, 0), need):
                raise self._exceeded(need)
            reserved = (
                sum(dollars for dollars, _ in self._reserved.values()),
                sum(tokens for _, tokens in self._reserved.values()),
            )
            if self._fits(reserved, need):
                self._reserved[request.hash] = need
                return
            settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(settled)
            await settled

    def _fits(self, reserved: tuple[float, int], need: tuple[float, int]) -> bool:
        limit_dollars, limit_tokens = self._budget.dollars, self._budget.tokens
        dollars = self._totals.dollars + reserved[0] + need[0]
        tokens = self._totals.tokens + reserved[1] + need[1]
        return (limit_dollars is None or dollars <= limit_dollars) and (
            limit_tokens is None or tokens <= limit_tokens
        )

    def _exceeded(self, need: tuple[float, int]) -> BudgetExceeded:
        return BudgetExceeded(
            f"the budget is spent: {self._totals.tokens:,} tokens and ${self._totals.dollars:.4f} in "
            f"{self._totals.calls:,} calls, and the next call may take {need[1]:,} tokens (${need[0]:.4f}).",
            where=f"{self.name}, limit {_limits(self._budget)}",
            hint="Run again with a larger budget: what was answered is kept and not paid for again.",
        )

    def _release(self, request: Request) -> None:
        self._reserved.pop(request.hash, None)
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            if not settled.done() and not settled.get_loop().is_closed():
                settled.set_result(None)

    def _book_failure(self, request: Request, problem: LoreError) -> None:
        prompt = completion = 0
        answer = ""
        if isinstance(problem, LanguageModelError):
            prompt, completion, answer = problem.prompt_tokens, problem.completion_tokens, problem.answer
        dollars = self._dollars(prompt, completion)
        self._count(0, 0, 1, prompt, completion, dollars)
        self._calls.put_failure(
            Failure(
                request.hash, request.model, request.purpose, problem.message, answer, prompt, completion,
                dollars, time.time(),
            )
        )  # fmt: skip

    def _dollars(self, prompt_tokens: int, completion_tokens: int) -> float:
        return self._price.dollars(prompt_tokens, completion_tokens) if self._price else 0.0

    def _count(
        self,
        calls: int = 0,
        cached: int = 0,
        failed: int = 0,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        dollars: float = 0.0,
        seconds: float = 0.0,
    ) -> None:
        old = self._totals
        self._totals = Totals(
            old.calls + calls,
            old.cached + cached,
            old.failed + failed,
            old.prompt_tokens + prompt_tokens,
            old.completion_tokens + completion_tokens,
            old.dollars + dollars,
            old.seconds + seconds,
        )

    def _forget(self, request_hash: str, done: asyncio.Task[Answer]) -> None:
        if self._in_flight.get(request_hash) is done:
            del self._in_flight[request_hash]
        if not done.cancelled():
            done.exception()  # every waiter may have been cancelled: the failure is booked all the same


def _worst_case(request: Request) -> tuple[int, int]:
    """Prompt and completion tokens of a call, and of its repair where it has a schema."""
    prompt = request.estimated_tokens
    completion = request.max_tokens or UNBOUNDED_ANSWER_TOKENS
    if request.schema is None:
        return prompt, completion
    return 2 * prompt + completion, 2 * completion


def _limits(budget: Budget) -> str:
    parts = []
    if budget.dollars is not None:
        parts.append(f"${budget.dollars:g}")
    if budget.tokens is not None:
        parts.append(f"{budget.tokens:,} tokens")
    return " and ".join(parts)
