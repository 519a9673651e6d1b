"""The server's status: alive, ready, measured; which pipelines it has."""

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, Field

from rag.flow.draw.svg import svg
from rag.serve.http.authentication import administers, asks, identified
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEMS
from rag.serve.identity.identity import Identity
from rag.serve.observe.metrics import Metrics
from rag.serve.pipelines.pipeline import Pipelines


class PipelineBody(BaseModel):
    """A pipeline."""

    name: str
    description: str | None
    inputs: list[str] = Field(description="its input channels")
    outputs: list[str] = Field(description="its output channels")
    settings: list[str] = Field(description="fields of a question that it takes: max_tokens, ...")
    drawing: str = Field(description="the flow as SVG; a step's box has its node as data-node")


class IdentityBody(BaseModel):
    """Who asks, as the server sees it."""

    user: str
    collections: list[str] = Field(description="what is searched for the user, together")
    may: list[str] = Field(description="ask, upload, admin")


def routes(shared: Endpoints, pipelines: Pipelines, check_ready: Callable[[], None]) -> APIRouter:
    """`GET /health`, `/ready`, `/pipelines`, `/identity`.

    Args:
        shared: What all endpoints share.
        pipelines: The pipelines.
        check_ready: Raises a `Problem` while the server is not ready.
    """
    public = shared.router(public=True, tags=["status"])

    @public.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server is alive."""
        return {"status": "ok"}

    @public.get("/ready", responses={503: PROBLEMS[503]})
    async def ready() -> dict[str, Any]:
        """Whether the models are loaded and questions are accepted."""
        check_ready()
        return {"status": "ready"}

    router = shared.router(tags=["status"], responses=PROBLEMS)

    drawing = cache(lambda name: svg(pipelines[name].flow))

    @router.get("/pipelines")
    async def listed(_: Annotated[Identity, Depends(asks)]) -> list[PipelineBody]:
        """The pipelines, each with its drawing."""
        return [
            PipelineBody(
                name=name,
                description=pipeline.flow.description,
                inputs=list(pipeline.flow.inputs),
                outputs=list(pipeline.flow.output_types),
                settings=sorted(pipeline.settings - {"system"}),
                drawing=drawing(name),
            )
            for name, pipeline in pipelines.items()
        ]

    @router.get("/identity")
    async def identity(who: Annotated[Identity, Depends(identified)]) -> IdentityBody:
        """Who asks, and what they may do."""
        may, collections = sorted(who.may), list(who.collections or ())
        return IdentityBody(user=who.user, collections=collections, may=may)

    router.include_router(public)
    return router


def private_routes(shared: Endpoints, metrics: Metrics) -> APIRouter:
    """`GET /metrics`, for administrators."""
    router = shared.router(tags=["status"], responses=PROBLEMS)

    @router.get(
        "/metrics",
        dependencies=[Depends(administers)],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def counts() -> Response:
        """Counts for Prometheus."""
        from prometheus_client import CONTENT_TYPE_LATEST

        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
