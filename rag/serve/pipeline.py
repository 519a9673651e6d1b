"""A flow as the server runs it: checked once, with the settings that requests may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from rag.errors import ConfigError
from rag.flow import Flow, Loop, Map, Node, Operator, Parallel, Recurse, Route, Sequence, SubFlow
from rag.flow.draw.mermaid import label
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
        self.final = answering(flow.node)
        """The steps whose tokens are the final answer as they come."""
        fields = [set(type(step).model_fields) for step in _writers(flow.node)]
        self.settings = frozenset(Overrides.__dataclass_fields__) & set().union(*fields)
        """The fields of `Overrides` that a step which writes the answer has."""
        self._configured = lru_cache(maxsize=32)(lambda overrides: tuned(flow, overrides))

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

    def configured(self, overrides: Overrides) -> Flow:
        """The flow, its answering steps set as `overrides` say; what none takes has no effect."""
        flow: Flow = self._configured(overrides)
        return flow


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
    if any(isinstance(node, Load) and node.root is None for node in flow.walk()):
        raise ConfigError(
            "`load` would read any file of the server that a request names", where=where,
            fix="give it a root: {use: load, root: ./documents}",
        )  # fmt: skip


def _writers(node: Node) -> Iterator[Operator]:
    from rag.flow.constructs import walk

    for one in walk(node):
        if isinstance(one, Operator) and writes_answer(one):
            yield one


def tuned(flow: Flow, overrides: Overrides) -> Flow:
    """The same flow over the same resources, its answering steps set as `overrides` say.

    A setting that a step does not have is left out.
    """
    if overrides == Overrides():
        return flow

    def change(step: Operator) -> Operator:
        if not writes_answer(step):
            return step
        fields = type(step).model_fields
        given = dataclasses.asdict(overrides)
        given.pop("system")
        update = {k: v for k, v in given.items() if v is not None and k in fields}
        if overrides.system and "system" in fields:
            update["system"] = f"{getattr(step, 'system')}\n{overrides.system}".strip()  # noqa: B009
        return step.model_copy(update=update)

    made = Flow(
        replaced(flow.node, change),
        name=flow.name,
        description=flow.description,
        inputs=flow.inputs,
        outputs=flow.outputs,
        resources=flow.resources,
        budget=flow.budget,
    )
    made.tracer = flow.tracer
    return made


def writes_answer(step: Operator) -> bool:
    """Whether the step writes the channel `answer`."""
    return ANSWER in {step.outputs.get(port.name, port.name) for port in step.signature().writes}


def replaced(node: Node, change: Callable[[Operator], Operator]) -> Node:
    """The node with every step of it changed; inner flows are left as they are."""

    def again(one: Node) -> Node:
        return replaced(one, change)

    match node:
        case Operator():
            return change(node)
        case Sequence():
            return Sequence(*map(again, node.nodes))
        case Parallel():
            branches = {name: again(one) for name, one in node.branches.items()}
            join = change(node.join) if node.join else None
            return Parallel(branches, join=join, on_error=node.on_error, name=node.name)
        case Map():
            join = change(node.join) if node.join else None
            return dataclasses.replace(node, body=again(node.body), join=join)
        case Route():
            cases = {name: again(one) for name, one in node.cases.items()}
            default = again(node.default) if node.default else None
            return dataclasses.replace(node, cases=cases, default=default)
        case Loop():
            return dataclasses.replace(node, body=again(node.body))
        case Recurse():
            return dataclasses.replace(node, base=again(node.base))
    return node


def answering(node: Node, path: str = "steps") -> frozenset[str]:
    """The paths of the steps whose tokens are the final answer as they come.

    A step is left out where its text may yet be replaced: in a loop or a map, before a step that
    writes the answer again (but for `cite`, which only adds marks), or with a retry.
    """
    if isinstance(node, Sequence):
        for number in reversed(range(len(node.nodes))):
            one = node.nodes[number]
            if not _marks_only(one) and _touches(one):
                return _at(one, f"{path}[{number}]")
        return frozenset()
    return _at(node, path)


def _at(node: Node, path: str) -> frozenset[str]:
    here = f"{path}.{label(node)}"
    match node:
        case Operator():
            final = writes_answer(node) and node.retry is None and node.fallback is None
            return frozenset({here}) if final else frozenset()
        case Sequence():
            return answering(node, path)
        case Route():
            cases = dict(node.cases)
            if node.default is not None:
                cases["default"] = node.default
            return _union(answering(case, f"{here}.{name}") for name, case in cases.items())
    return frozenset()


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset(one for found in sets for one in found)


def _marks_only(node: Node) -> bool:
    return isinstance(node, Operator) and node.use == "cite"


def _touches(node: Node) -> bool:
    """Whether something in the node writes the answer."""
    from rag.flow.constructs import walk

    for one in walk(node):
        if isinstance(one, SubFlow | Recurse):
            return True
        if isinstance(one, Operator) and writes_answer(one):
            return True
    return False
