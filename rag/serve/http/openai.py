"""The API of OpenAI's chat completions: any client of it can ask a pipeline, named as `model`."""

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from rag.serve.access import Tenant, own_pages_only
from rag.serve.asking import Asking, Question
from rag.serve.http.ask import checked, last
from rag.serve.http.problems import Problem, problem_of
from rag.serve.http.route import route_class
from rag.serve.http.streams import EventStream, compact, while_connected
from rag.serve.pipeline import Overrides
from rag.serve.rewrite import Turn
from rag.serve.service import Service

_MARK = re.compile(r"\[(\d{1,3})\]")
_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class PartBody(BaseModel):
    """A part of a message."""

    type: str
    text: str = ""


class MessageBody(BaseModel):
    """A message."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[PartBody] | None = None

    def text(self) -> str:
        """Its text.

        Raises:
            Problem: It holds something else.
        """
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        for part in self.content:
            if part.type != "text":
                raise unsupported(f"content of type {part.type[:40]!r}", "messages")
        return "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a stream holds besides the answer."""

    include_usage: bool = False


class CompletionBody(BaseModel):
    """A request for a completion. Settings of OpenAI's that are not here have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="the pipeline's name")
    messages: list[MessageBody] = Field(min_length=1, max_length=500)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: str | list[str] | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=100_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=100_000)
    n: int | None = None
    tools: list[Any] | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None


class ErrorBody(BaseModel):
    """An error as OpenAI's clients read it."""

    error: dict[str, Any]


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 422, 429, 500, 503, 504)
}
EXAMPLES: dict[str, Any] = {
    "question": {
        "summary": "A question",
        "value": {
            "model": "hybrid",
            "messages": [{"role": "user", "content": "Who may open the north lock?"}],
        },
    }
}


def routes(service: Service, tenant: Tenant) -> APIRouter:
    """`POST /v1/chat/completions`, `GET /v1/models`."""
    router = APIRouter(
        prefix="/v1",
        route_class=route_class(service, service.settings.max_body, respond),
        tags=["openai"],
        dependencies=[Depends(own_pages_only)],
        responses=ERRORS,
    )
    started = int(time.time())

    def card(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "rag"}

    @router.get("/models")
    async def models(tenant: Annotated[str, Depends(tenant)]) -> dict[str, Any]:
        """The pipelines."""
        return {"object": "list", "data": [card(name) for name in service.flows]}

    @router.get("/models/{model}")
    async def model(model: str, tenant: Annotated[str, Depends(tenant)]) -> dict[str, Any]:
        """A pipeline."""
        return card(service.pipeline(model))

    @router.post(
        "/chat/completions",
        response_model=dict[str, Any],
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def complete(
        request: Request,
        body: Annotated[CompletionBody, Body(openapi_examples=EXAMPLES)],
        tenant: Annotated[str, Depends(tenant)],
    ) -> Response:
        """Answer the last message from the pipeline's documents."""
        asking = Asking(service, question_of(service, body, tenant))
        headers = {"X-Run-Id": asking.record.id}
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            return EventStream(_chunks(asking, body.model, usage=usage), headers)
        done = await while_connected(request, last(asking))
        return JSONResponse(completion(done, body.model), headers=headers)

    return router


def question_of(service: Service, body: CompletionBody, tenant: str) -> Question:
    """The last message as a question, the others as its history.

    Raises:
        Problem: The request asks for what is not there.
    """
    name = service.pipeline(body.model)
    for wrong, what in (
        (body.n not in (None, 1), "n other than 1"),
        (body.tools, "tools"),
        (body.logprobs, "logprobs"),
        ((body.response_format or {}).get("type", "text") != "text", "response_format"),
    ):
        if wrong:
            raise unsupported(what, what.split()[0])
    system: list[str] = []
    turns: list[Turn] = []
    for message in body.messages:
        if message.role in ("tool", "function"):
            raise unsupported(f"messages of the role {message.role}", "messages")
        text = message.text()
        if message.role in ("system", "developer"):
            system.append(text)
        else:
            turns.append((message.role, text))
    if not turns or turns[-1][0] != "user":
        raise Problem(
            400, "no_question", "the last message is not the user's", where="messages",
            fix="end with a message of the role user",
        )  # fmt: skip
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    return Question(
        checked(service, turns[-1][1]),
        name,
        tenant,
        history=tuple(turns[:-1]),
        overrides=Overrides(
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
            stop=None if stop is None else tuple(stop),
            max_tokens=body.max_completion_tokens or body.max_tokens,
            system="\n".join(system) or None,
        ),
    )


def unsupported(what: str, where: str) -> Problem:
    """The answer to a request for what pipelines cannot do."""
    fix = "leave it out"
    return Problem(400, "unsupported", f"{what} cannot be had here", where=where, fix=fix)


def completion(done: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A finished run as a completion."""
    text = done["answer"] or ""
    message = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "annotations": annotations(text, done["sources"]),
    }
    choice = {"index": 0, "message": message, "finish_reason": done["finish"], "logprobs": None}
    return {
        "id": f"chatcmpl-{done['run']}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage_of(done),
        "rag": beside(done),
    }


def usage_of(done: Mapping[str, Any]) -> dict[str, int]:
    """Tokens of the run: of the answer, and all others as the prompt's."""
    used = done["usage"]
    written = used["completion_tokens"]
    read = max(used["tokens"] - written, used["prompt_tokens"])
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def beside(done: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAI's format has no place for."""
    return {name: done[name] for name in ("run", "query", "sources", "context", "seconds")}


def annotations(text: str, sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One annotation for each mark `[n]` in the text whose source is there."""
    known = {source["number"]: source for source in sources}
    found = []
    for mark in _MARK.finditer(text):
        source = known.get(int(mark.group(1)))
        if source is None:
            continue
        cited = {
            "start_index": mark.start(),
            "end_index": mark.end(),
            "title": source["title"] or source["place"],
            "url": f"document:{quote(source['place'])}",
            "quote": source["quote"],
        }
        found.append({"type": "url_citation", "url_citation": cited})
    return found


async def _chunks(asking: Asking, model: str, *, usage: bool) -> AsyncIterator[str]:
    head = {
        "id": f"chatcmpl-{asking.record.id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        last_one = {"usage": None} if usage else {}
        return f"data: {compact({**head, 'choices': [choice], **last_one, **more})}"

    said = ""
    try:
        yield chunk({"role": "assistant", "content": ""})
        async with aclosing(asking.events()) as told:
            async for name, data in told:
                if name == "token" and data["answer"]:
                    said += data["text"]
                    yield chunk({"content": data["text"]})
                elif name == "done":
                    rest = _rest(said, data["answer"] or "")
                    if rest:
                        yield chunk({"content": rest})
                    notes = annotations(said + rest, data["sources"])
                    yield chunk(
                        {"annotations": notes} if notes else {}, data["finish"], rag=beside(data)
                    )
                    if usage:
                        counted = {**head, "choices": [], "usage": usage_of(data)}
                        yield f"data: {compact(counted)}"
    except Exception as error:  # noqa: BLE001 - told to the reader
        yield f"data: {compact(error_of(problem_of(error)))}"
    yield "data: [DONE]"


def _rest(said: str, answer: str) -> str:
    """What is still to be sent of the answer: all of it, or the marks that `cite` put into it.

    What was sent cannot be taken back, so the marks come at the end.
    """
    if not said:
        return answer
    marks = list(dict.fromkeys(_MARK.findall(answer)))
    new = [number for number in marks if f"[{number}]" not in said]
    return f" {''.join(f'[{number}]' for number in new)}" if new else ""


def error_of(problem: Problem) -> dict[str, Any]:
    """The problem as OpenAI's clients read it."""
    code = "model_not_found" if problem.code == "no_pipeline" else problem.code
    otherwise = "server_error" if problem.status >= 500 else "invalid_request_error"
    kind = _KINDS.get(problem.status, otherwise)
    message = f"{problem.what}; {problem.fix}" if problem.fix else problem.what
    return {"error": {"message": message, "type": kind, "code": code, "param": problem.where}}


def respond(problem: Problem) -> Response:
    """The problem as an answer."""
    return JSONResponse(error_of(problem), problem.status, headers=problem.headers)
