"""Suggestions: what a user may ask next."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from rag.serve.answering.suggestions import Suggestions
from rag.serve.conversations.conversations import Conversations
from rag.serve.http.authentication import asks
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEMS, Id
from rag.serve.identity.identity import Identity
from rag.serve.pipelines.pipeline import Pipelines


def routes(
    shared: Endpoints, suggestions: Suggestions, conversations: Conversations, pipelines: Pipelines
) -> APIRouter:
    """`POST /conversations/{id}/suggestions`."""
    router = shared.router(tags=["conversations"], responses=PROBLEMS)

    @router.post("/conversations/{conversation}/suggestions")
    async def suggest(
        conversation: Id,
        who: Annotated[Identity, Depends(asks)],
        pipeline: Annotated[
            str | None, Query(description="whose model suggests; none: the first's")
        ] = None,
    ) -> list[str]:
        """Questions to ask after the latest answer; none where the server suggests none."""
        served = pipelines.named(pipeline)
        messages = (await conversations.get(who.user, conversation)).messages
        if not messages or messages[-1].role != "assistant":
            return []
        return await suggestions.after(who, served, messages[-1].content, messages[-1].about)

    return router
