"""Chat models: the protocol, its words, and the client for every OpenAI-compatible server.

A server that speaks the chat-completions protocol is asked through the ``openai`` client: OpenAI itself,
vLLM, Ollama, llama.cpp, gateways. Servers differ in what they understand, so a request starts in the
strictest form and steps down where the server rejects it: an answer bound to a JSON schema, then any JSON
object, then text in which the JSON is looked for. The form that worked is kept for the next requests.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol

from kg.errors import LanguageModelError, ServiceUnavailable
from language.answers import Reading, read_answer
from language.limits import Limiter
from language.request import Message, Request, estimate_tokens
from language.transport import Reply, Transport

__all__ = ["Answer", "ChatModel", "Message", "OpenAIChatModel", "Request", "estimate_tokens"]

DEFAULT_BASE_URL = "https://api.openai.com/v1"
KEY_VARIABLES = ("LORE_LANGUAGE__API_KEY", "OPENAI_API_KEY")
REPAIRS = 1
SHOWN_ANSWER_CHARACTERS = 4000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said.

    ``parsed`` is the JSON object, fitted to the request's schema (``None`` without a schema); ``dropped``
    names the list items that were left out of it because they still did not fit after the repair. Tokens
    cover all calls that the answer took; ``estimated`` marks those that the server did not count. ``cached``
    is true where nothing was paid.
    """

    text: str
    parsed: dict[str, Any] | None
    prompt_tokens: int
    completion_tokens: int
    model: str
    cached: bool
    request_hash: str
    dropped: tuple[str, ...] = ()
    estimated: bool = False


class ChatModel(Protocol):
    """A language model that answers a conversation."""

    @property
    def name(self) -> str:
        """The model's name, as the server knows it."""

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        temperature: float = 0.0,
        max_tokens: int | None = None,
        purpose: str = "",
    ) -> Answer:
        """Answer the conversation; with a JSON ``schema``, ``Answer.parsed`` is an object that fits it.

        Raises :class:`~kg.errors.LanguageModelError` where the answer is unusable and
        :class:`~kg.errors.ServiceUnavailable` where no answer could be had.
        """


class OpenAIChatModel:
    """A model on an OpenAI-compatible server.

    ``base_url`` defaults to ``OPENAI_BASE_URL``, then to OpenAI; ``api_key`` to ``LORE_LANGUAGE__API_KEY``,
    then to ``OPENAI_API_KEY``. ``timeout`` is in seconds, per attempt. A request is tried up to ``attempts``
    times; ``backoff`` is the first wait in seconds. ``limiter`` carries the rates and the requests in flight;
    share one among models of one account. ``rng`` draws the jitter of the waits.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 120.0,
        attempts: int = 6,
        backoff: float = 0.5,
        max_in_flight: int = 16,
        limiter: Limiter | None = None,
        repairs: int = REPAIRS,
        rng: random.Random | None = None,
    ) -> None:
        self._name = model
        self._repairs = repairs
        self.limiter = limiter or Limiter(max_in_flight=max_in_flight)
        self._transport = Transport(
            model=model,
            base_url=base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL,
            api_key=api_key or next(filter(None, map(os.environ.get, KEY_VARIABLES)), None),
            timeout=timeout,
            attempts=attempts,
            backoff=backoff,
            limiter=self.limiter,
            rng=rng or random.Random(),
        )

    @property
    def name(self) -> str:
        """The model's name, as the server knows it."""
        return self._name

    @property
    def base_url(self) -> str:
        """Where the server is."""
        return self._transport.base_url

    async def __aenter__(self) -> OpenAIChatModel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        await self._transport.close()

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        temperature: float = 0.0,
        max_tokens: int | None = None,
        purpose: str = "",
    ) -> Answer:
        """Answer the conversation; see :class:`ChatModel`.

        An answer that does not fit the schema is shown to the model once with what is wrong. List items that
        still do not fit are dropped and named; anything else that does not fit raises
        :class:`~kg.errors.LanguageModelError`, as do refusals.
        """
        request = Request(self._name, tuple(messages), schema, temperature, max_tokens, purpose)
        spent = _Spent()
        reply = spent.add(await self._ask(request, request, spent))
        if schema is None:
            return self._answer(request, reply, None, spent)
        reading = read_answer(reply.text, schema)
        for _ in range(self._repairs):
            if not reading.problems:
                break
            log.info("%s: an answer of %s does not fit: %s", purpose, self._name, reading.problems[0])
            repair = replace(request, messages=repair_messages(messages, reply, reading.problems))
            try:
                reply = spent.add(await self._ask(request, repair, spent))
            except ServiceUnavailable as problem:
                why = f"{_why(reply, reading.problems)}, and it could not be repaired: {problem.what}"
                raise self._unusable(request, why.rstrip("."), spent, reply.text) from None
            reading = read_answer(reply.text, schema)
        if reading.problems:
            reading = read_answer(reply.text, schema, drop=True)
        if reading.problems or not isinstance(reading.value, dict):
            raise self._unusable(request, _why(reply, reading.problems), spent, reply.text)
        return self._answer(request, reply, reading, spent)

    async def _ask(self, request: Request, asked: Request, spent: _Spent) -> Reply:
        reply = await self._transport.send(asked)
        if reply.refusal is not None:
            spent.add(reply)
            raise self._unusable(request, f"the model refused: {reply.refusal}", spent, reply.text)
        return reply

    def _answer(self, request: Request, reply: Reply, reading: Reading | None, spent: _Spent) -> Answer:
        return Answer(
            text=reply.text,
            parsed=reading.value if reading else None,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            model=reply.model,
            cached=False,
            request_hash=request.hash,
            dropped=reading.dropped if reading else (),
            estimated=spent.estimated,
        )

    def _unusable(self, request: Request, why: str, spent: _Spent, text: str) -> LanguageModelError:
        return LanguageModelError(
            f"{why}.",
            where=f"{request.purpose or 'request'} to {self._name}",
            hint="A larger model, or smaller chunks, often help.",
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            answer=text,
        )


class _Spent:
    """Tokens of the calls that one answer took."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.estimated = False

    def add(self, reply: Reply) -> Reply:
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.estimated = self.estimated or reply.estimated
        return reply


def repair_messages(
    messages: Sequence[Message], reply: Reply, problems: Sequence[str]
) -> tuple[Message, ...]:
    """The conversation that shows a model its answer and what is wrong with it."""
    listed = "\n".join(f"- {problem}" for problem in problems)
    cut = "\n- it was cut off at the token limit: answer more briefly" if reply.truncated else ""
    complaint = (
        f"This answer cannot be used:\n{listed}{cut}\nAnswer again with the corrected JSON object only."
    )
    shown = reply.text[:SHOWN_ANSWER_CHARACTERS] or "(empty)"
    return (
        *messages,
        Message(role="assistant", content=shown),
        Message(role="user", content=complaint),
    )


def _why(reply: Reply, problems: Sequence[str]) -> str:
    cut = "the answer was cut off at the token limit: " if reply.truncated else ""
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return f"{cut}the answer does not fit: {'; '.join(problems[:3])}{more}"
