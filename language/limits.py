"""How fast a server may be asked: requests and tokens per minute, and how many requests at once.

The number of requests in flight follows additive increase, multiplicative decrease (Chiu and Jain, 1989):
each success adds ``1 / limit``, so a whole window of successes adds one; a refusal for rate (HTTP 429) halves
it, at most once per window so that one burst of refusals counts once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from kg.errors import ConfigurationError

Clock = Callable[[], float]
DECREASE = 0.5


class RateBucket:
    """A token bucket that is paid in advance: whoever comes takes its share and learns how long to wait.

    ``per_minute`` is refilled evenly; ``burst`` (default: what one second refills, at least 1) may be taken
    at once. Because the share is taken before the wait, requests are served in the order they came in, and a
    request larger than the burst is served too, after a longer wait.
    """

    def __init__(self, per_minute: float, *, burst: float | None = None, clock: Clock = monotonic) -> None:
        if per_minute <= 0:
            raise ConfigurationError(f"a rate limit must be above 0 a minute, not {per_minute:g}.")
        self._rate = per_minute / 60.0
        self._burst = max(1.0, self._rate) if burst is None else burst
        self._clock = clock
        self._level = self._burst
        self._at = clock()

    def take(self, amount: float) -> float:
        """Take ``amount`` and return the seconds to wait before using it."""
        self._refill()
        self._level -= amount
        return max(0.0, -self._level / self._rate)

    def give_back(self, amount: float) -> None:
        """Return what was taken and not used; a negative amount takes more."""
        self._refill()
        self._level = min(self._burst, self._level + amount)

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now


class Gate:
    """Lets at most ``limit`` requests through at once; the limit moves between 1 and ``maximum``."""

    def __init__(self, maximum: int) -> None:
        if maximum < 1:
            raise ConfigurationError(f"at least one request must be allowed in flight, not {maximum}.")
        self.maximum = maximum
        self.in_flight = 0
        self._limit = float(maximum)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._entries = 0
        self._decreased_at = 0

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return max(1, int(self._limit))

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[int]:
        """Hold one of the places; yields the entry's number, which :meth:`decrease` wants back."""
        while self.in_flight >= self.limit:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                else:
                    self._wake()
                raise
        self.in_flight += 1
        self._entries += 1
        try:
            yield self._entries
        finally:
            self.in_flight -= 1
            self._wake()

    def increase(self) -> None:
        """A request succeeded: widen by ``1 / limit``, up to the maximum."""
        self._limit = min(float(self.maximum), self._limit + 1.0 / self._limit)
        self._wake()

    def decrease(self, entry: int) -> None:
        """A request was refused for rate: halve, unless the request began before the last halving."""
        if entry <= self._decreased_at:
            return
        self._limit = max(1.0, self._limit * DECREASE)
        self._decreased_at = self._entries

    def _wake(self) -> None:
        free = self.limit - self.in_flight
        while free > 0 and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)
                free -= 1


class Limiter:
    """All limits of one server together; share one among the models that use the same account.

    ``requests_per_minute`` and ``tokens_per_minute`` are the account's limits (``None``: none);
    ``max_in_flight`` bounds the requests at once.
    """

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        max_in_flight: int = 16,
        clock: Clock = monotonic,
    ) -> None:
        self.gate = Gate(max_in_flight)
        self._clock = clock
        self._requests = RateBucket(requests_per_minute, clock=clock) if requests_per_minute else None
        self._tokens = RateBucket(tokens_per_minute, clock=clock) if tokens_per_minute else None
        self._closed_until = 0.0

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[int]:
        """Wait for a place and for the rates, then hold the place; ``tokens`` is the expected cost."""
        async with self.gate.enter() as entry:
            wait = self._requests.take(1) if self._requests else 0.0
            if self._tokens:
                wait = max(wait, self._tokens.take(tokens))
            if wait > 0:
                await asyncio.sleep(wait)
            while (pause := self._closed_until - self._clock()) > 0:
                await asyncio.sleep(pause)
            yield entry

    def succeeded(self, expected_tokens: int, real_tokens: int) -> None:
        """Book what a request really cost, and widen."""
        if self._tokens:
            self._tokens.give_back(expected_tokens - real_tokens)
        self.gate.increase()

    def throttled(self, entry: int, pause: float) -> None:
        """The server refused for rate: halve the places, and start no request for ``pause`` seconds."""
        self.gate.decrease(entry)
        self._closed_until = max(self._closed_until, self._clock() + pause)
