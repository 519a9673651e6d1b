"""What a server must know of a flow: which steps write the answer, and how to set them anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rag.errors import ConfigError
from rag.flow import Flow, Loop, Map, Node, Operator, Parallel, Recurse, Route, Sequence, SubFlow
from rag.flow.draw.mermaid import label
from rag.operators.indexing.load import Load

ANSWER = "answer"


@dataclass(frozen=True)
class Overrides:
    """What a request may say of the steps that write the answer. None: as the pipeline says."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    max_tokens: int | None = None
    system: str | None = None
    """Added to the pipeline's own system text."""


def served(flow: Flow) -> Flow:
    """The flow, if it can be served.

    Raises:
        ConfigError: It takes no `query`, stops for a person, or reads files that requests name.
    """
    where = flow.name or "flow"
    if flow.inputs.get("query") is not str:
        raise ConfigError(
            "a flow that is served takes the question as its input query (str)", where=where,
            fix="add inputs: {query: str}",
        )  # fmt: skip
    if flow.interrupts:
        raise ConfigError(
            "the flow stops for a person, which a server cannot wait for", where=where,
            fix="take the interrupt out, or run it with rag run --checkpoint",
        )  # fmt: skip
    if any(isinstance(node, Load) and node.root is None for node in flow.walk()):
        raise ConfigError(
            "`load` would read any file of the server that a request names", where=where,
            fix="give it a root: {use: load, root: ./documents}",
        )  # fmt: skip
    return flow


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
