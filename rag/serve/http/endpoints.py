"""The endpoints as a FastAPI router, and as an application of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Lifespan

from rag.errors import ConfigError
from rag.flow import Flow
from rag.serve.errors import Problem, respond
from rag.serve.http import (
    ask,
    collections,
    content,
    conversations,
    documents,
    feedback,
    mcp,
    page,
    runs,
    status,
    suggestions,
)
from rag.serve.http.authentication import anonymous, by_keys
from rag.serve.http.cors import preflight_routes
from rag.serve.http.openai import endpoints as openai
from rag.serve.http.openai.errors import respond as as_openai
from rag.serve.http.route import HEADERS, Endpoints
from rag.serve.http.spans import RequestSpans
from rag.serve.identity.identity import Identify
from rag.serve.observe.exchange import Ended, Exchange
from rag.serve.service import Service
from rag.serve.settings.settings import Settings


def router(
    flow: Flow | Mapping[str, Flow],
    *,
    identity: Identify | None = None,
    keys: Path | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] | None = None,
    settings: Settings | None = None,
    service: Service | None = None,
) -> APIRouter:
    """The endpoints, for `app.include_router(router(flow), prefix="/rag")`.

    Without `identity` and `keys` anybody may ask, and nobody can do anything else: there are
    `/ask`, `/v1`, `/pipelines`, the text of the documents, `/health` and `/ready`. With either
    there are also uploads, conversations, runs, metrics and the chat page, each user's own.

    `/mcp` offers the pipelines as tools where the extra `mcp` is installed.

    Models are loaded when the application starts (or, where nobody runs its lifespan, with the
    first request), and closed with it.

    Args:
        flow: What answers; several by name.
        identity: The application's own authentication: a FastAPI dependency that returns who asks
            (a `rag.serve.Identity`, or a string, number or UUID that names the user), or raises.
            It runs once a request, before the body is read, and must not read the body itself.
        keys: Or a file of API keys, made by `rag keys add`.
        origins: Other sites whose pages may call the endpoints, as `https://app.example`. Those
            that the application's own `CORSMiddleware` allows need not be named again.
        hosts: Names under which the server is reached, `*.example` for all below one. None: any
            where requests are authenticated; else addresses and names without a dot only, so that
            no foreign page can reach the server through a name of its own.
        settings: Limits, and the folder for what is stored.
        service: Use this one; it has flow and settings already.

    Raises:
        ConfigError: The flow cannot be served, the file of keys is missing, or there are both
            `identity` and `keys`.
    """
    if identity and keys:
        raise ConfigError(
            "there are two ways to say who asks", where="router(identity=, keys=)",
            fix="give one of them",
        )  # fmt: skip
    service = service or Service(flow, settings or Settings())
    settings = service.settings
    identified = identity is not None or keys is not None
    shared = Endpoints(
        start=service.start,
        ended=service.ended,
        identify=identity or (by_keys(Path(keys)) if keys else anonymous),
        max_body=settings.max_body,
        origins=tuple(origins),
        hosts=("*",) if hosts is None and identified else hosts,
    )
    pipelines, answering = service.pipelines, service.answering
    made = APIRouter(lifespan=service.lifespan)
    made.include_router(ask.routes(shared, answering, pipelines, settings))
    made.include_router(openai.routes(shared, service, identified=identified))
    made.include_router(content.routes(shared, service.documents, service.links))
    made.include_router(status.routes(shared, pipelines, service.check_ready))
    if identified:
        made.include_router(
            runs.routes(
                shared, service.runs, service.background, service.follow, pipelines, settings
            )
        )
        made.include_router(conversations.routes(shared, service.conversations))
        made.include_router(feedback.routes(shared, service.feedback))
        made.include_router(collections.routes(shared, service.collections))
        made.include_router(
            suggestions.routes(shared, service.suggestions, service.conversations, pipelines)
        )
        made.include_router(
            documents.routes(
                shared,
                service.uploads,
                service.upload_worker,
                pipelines,
                service.limits,
                max_upload=settings.max_upload,
                max_files=settings.max_files,
            )
        )
        made.include_router(status.private_routes(shared, service.metrics))
        if settings.page:
            made.include_router(page.routes(shared, settings, keys=keys is not None))
    if settings.page:
        made.include_router(page.widget_routes(shared))
    if find_spec("mcp") is not None:
        made.include_router(mcp.routes(shared, service))
    if origins:
        made.include_router(preflight_routes(origins))
    return made


def app(
    flow: Flow | Mapping[str, Flow],
    *,
    identity: Identify | None = None,
    keys: Path | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] | None = None,
    settings: Settings | None = None,
    service: Service | None = None,
    lifespan: Lifespan[Any] | None = None,
) -> FastAPI:
    """The endpoints as an ASGI application, to be run or mounted.

    Args:
        flow: As for `router`, with everything but `lifespan`.
        identity: See `router`.
        keys: See `router`.
        origins: See `router`.
        hosts: See `router`.
        settings: See `router`.
        service: See `router`.
        lifespan: Runs in place of the router's own.

    Raises:
        ConfigError: As for `router`.
    """
    import rag

    service = service or Service(flow, settings or Settings())
    made = FastAPI(
        title="Retrieval-augmented generation",
        version=rag.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers={HTTPException: partial(_unrouted, service.ended)},
    )
    if service.tracer is not None:
        made.add_middleware(RequestSpans, tracer=service.tracer)
    made.include_router(
        router(flow, identity=identity, keys=keys, origins=origins, hosts=hosts, service=service)
    )
    return made


async def _unrouted(ended: Ended, request: Request, error: Exception) -> Response:
    """The answer where there is no such path, or no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    headers = dict(error.headers or {})
    code, what, fix = "http_error", str(error.detail), None
    if error.status_code == 404:
        code, what, fix = "not_found", "there is no such path", "take one of GET /openapi.json"
    elif error.status_code == 405:
        code, what = "method_not_allowed", f"this path takes no {request.method[:20]}"
        fix = f"use {headers.get('Allow', 'another method')}"
    form = as_openai if "/v1/" in request.url.path else respond
    response = form(
        Problem(error.status_code, code, what, where=request.url.path, fix=fix, headers=headers)
    )
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    client = request.client.host if request.client else None
    ended(Exchange(request.method, "", request.scope["path"], client, status=response.status_code))
    return response
