"""Who may ask, how often, and how much: API keys, rate limit, body limit, security headers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from loregraph.api.problems import problem
from loregraph.settings import ServerSettings

OPEN_PATHS = frozenset({"/health", "/ready"})
Next = Callable[[Request], Awaitable[Response]]


def hash_key(key: str) -> str:
    """The SHA-256 of an API key, as ``key_hashes`` holds it."""
    return hashlib.sha256(key.encode()).hexdigest()


class Guard:
    """Middleware: refuses a request without a valid key, too many of them, or too large a body."""

    def __init__(self, settings: ServerSettings) -> None:
        from limits import RateLimitItemPerMinute
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self._settings = settings
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rate = RateLimitItemPerMinute(settings.requests_per_minute)

    async def __call__(self, request: Request, call_next: Next) -> Response:
        """Let the request pass, or answer with what is wrong with it."""
        refusal = None if request.url.path in OPEN_PATHS else self._refusal(request)
        response = refusal or await call_next(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return response

    def _refusal(self, request: Request) -> JSONResponse | None:
        key = _key_of(request)
        known = self._known(key)
        # Only a key that is known may name a bucket: whoever makes up keys would never fill one.
        bucket = f"key {hash_key(key)}" if known else f"address {_address_of(request)}"
        if not self._limiter.hit(self._rate, bucket):
            limit = self._settings.requests_per_minute
            refused = problem(429, "Too many requests", f"At most {limit} a minute; wait and try again.")
            refused.headers["Retry-After"] = "60"
            return refused
        if self._settings.key_hashes and not known:
            return problem(401, "A valid API key is needed", "Send it as `Authorization: Bearer KEY`.")
        if request.method in ("POST", "PUT", "PATCH"):
            return self._refuse_body(request)
        return None

    def _refuse_body(self, request: Request) -> JSONResponse | None:
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return problem(411, "A Content-Length is needed", "Send the body in one piece.")
        if int(length) > self._settings.max_body_bytes:
            limit = self._settings.max_body_bytes
            return problem(413, "The body is too large", f"At most {limit} bytes.")
        return None

    def _known(self, key: str) -> bool:
        found = hash_key(key)
        return any(hmac.compare_digest(found, known) for known in self._settings.key_hashes)


def _key_of(request: Request) -> str:
    header = request.headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")


def _address_of(request: Request) -> str:
    return request.client.host if request.client else "unknown"
