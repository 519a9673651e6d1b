"""An answer in the form of OpenAI's Responses API: an object, and the events of a stream."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Any

from starlette.requests import Request

from rag.serve.answer import Answer
from rag.serve.answering.answering import AnswerRun
from rag.serve.answering.events import AnswerToken
from rag.serve.documents.links import Links
from rag.serve.errors import Problem, problem_of
from rag.serve.http.addresses import Address, addresses
from rag.serve.http.openai.chat import cached_of, extension, usage_of
from rag.serve.http.openai.errors import error_of
from rag.serve.http.openai.sources import citations, listed, rest_of
from rag.serve.http.sse import event as named
from rag.serve.identity.identity import Identity
from rag.serve.settings.settings import Settings

PREFIX = "resp_"
"""Before a run's id: its response's."""
ITEM = "msg_"
"""The same, of the response's message."""
Json = dict[str, Any]


@dataclass(frozen=True)
class ResponseForm:
    """Makes the objects of one response.

    Args:
        run: The run's id.
        echoed: What the request says and the response repeats.
        address: Where a source opens.
        sources_in_text: Whether the sources are listed below the text.
    """

    run: str
    echoed: Mapping[str, Any]
    address: Address
    sources_in_text: bool

    @property
    def item(self) -> str:
        """The id of its one message."""
        return f"{ITEM}{self.run}"

    def response(self, status: str, **more: Any) -> Json:
        """The response.

        Args:
            status: `in_progress`, `completed`, `incomplete`, `failed` or `cancelled`.
            more: What differs from a response that has only begun.
        """
        return {
            "id": f"{PREFIX}{self.run}",
            "object": "response",
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "parallel_tool_calls": True,
            "reasoning": {"effort": None, "summary": None},
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "truncation": "disabled",
            "usage": None,
            **self.echoed,
            **more,
        }

    def answered(self, answer: Answer, text: str, notes: list[Json]) -> Json:
        """The response that is complete, or cut at the limit of tokens."""
        cut = answer.finish == "length"
        read, written = usage_of(answer)
        return self.response(
            "incomplete" if cut else "completed",
            incomplete_details={"reason": "max_output_tokens"} if cut else None,
            output=[self.message("incomplete" if cut else "completed", [self.part(text, notes)])],
            usage={
                "input_tokens": read,
                "input_tokens_details": {"cached_tokens": cached_of(answer)},
                "output_tokens": written,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": read + written,
            },
            rag=extension(answer),
        )

    def whole(self, answer: Answer) -> Json:
        """The response to a request that does not stream."""
        text = answer.answer or ""
        return self.answered(answer, text + self.below(text, answer), self.notes(text, answer))

    def failed(self, problem: Problem) -> Json:
        """The response of a run that failed."""
        error = error_of(problem)["error"]
        return self.response("failed", error={"code": error["code"], "message": error["message"]})

    def message(self, status: str, content: list[Json]) -> Json:
        """The message."""
        return {
            "id": self.item,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def part(self, text: str, notes: list[Json]) -> Json:
        """The text of the message."""
        return {"type": "output_text", "text": text, "annotations": notes, "logprobs": []}

    def notes(self, text: str, answer: Answer) -> list[Json]:
        """The citations in the text."""
        found = citations(text, answer.sources, self.address)
        return [{"type": "url_citation", **one} for one in found]

    def below(self, text: str, answer: Answer) -> str:
        """What is put below the text."""
        return listed(text, answer.sources, self.address) if self.sources_in_text else ""


def form_of(
    request: Request,
    who: Identity,
    pipeline: str,
    run: str,
    echoed: Mapping[str, Any],
    *,
    links: Links,
    settings: Settings,
) -> ResponseForm:
    """The form of a response, as the one who asks for it may open its sources.

    Args:
        request: Asks for it.
        who: The same.
        pipeline: Answered.
        run: See `ResponseForm`.
        echoed: The same.
        links: Signs links to sources.
        settings: The server's.
    """
    address = addresses(request, "/v1/", who, pipeline, links, settings.public_url)
    return ResponseForm(run, echoed, address, settings.sources_in_text)


async def streamed(
    form: ResponseForm, run: AnswerRun, keep: Callable[[Answer], Awaitable[None]]
) -> AsyncGenerator[str]:
    """The events of a stream, also of a run that fails.

    Args:
        form: Makes what they hold.
        run: Runs within.
        keep: Stores the answer as it was sent, before it is said to be complete.
    """
    numbers = count()
    place = {"item_id": form.item, "output_index": 0, "content_index": 0}

    def event(kind: str, **data: Any) -> str:
        name = f"response.{kind}"
        return named(name, {"type": name, "sequence_number": next(numbers), **data})

    def delta(text: str) -> str:
        return event("output_text.delta", **place, delta=text, logprobs=[])

    text = ""
    try:
        for kind in ("created", "in_progress"):
            yield event(kind, response=form.response("in_progress"))
        yield event("output_item.added", output_index=0, item=form.message("in_progress", []))
        yield event("content_part.added", **place, part=form.part("", []))
        async with aclosing(run.events()) as events:
            async for one in events:
                match one:
                    case AnswerToken():
                        text += one.text
                        yield delta(one.text)
                    case Answer():
                        rest = rest_of(text, one.answer or "")
                        await keep(one.model_copy(update={"answer": text + rest}))
                        notes = form.notes(text + rest, one)
                        rest += form.below(text + rest, one)
                        if rest:
                            yield delta(rest)
                        text += rest
                        for number, note in enumerate(notes):
                            about = {"annotation_index": number, "annotation": note}
                            yield event("output_text.annotation.added", **place, **about)
                        done = form.answered(one, text, notes)
                        (item,) = done["output"]
                        yield event("output_text.done", **place, text=text, logprobs=[])
                        yield event("content_part.done", **place, part=item["content"][0])
                        yield event("output_item.done", output_index=0, item=item)
                        yield event(done["status"], response=done)
    except Exception as error:  # noqa: BLE001 - the stream's last event
        problem = problem_of(error).seen_by(run.question.identity)
        yield event("failed", response=form.failed(problem))
