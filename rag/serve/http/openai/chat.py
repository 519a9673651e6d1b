"""OpenAI's chat completions: any client of them can ask a pipeline, named as `model`."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from rag.serve.answer import Answer
from rag.serve.answering.answering import Answering, AnswerRun
from rag.serve.answering.events import AnswerToken
from rag.serve.answering.question import Question, checked_query
from rag.serve.documents.links import Links
from rag.serve.errors import problem_of
from rag.serve.http.addresses import Address, addresses
from rag.serve.http.authentication import asks
from rag.serve.http.disconnect import while_connected
from rag.serve.http.openai.errors import ERRORS, error_of, respond, unsupported
from rag.serve.http.openai.messages import MessageBody, asked
from rag.serve.http.openai.models import Models
from rag.serve.http.openai.sources import (
    citations,
    listed,
    rest_of,
    source_event,
)
from rag.serve.http.route import Endpoints
from rag.serve.http.sse import EventStream, data_only
from rag.serve.identity.identity import Identity
from rag.serve.pipelines.pipeline import Overrides
from rag.serve.settings.settings import Settings


class StreamOptions(BaseModel):
    """What a stream holds besides the answer."""

    include_usage: bool | None = False


class CompletionBody(BaseModel):
    """A request for a completion. Settings of OpenAI's that are not here have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="the pipeline's name; `NAME:llm`: its language model alone")
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
    shared: Endpoints, answering: Answering, models: Models, links: Links, settings: Settings
) -> APIRouter:
    """`POST /v1/chat/completions`."""
    router = shared.router(prefix="/v1", respond=respond, tags=["openai"], responses=ERRORS)

    @router.post(
        "/chat/completions",
        response_model=dict[str, Any],
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def complete(
        request: Request,
        body: Annotated[CompletionBody, Body(openapi_examples=EXAMPLES)],
        who: Annotated[Identity, Depends(asks)],
    ) -> Response:
        """Answer the last message from the pipeline's documents."""
        run = await answering.admit(question_of(body, who, models, settings))
        name, url = run.question.pipeline.name, settings.public_url
        address = addresses(request, "/v1/", who, name, links, url)
        shown = _Shown(body.model, address, sources_in_text=settings.sources_in_text)
        headers = {"X-Run-Id": run.record.id}
        if body.stream:
            usage = body.stream_options is not None and bool(body.stream_options.include_usage)
            return EventStream(_chunks(run, shown, usage=usage), headers, run.close)
        with closing(run):
            answer = await while_connected(request.receive, run.answer())
        return JSONResponse(shown.completion(answer), headers=headers)

    return router


def question_of(
    body: CompletionBody, who: Identity, models: Models, settings: Settings
) -> Question:
    """The last message as a question, the others as its history.

    Settings that the pipeline does not have are ignored, as by OpenAI's API.

    Raises:
        Problem: The request asks for what is not supported.
    """
    pipeline = models.named(body.model)
    for wrong, what in (
        (body.n not in (None, 1), "n other than 1"),
        (body.tools, "tools"),
        (body.logprobs, "logprobs"),
        ((body.response_format or {}).get("type", "text") != "text", "response_format"),
    ):
        if wrong:
            raise unsupported(what, what.split()[0])
    found = asked(body.messages, "messages")
    wanted = body.max_completion_tokens or body.max_tokens
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    longest = settings.max_question if models.searches(body.model) else settings.max_body
    return Question(
        checked_query(found.query, longest),
        pipeline,
        who,
        history=found.history,
        overrides=Overrides(
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
            stop=None if stop is None else tuple(stop),
            max_tokens=None if wanted is None else min(wanted, settings.max_tokens),
            system=found.system,
        ),
    )


def usage_of(answer: Answer) -> tuple[int, int]:
    """Tokens of the run: all that were read, counting drafts as read, and those of the answer."""
    used = answer.usage
    return max(used.tokens - used.completion_tokens, used.prompt_tokens), used.completion_tokens


def cached_of(answer: Answer) -> int:
    """Tokens of the prompt whose states were stored, and did not have to be computed."""
    chunks = (answer.reuse or {}).get("chunks", ())
    return sum(one["tokens"] - one["recomputed"] for one in chunks if one["hit"])


def extension(answer: Answer) -> dict[str, Any]:
    """What OpenAI's format has no place for."""
    return answer.model_dump(include={"run", "query", "abstained", "sources", "reuse", "seconds"})


class _Shown:
    """An answer as a completion, whole and in chunks."""

    def __init__(self, model: str, address: Address, *, sources_in_text: bool) -> None:
        self._head = {"created": int(time.time()), "model": model}
        self.address, self._sources_in_text = address, sources_in_text

    def completion(self, answer: Answer) -> dict[str, Any]:
        """The whole answer."""
        text = answer.answer or ""
        message = {
            "role": "assistant",
            "content": text + self.below(text, answer),
            "refusal": None,
            "annotations": self.annotations(text, answer),
        }
        choice = {"index": 0, "message": message, "finish_reason": answer.finish, "logprobs": None}
        return {
            "id": f"chatcmpl-{answer.run}",
            "object": "chat.completion",
            **self._head,
            "choices": [choice],
            "usage": self.usage(answer),
            "rag": extension(answer),
        }

    def chunk(self, run: str, choices: list[dict[str, Any]], **more: Any) -> str:
        """A part of a stream."""
        about = {"id": f"chatcmpl-{run}", "object": "chat.completion.chunk", **self._head}
        return data_only({**about, "choices": choices, **more})

    def annotations(self, text: str, answer: Answer) -> list[dict[str, Any]]:
        """The citations in the text."""
        found = citations(text, answer.sources, self.address)
        return [{"type": "url_citation", "url_citation": one} for one in found]

    def below(self, text: str, answer: Answer) -> str:
        """What is put below the text."""
        return listed(text, answer.sources, self.address) if self._sources_in_text else ""

    def usage(self, answer: Answer) -> dict[str, Any]:
        """The tokens of the run."""
        read, written = usage_of(answer)
        return {
            "prompt_tokens": read,
            "prompt_tokens_details": {"cached_tokens": cached_of(answer)},
            "completion_tokens": written,
            "total_tokens": read + written,
        }


async def _chunks(run: AnswerRun, shown: _Shown, *, usage: bool) -> AsyncGenerator[str]:
    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        no_usage = {"usage": None} if usage else {}
        return shown.chunk(run.record.id, [choice], **no_usage, **more)

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
                        rest = rest_of(text, event.answer or "")
                        below = shown.below(text + rest, event)
                        if rest or below:
                            yield chunk({"content": rest + below})
                        for source in event.sources:  # Open WebUI reads the field `event`
                            yield chunk({}, event=source_event(source, shown.address))
                        notes = shown.annotations(text + rest, event)
                        delta = {"annotations": notes} if notes else {}
                        yield chunk(delta, event.finish, rag=extension(event))
                        if usage:
                            yield shown.chunk(run.record.id, [], usage=shown.usage(event))
    except Exception as error:  # noqa: BLE001 - the stream's last chunk
        yield data_only(error_of(problem_of(error).seen_by(run.question.identity)))
    yield "data: [DONE]"
