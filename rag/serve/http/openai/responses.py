"""OpenAI's Responses API: questions that may continue an earlier response."""

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from rag.serve.answer import Answer
from rag.serve.answering.answering import REMEMBERED, Answering
from rag.serve.answering.question import Question, checked_query
from rag.serve.conversations.conversations import Conversations
from rag.serve.conversations.responses import Responses
from rag.serve.documents.links import Links
from rag.serve.http.authentication import asks
from rag.serve.http.disconnect import while_connected
from rag.serve.http.openai.errors import ERRORS, respond, unsupported
from rag.serve.http.openai.messages import Asked, MessageBody, PartBody, asked
from rag.serve.http.openai.models import Models
from rag.serve.http.openai.response_form import ITEM, PREFIX, form_of, streamed
from rag.serve.http.route import Endpoints
from rag.serve.http.sse import EventStream
from rag.serve.identity.identity import Identity
from rag.serve.pipelines.pipeline import Overrides
from rag.serve.settings.settings import Settings


class ItemBody(BaseModel):
    """A message, or the answer of an earlier response by its id; other items are refused."""

    type: str | None = None
    id: str | None = None
    role: Literal["system", "developer", "user", "assistant"] = "user"
    content: str | list[PartBody] = ""


class TextBody(BaseModel):
    """The form of the answer's text."""

    format: dict[str, Any] | None = None


class ResponseBody(BaseModel):
    """A request for a response. Settings of OpenAI's that are not here have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="the pipeline's name; `NAME:llm`: its language model alone")
    input: str | Annotated[list[ItemBody], Field(min_length=1, max_length=500)]
    instructions: str | None = None
    previous_response_id: str | None = Field(
        default=None, pattern="^resp_[0-9a-f]{32}$", description="the response that is continued"
    )
    store: bool | None = Field(
        default=None, description="whether it may be continued; it is a conversation of the user's"
    )
    stream: bool | None = False
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_output_tokens: int | None = Field(default=None, ge=1, le=100_000)
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    tools: list[Any] | None = None
    text: TextBody | None = None


EXAMPLES: dict[str, Any] = {
    "question": {
        "summary": "A question",
        "value": {"model": "hybrid", "input": "Who may open the north lock?"},
    },
    "follow_up": {
        "summary": "A question that continues a response",
        "value": {
            "model": "hybrid",
            "input": "And at night?",
            "previous_response_id": "resp_0123456789abcdef0123456789abcdef",
        },
    },
}


def routes(
    shared: Endpoints,
    answering: Answering,
    models: Models,
    links: Links,
    settings: Settings,
    conversations: Conversations,
    stored: Responses | None,
) -> APIRouter:
    """`POST /v1/responses`.

    Args:
        shared: What all endpoints share.
        answering: Answers.
        models: What may be named.
        links: Signs links to sources.
        settings: The server's limits.
        conversations: Keeps them.
        stored: Where responses are continued; None: nothing is stored of users without a name.
    """
    router = shared.router(prefix="/v1", respond=respond, tags=["openai"], responses=ERRORS)

    @router.post(
        "/responses",
        response_model=dict[str, Any],
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def create(
        request: Request,
        body: Annotated[ResponseBody, Body(openapi_examples=EXAMPLES)],
        who: Annotated[Identity, Depends(asks)],
    ) -> Response:
        """Answer a question from the pipeline's documents."""
        previous, found = _asked(body)
        if previous is not None and stored is None:
            raise unsupported("to continue a response without an identity", "previous_response_id")
        question = question_of(body, found, who, models, settings)
        # Who sends the history has it; who sends a question alone may want to continue.
        stores = not found.history or previous is not None if body.store is None else body.store
        conversation, is_new = None, False
        if stored is not None and stores:
            conversation, is_new = await stored.begin(who.user, previous, found.history)
        elif stored is not None and previous is not None:
            said = await stored.history(who.user, previous, REMEMBERED)
            question = replace(question, history=(*said, *question.history))
        try:
            run = await answering.admit(replace(question, conversation=conversation))
        except BaseException:
            if conversation is not None and is_new:
                await conversations.delete(who.user, conversation)
            raise
        with ExitStack() as closing:
            closing.callback(run.close)
            echoed = _echoed(body, stored=conversation is not None)
            name = question.pipeline.name
            if stored is not None and conversation is not None:
                asked = {"pipeline": name, "echoed": echoed}
                await stored.note(who.user, run.record.id, conversation, asked)

            async def keep(answer: Answer) -> None:
                if stored is not None and conversation is not None:
                    await stored.answered(run.record.id, answer.model_dump_json())

            form = form_of(
                request, who, name, run.record.id, echoed, links=links, settings=settings
            )
            headers = {"X-Run-Id": run.record.id}
            if body.stream:
                closing.pop_all()
                return EventStream(streamed(form, run, keep), headers, run.close)
            answer = await while_connected(request.receive, run.answer())
            await keep(answer)
            return JSONResponse(form.whole(answer), headers=headers)

    return router


def question_of(
    body: ResponseBody, found: Asked, who: Identity, models: Models, settings: Settings
) -> Question:
    """The question of a request.

    Raises:
        Problem: The request asks for what is not supported.
    """
    pipeline = models.named(body.model)
    form = (body.text and body.text.format) or {}
    for wrong, what in (
        (body.background, "background"),
        (body.conversation, "conversation"),
        (body.prompt, "prompt"),
        (body.tools, "tools"),
        (form.get("type", "text") != "text", "text.format"),
    ):
        if wrong:
            raise unsupported(what, what)
    wanted = body.max_output_tokens
    longest = settings.max_question if models.searches(body.model) else settings.max_body
    return Question(
        checked_query(found.query, longest),
        pipeline,
        who,
        history=found.history,
        overrides=Overrides(
            temperature=body.temperature,
            top_p=body.top_p,
            max_tokens=None if wanted is None else min(wanted, settings.max_tokens),
            system="\n".join(filter(None, (body.instructions, found.system))) or None,
        ),
    )


def _asked(body: ResponseBody) -> tuple[str | None, Asked]:
    """The run of the response that is continued, and what is asked after it.

    A reference to an earlier answer stands for all that was said until then.

    Raises:
        Problem: An item is no message.
    """
    previous = body.previous_response_id and body.previous_response_id.removeprefix(PREFIX)
    items = [ItemBody(content=body.input)] if isinstance(body.input, str) else body.input
    messages: list[MessageBody] = []
    for one in items:
        if one.type == "item_reference" and (one.id or "").startswith(ITEM):
            previous = (one.id or "").removeprefix(ITEM)
            messages = [said for said in messages if said.role in ("system", "developer")]
        elif one.type in (None, "message"):
            messages.append(MessageBody(role=one.role, content=one.content))
        else:
            raise unsupported(f"input of type {one.type[:40]!r}", "input")
    return previous, asked(messages, "input")


def _echoed(body: ResponseBody, *, stored: bool) -> dict[str, Any]:
    """What a response repeats of its request."""
    return {
        "created_at": int(time.time()),
        "model": body.model,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "previous_response_id": body.previous_response_id,
        "store": stored,
        "temperature": body.temperature,
        "top_p": body.top_p,
    }
