"""Calls of tools: which may be made, made together, and what the model is sent of each."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

from langchain_core.documents import Document
from pydantic import BaseModel, Field

from rag.errors import BudgetError, InputError, Interrupted, RagError
from rag.models import ToolCall, ToolResult
from rag.models.together import together
from rag.names import suggestion
from rag.operators.model_call import ModelCall
from rag.operators.reading import Reading
from rag.tools import Found, Tool, Tools

FAILURES = 3
"""Failures after which a tool cannot be called any more."""
REASON = 300
"""Characters of an error that the model is sent."""

Status = Literal["done", "failed", "unknown", "malformed", "repeated", "withdrawn", "refused"]


class ToolUse(BaseModel):
    """A call of a tool that a model made, and what came of it."""

    turn: int = Field(description="from 1")
    tool: str
    arguments: dict[str, Any]
    status: Status = Field(description="done, or why there is no result")
    result: str = Field(description="what the model was sent, sources left out")
    sources: list[int] = Field(description="numbers of the documents that it gave")
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a call gave: a text or documents, or the reason why it gave neither."""

    text: str = ""
    documents: list[Document] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0


class ToolRunner:
    """Makes the calls of one agent.

    Args:
        tools: What may be called.
        call: The model, and the run.
        reading: What was read so far.
        parallel: Calls at once.
    """

    def __init__(self, tools: Tools, call: ModelCall, reading: Reading, parallel: int) -> None:
        self._tools, self._call, self._reading, self._parallel = (
            tools.tools,
            call,
            reading,
            parallel,
        )
        self._made: set[str] = set()
        self._failures: Counter[str] = Counter()
        self.uses: list[ToolUse] = []

    async def run(self, turn: int, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """The results of the calls of a turn, in their order; those that can be made run together.

        Raises:
            Interrupted: A person must approve one.
            BudgetError: The run's budget is used up.
        """
        refusals = [await self._refusal(call) for call in calls]
        jobs = [
            (number, call)
            for number, (call, (status, _)) in enumerate(zip(calls, refusals, strict=True))
            if status == "done"
        ]
        made = await together(lambda job: self._make(turn, *job), jobs, self._parallel)
        outcomes = dict(zip((number for number, _ in jobs), made, strict=True))
        return [
            self._result(turn, call, status, text, outcomes.get(number))
            for number, (call, (status, text)) in enumerate(zip(calls, refusals, strict=True))
        ]

    async def _refusal(self, call: ToolCall) -> tuple[Status, str]:
        """Why a call is not made, and the answer to the model; `done`: it is made."""
        texts = self._call.texts
        tool = self._tools.get(call.name)
        if tool is None:
            known = suggestion(call.name, self._tools, label="there are")
            return "unknown", texts["agent_unknown"].format(known=known)
        if self._failures[call.name] >= FAILURES:
            return "withdrawn", texts["agent_withdrawn"].format(name=call.name)
        try:
            if call.problem:
                raise InputError(call.problem)
            tool.checked(call.arguments)
        except InputError as error:
            problem = shortened(error.what)
            return "malformed", texts["agent_malformed"].format(problem=problem)
        if key_of(call) in self._made:
            return "repeated", texts["agent_repeated"].text
        self._made.add(key_of(call))
        if tool.settings.approve and not await self._approved(tool, call):
            return "refused", texts["agent_refused"].text
        return "done", ""

    async def _approved(self, tool: Tool, call: ToolCall) -> bool:
        shown = json.dumps(call.arguments, ensure_ascii=False)
        left = await self._call.ctx.interrupt(
            f"May the agent call {tool.name}?", arguments=shown, approved=True
        )
        return bool(left["approved"])

    async def _make(self, turn: int, number: int, call: ToolCall) -> Outcome:
        """What a call gives; made once, also where a stored run is resumed."""
        tool, ctx = self._tools[call.name], self._call.ctx
        ctx.emit("tool_call", {"turn": turn, "tool": call.name, "arguments": call.arguments})

        async def work() -> Outcome:
            started = perf_counter()
            try:
                found = await self._called(tool, call)
            except (BudgetError, Interrupted):
                raise
            except Exception as error:  # noqa: BLE001 - tools are anybody's; the model gets the reason
                return Outcome(error=reason(error), seconds=perf_counter() - started)
            seconds = perf_counter() - started
            if isinstance(found, str):
                return Outcome(text=found, seconds=seconds)
            return Outcome(documents=found, seconds=seconds)

        name = f"{turn}.{number}"
        given = {"tool": call.name, "arguments": call.arguments}
        return await ctx.once(name, Outcome, work, **given)

    async def _called(self, tool: Tool, call: ToolCall) -> Found:
        left = self._call.ctx.left()
        seconds = tool.settings.timeout
        if left.seconds is not None:  # the answer needs time too
            seconds = min(seconds, left.seconds / 2)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await tool.call(tool.checked(call.arguments), self._call.ctx)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise InputError(f"it took longer than {seconds:.3g} s") from error
        except BudgetError as error:
            now = self._call.ctx.left()
            if 0 in (now.llm_calls, now.tokens, now.seconds):
                raise
            raise InputError(error.what) from error  # a budget of the tool's own

    def _result(
        self, turn: int, call: ToolCall, status: Status, text: str, outcome: Outcome | None
    ) -> ToolResult:
        """What the model is sent of a call; it is recorded."""
        texts = self._call.texts
        result = ToolResult(call, text)
        numbers: tuple[int, ...] = ()
        if outcome is not None and outcome.error:
            status = "failed"
            self._failures[call.name] += 1
            self._made.discard(key_of(call))  # it may be tried again
            result = ToolResult(call, texts["agent_failed"].format(error=outcome.error))
        elif outcome is not None:
            documents = outcome.documents or self._reading.document(call, outcome.text)
            numbers, new, cut = self._reading.add(call.name, documents)
            listed = ", ".join(map(str, numbers))
            text = texts["agent_found"].format(numbers=listed) if numbers else ""
            text = text or texts["agent_nothing"].text
            text = texts["agent_cut"].format(text=text) if cut else text
            result = ToolResult(call, text, new)
        use = ToolUse(
            turn=turn, tool=call.name, arguments=call.arguments, status=status,
            result=result.text, sources=list(numbers),
            seconds=0.0 if outcome is None else outcome.seconds,
        )  # fmt: skip
        self.uses.append(use)
        self._call.ctx.emit("tool_result", use.model_dump())
        return result


def key_of(call: ToolCall) -> str:
    """Equal for calls that ask the same."""
    return json.dumps([call.name, call.arguments], sort_keys=True, default=str)


def reason(error: BaseException) -> str:
    """An error as the model is sent it: one line of its own words."""
    what = error.what if isinstance(error, RagError) else str(error)
    return shortened(what or type(error).__name__)


def shortened(text: str) -> str:
    """A text on one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= REASON else f"{line[:REASON]} ..."


def default_call(tools: Mapping[str, Tool], query: str) -> ToolCall | None:
    """The question itself, put to the first tool that takes one text; None: there is no such."""
    for name, tool in tools.items():
        properties = tool.parameters.get("properties", {})
        required = tool.parameters.get("required", [])
        if "query" in properties and set(required) <= {"query"}:
            return ToolCall("call_1", name, {"query": query})
    return None
