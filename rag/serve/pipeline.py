"""A flow as the server runs it: checked once, with the settings that requests may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rag.errors import ConfigError
from rag.flow import Flow, Node, Operator, Place, Recurse, Route, Sequence, SubFlow
from rag.flow.node import place_of, walk
from rag.operators.indexing.load import Load
from rag.serve.errors import Problem

ANSWER = "answer"


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
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


class Pipeline:
    """A flow that is served.

    Args:
        name: The name that requests use.
        flow: The flow, with its resources as specified.

    Raises:
        ConfigError: It takes no `query`, pauses for approval, or reads files that requests name.
    """

    def __init__(self, name: str, flow: Flow) -> None:
        _check(flow)
        self.name, self.flow = name, flow
        self.final = answering(flow)
        """The steps whose tokens are the final answer as they come."""
        writers = [step for step in flow.steps.values() if writes_answer(step)]
        fields = [set(type(step).model_fields) for step in writers]
        self.settings = frozenset(Overrides.__dataclass_fields__) & set().union(*fields)
        """The fields of `Overrides` that a step which writes the answer has."""
        self._config = lru_cache(maxsize=32)(lambda overrides: config_of(flow, overrides))

    @property
    def takes_history(self) -> bool:
        """Whether the flow itself reads the earlier messages of a conversation."""
        history: list[Mapping[str, str]] = []
        return "history" in self.flow.inputs and self.flow.matchers["history"](history)

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
        """What a run differs in: place of a step to fields; what no step takes has no effect."""
        config: dict[str, dict[str, Any]] = self._config(overrides)
        return config


class Pipelines(Mapping[str, Pipeline]):
    """The flows that are served, by name.

    Args:
        flows: The flows, or the one.

    Raises:
        ConfigError: There is none, or one cannot be served.
    """

    def __init__(self, flows: Flow | Mapping[str, Flow]) -> None:
        if isinstance(flows, Flow):
            flows = {flows.name or "flow": flows}
        if not flows:
            raise ConfigError("there is no flow to serve", fix="give one")
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


def config_of(flow: Flow, overrides: Overrides) -> dict[str, dict[str, Any]]:
    """What `overrides` change of the steps that write the answer, those of inner flows included.

    Returns:
        Place to fields. A setting that a step does not have is left out.
    """
    config: dict[str, dict[str, Any]] = {}
    given = overrides.given()
    system = given.pop("system", None)
    for place, step in flow.steps.items():
        if not writes_answer(step):
            continue
        fields = type(step).model_fields
        changed = {name: value for name, value in given.items() if name in fields}
        if system and "system" in fields:
            own = getattr(step, "system")  # noqa: B009 - only some operators have it
            changed["system"] = f"{own}\n{system}".strip()
        if changed:
            config[str(place)] = changed
    return config


def writes_answer(step: Operator) -> bool:
    """Whether the step writes the channel `answer`."""
    return ANSWER in {step.outputs.get(port.name, port.name) for port in step.signature().writes}


def answering(flow: Flow) -> frozenset[str]:
    """The places, as text, of the steps whose tokens are the final answer as they come.

    A step is left out where its text may yet be replaced: in a loop or a map, before a step that
    writes the answer again (but for `cite`, which only adds marks), or with a retry.
    """
    place, node = next(flow.walk())
    return frozenset(str(found) for found in _final(node, place))


def _final(node: Node, place: Place) -> Iterator[Place]:
    children = {
        edge: (child, place_of(node, place, edge, child)) for edge, child in node.children().items()
    }
    match node:
        case Operator():
            if writes_answer(node) and node.retry is None and node.fallback is None:
                yield place
        case Sequence():
            for child, where in reversed(children.values()):
                if not _marks_only(child) and _touches(child):
                    yield from _final(child, where)
                    return
        case Route():
            for edge, (child, where) in children.items():
                if edge != ".by":
                    yield from _final(child, where)
        case SubFlow() if ANSWER in node.flow.output_types and ANSWER not in node.outputs:
            for child, where in children.values():
                yield from _final(child, where)


def _marks_only(node: Node) -> bool:
    return isinstance(node, Operator) and node.use == "cite"


def _touches(node: Node) -> bool:
    """Whether something in the node writes the answer."""
    return any(
        isinstance(one, SubFlow | Recurse) or (isinstance(one, Operator) and writes_answer(one))
        for _, one in walk(node)
    )
