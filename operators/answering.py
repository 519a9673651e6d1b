"""What the operators that write answers share."""

from __future__ import annotations

from typing import Any

from pydantic import Field, NonNegativeFloat

from rag.flow import Operator
from rag.models import Generation

NOTHING_FOUND = "The sources do not say: nothing was found for this question."
"""The answer if there are no documents; no model is called for it."""

SAYS_NOTHING = "The sources do not say"
"""Begins an answer that says that there is none, as every prompt asks for it."""
DO_NOT_KNOW = f"{SAYS_NOTHING}."
"""The answer where nothing supports another one."""


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


def abstains(answer: str) -> bool:
    """Whether an answer says that the sources have none."""
    return answer.strip().casefold().startswith(SAYS_NOTHING.casefold())


def nothing_found() -> Generation:
    """The result of a generation without documents."""
    return Generation(NOTHING_FOUND, 0, 0, "stop")
