"""Rates and requests in flight, on a clock that the tests turn."""

from __future__ import annotations

import asyncio

import pytest

from kg.errors import ConfigurationError
from language.limits import Gate, Limiter, RateBucket


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_spreads_its_rate() -> None:
    clock = Clock()
    bucket = RateBucket(60, clock=clock)
    assert bucket.take(1) == 0.0
    assert bucket.take(1) == pytest.approx(1.0)
    assert bucket.take(1) == pytest.approx(2.0)
    clock.now += 3.0
    assert bucket.take(1) == 0.0


def test_a_bucket_never_lets_more_than_its_rate_through() -> None:
    clock = Clock()
    bucket = RateBucket(600, burst=5, clock=clock)
    begins = []
    for _ in range(200):
        begins.append(clock.now + bucket.take(1))
        clock.now += 0.01
    window = [sum(start <= begin < start + 60 for begin in begins) for start in begins]
    assert max(window) <= 600 + 5
    assert begins == sorted(begins)


def test_a_request_above_the_burst_waits_longer_but_passes() -> None:
    clock = Clock()
    bucket = RateBucket(60_000, clock=clock)
    assert bucket.take(5000) == pytest.approx(4.0)


def test_what_was_not_used_comes_back() -> None:
    clock = Clock()
    bucket = RateBucket(60, burst=10, clock=clock)
    bucket.take(10)
    bucket.give_back(8)
    assert bucket.take(8) == 0.0
    bucket.give_back(-4)
    assert bucket.take(0) == pytest.approx(4.0)


def test_idle_time_does_not_pile_up() -> None:
    clock = Clock()
    bucket = RateBucket(60, burst=2, clock=clock)
    clock.now += 3600
    assert [bucket.take(1) for _ in range(4)] == pytest.approx([0, 0, 1, 2])


@pytest.mark.parametrize("wrong", [0, -1])
def test_limits_below_one_are_refused(wrong: int) -> None:
    with pytest.raises(ConfigurationError):
        RateBucket(wrong)
    with pytest.raises(ConfigurationError):
        Gate(wrong)


def test_the_gate_halves_once_per_burst_of_refusals_and_recovers() -> None:
    async def run() -> None:
        gate = Gate(16)
        entries = []
        for _ in range(16):
            async with gate.enter() as entry:
                entries.append(entry)
        for entry in entries:  # one burst: all of them began before the first refusal
            gate.decrease(entry)
        assert gate.limit == 8
        async with gate.enter() as entry:
            gate.decrease(entry)
        assert gate.limit == 4
        for _ in range(5):  # about one window of successes
            gate.increase()
        assert gate.limit == 5
        for _ in range(300):
            gate.increase()
        assert gate.limit == 16

    asyncio.run(run())


def test_the_gate_never_closes() -> None:
    async def run() -> None:
        gate = Gate(4)
        for _ in range(10):
            async with gate.enter() as entry:
                gate.decrease(entry)
        assert gate.limit == 1
        async with gate.enter():
            pass

    asyncio.run(run())


def test_the_gate_holds_its_limit_and_serves_all() -> None:
    async def run() -> None:
        gate = Gate(3)
        most = served = 0

        async def visit() -> None:
            nonlocal most, served
            async with gate.enter():
                most = max(most, gate.in_flight)
                await asyncio.sleep(0.001)
                served += 1

        await asyncio.gather(*(visit() for _ in range(50)))
        assert (most, served, gate.in_flight) == (3, 50, 0)

    asyncio.run(run())


def test_a_visitor_that_gives_up_loses_nobody_his_place() -> None:
    async def run() -> None:
        gate = Gate(1)
        done: list[int] = []

        async def visit(number: int) -> None:
            async with gate.enter():
                await asyncio.sleep(0.002)
                done.append(number)

        tasks = [asyncio.create_task(visit(number)) for number in range(6)]
        await asyncio.sleep(0.001)
        for number in (0, 2, 3):
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert done == [1, 4, 5]
        assert gate.in_flight == 0

    asyncio.run(asyncio.wait_for(run(), 5))


def test_the_limiter_keeps_the_rate_of_tokens() -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        limiter = Limiter(tokens_per_minute=60_000)  # a thousand a second, the first thousand at once
        began = loop.time()
        for _ in range(3):
            async with limiter.slot(500):
                limiter.succeeded(500, 600)
        return loop.time() - began

    assert 0.6 <= asyncio.run(run()) < 1.2
