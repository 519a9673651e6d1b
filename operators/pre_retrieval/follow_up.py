"""The follow-up question that must be answered next (Self-Ask)."""

from __future__ import annotations

from pydantic import PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.list_output import first_line
from rag.operators.history import History, turns
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field

END = "DONE"
"""What a model writes if the question can be answered."""


class FollowUp(Operator):
    """Asks the follow-up question whose answer is needed next, or says that none is.

    Self-Ask (Press et al. 2022, arXiv 2210.03350, section 3): the model sees its earlier
    follow-up questions with their answers. For questions that need several facts, in a loop with
    `append_turn`. An empty question, the question itself and one that was asked before end the
    loop as DONE does. LLM calls: 1.
    Reads `query` and, if present, `history`: the follow-up questions and answers so far; writes
    `question`, empty at the end, and `finished`.
    Example: `{use: follow_up}`
    """

    writes = ("question", "finished")
    span_kind = "LLM"

    max_tokens: PositiveInt | None = limit_field(48)
    system: str | None = prompt_field("follow_up")

    async def run(
        self, query: str, history: History | None = None, *, llm: LLM, ctx: RunContext
    ) -> tuple[str, bool]:
        """The question, and whether there is none."""
        if not query.strip():
            return "", True
        call = ModelCall(llm, ctx)
        done = await ask(
            call, self.system or call.texts["follow_up"].text, query, history=history,
            max_tokens=limit(call, self.max_tokens, 48),
        )  # fmt: skip
        question = first_line(done.text)
        earlier = [query, *(text for role, text in turns(history) if role == "user")]
        known = question.casefold() in {one.strip().casefold() for one in earlier}
        if not question or known or question.strip(" .*").upper() == END:
            return "", True
        return question, False
