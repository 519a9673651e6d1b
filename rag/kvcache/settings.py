"""How a prompt's states are composed: the settings of `reuse:` in a pipeline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

Mode = Literal[
    "full", "prefix", "parallel", "ape", "concat", "epic", "random", "blend", "focus", "craft"
]
Fraction = Annotated[float, Field(ge=0, le=1)]


class ReuseSettings(BaseModel):
    """Which composer, and its numbers. None: what was calibrated for the model, or the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = Field(default="craft", description="the composer")
    fraction: Fraction | None = Field(
        default=None,
        description="blend, focus, random: share of the context computed again, craft: at most; "
        "what was calibrated for the model, else 0.2",
    )
    first: NonNegativeInt = Field(
        default=16, description="epic: tokens of each chunk that are computed again"
    )
    starts: Fraction = Field(
        default=0.33,
        description="focus, craft: share of the fraction spent on the chunks' beginnings",
    )
    temperature: PositiveFloat | None = Field(default=None, description="ape: T")
    scale: PositiveFloat | None = Field(default=None, description="ape: S")
    alpha: NonNegativeFloat = Field(
        default=1.0, description="craft: weighs how much of a chunk its new context makes wrong"
    )
    by: Literal["question", "attention"] = Field(
        default="question",
        description="craft: what chooses the tokens to compute again: the question's attention; or "
        "as published, theirs to the old context, where alpha alone says how many",
    )
    variants: int = Field(default=3, ge=1, description="craft: kept per chunk")
    seed: int = Field(default=0, description="random: of the choice")
