"""Answering: a question through the queue, its conversation and its flow, to its answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, closing
from time import perf_counter
from typing import Any

from rag.flow import Flow
from rag.flow.run.events import Done, Event, ModelCalled, NodeFinished, Reused, Token
from rag.flow.run.execution import Execution
from rag.models import LLM
from rag.operators import CondenseQuery
from rag.operators.history import History
from rag.plain import summary
from rag.serve.answer import Answer, Usage, outputs, sources
from rag.serve.answering.events import AnswerEvent, AnswerToken, Began, Queued, Rewritten
from rag.serve.answering.question import Question
from rag.serve.conversations.conversations import add_question
from rag.serve.errors import Problem, details, problem_of
from rag.serve.identity.identity import ANONYMOUS
from rag.serve.identity.limits import UserLimits
from rag.serve.observe.audit import asked
from rag.serve.observe.metrics import Metrics
from rag.serve.pipelines.flows import Flows
from rag.serve.runs.deadline import Deadline
from rag.serve.runs.queue import RunQueue, Ticket
from rag.serve.runs.runs import Runs, new_run
from rag.serve.runs.table import CANCELLED, Message, RunStep, ServedRun, cancelled
from rag.serve.runs.trace import trace_of
from rag.serve.state.database import Database
from rag.text.abstention import abstains

REMEMBERED = 8
"""Messages of a conversation that a question may refer to."""
_CONDENSE = Flow(CondenseQuery(), inputs={"query": str, "history": History}, outputs=["query"])


class Answering:
    """Answers questions.

    Args:
        queue: Says when a run may start.
        flows: Opens the flows.
        runs: Keeps what runs did, and what of it is part of a conversation.
        metrics: Counts.
        limits: Of what a user may use.
        run_timeout: Seconds that a run may take.
        trace: Whether runs of users keep prompts, outputs and rankings.
        audit_questions: Whether the audit log holds the text of questions.
    """

    def __init__(
        self,
        *,
        queue: RunQueue,
        flows: Flows,
        runs: Runs,
        metrics: Metrics,
        limits: UserLimits,
        run_timeout: float,
        trace: bool,
        audit_questions: bool,
    ) -> None:
        self.queue, self.flows, self.runs, self.limits = queue, flows, runs, limits
        self.metrics, self.run_timeout, self.trace = metrics, run_timeout, trace
        self.audit_questions = audit_questions
        self.active: dict[str, AnswerRun] = {}

    async def admit(
        self, question: Question, *, background: bool = False, announced: bool = True
    ) -> AnswerRun:
        """The run that answers the question, which is part of its conversation now.

        The run has to be closed.

        Args:
            question: What is asked.
            background: Its events are kept.
            announced: The run's id is sent before its end.

        Raises:
            Problem: As `RunQueue.admit`; 429, the user asks too often or too much; 404, the user
                has no such conversation.
        """
        await self.limits.request(question.identity)
        user, name = question.identity.user, question.conversation
        run = new_run(question.pipeline.name, name, background=background)
        ticket = self.queue.admit(user)
        try:
            history: History | None = list(question.history)
            if name is None:
                await self.runs.begin(user, run, announced=announced)
            else:
                history = await self.runs.begin(user, run, lambda db: _ask_in(db, question, run.id))
        except BaseException:
            ticket.close()
            raise
        asked(user, run, question.query if self.audit_questions else None, question.instead_of)
        return AnswerRun(self, question, run, ticket, history or [])

    def cancel(self, run: str) -> None:
        """End a run of this process, if it goes on; its reader gets an error."""
        if run in self.active:
            self.active[run].interrupt(cancelled())

    def interrupt(self) -> None:
        """End all runs, those that wait included; their readers get an error."""
        for run in list(self.active.values()):
            run.interrupt(
                Problem(
                    503, "stopping", "the server is shutting down", fix="ask again in a moment",
                    headers={"Retry-After": "10"},
                )
            )  # fmt: skip


def _ask_in(db: Database, question: Question, run: str) -> History:
    """Make a question its conversation's latest message; the messages before it."""
    assert question.conversation is not None  # noqa: S101 - asked by `admit`
    return add_question(
        db, question.identity.user, question.conversation, question.query, REMEMBERED,
        run=run, instead=question.instead_of,
    )  # fmt: skip


class AnswerRun:
    """A question that was admitted; `events` runs it, once. It must be closed, run or not."""

    def __init__(
        self,
        answering: Answering,
        question: Question,
        record: ServedRun,
        ticket: Ticket,
        history: History,
    ) -> None:
        self._answering, self.question, self.record = answering, question, record
        self._ticket, self._history = ticket, history
        self._deadline = Deadline(answering.run_timeout)
        self._written: dict[str, Any] = {}
        self._text: list[str] = []
        self._answer: Answer | None = None
        answering.active[record.id] = self

    def interrupt(self, why: Problem) -> None:
        """End the run; whoever reads its events gets the problem."""
        self._ticket.refuse(why)
        self._deadline.interrupt(why)

    def close(self) -> None:
        """Give up the place in the queue; a run that never began is cancelled."""
        self._ticket.close()
        if self._answering.active.pop(self.record.id, None) is not None:
            self.record.status = "cancelled"
            about = {"run": self.record.id, "stopped": True}
            self._answering.runs.end_soon(self.record, Message("", about))

    async def answer(self) -> Answer:
        """Run, and give the answer; raises as `events` does."""
        async with aclosing(self.events()) as events:
            async for _ in events:
                pass
        assert self._answer is not None  # noqa: S101 - a flow that did not fail ends with `Done`
        return self._answer

    async def events(self) -> AsyncGenerator[AnswerEvent]:
        """What happens; closing it cancels the run. When the answer comes, the run is stored.

        Raises:
            Problem: The run failed.
        """
        created, record = perf_counter(), self.record
        async with self._recorded(created):
            yield Began(record.id, record.pipeline, record.conversation)
            if self._ticket.before:
                yield Queued(self._ticket.before)
            async with self._ticket:
                record.status, record.waited = "running", perf_counter() - created
                self._answering.runs.note(record)
                self._answering.metrics.waited.observe(record.waited)
                self._deadline.start()
                async with aclosing(self._run(self._history)) as events:
                    async for event in events:
                        if not isinstance(event, Answer):
                            yield event
            record.status = "done"
        if self._answer is not None:
            yield self._answer

    @asynccontextmanager
    async def _recorded(self, created: float) -> AsyncGenerator[None]:
        """However the run ends, it is kept, counted, and part of its conversation."""
        answering, record, question = self._answering, self.record, self.question
        about: dict[str, Any] = {"run": record.id}
        try:
            yield
        except Exception as error:
            problem = problem_of(error)
            seen = problem.seen_by(question.identity)
            record.error = details(seen)
            if seen.code != CANCELLED:
                record.status = "failed"
                about["error"] = {"code": seen.code, "what": seen.what, "fix": seen.fix}
            raise problem from error
        finally:
            del answering.active[record.id]
            self._deadline.close()
            self._ticket.close()
            stopped = record.status in ("waiting", "running")
            if stopped:
                record.status = "cancelled"
            record.seconds = perf_counter() - created
            answering.metrics.ended(record)
            message = self._message(about, stopped) if record.conversation else None
            await answering.runs.end(record, self._answer, message)
            await answering.limits.used(question.identity, record.tokens)

    def _message(self, about: dict[str, Any], stopped: bool) -> Message:
        """What the conversation keeps of the answer, or of as much as there is."""
        if self.record.status == "done" and self._answer is not None:
            kept = self._answer.model_dump(include={"query", "sources", "reuse", "seconds"})
            return Message(self._answer.answer or "", about | kept)
        return Message("".join(self._text), about | {"stopped": stopped})

    async def _run(self, history: History) -> AsyncGenerator[AnswerEvent]:
        pipeline, within = self.question.pipeline, self._deadline.within
        lease = await within(self._answering.flows.lease(pipeline, self.question.identity))
        with closing(lease):
            async with aclosing(self._over(lease.flow, history)) as events:
                async for event in events:
                    yield event

    async def _over(self, flow: Flow, history: History) -> AsyncGenerator[AnswerEvent]:
        question, pipeline, within = self.question, self.question.pipeline, self._deadline.within
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
        try:
            async with aclosing(stream):
                while (event := await within(anext(stream, None))) is not None:
                    yield self._noted(event, query, started)
        finally:
            if self._answering.trace and question.identity != ANONYMOUS:
                self.record.trace = trace_of(run.record)

    async def _condensed(self, flow: Flow, history: History) -> str:
        """The question, rewritten by the flow's language model where it has one."""
        llm = next((s for s in flow.resources.specs.values() if isinstance(s, LLM)), None)
        if llm is None:
            return self.question.query
        condense = _CONDENSE.with_resources(llm=llm)
        result: dict[str, Any] = {}
        async for event in condense.astream(query=self.question.query, history=history):
            if isinstance(event, ModelCalled):
                self.record.completion_tokens += event.completion_tokens
            elif isinstance(event, Done):
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
            case ModelCalled():
                record.completion_tokens += event.completion_tokens
            case NodeFinished() | Reused():
                self._written |= event.writes
                seconds = event.seconds if isinstance(event, NodeFinished) else 0.0
                writes = {name: summary(value)[:120] for name, value in event.writes.items()}
                record.steps.append(
                    RunStep(node=event.node, seconds=round(seconds, 6), writes=writes)
                )
                self._answering.runs.note(record)
            case Done():
                self._answer = self._answered(event, query)
                return self._answer
        return event

    def _answered(self, done: Done, query: str) -> Answer:
        # Channels that the flow does not give out are shown all the same: sources, tokens.
        record, served = self.record, self.question.pipeline
        channels = {**self._written, **done.result}
        generation, answer = channels.get("generation"), channels.get("answer")
        answer = answer if isinstance(answer, str | None) else str(answer)
        record.llm_calls += done.llm_calls
        record.tokens += done.tokens
        record.reuse = getattr(generation, "reuse", None)
        return Answer(
            run=record.id,
            query=query,
            answer=answer,
            abstained=abstains(answer or ""),
            sources=sources(channels, served.documents_of if served.indexes else None),
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
