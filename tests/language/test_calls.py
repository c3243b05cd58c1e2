"""The call ledger: nothing is paid for twice, budgets hold, replays ask nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from kg.errors import BudgetExceeded, ConfigurationError, LanguageModelError, LedgerError, ServiceUnavailable
from language.calls import Budget, Calls, LedgeredChatModel, Price, estimate
from language.chat import Answer, Message, OpenAIChatModel, Request
from tests.language_server import Fault, LanguageServer

ROOT = Path(__file__).parents[2]
NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
PRICES = {"scripted": Price(prompt=1.0, completion=4.0)}


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with LanguageServer(lambda body: {"n": len(body["messages"][:2][-1]["content"])}) as running:
        yield running


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    with Calls(tmp_path / "calls.sqlite") as opened:
        yield opened


def question(number: int) -> list[Message]:
    return [{"role": "system", "content": "count " * 20}, {"role": "user", "content": f"question {number}"}]


def run(
    server: LanguageServer,
    calls: Calls,
    work: Callable[[LedgeredChatModel], Awaitable[Any]],
    **options: Any,
) -> tuple[Any, LedgeredChatModel]:
    async def inside() -> tuple[Any, LedgeredChatModel]:
        async with OpenAIChatModel("scripted", server.base_url, "key", attempts=2, backoff=0.01) as model:
            ledgered = LedgeredChatModel(model, calls, prices=PRICES, **options)
            return await work(ledgered), ledgered

    return asyncio.run(inside())


def ask_all(
    numbers: range, *, one_by_one: bool = False
) -> Callable[[LedgeredChatModel], Awaitable[list[Any]]]:
    async def work(model: LedgeredChatModel) -> list[Any]:
        def ask(number: int) -> Awaitable[Answer]:
            return model.complete(question(number), schema=NUMBER, max_tokens=20, purpose="count.v1")

        if one_by_one:
            return [await ask(number) for number in numbers]
        return await asyncio.gather(*map(ask, numbers), return_exceptions=True)

    return work


def test_a_second_run_pays_nothing_and_answers_alike(server: LanguageServer, calls: Calls) -> None:
    first, paid = run(server, calls, ask_all(range(5)))
    second, free = run(server, calls, ask_all(range(5)))
    assert server.n_chats == 5
    assert [a.parsed for a in first] == [a.parsed for a in second]
    assert [a.request_hash for a in first] == [a.request_hash for a in second]
    assert {a.cached for a in first} == {False}
    assert {a.cached for a in second} == {True}
    assert (paid.totals.calls, paid.totals.cached) == (5, 0)
    assert (free.totals.calls, free.totals.cached, free.totals.dollars, free.totals.tokens) == (0, 5, 0.0, 0)


def test_totals_add_up_to_what_the_server_counted(server: LanguageServer, calls: Calls) -> None:
    answers, model = run(server, calls, ask_all(range(4)))
    prompt = sum(sum(len(m["content"]) for m in seen.body["messages"]) // 4 for seen in server.seen)
    completion = sum(answer.completion_tokens for answer in answers)
    assert (model.totals.prompt_tokens, model.totals.completion_tokens) == (prompt, completion)
    assert model.totals.dollars == pytest.approx((prompt * 1.0 + completion * 4.0) / 1e6)
    kept = calls.totals()
    assert (kept.calls, kept.failed, kept.tokens) == (4, 0, prompt + completion)
    assert kept.dollars == pytest.approx(model.totals.dollars)


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.5}, {"max_tokens": 21}, {"purpose": "count.v2"}, {"schema": None}],
    ids=lambda change: next(iter(change)),
)
def test_another_request_is_another_call(
    server: LanguageServer, calls: Calls, change: dict[str, Any]
) -> None:
    async def work(model: LedgeredChatModel) -> None:
        base: dict[str, Any] = {"schema": NUMBER, "max_tokens": 20, "purpose": "count.v1"}
        await model.complete(question(1), **base)
        assert not (await model.complete(question(1), **base | change)).cached

    run(server, calls, work)
    assert server.n_chats == 2


def test_equal_requests_at_once_share_one_call(server: LanguageServer, calls: Calls) -> None:
    server.latency = 0.05

    async def work(model: LedgeredChatModel) -> list[Answer]:
        return await asyncio.gather(*(model.complete(question(1)) for _ in range(10)))

    answers, model = run(server, calls, work)
    assert server.n_chats == 1
    assert sorted(answer.cached for answer in answers) == [False] + [True] * 9
    assert (model.totals.calls, model.totals.cached) == (1, 9)


def test_a_caller_that_gives_up_does_not_take_the_answer_along(server: LanguageServer, calls: Calls) -> None:
    server.latency = 0.1

    async def work(model: LedgeredChatModel) -> Answer:
        first = asyncio.create_task(model.complete(question(1)))
        second = asyncio.create_task(model.complete(question(1)))
        await asyncio.sleep(0.03)
        first.cancel()
        return await second

    answer, _ = run(server, calls, work)
    assert answer.text
    assert server.n_chats == 1


def test_a_replay_asks_nobody(server: LanguageServer, calls: Calls) -> None:
    recorded, _ = run(server, calls, ask_all(range(3)))
    replayed, model = run(server, calls, ask_all(range(4)), replay=True)
    assert server.n_chats == 3
    assert [a.parsed for a in replayed[:3]] == [a.parsed for a in recorded]
    assert isinstance(replayed[3], LanguageModelError)
    assert "not in the call ledger" in replayed[3].message
    assert model.totals.calls == 0


def test_only_answers_that_fit_are_kept(server: LanguageServer, calls: Calls) -> None:
    server.faults.extend([Fault.text("nonsense")] * 2)
    (failed,), model = run(server, calls, ask_all(range(1)))
    assert isinstance(failed, LanguageModelError)
    assert (model.totals.calls, model.totals.failed) == (0, 1)
    assert model.totals.tokens > 0
    (failure,) = calls.failures()
    assert failure.answer == "nonsense"
    assert "no JSON object" in failure.reason
    assert calls.totals().dollars == pytest.approx(model.totals.dollars) != 0.0
    (again,), _ = run(server, calls, ask_all(range(1)))
    assert again.parsed == {"n": len("question 0")}


def test_a_server_that_fails_costs_nothing_and_is_asked_again(server: LanguageServer, calls: Calls) -> None:
    server.faults.extend([Fault.status(503)] * 2)
    (failed,), model = run(server, calls, ask_all(range(1)))
    assert isinstance(failed, ServiceUnavailable)
    assert model.totals.tokens == 0
    assert "HTTP 503" in next(calls.failures()).reason


def test_a_repaired_answer_is_kept_as_repaired(server: LanguageServer, calls: Calls) -> None:
    server.faults.append(Fault.text('{"n": "x"}'))
    (first,), _ = run(server, calls, ask_all(range(1)))
    (second,), _ = run(server, calls, ask_all(range(1)))
    assert (first.parsed, second.parsed) == ({"n": 10}, {"n": 10})
    assert second.completion_tokens == first.completion_tokens
    assert server.n_chats == 2


@pytest.mark.parametrize("one_by_one", [True, False], ids=["one by one", "at once"])
@pytest.mark.parametrize("faulty", [False, True], ids=["good answers", "answers to repair"])
def test_a_budget_of_tokens_is_never_exceeded(
    server: LanguageServer, calls: Calls, one_by_one: bool, faulty: bool
) -> None:
    server.latency = 0.005
    if faulty:
        server.answer = lambda body: '{"n": "x"}' if len(body["messages"]) == 2 else '{"n": 1}'
    budget = Budget(tokens=800)
    stopped = pytest.raises(BudgetExceeded, match="800 tokens") if one_by_one else nullcontext()
    with stopped:
        run(server, calls, ask_all(range(40), one_by_one=one_by_one), budget=budget)
    spent = calls.totals()
    assert 2 <= spent.calls < 40
    assert 800 - 250 < spent.tokens <= 800
    assert not list(calls.failures())


def test_a_stopped_run_goes_on_where_it_stopped(server: LanguageServer, calls: Calls) -> None:
    answers, _ = run(server, calls, ask_all(range(30)), budget=Budget(tokens=900))
    n_answered = sum(isinstance(answer, Answer) for answer in answers)
    assert 0 < n_answered < 30
    assert all(isinstance(answer, Answer | BudgetExceeded) for answer in answers)
    rest, model = run(server, calls, ask_all(range(30)))
    assert all(isinstance(answer, Answer) for answer in rest)
    assert server.n_chats == 30
    assert (model.totals.cached, model.totals.calls) == (n_answered, 30 - n_answered)


def test_a_budget_of_dollars_holds_and_needs_a_price(server: LanguageServer, calls: Calls) -> None:
    run(server, calls, ask_all(range(40)), budget=Budget(dollars=0.001))
    assert 0.0005 < calls.totals().dollars <= 0.001
    with pytest.raises(ConfigurationError, match="price"):
        LedgeredChatModel(OpenAIChatModel("unpriced", "http://127.0.0.1:9"), calls, budget=Budget(dollars=1))


def test_an_estimate_before_the_first_call(server: LanguageServer, calls: Calls) -> None:
    requests = [
        Request("scripted", tuple(question(number)), NUMBER, 0.0, 20, "count.v1") for number in range(10)
    ]
    before = estimate([*requests, requests[0]], completion_tokens=3, prices=PRICES, calls=calls)
    assert server.n_chats == 0
    assert (before.calls, before.cached, before.completion_tokens) == (10, 1, 30)
    _, model = run(server, calls, ask_all(range(10)))
    schema_tokens = 10 * 34  # the server's own count leaves the schema out
    assert before.prompt_tokens - schema_tokens == pytest.approx(model.totals.prompt_tokens, rel=0.3)
    assert before.dollars == pytest.approx((before.prompt_tokens + 4 * 30) / 1e6)
    after = estimate(requests, completion_tokens=3, prices=PRICES, calls=calls)
    assert (after.calls, after.cached, after.dollars) == (0, 10, 0.0)
    assert estimate(requests, completion_tokens=3).dollars is None


def test_requests_and_answers_can_be_read_back(server: LanguageServer, calls: Calls) -> None:
    answers, _ = run(server, calls, ask_all(range(3)))
    stored = dict(calls.requests(purpose="count.v1"))
    assert {request.hash for request in stored} == {answer.request_hash for answer in answers}
    assert sorted(request.messages[-1]["content"] for request in stored) == [
        f"question {n}" for n in range(3)
    ]
    assert list(calls.requests(purpose="other.v1")) == []
    texts = sqlite3.connect(calls.path).execute("SELECT count(*) FROM texts").fetchone()[0]
    assert texts == 1 + 3 + 1  # the constant prefix and the schema once


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE films (name TEXT)")
    database.close()
    with pytest.raises(LedgerError, match="no call ledger"):
        Calls(path)
    path = tmp_path / "text.sqlite"
    path.write_text("not a database at all, but a text of some length" * 10)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Calls(path)


def test_a_killed_run_has_lost_only_what_was_in_flight(server: LanguageServer, tmp_path: Path) -> None:
    server.latency = 0.02
    script = textwrap.dedent(
        f"""
        import asyncio
        from pathlib import Path
        from language.calls import Calls, LedgeredChatModel
        from language.chat import OpenAIChatModel

        async def main():
            model = OpenAIChatModel("scripted", {server.base_url!r}, "key", max_in_flight=4)
            ledgered = LedgeredChatModel(model, Calls(Path({str(tmp_path / "calls.sqlite")!r})))
            async def ask(number):
                message = {{"role": "user", "content": f"question {{number}}"}}
                await ledgered.complete([message], purpose="count.v1")
            await asyncio.gather(*(ask(number) for number in range(100)))

        asyncio.run(main())
        """
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    deadline = time.monotonic() + 30
    while server.n_chats < 24 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.05)
    asked = server.n_chats
    with Calls(tmp_path / "calls.sqlite") as calls:
        kept = calls.totals().calls
        assert 0 <= asked - kept <= 4
        assert kept >= 20

        async def work(model: LedgeredChatModel) -> None:
            await asyncio.gather(
                *(
                    model.complete([{"role": "user", "content": f"question {number}"}], purpose="count.v1")
                    for number in range(100)
                )
            )

        _, model = run(server, calls, work)
        assert (model.totals.cached, model.totals.calls) == (kept, 100 - kept)
    assert server.n_chats == asked + 100 - kept
