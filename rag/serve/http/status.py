"""The server's status: alive, ready, measured; which pipelines it has."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, Field

from rag.flow.draw.svg import svg
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEMS
from rag.serve.identity import everybody
from rag.serve.metrics import Metrics
from rag.serve.pipeline import Pipelines


class PipelineBody(BaseModel):
    """A pipeline."""

    name: str
    description: str | None
    inputs: list[str] = Field(description="its input channels")
    outputs: list[str] = Field(description="its output channels")
    settings: list[str] = Field(description="fields of a question that it takes: max_tokens, ...")
    drawing: str = Field(description="the flow as SVG; a step's box has its node as data-node")


def routes(
    shared: Endpoints, pipelines: Pipelines, metrics: Metrics, check_ready: Callable[[], None]
) -> APIRouter:
    """`GET /health`, `/ready`, `/metrics`, `/pipelines`.

    Args:
        shared: What all endpoints share.
        pipelines: The pipelines.
        metrics: The counts; a server with tenants shows them to tenants only.
        check_ready: Raises a `Problem` while the server is not ready.
    """
    router = shared.router(tags=["status"])
    is_open = shared.tenant is everybody

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server is alive."""
        return {"status": "ok"}

    @router.get("/ready", responses={503: PROBLEMS[503]})
    async def ready() -> dict[str, Any]:
        """Whether the models are loaded and questions are accepted."""
        check_ready()
        return {"status": "ready", "pipelines": list(pipelines)}

    @router.get(
        "/metrics",
        dependencies=[] if is_open else [Depends(shared.tenant)],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def counts() -> Response:
        """Counts for Prometheus."""
        from prometheus_client import CONTENT_TYPE_LATEST

        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/pipelines", responses=PROBLEMS)
    async def listed(tenant: Annotated[str, Depends(shared.tenant)]) -> list[PipelineBody]:
        """The pipelines, each with its drawing."""
        return [
            PipelineBody(
                name=name,
                description=pipeline.flow.description,
                inputs=list(pipeline.flow.inputs),
                outputs=list(pipeline.flow.output_types),
                settings=sorted(pipeline.settings - {"system"}),
                drawing=svg(pipeline.flow),
            )
            for name, pipeline in pipelines.items()
        ]

    return router
