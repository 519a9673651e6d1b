"""Ask a question; look at its run."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from rag.serve.access import Tenant, own_pages_only
from rag.serve.asking import Asking, Question
from rag.serve.http import payload
from rag.serve.http.problems import Problem
from rag.serve.http.route import route_class
from rag.serve.http.streams import EventStream, event, while_connected
from rag.serve.pipeline import Overrides
from rag.serve.runs import RunRecord
from rag.serve.service import Service

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class TurnBody(BaseModel):
    """An earlier turn."""

    role: Literal["user", "assistant"]
    text: str = Field(max_length=100_000)


class AskBody(BaseModel):
    """A question."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, description="the question")
    pipeline: str | None = Field(default=None, description="its name; none: the first")
    inputs: dict[str, Any] = Field(default={}, description="further inputs of the flow")
    conversation: str | None = Field(
        default=None, pattern="^[0-9a-f]{32}$", description="the question goes on with this one"
    )
    history: list[TurnBody] = Field(
        default=[], max_length=50, description="earlier turns, where no conversation is kept"
    )
    stream: bool = Field(default=False, description="events, as does Accept: text/event-stream")
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: list[str] | None = Field(default=None, max_length=8)
    max_tokens: int | None = Field(default=None, ge=1, le=100_000)


class SourceBody(BaseModel):
    """A document that the answer was made from."""

    number: int
    id: str | None
    title: str | None
    place: str
    text: str
    start: int | None
    end: int | None
    score: float | None
    cited: bool
    quote: str | None
    support: float | None


class UsageBody(BaseModel):
    """What a run used."""

    prompt_tokens: int
    completion_tokens: int
    llm_calls: int
    tokens: int


class AnswerBody(BaseModel):
    """An answer with its sources."""

    run: str
    query: str = Field(description="as it was asked of the index: standing by itself")
    answer: str | None
    sources: list[SourceBody]
    outputs: dict[str, Any] = Field(description="the flow's other outputs")
    seconds: float
    first_token: float | None
    waited: float | None
    finish: str
    usage: UsageBody
    context: dict[str, Any] | None


class ProblemBody(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    what: str
    where: str | None
    fix: str | None


PROBLEM: dict[str, Any] = {
    "model": ProblemBody,
    "content": {"application/problem+json": {}},
    "description": "What was wrong, where, and how to mend it",
}
PROBLEMS: dict[int | str, dict[str, Any]] = dict.fromkeys(
    (400, 401, 403, 404, 413, 422, 429, 500, 503, 504), PROBLEM
)
"""What any endpoint may answer."""

QUESTIONS: dict[str, Any] = {
    "plain": {"summary": "A question", "value": {"query": "Who may open the north lock?"}},
    "stream": {
        "summary": "The same as events",
        "value": {"query": "Who may open the north lock?", "stream": True},
    },
    "history": {
        "summary": "A question that leans on an earlier one",
        "value": {
            "query": "And at night?",
            "history": [
                {"role": "user", "text": "Who may open the north lock?"},
                {"role": "assistant", "text": "The lock keeper on duty."},
            ],
        },
    },
}
_STREAM: dict[str, Any] = {"text/event-stream": {}}
_ASKED: dict[int | str, dict[str, Any]] = {
    **PROBLEMS, 200: {"content": _STREAM, "description": "The answer, or events of the run"},
}  # fmt: skip


def routes(service: Service, tenant: Tenant) -> APIRouter:
    """`POST /ask`, `GET /runs/{id}`."""
    router = APIRouter(
        route_class=route_class(service, service.settings.max_body),
        tags=["ask"],
        dependencies=[Depends(own_pages_only)],
    )

    @router.post("/ask", response_model=AnswerBody, responses=_ASKED)
    async def ask(
        request: Request,
        body: Annotated[AskBody, Body(openapi_examples=QUESTIONS)],
        tenant: Annotated[str, Depends(tenant)],
    ) -> Response:
        """Ask a question. A client that leaves cancels it."""
        asking = Asking(service, question_of(service, body, tenant))
        if body.stream or "text/event-stream" in request.headers.get("accept", ""):
            return EventStream(_sent(asking), {"X-Run-Id": asking.record.id})
        done = await while_connected(request, last(asking))
        return JSONResponse(done, headers={"X-Run-Id": asking.record.id})

    @router.get("/runs/{run}", responses=PROBLEMS)
    async def run(run: Id, tenant: Annotated[str, Depends(tenant)]) -> RunRecord:
        """A run: its steps, what they took, how it ended."""
        found = await service.runs.get(tenant, run)
        if found is None:
            raise Problem(404, "no_run", f"there is no run {run!r}")
        return found

    return router


def question_of(service: Service, body: AskBody, tenant: str) -> Question:
    """The question of a body.

    Raises:
        Problem: It is empty or too long, or there is no such pipeline.
    """
    return Question(
        checked(service, body.query),
        service.pipeline(body.pipeline),
        tenant,
        inputs={name: value for name, value in body.inputs.items() if name != "query"},
        history=tuple((one.role, one.text) for one in body.history),
        overrides=Overrides(
            temperature=body.temperature,
            seed=body.seed,
            stop=None if body.stop is None else tuple(body.stop),
            max_tokens=body.max_tokens,
        ),
        conversation=body.conversation,
    )


def checked(service: Service, query: str) -> str:
    """The question's text, if it is one.

    Raises:
        Problem: 422, it is empty or too long.
    """
    query, limit = query.strip(), service.settings.max_question
    if not query:
        raise Problem(422, "empty_question", "the question is empty", where="query", fix="ask")
    if len(query) > limit:
        what = f"the question has {len(query):,} characters, the limit is {limit:,}"
        raise Problem(422, "question_too_long", what, where="query", fix="ask a shorter one")
    return query.encode("utf-8", "replace").decode()


async def last(asking: Asking) -> dict[str, Any]:
    """The result, when it is there."""
    done: dict[str, Any] = {}
    async with aclosing(asking.events()) as told:
        async for name, data in told:
            if name == "done":
                done = data
    return done


async def _sent(asking: Asking) -> AsyncIterator[str]:
    try:
        async with aclosing(asking.events()) as told:
            async for name, data in told:
                yield event(name, data)
    except Exception as error:  # noqa: BLE001 - told to the reader
        yield event("error", payload.failure(error))
