"""What the operators that write answers share."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, NonNegativeFloat

from rag.flow import Operator
from rag.models import Generation
from rag.text.abstention import refuses

NOTHING_FOUND = "The sources do not say: nothing was found for this question."
"""The answer if there are no documents; no model is called for it."""
DO_NOT_KNOW = "The sources do not say."
"""The answer where nothing supports another one, as the prompts ask for it."""


class AnswerOperator(Operator):
    """Base of the operators that write an answer: the fields that say how tokens are sampled."""

    span_kind = "LLM"

    temperature: NonNegativeFloat | None = Field(
        default=None,
        description="sampling temperature; 0: greedy decoding; default: the model's own (a local "
        "one's is 0)",
    )
    top_p: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="nucleus sampling: probability mass sampled from; default: the model's own",
    )
    seed: int | None = Field(default=None, description="random seed; default: not reproducible")

    @property
    def sampling(self) -> dict[str, Any]:
        """The fields as those of `Sampling`."""
        return {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}


def written(done: Generation, otherwise: str) -> str:
    """The text that a model wrote; `otherwise` where that has no word, or declines."""
    text = done.text.strip()
    return text if re.search(r"\w", text) and not refuses(text) else otherwise


def nothing_found() -> Generation:
    """The result of a generation without documents."""
    return Generation(NOTHING_FOUND, 0, 0, "stop")
