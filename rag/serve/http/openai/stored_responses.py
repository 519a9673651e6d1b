"""Stored responses of OpenAI's Responses API: read and deleted by whoever asked for them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as PathPart
from pydantic import BaseModel

from rag.serve.answer import Answer
from rag.serve.conversations.responses import Responses, StoredResponse, missing_response
from rag.serve.documents.links import Links
from rag.serve.errors import Problem
from rag.serve.http.authentication import asks
from rag.serve.http.openai.errors import ERRORS, respond, unsupported
from rag.serve.http.openai.response_form import PREFIX, ResponseForm, form_of
from rag.serve.http.route import Endpoints
from rag.serve.identity.identity import Identity
from rag.serve.observe.audit import audit
from rag.serve.settings.settings import Settings

ResponseId = Annotated[str, PathPart(pattern="^resp_[0-9a-f]{32}$")]
Asker = Annotated[Identity, Depends(asks)]


class DeletedResponse(BaseModel):
    """A response that is gone."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


def routes(
    shared: Endpoints, links: Links, settings: Settings, stored: Responses | None
) -> APIRouter:
    """`GET` and `DELETE /v1/responses/{id}`.

    Args:
        shared: What all endpoints share.
        links: Signs links to sources.
        settings: The server's.
        stored: Where responses are; None: nothing is stored of users without a name.
    """
    router = shared.router(prefix="/v1", respond=respond, tags=["openai"], responses=ERRORS)

    @router.get("/responses/{response_id}", response_model=dict[str, Any])
    async def read(
        request: Request,
        response_id: ResponseId,
        who: Asker,
        stream: Annotated[bool, Query(description="not supported")] = False,
    ) -> dict[str, Any]:
        """A stored response of the user's own, as far as it is."""
        if stream:
            raise unsupported("to stream a stored response", "stream")
        run = response_id.removeprefix(PREFIX)
        if stored is None:
            raise missing_response(run)
        found = await stored.get(who.user, run)
        pipeline, echoed = found.asked["pipeline"], found.asked["echoed"]
        form = form_of(request, who, pipeline, run, echoed, links=links, settings=settings)
        return _object(form, found)

    @router.delete("/responses/{response_id}")
    async def delete(response_id: ResponseId, who: Asker) -> DeletedResponse:
        """Delete a response of the user's own, with its question and its answer."""
        run = response_id.removeprefix(PREFIX)
        if stored is None:
            raise missing_response(run)
        await stored.delete(who.user, run)
        audit("delete_response", who.user, response=response_id)
        return DeletedResponse(id=response_id)

    return router


def _object(form: ResponseForm, found: StoredResponse) -> dict[str, Any]:
    """The object of a response."""
    if found.answer is not None:
        return form.whole(Answer.model_validate(found.answer))
    if found.error is not None and found.status == "failed":
        about = {name: found.error[name] for name in ("status", "code", "what", "where", "fix")}
        return form.failed(Problem(about.pop("status"), about.pop("code"), **about))
    return form.response("cancelled" if found.status == "cancelled" else "in_progress")
