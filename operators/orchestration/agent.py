"""Agentic retrieval: a model that decides itself which tool it calls next."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import RunContext
from rag.models import LLM, Sampling
from rag.operators.acting import AgentLoop, Ended, room_for_reading
from rag.operators.answering import AnswerOperator
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import fit_prompt, limit, limit_field, prompt_field
from rag.operators.reading import Reading
from rag.operators.tool_use import ToolRunner, ToolUse, default_call
from rag.tools import Tools


class Agent(AnswerOperator):
    """Lets the model call tools in turns until it answers (ReAct, Yao et al. 2022).

    Source: arXiv 2210.03629, section 2. The resource `tools` lists what it may call: searches,
    flows, SQL, a calculator, LangChain's and MCP's tools (`rag.tools.Tools`; default: one
    search). A hosted model calls them by its provider's interface, any other by constrained JSON.
    Calls of one turn run together. What they give is numbered as sources over all turns, so that
    `cite` can check the answer. When turns, budget or window are used up, it answers from what
    it has read; if that is nothing, the answer says so. Budgets of the step, of its
    flow and of the run count: it stops while one more call of the model is allowed. A call that
    fails, is malformed or was made before is explained to the model; a tool that fails three
    times is withdrawn. With `condense` the model writes down what the sources of each call say
    for its next step, and reads that instead (Search-o1, Li et al. 2025, arXiv 2501.05366,
    section 3.3).
    For questions whose searches depend on what earlier ones found. LLM calls: a turn 1 and the
    answer 1; 2 a turn for a model without tool calls and constrained JSON; with `condense` 1 more
    for each call.
    Reads `query` and, if present, `history` (as `generate` does); writes `answer`, `documents`
    (all sources, by number), `tool_uses` (each call with its arguments, result and seconds) and
    `ended`: `answered`, what was used up (`turns`, `budget`, `window`, `repetition`), or `empty`.
    Example: `{use: agent, max_turns: 4}`
    """

    writes = ("answer", "documents", "tool_uses", "ended")

    max_turns: PositiveInt = Field(default=8, description="turns with calls of tools")
    parallel: PositiveInt = Field(default=4, description="calls of a turn that run together")
    result_tokens: PositiveInt = Field(
        default=4000, description="tokens of one result that the model reads at most"
    )
    condense: bool = Field(
        default=False, description="whether the model condenses what each call finds"
    )
    system: str | None = prompt_field("agent")
    max_tokens: PositiveInt | None = limit_field(160)

    async def run(
        self, query: str, history: History | None = None, *, llm: LLM, tools: Tools, ctx: RunContext
    ) -> tuple[str, list[Document], list[ToolUse], Ended]:
        """The answer, what was read for it, which calls were made, and why they ended."""
        call = ModelCall(llm, ctx)
        described = [tool.described(call.texts) for tool in tools.tools.values()]
        tokens = limit(call, self.max_tokens, 160)
        name = "agent_reasoning" if self.condense else "agent"
        system = self.system or call.texts[name].text
        reserved = tokens + llm.window // 2  # earlier turns may not take the room for reading
        prompt = fit_prompt(call, system, query, (), reserved, history=history)
        room = room_for_reading(call, prompt, described, tokens)
        reading = Reading(call, room, self.result_tokens)
        runner = ToolRunner(tools, call, reading, self.parallel)
        loop = AgentLoop(
            call, prompt, described, Sampling(max_tokens=tokens, **self.sampling), reading, runner,
            default_call(tools.tools, query),
        )  # fmt: skip
        ended, answer = await loop.gather(self.max_turns, condense=self.condense)
        if ended != "answered":
            ctx.warn(f"the agent answers with what it has: it ended by {ended}")
        if not answer:
            answer, given = await loop.answer()
            ended = ended if given else "empty"
        return answer, reading.documents, runner.uses, ended
