"""What a node may take, and what happens when it is slow or fails: the settings of policies."""

from __future__ import annotations

import builtins
import difflib
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

_ERRORS = [
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
]


class Retry(BaseModel):
    """Further attempts after a failure. The wait doubles with every attempt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: PositiveInt = Field(default=2, description="attempts after the first")
    on: tuple[str, ...] = Field(
        default=(), description="names of the errors, or their bases; all if not given"
    )
    wait: NonNegativeFloat = Field(default=0.1, description="seconds before the second attempt")
    overlap: bool = Field(
        default=False,
        description="start the next attempt although a thread of the one before still runs",
    )

    @field_validator("on", mode="before")
    @classmethod
    def _names(cls, given: Any) -> Any:
        """Exception classes by their names; one stands for a list of one."""
        many = given if isinstance(given, list | tuple | set) else (given,)
        names = tuple(one.__name__ if isinstance(one, type) else one for one in many)
        for name in names:
            # Errors of other libraries cannot be known here; a misspelt one of Python's can.
            near = difflib.get_close_matches(str(name), _ERRORS, n=1, cutoff=0.93)
            if near and near[0] != name:
                raise ValueError(f"there is no error {name!r}; did you mean {near[0]!r}?")
        return names

    def covers(self, error: BaseException) -> bool:
        """Whether this error is worth another attempt."""
        return not self.on or any(kind.__name__ in self.on for kind in type(error).__mro__)


class Cache(BaseModel):
    """The result may be taken from an earlier run with the same inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttl: PositiveFloat | None = Field(
        default=None, description="seconds that a result stays good; until evicted if not given"
    )
    version: str = Field(
        default="", description="part of the key: another text, and nothing earlier counts"
    )


class Budget(BaseModel):
    """What one run, or one execution of a node, may use; more ends it with a BudgetError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: PositiveFloat | None = None
    llm_calls: PositiveInt | None = None
    tokens: PositiveInt | None = Field(default=None, description="read and written, all calls")
