"""The real client against a scripted server: retries, fallbacks, repairs, and what the errors say."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kg.errors import ConfigurationError, LanguageModelError, LoreError, ServiceUnavailable
from language.chat import Answer, Message, OpenAIChatModel
from language.limits import Limiter
from language.transport import retry_after
from tests.language_server import Fault, LanguageServer

KEY = "sk-very-secret"
ASK: list[Message] = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "how many?"}]
NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
LIST = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": NUMBER}},
    "required": ["items"],
    "additionalProperties": False,
}


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with LanguageServer(lambda body: {"n": 7}) as running:
        yield running


def ask(server: LanguageServer, *, schema: Any = None, max_tokens: int | None = None, **given: Any) -> Answer:
    options: dict[str, Any] = {
        "backoff": 0.01,
        "attempts": 3,
        "timeout": 0.5,
        "rng": random.Random(0),
    } | given

    async def run() -> Answer:
        async with OpenAIChatModel("scripted", server.base_url, KEY, **options) as model:
            return await model.complete(ASK, schema=schema, max_tokens=max_tokens, purpose="count.v1")

    return asyncio.run(run())


def test_a_plain_answer(server: LanguageServer) -> None:
    server.answer = lambda body: "seven"
    answer = ask(server)
    assert (answer.text, answer.parsed, answer.model, answer.cached) == ("seven", None, "scripted", False)
    assert answer.prompt_tokens == (len("be brief") + len("how many?")) // 4
    assert answer.completion_tokens == 1
    body = server.seen[0].body
    assert body["messages"] == ASK
    assert body["temperature"] == 0.0
    assert "response_format" not in body


def test_a_schema_is_sent_strictly_and_the_answer_parsed(server: LanguageServer) -> None:
    answer = ask(server, schema=NUMBER, max_tokens=50)
    assert answer.parsed == {"n": 7}
    assert server.seen[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": NUMBER},
    }
    assert server.seen[0].body["max_tokens"] == 50


def test_equal_requests_have_equal_hashes(server: LanguageServer) -> None:
    assert ask(server).request_hash == ask(server).request_hash
    assert ask(server).request_hash != ask(server, max_tokens=9).request_hash


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(429),
        Fault.status(500),
        Fault.status(503),
        Fault.status(408),
        Fault.reset(),
        Fault.cut(),
        Fault.garbage(),
        Fault.empty(),
        Fault.slow(2.0),
    ],
    ids=lambda fault: f"{fault.kind}{fault.code}",
)
def test_what_passes_is_tried_again(server: LanguageServer, fault: Fault) -> None:
    server.faults.extend([fault, fault])
    assert ask(server, schema=NUMBER, timeout=0.15).parsed == {"n": 7}
    assert server.n_chats == 3


@pytest.mark.parametrize("header", [("retry-after", "0.2"), ("retry-after-ms", "200")], ids=lambda h: h[0])
def test_the_wait_that_the_server_asks_for_is_kept(server: LanguageServer, header: tuple[str, str]) -> None:
    server.faults.append(Fault("status", 429, dict([header]), {"error": {"message": "slow down"}}))
    ask(server)
    first, second = server.seen
    assert 0.2 <= second.at - first.at < 1.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": email.utils.formatdate(time.time() + 3600, usegmt=True)}, 3600.0),
        ({"retry-after": email.utils.formatdate(0.0, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
    ],
)
def test_every_form_of_the_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == (
        seconds if seconds is None else pytest.approx(seconds, abs=600.0 if seconds > 9 else 0.01)
    )


def test_one_refusal_for_rate_holds_all_requests_back(server: LanguageServer) -> None:
    server.faults.append(Fault.status(429, retry_after=0.2))

    async def run() -> None:
        limiter = Limiter(max_in_flight=1)
        async with OpenAIChatModel("scripted", server.base_url, KEY, limiter=limiter) as model:
            await asyncio.gather(*(model.complete(ASK) for _ in range(3)))

    asyncio.run(run())
    assert server.n_chats == 4
    assert all(seen.at - server.seen[0].at >= 0.2 for seen in server.seen[1:])


def test_a_wait_of_hours_is_reported_at_once(server: LanguageServer) -> None:
    server.faults.append(Fault.status(429, retry_after=7200))
    with pytest.raises(ServiceUnavailable, match="asks to wait 7200 s"):
        ask(server)
    assert server.n_chats == 1


def failing(server: LanguageServer, *faults: Fault, error: type[LoreError], **options: Any) -> str:
    server.faults.extend(faults)
    with pytest.raises(error) as caught:
        ask(server, **options)
    assert type(caught.value) is error
    assert KEY not in caught.value.message
    return caught.value.message


def test_errors_say_what_where_and_what_next(server: LanguageServer) -> None:
    five = failing(server, *[Fault.status(503)] * 3, error=ServiceUnavailable)
    assert "HTTP 503 3 times" in five
    assert server.base_url in five
    key = failing(server, Fault.status(401, message=f"no such key {KEY}"), error=ServiceUnavailable)
    assert "LORE_LANGUAGE__API_KEY or OPENAI_API_KEY" in key
    forbidden = failing(server, Fault.status(403, message=f"{KEY} may not"), error=ServiceUnavailable)
    assert "*** may not" in forbidden
    unknown = failing(server, Fault.status(404), error=ConfigurationError)
    assert "'scripted'" in unknown
    broke = failing(server, Fault.status(429, error="insufficient_quota"), error=ServiceUnavailable)
    assert "no credit" in broke
    late = failing(server, *[Fault.slow(1.0)] * 3, error=ServiceUnavailable, timeout=0.05)
    assert "no answer within the timeout, 3 times" in late
    empty = failing(server, *[Fault.empty()] * 3, error=LanguageModelError)
    assert "a reply without choices" in empty
    refused = failing(server, Fault.refusal("not this"), error=LanguageModelError)
    assert "the model refused: not this" in refused


def test_a_dead_address_is_named_with_a_hint() -> None:
    async def run() -> None:
        async with OpenAIChatModel("m", "http://127.0.0.1:9/v1", KEY, attempts=2, backoff=0.01) as model:
            await model.complete(ASK)

    with pytest.raises(ServiceUnavailable) as caught:
        asyncio.run(run())
    assert "http://127.0.0.1:9/v1" in caught.value.message
    assert "LORE_LANGUAGE__BASE_URL" in caught.value.message


def test_openai_without_a_key_is_not_even_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LORE_LANGUAGE__API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ServiceUnavailable, match="there is no API key"):
        asyncio.run(OpenAIChatModel("m").complete(ASK))


def test_the_key_comes_from_the_environment_and_is_never_logged(
    server: LanguageServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("LORE_LANGUAGE__API_KEY", KEY)
    server.faults.append(Fault.status(500, message=f"lost {KEY}"))

    async def run() -> None:
        async with OpenAIChatModel("m", server.base_url, backoff=0.01) as model:
            await model.complete(ASK)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in "".join(record.getMessage() for record in caplog.records)


def only(*forms: str | None) -> Callable[[dict[str, Any]], Fault | None]:
    """A server that knows these response formats only."""

    def reject(body: dict[str, Any]) -> Fault | None:
        form = body.get("response_format", {}).get("type")
        return None if form in forms else Fault.status(400, message=f"response_format {form} is unknown")

    return reject


def test_a_server_without_schemas_gets_the_schema_in_words(server: LanguageServer) -> None:
    server.reject = only("json_object", None)
    assert ask(server, schema=NUMBER).parsed == {"n": 7}
    last = server.seen[-1].body
    assert last["response_format"] == {"type": "json_object"}
    assert last["messages"][0]["content"].startswith("be brief\n")
    assert '"required":["n"]' in last["messages"][0]["content"]
    assert last["messages"][1:] == ASK[1:]


def test_a_server_without_json_is_read_all_the_same(server: LanguageServer) -> None:
    server.reject = only(None)
    server.answer = lambda body: '<think>{"n": 1}?</think>Here you are:\n```json\n{"n": 8}\n```\nDone.'

    async def run() -> list[Answer]:
        async with OpenAIChatModel("scripted", server.base_url, KEY) as model:
            return [await model.complete(ASK, schema=NUMBER) for _ in range(3)]

    assert [answer.parsed for answer in asyncio.run(run())] == [{"n": 8}] * 3
    assert server.n_chats == 5  # the form that worked is kept


def test_newer_parameters_are_found_out(server: LanguageServer) -> None:
    def reject(body: dict[str, Any]) -> Fault | None:
        if "max_tokens" in body:
            words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return Fault.status(400, message=words)
        if "temperature" in body:
            return Fault.status(400, message="Unsupported value: 'temperature' must be 1")
        return None

    server.reject = reject
    assert ask(server, schema=NUMBER, max_tokens=30).parsed == {"n": 7}
    assert server.seen[-1].body["max_completion_tokens"] == 30
    assert server.seen[-1].body["response_format"]["type"] == "json_schema"


def test_a_prompt_that_is_too_long_is_rejected_once(server: LanguageServer) -> None:
    server.reject = lambda body: Fault.status(400, message="maximum context length is 4096 tokens")
    with pytest.raises(LanguageModelError, match="maximum context length"):
        ask(server, schema=NUMBER)
    assert server.n_chats == 1


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("no idea", "holds no JSON object"),
        ('{"n": 7', "not valid JSON"),
        ('{"n": "seven"}', "answer.n must be integer"),
        ('{"m": 7}', "answer.n is missing"),
        ("[1]", "not an object"),
        ("", "the answer is empty"),
    ],
)
def test_a_bad_answer_is_shown_to_the_model_once(server: LanguageServer, bad: str, complaint: str) -> None:
    server.faults.append(Fault.text(bad))
    answer = ask(server, schema=NUMBER)
    assert answer.parsed == {"n": 7}
    assert server.n_chats == 2
    repair = server.seen[1].body["messages"]
    assert repair[:2] == ASK
    assert repair[2] == {"role": "assistant", "content": bad or "(empty)"}
    assert complaint in repair[3]["content"]
    prompts = [sum(len(m["content"]) for m in seen.body["messages"]) // 4 for seen in server.seen]
    assert answer.prompt_tokens == sum(prompts)


def test_an_answer_that_stays_bad_is_refused_with_its_reason_and_its_cost(server: LanguageServer) -> None:
    server.faults.extend([Fault.text('{"n": "x"}'), Fault.text('{"n": null}')])
    with pytest.raises(
        LanguageModelError, match=r"count\.v1 to scripted: .*answer\.n must be integer"
    ) as caught:
        ask(server, schema=NUMBER)
    assert server.n_chats == 2
    assert caught.value.answer == '{"n": null}'
    assert caught.value.prompt_tokens > 0
    assert caught.value.completion_tokens >= 2


def test_a_repair_that_fails_does_not_hide_what_was_paid(server: LanguageServer) -> None:
    server.faults.extend([Fault.text("no"), *[Fault.status(503)] * 3])
    with pytest.raises(
        LanguageModelError, match="could not be repaired: the server answered HTTP 503"
    ) as caught:
        ask(server, schema=NUMBER)
    assert caught.value.prompt_tokens > 0


def test_a_cut_answer_is_named_as_cut(server: LanguageServer) -> None:
    server.faults.extend([Fault.text('{"n": ', finish="length")] * 2)
    with pytest.raises(LanguageModelError, match="cut off at the token limit"):
        ask(server, schema=NUMBER)
    assert "answer more briefly" in server.seen[1].body["messages"][-1]["content"]


def test_items_that_stay_bad_are_dropped_and_named(server: LanguageServer) -> None:
    mixed = '{"items": [{"n": 1}, {"n": "two"}, {"n": 3}]}'
    server.faults.extend([Fault.text(mixed)] * 2)
    answer = ask(server, schema=LIST)
    assert answer.parsed == {"items": [{"n": 1}, {"n": 3}]}
    assert answer.dropped == ('answer.items[1].n must be integer, not "two"',)


def test_uncounted_tokens_are_estimated_and_marked(server: LanguageServer) -> None:
    server.faults.append(Fault.uncounted())
    answer = ask(server)
    assert answer.estimated
    assert answer.prompt_tokens > 0
    assert answer.completion_tokens > 0


def test_requests_in_flight_are_bounded(server: LanguageServer) -> None:
    server.latency = 0.02

    async def run() -> None:
        async with OpenAIChatModel("scripted", server.base_url, KEY, max_in_flight=4) as model:
            await asyncio.gather(*(model.complete(ASK) for _ in range(24)))

    asyncio.run(run())
    assert server.n_chats == 24
    assert server.max_in_flight == 4


def test_a_crowded_server_is_asked_more_slowly_until_it_keeps_up(server: LanguageServer) -> None:
    server.latency = 0.01
    server.reject = lambda body: Fault.status(429) if server.in_flight > 4 else None
    limiter = Limiter(max_in_flight=32)

    async def run() -> None:
        options: dict[str, Any] = {"limiter": limiter, "attempts": 12, "backoff": 0.01}
        async with OpenAIChatModel("scripted", server.base_url, KEY, **options) as model:
            await asyncio.gather(*(model.complete(ASK) for _ in range(120)))

    asyncio.run(run())
    assert limiter.gate.limit <= 8  # found what the server takes
    assert server.n_chats < 120 + 80  # without slowing down, most requests would be refused


def test_one_model_serves_one_event_loop_after_another(server: LanguageServer) -> None:
    model = OpenAIChatModel("scripted", server.base_url, KEY)

    async def run() -> str:
        async with model:
            return (await model.complete(ASK)).text

    assert asyncio.run(run()) == asyncio.run(run())


def test_waits_grow_and_are_jittered_by_the_given_generator(server: LanguageServer) -> None:
    server.faults.extend([Fault.status(500)] * 3)
    ask(server, attempts=4, backoff=0.05, rng=random.Random(3))
    gaps = [later.at - earlier.at for earlier, later in zip(server.seen, server.seen[1:], strict=False)]
    draws = random.Random(3)
    for gap, longest in zip(gaps, (0.05, 0.1, 0.2), strict=True):
        wait = longest * (0.5 + 0.5 * draws.random())
        assert wait <= gap < wait + 0.3
