"""Routing by what the language model can do."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from rag.flow import Operator
from rag.models import Profiled


class RouteBySize(Operator):
    """Takes the route for the language model's size, as its profile has it.

    For flows that do something else with a small model than with a strong one (routing by the
    model's ability, Hybrid LLM, Ding et al. 2024, arXiv 2404.14618, section 3, without a look at
    the question).
    LLM calls: none; the model is not even opened, unless only it can say what it is.
    Writes `route`; reads nothing.
    Example: `{use: route_by_size, small: quoted, strong: written}`
    """

    writes = "route"
    light = True

    small: str = Field(default="small", description="route for a small model")
    strong: str = Field(default="strong", description="route for a strong one")
    take: str = Field(default="auto", description="auto: by the size; or a route, in any case")

    @model_validator(mode="after")
    def _a_route(self) -> Self:
        if self.take not in ("auto", self.small, self.strong):
            raise ValueError(f"take is none of auto, {self.small}, {self.strong}: {self.take}")
        return self

    def run(self, *, llm: Profiled) -> str:
        """The route."""
        if self.take != "auto":
            return self.take
        return self.small if llm.profile.size == "small" else self.strong
