"""Errors over HTTP: every one is an RFC 9457 problem document."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from kg.errors import LoreError


def problem(status: int, title: str, detail: str) -> JSONResponse:
    """A problem document as a response."""
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
    )


async def from_lore_error(_: Request, error: Exception) -> JSONResponse:
    """Map an error of the tree to its HTTP status."""
    assert isinstance(error, LoreError)
    return problem(error.http_status, error.title, error.message)


async def from_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses: above all an unknown route or a wrong method."""
    assert isinstance(error, HTTPException)
    status, allowed = error.status_code, (error.headers or {}).get("Allow")
    details = {
        404: f"There is no {request.url.path}; /openapi.json lists what there is.",
        405: f"{request.url.path} takes {allowed}, not {request.method}.",
    }
    answer = problem(status, HTTPStatus(status).phrase, details.get(status, str(error.detail)))
    answer.headers.update(error.headers or {})
    return answer


async def from_anything_else(_: Request, error: Exception) -> JSONResponse:
    """Answer an error nobody foresaw without showing its insides."""
    return problem(500, "Something went wrong inside", f"{type(error).__name__}; the server's log says more.")


async def from_invalid_request(_: Request, error: Exception) -> JSONResponse:
    """Answer a request whose parameters or body do not fit, naming the first that is wrong."""
    from fastapi.exceptions import RequestValidationError

    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return problem(422, "The request does not fit", f"{place}: {first['msg']}.")
