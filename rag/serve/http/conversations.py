"""Conversations: begin, list, read, export, delete."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from rag.serve.access import Tenant, own_pages_only
from rag.serve.conversations import Conversation, ConversationHead, markdown, missing
from rag.serve.http.ask import PROBLEMS, Id
from rag.serve.http.route import route_class
from rag.serve.service import Service


def routes(service: Service, tenant: Tenant) -> APIRouter:
    """The endpoints under `/conversations`."""
    router = APIRouter(
        prefix="/conversations",
        route_class=route_class(service, service.settings.max_body),
        tags=["conversations"],
        dependencies=[Depends(own_pages_only)],
        responses=PROBLEMS,
    )
    Whose = Annotated[str, Depends(tenant)]  # noqa: N806 - a type

    @router.post("", status_code=201)
    async def begin(tenant: Whose) -> ConversationHead:
        """Begin a conversation; questions name its id."""
        return await service.conversations.begin(tenant)

    @router.get("")
    async def listed(tenant: Whose) -> list[ConversationHead]:
        """The conversations, the latest first."""
        return await service.conversations.listed(tenant)

    @router.get("/{conversation}")
    async def read(conversation: Id, tenant: Whose) -> Conversation:
        """A conversation with all that was said."""
        return await service.conversations.get(tenant, conversation)

    @router.get(
        "/{conversation}/export",
        response_class=Response,
        responses={
            200: {
                "content": {
                    "text/markdown": {"schema": {"type": "string"}},
                    "application/json": {"schema": {"type": "object"}},
                }
            }
        },
    )
    async def export(
        conversation: Id,
        tenant: Whose,
        format: Literal["json", "markdown"] = "markdown",  # noqa: A002 - the query's name
    ) -> Response:
        """A conversation as a file."""
        found = await service.conversations.get(tenant, conversation)
        kind, text = ("text/markdown", markdown(found))
        if format == "json":
            kind, text = "application/json", found.model_dump_json(indent=2)
        name = f"conversation.{'json' if format == 'json' else 'md'}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text, media_type=kind, headers=headers)

    @router.delete("/{conversation}", status_code=204)
    async def delete(conversation: Id, tenant: Whose) -> None:
        """Forget a conversation."""
        if not await service.conversations.delete(tenant, conversation):
            raise missing(conversation)

    @router.delete("", status_code=204)
    async def clear(tenant: Whose) -> None:
        """Forget all conversations."""
        await service.conversations.delete(tenant)

    return router
