"""Ask a question."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from rag.serve.answer import Answer
from rag.serve.answering.answering import Answering, AnswerRun
from rag.serve.answering.events import encoded
from rag.serve.answering.question import Question, checked_query
from rag.serve.documents.collections import chosen
from rag.serve.errors import Problem, details, problem_of
from rag.serve.http.authentication import asks
from rag.serve.http.disconnect import while_connected
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEMS
from rag.serve.http.sse import EventStream, event
from rag.serve.identity.identity import Identity
from rag.serve.pipelines.pipeline import Overrides, Pipelines
from rag.serve.settings.settings import Settings


class MessageBody(BaseModel):
    """An earlier message."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=100_000)


class AskBody(BaseModel):
    """A question."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, description="the question")
    pipeline: str | None = Field(default=None, description="its name; none: the first")
    inputs: dict[str, Any] = Field(default={}, description="further inputs of the flow")
    collections: list[str] | None = Field(
        default=None, max_length=100, description="which of the user's are searched; none: all"
    )
    conversation: str | None = Field(
        default=None, pattern="^[0-9a-f]{32}$", description="the one that the question continues"
    )
    instead_of: int | None = Field(
        default=None,
        description="number of the conversation's question that this one takes the place of; it "
        "and all that follows are deleted",
    )
    history: list[MessageBody] = Field(
        default=[], max_length=50, description="earlier messages, where no conversation is kept"
    )
    stream: bool = Field(default=False, description="events, as does Accept: text/event-stream")
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: list[str] | None = Field(default=None, max_length=8)
    max_tokens: int | None = Field(default=None, ge=1)


EXAMPLES: dict[str, Any] = {
    "plain": {"summary": "A question", "value": {"query": "Who may open the north lock?"}},
    "stream": {
        "summary": "The same as events",
        "value": {"query": "Who may open the north lock?", "stream": True},
    },
    "history": {
        "summary": "A question that refers to an earlier one",
        "value": {
            "query": "And at night?",
            "history": [
                {"role": "user", "content": "Who may open the north lock?"},
                {"role": "assistant", "content": "The lock keeper on duty."},
            ],
        },
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    200: {
        "content": {"text/event-stream": {}},
        "description": "The answer, or events of the run",
    },
}


def routes(
    shared: Endpoints, answering: Answering, pipelines: Pipelines, settings: Settings
) -> APIRouter:
    """`POST /ask`."""
    router = shared.router(tags=["ask"])

    @router.post("/ask", response_model=Answer, responses=_ANSWERS)
    async def ask(
        request: Request,
        body: Annotated[AskBody, Body(openapi_examples=EXAMPLES)],
        who: Annotated[Identity, Depends(asks)],
    ) -> Response:
        """Ask a question. A client that leaves cancels it."""
        question = question_of(body, who, pipelines, settings)
        streamed = wants_events(body, request)
        run = await answering.admit(question, announced=streamed)
        headers = {"X-Run-Id": run.record.id}
        if streamed:
            return EventStream(_stream(run), headers, run.close)
        with closing(run):
            answer = await while_connected(request.receive, run.answer())
        return Response(answer.model_dump_json(), headers=headers, media_type="application/json")

    return router


def wants_events(body: AskBody, request: Request) -> bool:
    """Whether a client wants events rather than JSON."""
    return body.stream or "text/event-stream" in request.headers.get("accept", "")


def question_of(body: AskBody, who: Identity, pipelines: Pipelines, settings: Settings) -> Question:
    """The question of a body.

    Raises:
        Problem: It is empty or too long, there is no such pipeline or collection, the pipeline
            has no such setting, or too long an output is asked for.
    """
    if (body.max_tokens or 0) > settings.max_tokens:
        what = f"{body.max_tokens:,} tokens are more than {settings.max_tokens:,}"
        raise Problem(422, "too_many_tokens", what, where="max_tokens", fix="ask for less")
    if body.instead_of is not None and body.conversation is None:
        what = "a question can only take the place of one in a conversation"
        fix = "name the conversation, or leave it out"
        raise Problem(422, "no_conversation", what, where="instead_of", fix=fix)
    pipeline = pipelines.named(body.pipeline)
    overrides = Overrides(
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stop=None if body.stop is None else tuple(body.stop),
        max_tokens=body.max_tokens,
    )
    pipeline.check(overrides)
    searching = chosen(who, body.collections)
    if pipeline.writes_index and searching.own != who.own:
        what = f"the pipeline {pipeline.name!r} writes into the collection {who.own!r}"
        raise Problem(422, "needed_collection", what, where="collections", fix="name it too")
    return Question(
        checked_query(body.query, settings.max_question),
        pipeline,
        searching,
        inputs={name: value for name, value in body.inputs.items() if name != "query"},
        history=tuple(one.model_dump() for one in body.history),
        overrides=overrides,
        conversation=body.conversation,
        instead_of=body.instead_of,
    )


async def _stream(run: AnswerRun) -> AsyncGenerator[str]:
    try:
        async with aclosing(run.events()) as events:
            async for one in events:
                found = encoded(one)
                if found is not None:
                    yield event(*found)
    except Exception as error:  # noqa: BLE001 - the stream's last event
        yield event("error", details(problem_of(error).seen_by(run.question.identity)))
