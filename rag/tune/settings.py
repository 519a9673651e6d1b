"""How a space is searched: the keys of `tune:` beside `space`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from rag.eval.answers import COST, QUALITY
from rag.eval.ranking import MEASURES as RANKING
from rag.names import suggestion

COSTS = (*COST, "cost")
"""Measures of which less is better."""
MEASURES = (*QUALITY, *RANKING, *COSTS)
"""What can be an objective or a constraint."""
Sampler = Literal["tpe", "nsga2", "random", "grid"]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _measure(name: str) -> str:
    if name not in MEASURES:
        raise ValueError(f"there is no measure {name!r}; {suggestion(name, MEASURES)}")
    return name


Measure = Annotated[str, BeforeValidator(_measure)]
Measures = Annotated[tuple[Measure, ...], BeforeValidator(_listed)]


class Bound(BaseModel):
    """What a measure's mean over the questions must keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a constraint has a min or a max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"nothing is at least {self.min:g} and at most {self.max:g}")
        return self


class Price(BaseModel):
    """What a provider asks for a model's tokens, for a million each, in any currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: NonNegativeFloat
    completion: NonNegativeFloat


def _bounds(value: Any) -> Any:
    """A bare number is what a cost is at most, and a quality at least."""
    if not isinstance(value, dict):
        return value
    return {
        name: {"max" if name in COSTS else "min": one} if isinstance(one, int | float) else one
        for name, one in value.items()
    }


class Settings(BaseModel):
    """What is looked for, and with how much effort."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    maximise: Measures = Field(
        default=("containment",),
        description="measures of `rag eval`: one, or several; the winner is best in the first",
    )
    minimise: Measures = Field(
        default=(), description="llm_calls, tokens, runtime (idealized seconds), seconds, cost"
    )
    constraints: Annotated[dict[Measure, Bound], BeforeValidator(_bounds)] = Field(
        default_factory=dict,
        description="measure: what its mean must keep; a number is the most of a cost, the least "
        "of a quality",
    )
    budget: PositiveInt = Field(
        default=1000, description="questions put to configurations while searching"
    )
    sampler: Sampler = Field(default="tpe", description="what proposes configurations")
    block: int = Field(default=8, ge=2, description="questions between two comparisons")
    holdout: float = Field(
        default=0.5, gt=0, lt=1, description="share of the questions that the search never sees"
    )
    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="of the intervals that configurations are dropped by",
    )
    waves: PositiveInt | None = Field(
        default=None, description="times that configurations are proposed; default: by the space"
    )
    seed: NonNegativeInt = Field(default=0, description="of the questions' order and the sampler")
    prices: dict[str, Price] = Field(
        default_factory=dict, description="model's id: its prices, for the measure cost"
    )
    judge: Literal["words", "nli", "llm"] = Field(
        default="words", description="what judges support: see `rag eval answers --judge`"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [*self.maximise, *self.minimise]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is an objective twice")
        if costs := [name for name in self.maximise if name in COSTS]:
            raise ValueError(f"{costs[0]!r} is a cost: write it under minimise")
        if good := [name for name in self.minimise if name not in COSTS]:
            raise ValueError(f"more of {good[0]!r} is better: write it under maximise")
        if not self.maximise:
            raise ValueError("there is nothing to maximise")
        return self

    @property
    def objectives(self) -> tuple[str, ...]:
        """The measures, what is maximised first."""
        return (*self.maximise, *self.minimise)

    @property
    def measures(self) -> tuple[str, ...]:
        """Objectives and what is constrained, each once."""
        return tuple(dict.fromkeys((*self.objectives, *self.constraints)))

    @property
    def ranks(self) -> bool:
        """Whether rankings are measured."""
        return any(name in RANKING for name in self.measures)

    @property
    def answers(self) -> bool:
        """Whether questions are answered."""
        return any(name not in RANKING for name in self.measures)


def sign(measure: str) -> int:
    """1 if more of a measure is better, -1 if less is."""
    return -1 if measure in COSTS else 1


def signed(values: Sequence[float | None], measure: str) -> list[float | None]:
    """Values of which more is better."""
    factor = sign(measure)
    return [None if one is None else factor * one for one in values]
