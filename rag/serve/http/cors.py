"""CORS: what lets pages of other sites call the endpoints and read the answers."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

EXPOSED = ("X-Run-Id", "Retry-After")


def preflight_routes(origins: Sequence[str]) -> APIRouter:
    """`OPTIONS` of every path: what browsers ask before they send another site's request."""
    cors = CORSMiddleware(
        _nothing,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", "Last-Event-ID"],
    )
    router = APIRouter(include_in_schema=False)

    @router.options("/{path:path}")
    async def preflight(request: Request) -> Response:
        if "origin" not in request.headers:
            raise HTTPException(405)
        return cors.preflight_response(request_headers=request.headers)

    return router


def let_read(response: Response, request: Request, origins: Sequence[str]) -> None:
    """Let the page that sent a request read its answer, if it is one of `origins`."""
    origin = request.headers.get("origin")
    if origin is not None and origin in origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
        response.headers.add_vary_header("Origin")


async def _nothing(*_: object) -> None:
    """Stands where a middleware has its application: only its answers are used."""
