"""A question and its answer, as a turn of a conversation."""

from __future__ import annotations

from rag.flow import Operator
from rag.operators.claims import unmarked
from rag.operators.history import History


class AppendTurn(Operator):
    """Appends a question and its answer to the history, which later steps show to the model.

    So each of several questions is asked after the answers to those before it, as in
    least-to-most prompting (Zhou et al. 2022, arXiv 2205.10625, section 2) and Self-Ask (Press
    et al. 2022, arXiv 2210.03350, section 3). For loops over questions. Marks such as [1] are
    left out: they number documents that the next question is not asked with. No LLM call.
    Reads `query`, `answer` and, if present, `history`; writes `history`.
    Example: `{use: append_turn}`
    """

    writes = "history"
    light = True

    def run(self, query: str, answer: str, history: History | None = None) -> History:
        """The history with a turn of the user's and one of the model's."""
        question = {"role": "user", "content": query}
        return [*(history or ()), question, {"role": "assistant", "content": unmarked(answer)}]
