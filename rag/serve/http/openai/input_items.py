"""What a stored response of OpenAI's Responses API answers: its question, and what came before."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from rag.serve.conversations.responses import InputMessage, Responses, missing_response
from rag.serve.errors import Problem
from rag.serve.http.authentication import asks
from rag.serve.http.openai.errors import ERRORS, respond
from rag.serve.http.openai.response_form import ITEM, PREFIX
from rag.serve.http.openai.stored_responses import ResponseId
from rag.serve.http.route import Endpoints
from rag.serve.identity.identity import Identity


class InputText(BaseModel):
    """A part of a message: its text."""

    type: Literal["input_text", "output_text"]
    text: str


class InputItem(BaseModel):
    """A message of the user, or of the assistant before it."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["user", "assistant"]
    status: Literal["completed"] = "completed"
    content: list[InputText]


class InputItems(BaseModel):
    """A part of the list."""

    object: Literal["list"] = "list"
    data: list[InputItem]
    first_id: str | None
    last_id: str | None
    has_more: bool = Field(description="ask again, with `after` the last one's id")


def routes(shared: Endpoints, stored: Responses | None) -> APIRouter:
    """`GET /v1/responses/{id}/input_items`.

    Args:
        shared: What all endpoints share.
        stored: Where responses are; None: nothing is stored of users without a name.
    """
    router = shared.router(prefix="/v1", respond=respond, tags=["openai"], responses=ERRORS)

    @router.get("/responses/{response_id}/input_items")
    async def listed(
        response_id: ResponseId,
        who: Annotated[Identity, Depends(asks)],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Annotated[
            Literal["asc", "desc"], Query(description="asc: the oldest first")
        ] = "desc",
        after: Annotated[str | None, Query(description="the id of the item before")] = None,
    ) -> InputItems:
        """The messages that a stored response of the user's own answers, its question the last."""
        run = response_id.removeprefix(PREFIX)
        if stored is None:
            raise missing_response(run)
        items = [_item(one) for one in await stored.asked(who.user, run)]
        if order == "desc":
            items.reverse()
        first = 0 if after is None else _place(items, after) + 1
        part = items[first : first + limit]
        return InputItems(
            data=part,
            first_id=part[0].id if part else None,
            last_id=part[-1].id if part else None,
            has_more=first + limit < len(items),
        )

    return router


def _item(message: InputMessage) -> InputItem:
    """A message; the id of an answer is the one that its own response gave it."""
    is_answer = message.role == "assistant"
    part = InputText(type="output_text" if is_answer else "input_text", text=message.text)
    name = message.run if is_answer and message.run else str(message.number)
    return InputItem(id=f"{ITEM}{name}", role=message.role, content=[part])


def _place(items: list[InputItem], name: str) -> int:
    for place, item in enumerate(items):
        if item.id == name:
            return place
    raise Problem(
        400, "no_item", f"the response has no input item {name[:64]!r}", where="after",
        fix="give the `last_id` of the part before",
    )  # fmt: skip
