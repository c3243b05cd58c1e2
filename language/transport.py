"""One request over the wire: tried again where that can help, put in words that the server understands.

Tried again, after an exponentially growing wait with jitter or the wait that the server asks for: HTTP 408,
409, 429 and 5xx, timeouts, broken connections, and replies that are no chat completion. Not tried again: a
bad key, an unknown model, an exhausted account, and any other request that the server rejects.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from kg.errors import ConfigurationError, LanguageModelError, LoreError, ServiceUnavailable
from kg.facts import canonical_json
from language.limits import Limiter
from language.request import Message, Request, estimate_tokens

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

KEY_HINT = "Set LORE_LANGUAGE__API_KEY or OPENAI_API_KEY to a key that this server accepts."
LONGEST_BACKOFF = 30.0
LONGEST_PAUSE = 300.0
"""Seconds; a server that asks for a longer wait than this is reported instead of waited for."""
RETRIED_STATUS = frozenset({408, 409, 429, *range(500, 600)})
EXPECTED_ANSWER_TOKENS = 500
"""What a request is taken to bring back, for the token rate, until the server has counted."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of the server; ``estimated`` says that it did not count its tokens."""

    text: str
    refusal: str | None
    truncated: bool
    prompt_tokens: int
    completion_tokens: int
    model: str
    estimated: bool


@dataclass(frozen=True, slots=True)
class _Form:
    """How a request is put: what a server has been seen to understand."""

    answer: str = "json_schema"
    limit: str = "max_tokens"
    temperature: bool = True


class _NoCompletion(Exception):
    """The server answered with something that is no chat completion."""


class Transport:
    """Sends requests to one model on one server; see :class:`~language.chat.OpenAIChatModel`."""

    def __init__(
        self,
        *,
        model: str,
        base_url: str,
        api_key: str | None,
        timeout: float,
        attempts: int,
        backoff: float,
        limiter: Limiter,
        rng: random.Random,
    ) -> None:
        self.base_url = base_url
        self._model = model
        self._api_key = api_key
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._limiter = limiter
        self._rng = rng
        self._form = _Form()
        self._client: AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()

    async def send(self, request: Request) -> Reply:
        """Send a request, stepping down to simpler forms where the server rejects the one at hand.

        Raises :class:`~kg.errors.ServiceUnavailable`, :class:`~kg.errors.ConfigurationError` (unknown model)
        or :class:`~kg.errors.LanguageModelError` (request rejected).
        """
        import openai

        form = self._form
        while True:
            try:
                reply = await self._try_often(request, form)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as problem:
                simpler = _simpler(
                    form, self._words(problem), problem.code, with_schema=request.schema is not None
                )
                if simpler is None:
                    raise LanguageModelError(
                        f"the server rejected the request: {self._words(problem)}", where=self._where()
                    ) from None
                form = simpler
            else:
                self._form = form
                return reply

    async def _try_often(self, request: Request, form: _Form) -> Reply:
        import openai

        expected = request.estimated_tokens + min(request.max_tokens or EXPECTED_ANSWER_TOKENS, 4096)
        for attempt in range(1, self._attempts + 1):
            async with self._limiter.slot(expected) as entry:
                try:
                    reply = await self._once(request, form)
                except openai.APIStatusError as problem:
                    pause = self._pause_or_raise(problem, attempt, entry)
                    what = f"HTTP {problem.status_code}"
                except (
                    openai.APIConnectionError,
                    openai.APIError,
                    _NoCompletion,
                    json.JSONDecodeError,
                ) as problem:
                    what = _describe(problem)
                    if attempt == self._attempts:
                        raise self._gave_up(problem, what) from None
                    pause = self._wait(attempt)
                else:
                    self._limiter.succeeded(expected, reply.prompt_tokens + reply.completion_tokens)
                    return reply
            log.info("%s: %s; trying again in %.1f s", self.base_url, what, pause)
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, request: Request, form: _Form) -> Reply:
        completion: Any = await self._open().chat.completions.create(**_body(request, form))
        choices = getattr(completion, "choices", None)
        if not choices:
            raise _NoCompletion(
                "a reply without choices" if choices == [] else "a reply that is no completion"
            )
        choice = choices[0]
        text = choice.message.content or ""
        refusal = getattr(choice.message, "refusal", None)
        if choice.finish_reason == "content_filter" and not text:
            refusal = refusal or "its content filter stopped the answer"
        usage = completion.usage
        return Reply(
            text=text,
            refusal=refusal,
            truncated=choice.finish_reason == "length",
            prompt_tokens=usage.prompt_tokens if usage else request.estimated_tokens,
            completion_tokens=usage.completion_tokens if usage else estimate_tokens(text),
            model=completion.model or self._model,
            estimated=usage is None,
        )

    def _open(self) -> AsyncOpenAI:
        """The client of this event loop: its connections belong to one."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            if self._api_key is None and "api.openai.com" in self.base_url:
                raise ServiceUnavailable("there is no API key.", where=self._where(), hint=KEY_HINT)
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(
                base_url=self.base_url,
                api_key=self._api_key or "none",
                timeout=self._timeout,
                max_retries=0,
            )
            self._loop = loop
        return self._client

    def _pause_or_raise(self, problem: APIStatusError, attempt: int, entry: int) -> float:
        """How long to wait after an error status, or the error that ends the request."""
        status = problem.status_code
        if status not in RETRIED_STATUS:
            self._reject(problem)
        if problem.code == "insufficient_quota":
            raise ServiceUnavailable(
                "the account has no credit left.", where=self._where(), hint="Check its plan and billing."
            ) from None
        asked = retry_after(problem.response.headers)
        if status == 429:
            self._limiter.throttled(entry, min(asked or 0.0, LONGEST_PAUSE))
        if attempt == self._attempts or (asked or 0.0) > LONGEST_PAUSE:
            wait = f", and asks to wait {asked:.0f} s" if asked else ""
            raise ServiceUnavailable(
                f"the server answered HTTP {status} {_times(attempt)}{wait}.",
                where=self._where(),
                hint="Try again later; what was answered before is kept and not paid for again.",
            ) from None
        return max(asked or 0.0, 0.0 if asked else self._wait(attempt))

    def _reject(self, problem: APIStatusError) -> NoReturn:
        status, words = problem.status_code, self._words(problem)
        if status == 401:
            raise ServiceUnavailable(
                "the server refused the API key (HTTP 401).", where=self._where(), hint=KEY_HINT
            ) from None
        if status == 403:
            raise ServiceUnavailable(
                f"the API key may not use this model (HTTP 403): {words}", where=self._where(), hint=KEY_HINT
            ) from None
        if status == 404:
            raise ConfigurationError(
                f"the server knows no model {self._model!r} at this address (HTTP 404): {words}",
                where=self._where(),
                hint="Check the model's name and the base URL, which usually ends in /v1.",
            ) from None
        if status in (400, 422):
            raise problem
        raise LanguageModelError(
            f"the server rejected the request (HTTP {status}): {words}", where=self._where()
        ) from None

    def _gave_up(self, problem: Exception, what: str) -> LoreError:
        import openai

        tries = _times(self._attempts)
        if isinstance(problem, openai.APIConnectionError):
            return ServiceUnavailable(
                f"the language model cannot be reached: {what}, {tries}.",
                where=self.base_url,
                hint="Start the server, or set base_url under [language] (LORE_LANGUAGE__BASE_URL).",
            )
        return LanguageModelError(f"the server sent {what}, {tries}.", where=self._where())

    def _wait(self, attempt: int) -> float:
        """Exponential backoff with full jitter on its upper half, in seconds."""
        longest: float = min(LONGEST_BACKOFF, self._backoff * 2.0 ** (attempt - 1))
        return longest * (0.5 + 0.5 * self._rng.random())

    def _words(self, problem: APIStatusError) -> str:
        """The server's own words, on one line, without the key."""
        body = problem.body
        message = body.get("message") if isinstance(body, Mapping) else None
        text = " ".join(str(message or problem.message).split())[:400].rstrip(". ") + "."
        return text.replace(self._api_key, "***") if self._api_key else text

    def _where(self) -> str:
        return f"{self._model} at {self.base_url}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read the wait that a server asks for, in seconds: milliseconds, seconds or an HTTP date."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000.0)
        if (value := headers.get("retry-after")) is None:
            return None
        try:
            return max(0.0, float(value))
        except ValueError:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _body(request: Request, form: _Form) -> dict[str, Any]:
    body: dict[str, Any] = {"model": request.model, "messages": [dict(m) for m in request.messages]}
    if form.temperature:
        body["temperature"] = request.temperature
    if request.max_tokens is not None:
        body[form.limit] = request.max_tokens
    if request.schema is None:
        return body
    if form.answer == "json_schema":
        answer = {"name": "answer", "strict": True, "schema": request.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": answer}
        return body
    if form.answer == "json_object":
        body["response_format"] = {"type": "json_object"}
    body["messages"] = _with_schema(request.messages, request.schema)
    return body


def _with_schema(messages: tuple[Message, ...], schema: Mapping[str, Any]) -> list[dict[str, object]]:
    """The messages with the schema in words, in the one system message that every server takes."""
    words = (
        f"Answer with one JSON object and nothing else. It must fit this schema:\n{canonical_json(schema)}"
    )
    first = messages[0] if messages and messages[0]["role"] == "system" else None
    rest = messages[1:] if first else messages
    system = f"{first['content']}\n\n{words}" if first else words
    return [{"role": "system", "content": system}, *map(dict, rest)]


def _simpler(form: _Form, words: str, code: str | None, *, with_schema: bool) -> _Form | None:
    """The next form to try after a rejection, or ``None`` where no other form can help."""
    lowered = words.lower()
    if code == "context_length_exceeded" or "context length" in lowered or "maximum context" in lowered:
        return None
    if "max_completion_tokens" in lowered and form.limit == "max_tokens":
        return _Form(form.answer, "max_completion_tokens", form.temperature)
    if "temperature" in lowered and form.temperature:
        return _Form(form.answer, form.limit, temperature=False)
    if not with_schema or form.answer == "text":
        return None
    return _Form("json_object" if form.answer == "json_schema" else "text", form.limit, form.temperature)


def _describe(problem: Exception) -> str:
    import openai

    if isinstance(problem, openai.APITimeoutError):
        return "no answer within the timeout"
    if isinstance(problem, openai.APIConnectionError):
        cause = problem.__cause__
        return f"{type(cause).__name__}: {cause}".rstrip(": ") if cause else "the connection failed"
    if isinstance(problem, _NoCompletion):
        return str(problem)
    return "a reply that is not JSON"


def _times(attempts: int) -> str:
    return "once" if attempts == 1 else f"{attempts} times"
