"""The endpoints as a FastAPI router, and as an application of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Lifespan

from rag.flow import Flow
from rag.serve.errors import Problem, respond
from rag.serve.http import ask, conversations, documents, openai, page, status
from rag.serve.http.route import HEADERS, Endpoints
from rag.serve.identity import Tenant, by_keys, everybody
from rag.serve.service import Service
from rag.serve.settings import Settings


def router(
    flow: Flow | Mapping[str, Flow],
    *,
    tenant: Tenant | None = None,
    keys: Path | None = None,
    settings: Settings | None = None,
    service: Service | None = None,
) -> APIRouter:
    """The endpoints, for `app.include_router(router(flow), prefix="/rag")`.

    Models are loaded when the application starts (or, where nobody runs its lifespan, with the
    first request), and closed with it.

    Args:
        flow: What answers; several by name.
        tenant: The application's own authentication: a FastAPI dependency that returns the
            name of the tenant who asks, or raises. Each tenant has an index, stored states and
            conversations of its own.
        keys: Or a file of API keys, made by `rag keys add`.
        settings: Limits, and the folder for what is kept.
        service: Use this one; it has flow and settings already.

    Raises:
        ConfigError: The flow cannot be served, or the file of keys is missing.
    """
    service = service or Service(flow, settings or Settings())
    settings = service.settings
    shared = Endpoints(
        start=service.start,
        count=lambda *labels: service.metrics.requests.labels(*labels).inc(),
        tenant=tenant or (by_keys(Path(keys)) if keys else everybody),
        max_body=settings.max_body,
    )
    pipelines, answering = service.pipelines, service.answering
    made = APIRouter(lifespan=service.lifespan)
    made.include_router(
        ask.routes(shared, answering, service.runs, pipelines, settings.max_question)
    )
    made.include_router(conversations.routes(shared, service.conversations))
    made.include_router(
        documents.routes(
            shared,
            service.uploads,
            service.upload_worker,
            pipelines,
            max_upload=settings.max_upload,
            max_files=settings.max_files,
        )
    )
    made.include_router(openai.routes(shared, answering, pipelines, settings.max_question))
    made.include_router(status.routes(shared, pipelines, service.metrics, service.check_ready))
    if settings.page:
        made.include_router(page.routes(shared))
    return made


def app(
    flow: Flow | Mapping[str, Flow],
    *,
    tenant: Tenant | None = None,
    keys: Path | None = None,
    settings: Settings | None = None,
    service: Service | None = None,
    cors: Sequence[str] = (),
    hosts: Sequence[str] = ("*",),
    lifespan: Lifespan[Any] | None = None,
) -> FastAPI:
    """The endpoints as an ASGI application, to be run or mounted.

    Args:
        flow: As for `router`, with `tenant`, `keys`, `settings` and `service`.
        tenant: See `router`.
        keys: See `router`.
        settings: See `router`.
        service: See `router`.
        cors: Origins whose pages may ask; none by default.
        hosts: Names under which the server answers.
        lifespan: Runs in place of the router's own.

    Raises:
        ConfigError: As for `router`.
    """
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    import rag

    made = FastAPI(
        title="Retrieval-augmented generation",
        version=rag.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers={HTTPException: _unrouted},
    )
    made.state.cors = tuple(cors)
    made.include_router(router(flow, tenant=tenant, keys=keys, settings=settings, service=service))
    if cors:
        made.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["X-Run-Id", "Retry-After"],
        )
    if "*" not in hosts:
        made.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    return made


async def _unrouted(request: Request, error: Exception) -> Response:
    """The answer where there is no such path, or no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    response = respond(
        Problem(
            error.status_code, code, str(error.detail), where=request.url.path,
            headers=dict(error.headers or {}),
        )
    )  # fmt: skip
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
