"""A question on its way: the queue, the conversation, the flow, the record of the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rag.flow.flow import Flow
from rag.flow.run import events
from rag.serve.http import payload
from rag.serve.http.problems import Problem, as_dict, problem_of
from rag.serve.pipeline import Overrides, answering, tuned
from rag.serve.rewrite import Turn, standalone
from rag.serve.runs import RunRecord, RunStep

if TYPE_CHECKING:
    from rag.serve.queue import Ticket
    from rag.serve.service import Service

Told = tuple[str, dict[str, Any]]
"""An event's name and its data."""
REMEMBERED = 8
"""Messages of a conversation that a question may lean on."""


@dataclass(frozen=True)
class Question:
    """What is asked, by whom, of which pipeline."""

    query: str
    pipeline: str
    tenant: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Turn, ...] = ()
    overrides: Overrides = field(default_factory=Overrides)
    conversation: str | None = None


class Asking:
    """A question that was admitted; `events` runs it, once.

    Raises:
        Problem: As `Gate.admit`.
    """

    def __init__(self, service: Service, question: Question) -> None:
        self._service, self.question = service, question
        self._ticket: Ticket = service.gate.admit(question.tenant)
        self.record: RunRecord = service.runs.begin(question.tenant, question.pipeline)
        self._limit: asyncio.Timeout | None = None
        self._deadline: float | None = None
        self._stopped = False
        self._said: list[str] = []

    def stop(self) -> None:
        """End the run as the server stops: its reader gets an error, not a broken connection."""
        self._stopped = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def events(self) -> AsyncGenerator[Told]:
        """What happens, as name and data; the last is `done` with the result.

        Closing it cancels the run.

        Raises:
            RagError: The run failed.
        """
        service, record, question = self._service, self.record, self.question
        created = perf_counter()
        service.asking.add(self)
        about: dict[str, Any] = {"run": record.id}
        answer = ""
        try:
            begun = {"run": record.id, "pipeline": question.pipeline}
            yield "run", {**begun, "conversation": question.conversation}
            history = await self._opened()
            if self._ticket.before:
                yield "queued", {"before": self._ticket.before}
            record.status = "waiting"
            async with self._ticket:
                record.status, record.waited = "running", perf_counter() - created
                service.metrics.waited.observe(record.waited)
                async with aclosing(self._run(history)) as told:
                    async for name, data in told:
                        yield name, data
                        if name == "done":
                            answer = data["answer"] or ""
                            about |= {k: data[k] for k in ("sources", "context", "seconds")}
            record.status = "done"
        except Exception as error:
            problem = problem_of(error)
            record.status, record.error = "failed", as_dict(problem)
            about["error"] = {"code": problem.code, "what": problem.what, "fix": problem.fix}
            raise problem from error
        finally:
            service.asking.discard(self)
            cancelled = record.status in ("waiting", "running")
            if cancelled:
                record.status = "cancelled"
            if record.status != "done":
                about["stopped"] = cancelled
                answer = "".join(self._said)
            record.seconds = perf_counter() - created
            service.metrics.ended(record)
            service.runs.end(record)
            if question.conversation is not None and (answer or not cancelled):
                await service.conversations.add(
                    question.tenant, question.conversation, "assistant", answer, about
                )

    async def _opened(self) -> tuple[Turn, ...]:
        """The turns before the question, which is kept as the next one."""
        question, service = self.question, self._service
        if question.conversation is None:
            return question.history
        kept = await service.conversations.get(question.tenant, question.conversation)
        await service.conversations.add(
            question.tenant, question.conversation, "user", question.query
        )
        said = [(one.role, one.text) for one in kept.messages if one.text]
        return tuple(said[-REMEMBERED:])

    async def _run(self, history: tuple[Turn, ...]) -> AsyncGenerator[Told]:
        question, service = self.question, self._service
        self._deadline = asyncio.get_running_loop().time() + service.settings.run_seconds
        flow = await self._within(service.flow(question.pipeline, question.tenant))
        inputs, query = dict(question.inputs), question.query
        if history and "history" in flow.inputs and flow.matchers["history"](list(history)):
            inputs["history"] = list(history)
        elif history:
            llm = service.llm(flow)
            if llm is not None:
                query = await self._within(standalone(query, history, llm))
                if query != question.query:
                    yield "rewritten", {"query": query}
        flow = tuned(flow, question.overrides)
        async with aclosing(_closable(flow.astream(**inputs, query=query))) as stream:
            told = _Result(flow, query, self.record)
            while True:
                try:
                    event = await self._within(anext(stream))
                except StopAsyncIteration:
                    break
                found = told.take(event)
                if found[0] == "token" and found[1]["answer"]:
                    self._said.append(event.text)
                yield found

    async def _within(self, work: Any) -> Any:
        """The result of some work, within the run's time."""
        when = 0.0 if self._stopped else self._deadline
        try:
            async with asyncio.timeout_at(when) as self._limit:
                return await work
        except TimeoutError as error:
            if self._stopped:
                raise Problem(
                    503, "stopping", "the server stops", fix="ask again in a moment",
                    headers={"Retry-After": "10"},
                ) from error  # fmt: skip
            if self._limit is None or not self._limit.expired():
                raise
            raise Problem(
                504, "run_too_long",
                f"the run took longer than {self._service.settings.run_seconds:g} s",
                fix="ask for less, or raise the server's run_seconds",
            ) from error  # fmt: skip
        finally:
            self._limit = None


async def _closable(stream: AsyncIterator[events.Event]) -> AsyncGenerator[events.Event]:
    try:
        async for event in stream:
            yield event
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


class _Result:
    """Gathers what a run tells, for its record and its result."""

    def __init__(self, flow: Flow, query: str, record: RunRecord) -> None:
        self._query, self._record = query, record
        self._final = answering(flow.node)
        self._wrote: dict[str, Any] = {}
        self._started = perf_counter()

    def take(self, event: events.Event) -> Told:
        """The event as it is told."""
        if isinstance(event, events.Done):
            return "done", self._done(event)
        name, data = payload.event_data(event)
        if isinstance(event, events.Token):
            data["answer"] = event.node in self._final
            if data["answer"] and self._record.first_token is None:
                self._record.first_token = perf_counter() - self._started
        elif isinstance(event, events.NodeFinished | events.Reused):
            self._wrote |= event.writes
            seconds = event.seconds if isinstance(event, events.NodeFinished) else 0.0
            step = RunStep(node=event.node, seconds=round(seconds, 6), writes=data["writes"])
            self._record.steps.append(step)
        return name, data

    def _done(self, event: events.Done) -> dict[str, Any]:
        # Channels that the flow does not give out are shown all the same: sources, tokens.
        record, result = self._record, {**self._wrote, **event.result}
        generation = result.get("generation")
        record.llm_calls, record.tokens = event.llm_calls, event.tokens
        record.context = getattr(generation, "context", None)
        answer = result.get("answer")
        return {
            "run": record.id,
            "query": self._query,
            "answer": answer if isinstance(answer, str) or answer is None else str(answer),
            "sources": payload.sources(
                result.get("documents") or [], result.get("citations") or []
            ),
            "outputs": payload.outputs(event.result),
            "seconds": round(event.seconds, 6),
            "first_token": record.first_token,
            "waited": record.waited,
            "finish": getattr(generation, "finish", "stop"),
            "usage": {
                "prompt_tokens": getattr(generation, "prompt_tokens", 0),
                "completion_tokens": getattr(generation, "completion_tokens", 0),
                "llm_calls": event.llm_calls,
                "tokens": event.tokens,
            },
            "context": record.context,
        }
