"""Conversations: begin, find, read, rename, export, delete."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from rag.serve.conversations.conversations import (
    TITLE,
    Conversation,
    ConversationHead,
    Conversations,
    markdown,
    missing,
)
from rag.serve.http.authentication import asks
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEMS, Id
from rag.serve.identity.identity import Identity
from rag.serve.observe.audit import audit


class TitleBody(BaseModel):
    """What changes of a conversation."""

    title: str = Field(min_length=1, max_length=TITLE, pattern=r"\S")


def routes(shared: Endpoints, conversations: Conversations) -> APIRouter:
    """The endpoints under `/conversations`."""
    router = shared.router(prefix="/conversations", tags=["conversations"], responses=PROBLEMS)
    Asker = Annotated[Identity, Depends(asks)]  # noqa: N806 - a type

    @router.post("", status_code=201)
    async def begin(who: Asker) -> ConversationHead:
        """Begin a conversation; questions name its id."""
        return await conversations.begin(who.user)

    @router.get("")
    async def listed(
        who: Asker,
        q: Annotated[
            str, Query(max_length=200, description="words in their titles or messages")
        ] = "",
    ) -> list[ConversationHead]:
        """The conversations, the latest first."""
        return await conversations.heads(who.user, q)

    @router.get("/{conversation}")
    async def read(conversation: Id, who: Asker) -> Conversation:
        """A conversation with all its messages."""
        return await conversations.get(who.user, conversation)

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
        who: Asker,
        format: Literal["json", "markdown"] = "markdown",  # noqa: A002 - the query's name
    ) -> Response:
        """A conversation as a file."""
        found = await conversations.get(who.user, conversation)
        kind, text, suffix = "text/markdown", markdown(found), "md"
        if format == "json":
            kind, text, suffix = "application/json", found.model_dump_json(indent=2), "json"
        headers = {"Content-Disposition": f'attachment; filename="conversation.{suffix}"'}
        return Response(text, media_type=kind, headers=headers)

    @router.patch("/{conversation}", status_code=204)
    async def rename(conversation: Id, body: TitleBody, who: Asker) -> None:
        """Give a conversation another title."""
        await conversations.rename(who.user, conversation, body.title)

    @router.delete("/{conversation}", status_code=204)
    async def delete(conversation: Id, who: Asker) -> None:
        """Delete a conversation."""
        if not await conversations.delete(who.user, conversation):
            raise missing(conversation)
        audit("delete_conversation", who.user, conversation=conversation)

    @router.delete("", status_code=204)
    async def clear(who: Asker) -> None:
        """Delete all conversations."""
        deleted = await conversations.delete(who.user)
        audit("delete_conversations", who.user, number=deleted)

    return router
