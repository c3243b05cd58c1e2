"""The REST application: thin routes over :class:`~loregraph.api.serving.Serving`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from kg.errors import LoreError
from loregraph.api import problems
from loregraph.api.security import Guard
from loregraph.api.serving import Serving
from loregraph.settings import ServerSettings

if TYPE_CHECKING:
    from recommender.serving.service import Recommendation


class RecommendationAnswer(BaseModel):
    """One recommended item."""

    item: str
    name: str
    score: float


class HistoryRequest(BaseModel):
    """What somebody had whom the model does not know."""

    model_config = ConfigDict(extra="forbid")

    items: list[str] = Field(max_length=10_000, description="Item ids; without any, what most users had")
    k: int = Field(default=10, ge=1, le=1000)


class QueryRequest(BaseModel):
    """One read-only Cypher query."""

    model_config = ConfigDict(extra="forbid")

    cypher: str = Field(max_length=20_000)
    parameters: dict[str, Any] = {}
    limit: int = Field(default=100, ge=1, le=10_000)
    timeout: float = Field(default=10.0, gt=0, le=60, description="Seconds")


class QueryAnswer(BaseModel):
    """The rows of a query."""

    rows: list[dict[str, Any]]


def create_app(serving: Serving, settings: ServerSettings) -> FastAPI:
    """Build the application over parts that are already open."""
    app = FastAPI(title="loregraph", version=version("loregraph"), docs_url=None, redoc_url=None)
    app.middleware("http")(Guard(settings))
    _measure(app)
    app.add_exception_handler(LoreError, problems.from_lore_error)
    app.add_exception_handler(RequestValidationError, problems.from_invalid_request)
    app.add_exception_handler(HTTPException, problems.from_http_error)
    app.add_exception_handler(Exception, problems.from_anything_else)
    _add_health(app, serving)
    _add_recommendations(app, serving)
    _add_graph(app, serving)
    return app


def _measure(app: FastAPI) -> None:
    registry = CollectorRegistry()
    requests = Counter("lore_requests_total", "Requests", ["route", "status"], registry=registry)
    seconds = Histogram("lore_request_seconds", "Seconds a request takes", ["route"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        route = _route_of(app, request)
        with seconds.labels(route).time():
            response = await call_next(request)
        requests.labels(route, str(response.status_code)).inc()
        return response

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _route_of(app: FastAPI, request: Request) -> str:
    from starlette.routing import Match

    for route in app.routes:
        if route.matches(request.scope)[0] is Match.FULL:
            return str(getattr(route, "path", "other"))
    return "other"


def _add_health(app: FastAPI, serving: Serving) -> None:
    @app.get("/health", summary="The process answers")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="The graph shows the ledger's version")
    def ready() -> JSONResponse:
        is_ready, figures = serving.readiness()
        return JSONResponse(figures, status_code=200 if is_ready else 503)

    @app.get("/v1/model", summary="The card of the model in use")
    def model() -> dict[str, Any]:
        return serving.service.card()


def _add_recommendations(app: FastAPI, serving: Serving) -> None:
    @app.get("/v1/users/{user}/recommendations", summary="The best items for a user")
    def recommendations(
        user: str, k: Annotated[int, Query(ge=1, le=1000)] = 10, exclude_seen: bool = True
    ) -> list[RecommendationAnswer]:
        return _as_answers(serving.service.recommend(user, k, exclude_seen=exclude_seen))

    @app.post(
        "/v1/recommendations:for-history", summary="The best items for somebody new, from what they had"
    )
    def recommendations_for_history(request: HistoryRequest) -> list[RecommendationAnswer]:
        return _as_answers(serving.service.recommend_for_history(request.items, request.k))

    @app.get("/v1/explanations/{user}/{item}", summary="Why this item for this user, with sources")
    def explanation(user: str, item: str, k: Annotated[int, Query(ge=1, le=10)] = 3) -> dict[str, Any]:
        return serving.explain(user, item, k).as_json()


def _as_answers(hits: list[Recommendation]) -> list[RecommendationAnswer]:
    return [RecommendationAnswer(item=hit.item, name=hit.name, score=hit.score) for hit in hits]


def _add_graph(app: FastAPI, serving: Serving) -> None:
    @app.post("/v1/graph/query", summary="Read-only Cypher")
    def query(request: QueryRequest) -> QueryAnswer:
        return QueryAnswer(
            rows=serving.query(request.cypher, request.parameters, request.limit, request.timeout)
        )

    @app.get("/v1/graph/stats", summary="Counts of what is stored")
    def stats() -> dict[str, int]:
        return asdict(serving.ledger.statistics())
