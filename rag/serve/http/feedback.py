"""Feedback: rate an answer, export what was rated."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from rag.serve.conversations.feedback import Feedback, FeedbackStore
from rag.serve.http.authentication import asks
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEMS, Id
from rag.serve.identity.identity import Identity
from rag.serve.observe.audit import audit


def routes(shared: Endpoints, feedback: FeedbackStore) -> APIRouter:
    """`PUT` and `DELETE` under a conversation's messages, and `GET /feedback`."""
    router = shared.router(tags=["conversations"], responses=PROBLEMS)
    Asker = Annotated[Identity, Depends(asks)]  # noqa: N806 - a type
    path = "/conversations/{conversation}/messages/{number}/feedback"

    @router.put(path, status_code=204)
    async def rate(conversation: Id, number: int, body: Feedback, who: Asker) -> None:
        """Rate an answer; a later rating takes the place of an earlier one."""
        await feedback.put(who.user, conversation, number, body)

    @router.delete(path, status_code=204)
    async def unrate(conversation: Id, number: int, who: Asker) -> None:
        """Take a rating back."""
        await feedback.put(who.user, conversation, number, None)
        audit("delete_feedback", who.user, conversation=conversation, answer=number)

    @router.get(
        "/feedback",
        response_class=Response,
        responses={200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}},
    )
    async def export(who: Asker) -> Response:
        """The answers that were rated, one a line: the user's own; an administrator's are all.

        `rag eval make --from-feedback` makes a test set of them.
        """
        rated = await feedback.all(None if "admin" in who.may else who.user)
        text = "".join(f"{one.model_dump_json()}\n" for one in rated)
        headers = {"Content-Disposition": 'attachment; filename="feedback.jsonl"'}
        return Response(text, media_type="application/jsonl", headers=headers)

    return router
