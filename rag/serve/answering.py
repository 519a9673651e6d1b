"""Answering: a question through the queue, its conversation and its flow, to its answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from rag.flow import Flow, Place
from rag.flow.run.events import Done, Event, NodeFinished, Reused, Token
from rag.flow.run.execution import Execution
from rag.models import LLM
from rag.operators import CondenseQuery
from rag.operators.history import History
from rag.plain import summary
from rag.serve.answer import Answer, Usage, outputs, sources
from rag.serve.conversations import Conversations
from rag.serve.deadline import Deadline
from rag.serve.errors import Problem, details, problem_of
from rag.serve.flows import Flows, indexes
from rag.serve.identity import Identity
from rag.serve.limits import UserLimits
from rag.serve.metrics import Metrics
from rag.serve.pipeline import Overrides, Pipeline
from rag.serve.queue import RunQueue
from rag.serve.runs import Runs, RunStep
from rag.text.abstention import abstains

REMEMBERED = 8
"""Messages of a conversation that a question may refer to."""
_CONDENSE = Flow(CondenseQuery(), inputs={"query": str, "history": History}, outputs=["query"])


@dataclass(frozen=True)
class Question:
    """What is asked, by whom, of which pipeline.

    Args:
        query: The question.
        pipeline: The pipeline that answers.
        identity: Who asks.
        inputs: Further inputs of the flow.
        history: Earlier messages, oldest first, each `role` and `content`.
        overrides: What differs from the pipeline's own settings.
        conversation: The conversation that the question continues.
        instead_of: Number of the conversation's question that it takes the place of.
    """

    query: str
    pipeline: Pipeline
    identity: Identity
    inputs: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[dict[str, str], ...] = ()
    overrides: Overrides = field(default_factory=Overrides)
    conversation: str | None = None
    instead_of: int | None = None


def checked_query(query: str, max_characters: int) -> str:
    """The question's text without surrounding space and lone surrogates.

    Raises:
        Problem: 422, it is empty or too long.
    """
    query = query.strip()
    if not query:
        raise Problem(422, "empty_question", "the question is empty", where="query", fix="ask")
    if len(query) > max_characters:
        what = f"the question has {len(query):,} characters, the limit is {max_characters:,}"
        raise Problem(422, "question_too_long", what, where="query", fix="ask a shorter one")
    return query.encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Began:
    """A question was admitted."""

    run: str
    pipeline: str
    conversation: str | None


@dataclass(frozen=True, slots=True)
class Queued:
    """A question waits; `before` others come first."""

    before: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A question that referred to its conversation was made to stand alone."""

    query: str


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """A piece of the final answer."""

    node: str
    place: Place
    text: str


AnswerEvent = Began | Queued | Rewritten | AnswerToken | Event | Answer
"""What happens to a question; the `Answer` is the last one."""


class Answering:
    """Answers questions.

    Args:
        queue: Says when a run may start.
        flows: Opens the flows.
        runs: Keeps what runs did.
        conversations: Keeps questions and answers.
        metrics: Counts.
        limits: Of what a user may use.
        run_timeout: Seconds that a run may take.
    """

    def __init__(
        self,
        *,
        queue: RunQueue,
        flows: Flows,
        runs: Runs,
        conversations: Conversations,
        metrics: Metrics,
        limits: UserLimits,
        run_timeout: float,
    ) -> None:
        self.queue, self.flows, self.runs, self.limits = queue, flows, runs, limits
        self.conversations, self.metrics, self.run_timeout = conversations, metrics, run_timeout
        self.active: set[AnswerRun] = set()

    async def admit(self, question: Question) -> AnswerRun:
        """The run that answers the question; it has to be closed.

        Raises:
            Problem: As `RunQueue.admit`; or 429, the user asks too often or too much.
        """
        await self.limits.request(question.identity)
        return AnswerRun(self, question)

    def interrupt(self) -> None:
        """End all runs, those that wait included; their readers get an error."""
        self.queue.refuse()
        for run in list(self.active):
            run.deadline.interrupt()


class AnswerRun:
    """A question that was admitted; `events` runs it, once. It must be closed, run or not."""

    def __init__(self, answering: Answering, question: Question) -> None:
        self._answering, self.question = answering, question
        self._ticket = answering.queue.admit(question.identity.user)
        self.record = answering.runs.begin(question.identity.user, question.pipeline.name)
        self.deadline = Deadline(answering.run_timeout)
        self._written: dict[str, Any] = {}
        self._text: list[str] = []
        self._answer: Answer | None = None
        self._in_conversation = False

    def close(self) -> None:
        """Give up the place in the queue; a run that never began is cancelled."""
        self._ticket.close()
        if self.record.status == "waiting":
            self.record.status = "cancelled"
            self._answering.runs.end(self.record)

    async def answer(self) -> Answer:
        """Run, and give the answer; raises as `events` does."""
        async with aclosing(self.events()) as events:
            async for _ in events:
                pass
        assert self._answer is not None  # noqa: S101 - a flow that did not fail ends with `Done`
        return self._answer

    async def events(self) -> AsyncGenerator[AnswerEvent]:
        """What happens; closing it cancels the run.

        Raises:
            Problem: The run failed.
        """
        created, record, question = perf_counter(), self.record, self.question
        async with self._recorded(created):
            yield Began(record.id, record.pipeline, question.conversation)
            history = await self._history()
            if self._ticket.before:
                yield Queued(self._ticket.before)
            async with self._ticket:
                record.status, record.waited = "running", perf_counter() - created
                self._answering.metrics.waited.observe(record.waited)
                self.deadline.start()
                async with aclosing(self._run(history)) as events:
                    async for event in events:
                        yield event
            record.status = "done"

    @asynccontextmanager
    async def _recorded(self, created: float) -> AsyncGenerator[None]:
        """However the run ends, it is kept, counted, and part of its conversation."""
        answering, record, question = self._answering, self.record, self.question
        about: dict[str, Any] = {"run": record.id}
        answering.active.add(self)
        try:
            yield
        except Exception as error:
            problem = problem_of(error)
            seen = problem.seen_by(question.identity)
            record.status, record.error = "failed", details(seen)
            about["error"] = {"code": seen.code, "what": seen.what, "fix": seen.fix}
            raise problem from error
        finally:
            answering.active.discard(self)
            self._ticket.close()
            cancelled = record.status in ("waiting", "running")
            if cancelled:
                record.status = "cancelled"
            text = "".join(self._text)
            if record.status == "done" and self._answer is not None:
                text = self._answer.answer or ""
                about |= self._answer.model_dump(include={"query", "sources", "reuse", "seconds"})
            else:
                about["stopped"] = cancelled
            record.seconds = perf_counter() - created
            answering.metrics.ended(record)
            answering.runs.end(record)
            await answering.limits.used(question.identity, record.tokens)
            if question.conversation is not None and self._in_conversation:
                await answering.conversations.add_answer(
                    question.identity.user, question.conversation, text, about
                )

    async def _history(self) -> History:
        """The messages before the question, which becomes the conversation's latest."""
        question = self.question
        if question.conversation is None:
            return list(question.history)
        history = await self._answering.conversations.add_question(
            question.identity.user,
            question.conversation,
            question.query,
            REMEMBERED,
            run=self.record.id,
            instead=question.instead_of,
        )
        self._in_conversation = True
        return history

    async def _run(self, history: History) -> AsyncGenerator[AnswerEvent]:
        pipeline, within = self.question.pipeline, self.deadline.within
        lease = await within(self._answering.flows.lease(pipeline, self.question.identity))
        with closing(lease):
            async with aclosing(self._over(lease.flow, history)) as events:
                async for event in events:
                    yield event

    async def _over(self, flow: Flow, history: History) -> AsyncGenerator[AnswerEvent]:
        question, pipeline, within = self.question, self.question.pipeline, self.deadline.within
        started = perf_counter()
        inputs, query = {**question.inputs}, question.query
        if pipeline.takes_history:
            inputs["history"] = history
        elif history:
            query = await within(self._condensed(flow, history))
            if query != question.query:
                yield Rewritten(query)
        inputs["query"] = query
        config = pipeline.config(question.overrides)
        run = Execution(flow, inputs, config=config, run=self.record.id)
        stream = run.astream()
        async with aclosing(stream):
            while True:
                try:
                    event = await within(anext(stream))
                except StopAsyncIteration:
                    return
                yield self._noted(event, query, started)

    async def _condensed(self, flow: Flow, history: History) -> str:
        """The question, rewritten by the flow's language model where it has one."""
        llm = next((s for s in flow.resources.specs.values() if isinstance(s, LLM)), None)
        if llm is None:
            return self.question.query
        condense = _CONDENSE.with_resources(llm=llm)
        result: dict[str, Any] = {}
        async for event in condense.astream(query=self.question.query, history=history):
            if isinstance(event, Done):
                result = event.result
                self.record.llm_calls += event.llm_calls
                self.record.tokens += event.tokens
        return str(result["query"])

    def _noted(self, event: Event, query: str, started: float) -> AnswerEvent:
        """The event as the reader gets it, and what of it is part of the record."""
        record = self.record
        match event:
            case Token() if event.place.static in self.question.pipeline.final:
                self._text.append(event.text)
                if record.first_token is None:
                    record.first_token = perf_counter() - started
                return AnswerToken(event.node, event.place, event.text)
            case NodeFinished() | Reused():
                self._written |= event.writes
                seconds = event.seconds if isinstance(event, NodeFinished) else 0.0
                writes = {name: summary(value)[:120] for name, value in event.writes.items()}
                record.steps.append(
                    RunStep(node=event.node, seconds=round(seconds, 6), writes=writes)
                )
            case Done():
                self._answer = self._answered(event, query)
                return self._answer
        return event

    def _answered(self, done: Done, query: str) -> Answer:
        # Channels that the flow does not give out are shown all the same: sources, tokens.
        record, served = self.record, self.question.pipeline
        channels = {**self._written, **done.result}
        generation, answer = channels.get("generation"), channels.get("answer")
        answer = answer if isinstance(answer, str) or answer is None else str(answer)
        record.llm_calls += done.llm_calls
        record.tokens += done.tokens
        record.reuse = getattr(generation, "reuse", None)
        return Answer(
            run=record.id,
            query=query,
            answer=answer,
            abstained=abstains(answer or ""),
            sources=sources(channels, served.name if indexes(served.flow) else None),
            outputs=outputs(done.result),
            seconds=round(done.seconds, 6),
            first_token=record.first_token,
            waited=record.waited,
            finish=getattr(generation, "finish", "stop"),
            usage=Usage(
                prompt_tokens=getattr(generation, "prompt_tokens", 0),
                completion_tokens=getattr(generation, "completion_tokens", 0),
                llm_calls=record.llm_calls,
                tokens=record.tokens,
            ),
            reuse=record.reuse,
        )
