"""The API of OpenAI's chat completions: any client of it can ask a pipeline, named as `model`."""

import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from rag.serve.answer import Answer, AnswerSource
from rag.serve.answering import Answering, AnswerRun
from rag.serve.errors import Problem, problem_of
from rag.serve.events import AnswerToken
from rag.serve.http.authentication import asks
from rag.serve.http.disconnect import while_connected
from rag.serve.http.route import Endpoints
from rag.serve.http.sse import EventStream, data_only
from rag.serve.identity import Identity
from rag.serve.pipeline import Overrides, Pipelines
from rag.serve.question import Question, checked_query
from rag.serve.settings import Settings

_MARK = re.compile(r"\[(\d{1,3})\]")
_TYPES = {
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


def routes(
    shared: Endpoints, answering: Answering, pipelines: Pipelines, settings: Settings
) -> APIRouter:
    """`POST /v1/chat/completions`, `GET /v1/models`."""
    router = shared.router(prefix="/v1", respond=respond, tags=["openai"], responses=ERRORS)
    Asker = Annotated[Identity, Depends(asks)]  # noqa: N806 - a type
    started = int(time.time())

    def card(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "rag"}

    @router.get("/models")
    async def models(who: Asker) -> dict[str, Any]:
        """The pipelines."""
        return {"object": "list", "data": [card(name) for name in pipelines]}

    @router.get("/models/{model}")
    async def model(model: str, who: Asker) -> dict[str, Any]:
        """A pipeline."""
        return card(pipelines.named(model).name)

    @router.post(
        "/chat/completions",
        response_model=dict[str, Any],
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def complete(
        request: Request,
        body: Annotated[CompletionBody, Body(openapi_examples=EXAMPLES)],
        who: Asker,
    ) -> Response:
        """Answer the last message from the pipeline's documents."""
        run = await answering.admit(question_of(body, who, pipelines, settings))
        headers = {"X-Run-Id": run.record.id}
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            return EventStream(_chunks(run, body.model, usage=usage), headers, run.close)
        with closing(run):
            answer = await while_connected(request.receive, run.answer())
        return JSONResponse(completion(answer, body.model), headers=headers)

    return router


def question_of(
    body: CompletionBody, who: Identity, pipelines: Pipelines, settings: Settings
) -> Question:
    """The last message as a question, the others as its history.

    Settings that the pipeline does not have are ignored, as by OpenAI's API.

    Raises:
        Problem: The request asks for what is not supported.
    """
    pipeline = pipelines.named(body.model)
    for wrong, what in (
        (body.n not in (None, 1), "n other than 1"),
        (body.tools, "tools"),
        (body.logprobs, "logprobs"),
        ((body.response_format or {}).get("type", "text") != "text", "response_format"),
    ):
        if wrong:
            raise unsupported(what, what.split()[0])
    system: list[str] = []
    messages: list[dict[str, str]] = []
    for message in body.messages:
        if message.role in ("tool", "function"):
            raise unsupported(f"messages of the role {message.role}", "messages")
        text = message.text()
        if message.role in ("system", "developer"):
            system.append(text)
        else:
            messages.append({"role": message.role, "content": text})
    if not messages or messages[-1]["role"] != "user":
        raise Problem(
            400, "no_question", "the last message is not the user's", where="messages",
            fix="end with a message of the role user",
        )  # fmt: skip
    *history, last = messages
    wanted = body.max_completion_tokens or body.max_tokens
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    return Question(
        checked_query(last["content"], settings.max_question),
        pipeline,
        who,
        history=tuple(history),
        overrides=Overrides(
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
            stop=None if stop is None else tuple(stop),
            max_tokens=None if wanted is None else min(wanted, settings.max_tokens),
            system="\n".join(system) or None,
        ),
    )


def unsupported(what: str, where: str) -> Problem:
    """The answer to a request for what pipelines cannot do."""
    return Problem(400, "unsupported", f"{what}: not supported", where=where, fix="leave it out")


def completion(answer: Answer, model: str) -> dict[str, Any]:
    """An answer as a completion."""
    text = answer.answer or ""
    message = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "annotations": annotations(text, answer.sources),
    }
    choice = {"index": 0, "message": message, "finish_reason": answer.finish, "logprobs": None}
    return {
        "id": f"chatcmpl-{answer.run}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage_of(answer),
        "rag": extension(answer),
    }


def usage_of(answer: Answer) -> dict[str, int]:
    """Tokens of the run: those of the answer, and all others as the prompt's."""
    used = answer.usage
    written = used.completion_tokens
    read = max(used.tokens - written, used.prompt_tokens)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def extension(answer: Answer) -> dict[str, Any]:
    """What OpenAI's format has no place for."""
    return answer.model_dump(include={"run", "query", "abstained", "sources", "reuse", "seconds"})


def annotations(text: str, sources: list[AnswerSource]) -> list[dict[str, Any]]:
    """One annotation for each mark `[n]` in the text that names a source."""
    known = {source.number: source for source in sources}
    found = []
    for mark in _MARK.finditer(text):
        source = known.get(int(mark.group(1)))
        if source is None:
            continue
        cited = {
            "start_index": mark.start(),
            "end_index": mark.end(),
            "title": source.title or source.place,
            "url": f"document:{quote(source.place)}",
            "quote": source.quote,
        }
        found.append({"type": "url_citation", "url_citation": cited})
    return found


async def _chunks(run: AnswerRun, model: str, *, usage: bool) -> AsyncGenerator[str]:
    head = {
        "id": f"chatcmpl-{run.record.id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        no_usage = {"usage": None} if usage else {}
        return data_only({**head, "choices": [choice], **no_usage, **more})

    text = ""
    try:
        yield chunk({"role": "assistant", "content": ""})
        async with aclosing(run.events()) as events:
            async for event in events:
                match event:
                    case AnswerToken():
                        text += event.text
                        yield chunk({"content": event.text})
                    case Answer():
                        rest = _rest(text, event.answer or "")
                        if rest:
                            yield chunk({"content": rest})
                        notes = annotations(text + rest, event.sources)
                        delta = {"annotations": notes} if notes else {}
                        yield chunk(delta, event.finish, rag=extension(event))
                        if usage:
                            yield data_only({**head, "choices": [], "usage": usage_of(event)})
    except Exception as error:  # noqa: BLE001 - the stream's last chunk
        yield data_only(error_of(problem_of(error).seen_by(run.question.identity)))
    yield "data: [DONE]"


def _rest(sent: str, answer: str) -> str:
    """What is still to be sent of the answer: all of it, or the marks that `cite` put into it.

    What was sent cannot be taken back, so the marks come at the end.
    """
    if not sent:
        return answer
    marks = list(dict.fromkeys(_MARK.findall(answer)))
    new = [number for number in marks if f"[{number}]" not in sent]
    return f" {''.join(f'[{number}]' for number in new)}" if new else ""


def error_of(problem: Problem) -> dict[str, Any]:
    """The problem as OpenAI's clients read it."""
    code = "model_not_found" if problem.code == "no_pipeline" else problem.code
    otherwise = "server_error" if problem.status >= 500 else "invalid_request_error"
    kind = _TYPES.get(problem.status, otherwise)
    message = f"{problem.what}; {problem.fix}" if problem.fix else problem.what
    return {"error": {"message": message, "type": kind, "code": code, "param": problem.where}}


def respond(problem: Problem) -> Response:
    """The problem as an HTTP response."""
    return JSONResponse(error_of(problem), problem.status, headers=problem.headers)
