"""How the server is: alive, ready, measured; which pipelines it has."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, Field

from rag.serve.access import Tenant
from rag.serve.http.ask import PROBLEMS
from rag.serve.http.route import route_class
from rag.serve.service import Service


class PipelineBody(BaseModel):
    """A pipeline."""

    name: str
    description: str | None
    inputs: list[str] = Field(description="its input channels")
    outputs: list[str] = Field(description="its output channels")
    drawing: str = Field(description="the flow as SVG; a step's box has its path as data-node")


def routes(service: Service, tenant: Tenant, *, open_metrics: bool) -> APIRouter:
    """`GET /health`, `/ready`, `/metrics`, `/pipelines`."""
    router = APIRouter(route_class=route_class(service, service.settings.max_body), tags=["status"])

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server is alive."""
        return {"status": "ok"}

    @router.get("/ready", responses={503: PROBLEMS[503]})
    async def ready() -> dict[str, Any]:
        """Whether the models are loaded and questions are taken."""
        if service.unready is not None:
            raise service.unready
        if service.gate.draining:
            service.gate.admit("")
        return {"status": "ready", "pipelines": list(service.flows)}

    @router.get(
        "/metrics",
        dependencies=[] if open_metrics else [Depends(tenant)],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        """Counts for Prometheus."""
        from prometheus_client import CONTENT_TYPE_LATEST

        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/pipelines", responses=PROBLEMS)
    async def pipelines(tenant: Annotated[str, Depends(tenant)]) -> list[PipelineBody]:
        """The pipelines, each with its drawing."""
        from rag.flow.draw.svg import svg

        return [
            PipelineBody(
                name=name,
                description=flow.description,
                inputs=list(flow.inputs),
                outputs=list(flow.output_types),
                drawing=svg(flow),
            )
            for name, flow in service.flows.items()
        ]

    return router
