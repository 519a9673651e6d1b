"""Active retrieval (FLARE): the answer grows by a sentence."""

from __future__ import annotations

from rag.flow import Operator


class AppendSentence(Operator):
    """Appends the next sentence to the answer.

    The last step of FLARE's loop (arXiv 2305.06983, section 3.2). No LLM call.
    Reads `sentence` and, if present, `answer`; writes `answer`.
    Example: `{use: append_sentence}`
    """

    writes = "answer"
    light = True

    def run(self, sentence: str, answer: str = "") -> str:
        """Answer and sentence, separated by a space."""
        return f"{answer} {sentence}".strip()
