"""A flow as the server runs it: checked once, with the settings that requests may change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rag.errors import ConfigError
from rag.flow import Flow
from rag.index import IndexWriter
from rag.operators import Load
from rag.serve.errors import Problem
from rag.serve.pipelines.answer_steps import final, writers
from rag.serve.pipelines.indexes import indexes


@dataclass(frozen=True)
class Overrides:
    """What a request may change of the steps that write the answer. None: as the pipeline says."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    max_tokens: int | None = None
    system: str | None = None
    """Added to the pipeline's own system text."""

    def given(self) -> dict[str, object]:
        """The fields that are not None."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Pipeline:
    """A flow that is served.

    Args:
        name: The name that requests use.
        flow: The flow, with its resources as specified.
        documents_of: The pipeline by whose name the documents of its index are opened; None: its
            own.

    Raises:
        ConfigError: It takes no `query`, pauses for approval, or reads files that requests name.
    """

    def __init__(self, name: str, flow: Flow, *, documents_of: str | None = None) -> None:
        _check(flow)
        self.name, self.flow, self.documents_of = name, flow, documents_of or name
        self.final = final(flow)
        """The steps whose tokens are the final answer as they come."""
        self._writers = writers(flow)
        fields = [set(type(step).model_fields) for step in self._writers.values()]
        self.settings = frozenset(Overrides.__dataclass_fields__) & set().union(*fields)
        """The fields of `Overrides` that a step which writes the answer has."""

    @cached_property
    def indexes(self) -> list[str]:
        """The names of the flow's own indexes that are opened by the server."""
        return indexes(self.flow)

    @property
    def takes_history(self) -> bool:
        """Whether the flow itself reads the earlier messages of a conversation."""
        history: list[Mapping[str, str]] = []
        return "history" in self.flow.inputs and self.flow.matchers["history"](history)

    @property
    def writes_index(self) -> bool:
        """Whether a step writes to the index: into the last of a user's collections."""
        return any(issubclass(kind, IndexWriter) for _, _, kind in self.flow.needs)

    def check(self, overrides: Overrides) -> None:
        """See that every override has an effect.

        Raises:
            Problem: 422, no step that writes the answer has such a field.
        """
        for name in overrides.given():
            if name not in self.settings:
                there = ", ".join(sorted(self.settings)) or "none"
                raise Problem(
                    422, "unsupported", f"no step of the pipeline {self.name!r} takes {name!r}",
                    where=name, fix=f"leave it out; its settings are: {there}",
                )  # fmt: skip

    def config(self, overrides: Overrides) -> dict[str, dict[str, Any]]:
        """What differs in a run: place of a step to fields; what no step has has no effect."""
        given = overrides.given()
        system = given.pop("system", None)
        config: dict[str, dict[str, Any]] = {}
        for place, step in self._writers.items() if given or system else ():
            fields = type(step).model_fields
            changed = {name: value for name, value in given.items() if name in fields}
            if system and "system" in fields:
                own = getattr(step, "system")  # noqa: B009 - only some operators have it
                changed["system"] = f"{own or ''}\n{system}".strip()
            if changed:
                config[str(place)] = changed
        return config


class Pipelines(Mapping[str, Pipeline]):
    """The flows that are served, by name.

    Args:
        flows: The flows, or the one.
        tracer: OpenTelemetry's, where runs and steps are to be its spans.

    Raises:
        ConfigError: There is none, or one cannot be served.
    """

    def __init__(self, flows: Flow | Mapping[str, Flow], tracer: Any = None) -> None:
        if isinstance(flows, Flow):
            flows = {flows.name or "flow": flows}
        if not flows:
            raise ConfigError("there is no flow to serve", fix="give one")
        if tracer is not None:
            flows = {name: flow.traced(tracer) for name, flow in flows.items()}
        self._pipelines = {name: Pipeline(name, flow) for name, flow in flows.items()}

    def __getitem__(self, name: str) -> Pipeline:
        return self._pipelines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pipelines)

    def __len__(self) -> int:
        return len(self._pipelines)

    def named(self, name: str | None) -> Pipeline:
        """The pipeline of that name; the first one if none is named.

        Raises:
            Problem: 404, there is none of this name.
        """
        if name is None:
            return next(iter(self.values()))
        if name not in self:
            raise Problem(
                404, "no_pipeline", f"there is no pipeline {name[:64]!r}",
                fix=f"there are: {', '.join(self)}",
            )  # fmt: skip
        return self[name]


def _check(flow: Flow) -> None:
    where = flow.name or "flow"
    if flow.inputs.get("query") is not str:
        raise ConfigError(
            "a flow that is served takes the question as its input query (str)", where=where,
            fix="add inputs: {query: str}",
        )  # fmt: skip
    if flow.interrupts:
        raise ConfigError(
            "the flow pauses for human approval, which a server cannot wait for", where=where,
            fix="take the interrupt out, or run it with rag run --checkpoint",
        )  # fmt: skip
    if any(isinstance(step, Load) and step.root is None for step in flow.steps.values()):
        raise ConfigError(
            "`load` would read any file of the server that a request names", where=where,
            fix="give it a root: {use: load, root: ./documents}",
        )  # fmt: skip
