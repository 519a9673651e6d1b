"""The loop of an agent: the model's turns, what ends them, and the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Literal

from rag.models import Action, Prompt, Sampling, ToolCall, ToolDescription, ToolResult, ToolTurn
from rag.models.actions import decision_question
from rag.operators.answering import NOTHING_FOUND
from rag.operators.claims import MARK
from rag.operators.model_call import ModelCall
from rag.operators.prompting import MARGIN, ask
from rag.operators.reading import Reading
from rag.operators.tool_use import ToolRunner, ToolUse
from rag.prompts.layout import messages
from rag.prompts.sanitize import harmless
from rag.text.abstention import refuses

FRUITLESS = 3
"""Turns in a row in which no tool could be called, after which the model has to answer."""
BACKWARD = 2000
"""Characters of the latest reasoning that a condensing call sees."""
NOT_ANSWERED = "The question was not answered: {reason}."
_NOTHING = re.compile(r"\W*NOTHING\W*", re.IGNORECASE)

Ended = Literal["answered", "turns", "budget", "window", "repetition", "empty"]
"""Why an agent stopped: the model answered, what was used up, or that it wrote nothing."""


class AgentLoop:
    """One agent at work.

    Args:
        call: The model, and the run.
        prompt: Instruction, history and question.
        tools: The descriptions of its tools.
        sampling: How tokens are sampled.
        reading: What was read.
        runner: Makes the calls.
        default: The call that is made where the model names none at first.
    """

    def __init__(
        self,
        call: ModelCall,
        prompt: Prompt,
        tools: Sequence[ToolDescription],
        sampling: Sampling,
        reading: Reading,
        runner: ToolRunner,
        default: ToolCall | None,
    ) -> None:
        self._call, self._prompt, self._tools = call, prompt, tools
        self._sampling, self._reading, self._runner = sampling, reading, runner
        self._default = default
        self.turns: list[ToolTurn] = []
        self._slowest = 0.0
        profile = call.llm.profile
        self._cost = 1 if profile.tools or profile.structured else 2
        """LLM calls of a turn at most."""

    async def gather(self, most: int, *, condense: bool) -> tuple[Ended, str]:
        """Turns with calls of tools, until the model answers or something is used up.

        Args:
            most: Turns at most.
            condense: Whether the model condenses what each call finds.

        Returns:
            Why they ended, and the model's answer if it gave one.
        """
        cost = self._cost + condense
        while (ended := self._limit(most, cost)) is None:
            started = perf_counter()
            action = await self._act(f"turn {len(self.turns) + 1}")
            if not (action.calls or action.text.strip() or self.turns or self._default is None):
                # Nothing is known yet: the question itself is searched for.
                action = replace(action, calls=(self._default,), raw=None)
            if not action.calls:
                return "answered", action.text.strip()
            results = await self._runner.run(len(self.turns) + 1, action.calls)
            if condense:
                results = await self._call.together(partial(self._condensed, action), results)
            self.turns.append(ToolTurn(action, tuple(results)))
            self._reading.charge(self.turns[-1])
            self._slowest = max(self._slowest, perf_counter() - started)
        return ended, ""

    async def answer(self) -> tuple[str, bool]:
        """The answer from what was read, and whether there is one."""
        ctx = self._call.ctx
        if not self._reading.documents:
            ctx.token(NOTHING_FOUND)
            return NOTHING_FOUND, True
        reason = "the budget was used up"
        if ctx.left().llm_calls != 0:
            action = await self._act("answer", answer=True)
            if text := action.text.strip():
                return text, True
            reason = "the model gave no answer"
        text = NOT_ANSWERED.format(reason=reason)
        ctx.token(text)
        return text, False

    async def _act(self, name: str, *, answer: bool = False) -> Action:
        """What the model does next; asked once, also where a stored run is resumed."""

        async def work() -> Action:
            return await self._call.act(
                self._prompt, self.turns, self._tools, self._sampling, answer=answer
            )

        given = {"prompt": self._prompt, "turns": self.turns}
        return await self._call.ctx.once(name, Action, work, **given)

    def _limit(self, most: int, cost: int) -> Ended | None:
        """What is used up; None: another turn may begin, and an answer after it."""
        if len(self.turns) >= most:
            return "turns"
        if self._reading.full:
            return "window"
        if self._fruitless() >= FRUITLESS:
            return "repetition"
        left = self._call.ctx.left()
        if left.llm_calls is not None and left.llm_calls < cost + 1:
            return "budget"
        llm = self._call.llm
        read = llm.window - self._reading.room
        if left.tokens is not None and left.tokens < 2 * read:
            return "budget"
        if left.seconds is not None and left.seconds < 2 * self._slowest:
            return "budget"
        return None

    def _fruitless(self) -> int:
        """The last turns in which no tool was called."""
        by_turn: dict[int, list[ToolUse]] = {}
        for use in self._runner.uses:
            by_turn.setdefault(use.turn, []).append(use)
        count = 0
        for number in sorted(by_turn, reverse=True):
            if any(use.status in ("done", "failed") for use in by_turn[number]):
                break
            count += 1
        return count

    async def _condensed(self, action: Action, result: ToolResult) -> ToolResult:
        """The result, what its sources say for the next step in the place of their texts.

        Reason-in-Documents (Li et al. 2025, arXiv 2501.05366, section 3.3).
        """
        left = self._call.ctx.left().llm_calls
        if not result.new or (left is not None and left < 2):
            return result
        texts, numbers = self._call.texts, list(result.new)
        thoughts = [turn.action.reasoning or turn.action.text for turn in self.turns]
        thoughts += [one.notes for turn in self.turns for one in turn.results]
        thoughts.append(action.reasoning or action.text)
        question = texts["reason_in_documents_input"].format(
            query=self._prompt.question,
            reasoning=harmless("\n".join(filter(None, thoughts))[-BACKWARD:]),
            search=harmless(" ".join(map(str, result.call.arguments.values()))),
        )

        async def work() -> str:
            done = await ask(
                self._call, texts["reason_in_documents"].text, question,
                [self._reading.documents[number - 1] for number in numbers],
                max_tokens=self._sampling.max_tokens,
            )  # fmt: skip
            return done.text.strip()

        notes = await self._call.ctx.once(
            f"condense {result.call.id}", str, work, question=question
        )
        if not notes or _NOTHING.fullmatch(notes) or refuses(notes):
            notes = texts["agent_nothing"].text
        self._reading.forget(result.new)
        renumbered = MARK.sub(lambda mark: _mark(int(mark[1]), numbers), notes)
        return replace(result, new={}, notes=renumbered)


def _mark(number: int, numbers: Sequence[int]) -> str:
    """The mark of a source by its number in all that was read; none if there is no such source."""
    return f" [{numbers[number - 1]}]" if 1 <= number <= len(numbers) else ""


def room_for_reading(
    call: ModelCall, prompt: Prompt, tools: Sequence[ToolDescription], tokens: int
) -> int:
    """Tokens of the window that instruction, history, question, tools and answer leave."""
    question = decision_question(call.llm, prompt, (), tools)
    texts = [text for _, text in messages(replace(prompt, question=question))]
    fixed = call.llm.count("\n".join(texts))
    return call.llm.window - fixed - tokens - call.llm.profile.reasoning - MARGIN
