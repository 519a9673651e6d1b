"""Reads one pipeline file, or one text, into a flow; notes the line of everything wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rag.errors import BuildError, ConfigError, RagError
from rag.flow.constructs.guard import Guard
from rag.flow.constructs.subflow import SubFlow
from rag.flow.fields import wrong_fields
from rag.flow.flow import Flow
from rag.flow.inputs import Input
from rag.flow.node import Construct, Node, Part, Sequence
from rag.flow.operator import PLACEMENT
from rag.flow.policies import Budget
from rag.flow.registry import Registry
from rag.flow.resources import Resources
from rag.flow.types import parse
from rag.flow.yaml.constructs import CONSTRUCTS, EXAMPLES
from rag.flow.yaml.dump import POLICIES
from rag.flow.yaml.sections import SECTIONS
from rag.flow.yaml.source import Source, raise_all, read_text
from rag.flow.yaml.values import plain
from rag.flow.yaml.values import text as as_text
from rag.names import nearest

TOP_KEYS = ("name", "description", "inputs", "outputs", "resources", "budget", "parts", "steps")


class Reader(Source):
    """Reads one file, or one text.

    Args:
        path: The file; None: text.
        base: The folder that resources' relative paths start from.
        registry: The operators that may be used.
        params: Values of parameters.
        including: The files that include this one.
    """

    def __init__(
        self,
        path: Path | None,
        base: Path,
        registry: Registry,
        params: Mapping[str, Any],
        including: tuple[Path, ...] = (),
    ) -> None:
        super().__init__(path.name if path else "pipeline", params)
        self.path, self.base, self.registry = path, base, registry
        self.including = including
        self.positions: dict[int, str] = {}
        self._kept: list[Any] = []
        self._parts: dict[str, Any] = {}
        self._using: list[str] = []
        self.sections: dict[str, Any] = {}
        """Key to value of what the file holds for other rooms (`SECTIONS`)."""

    def flow(self, text: str) -> Flow:
        """The flow that the whole text describes; what else it holds is in `sections`."""
        document = self.parse(text)
        if not isinstance(document, Mapping):
            raise ConfigError(
                "a pipeline file is a mapping", where=self.file, fix="start with `steps:`"
            )
        document = self.substitute(document)
        self.sections = {key: document.pop(key) for key in SECTIONS if key in document}
        return self._flow(document)

    def _flow(self, document: Any) -> Flow:
        """The flow that a mapping describes; raises all problems found so far."""
        self.known(document, TOP_KEYS)
        if "steps" not in document:
            self.problem(document, "there are no steps", "add `steps:` with a list")
        self._add_parts(document)
        node = self.node(document.get("steps", []))
        inputs = self._inputs(document)
        given = document.get("resources") or {}
        if not isinstance(given, Mapping):
            self.problem(
                document, "`resources` is not a mapping", "write {name: what}", "resources"
            )
            given = {}
        budget = self._budget(document)
        raise_all(self.problems)
        resources = Resources(plain(given), base=self.base)
        self.positions[id(resources)] = self.where(document, "resources")
        return Flow(
            node,
            name=document.get("name"),
            description=document.get("description"),
            inputs=inputs,
            outputs=plain(document.get("outputs")),
            resources=resources,
            budget=budget,
            positions=self.positions,
        )

    def _budget(self, document: Any) -> Budget | None:
        given = document.get("budget")
        if given is None:
            return None
        try:
            return Budget.model_validate(plain(given))
        except ValidationError as error:
            for detail in error.errors():
                port = ".".join(map(str, detail["loc"]))
                fix = f"known: {', '.join(Budget.model_fields)}"
                self.problem(document, f"budget.{port}: {detail['msg']}", fix, "budget")
            return None

    def _inputs(self, document: Any) -> dict[str, Any] | None:
        given = document.get("inputs")
        if given is None:
            return None
        if not isinstance(given, Mapping):
            self.problem(document, "`inputs` is not a mapping", "write {query: str}", "inputs")
            return None
        inputs = {}
        for name, value in given.items():
            text, equals, default = str(value).partition("=")
            try:
                kind = parse(text)
                inputs[str(name)] = Input(kind, plain(self.parse(default))) if equals else kind
            except ValueError as error:
                fix = "write types such as list[str], with a default: int = 20"
                self.problem(given, str(error), fix, name)
        return inputs

    # Parts: named once, used by name

    def _add_parts(self, document: Any) -> None:
        parts = document.get("parts") or {}
        if not isinstance(parts, Mapping):
            self.problem(document, "`parts` is not a mapping", "write {name: [steps]}", "parts")
            return
        for name, value in parts.items():
            if str(name) in self.registry:
                what = f"{name!r} is the name of an operator"
                self.problem(parts, what, "give the part another name", name)
            self._parts[str(name)] = value

    def _part(self, value: Any, name: str) -> Node:
        """The part's nodes, at the place where it is used."""
        if name in self._using:
            self.problem(
                value, f"the part {name!r} uses itself", "a Loop repeats, `recurse:` nests"
            )
            return Sequence()
        self._using.append(name)
        try:
            node = self.node(self._parts[name])
        finally:
            self._using.pop()
        more = {key: value[key] for key in value if key not in ("use", *POLICIES)}
        for wrong in more:
            fix = "a part takes policies only; its steps are written in `parts:`"
            self.problem(value, f"the part {name!r} has no field {wrong!r}", fix, wrong)
        return node

    # Nodes

    def node(self, value: Any, parent: Any = None, key: Any = None) -> Node:
        """The node that a value describes: a step, a construct, or a list of these."""
        if isinstance(value, list):
            return Sequence(*(self.node(item, value, i) for i, item in enumerate(value)))
        kinds = ("use", "steps", *CONSTRUCTS, "flow")
        found = [k for k in kinds if isinstance(value, Mapping) and k in value]
        if "recurse" in found or "loop" in found or "map" in found:
            found = [k for k in found if k != "steps"]
        if len(found) != 1:
            self._no_node(value, kinds, parent, key)
            return Sequence()
        before = len(self.problems)
        try:
            node = self._read_node(found[0], value)
        except ConfigError as error:
            if len(self.problems) == before:
                self.problem(value, error.what, error.fix)
            return Sequence()
        self._remember(node, value)
        return node

    def _remember(self, node: Node, value: Any) -> None:
        self.positions.setdefault(id(node), self.where(value))
        self._kept.append(node)  # or its id might be used again

    def _no_node(self, value: Any, kinds: tuple[str, ...], parent: Any, key: Any) -> None:
        what = f"a step has exactly one of the keys {', '.join(kinds)}"
        fix = "a step looks like {use: bm25, k: 20}"
        if isinstance(value, Mapping):
            what += f"; here are: {', '.join(map(str, value)) or 'none'}"
            near = [found for one in value if (found := nearest(str(one), kinds))]
            fix = f"did you mean {near[0]!r}?" if near else fix
        elif isinstance(value, str):
            fix = f"write {{use: {value}}}"
        self.problem(value if isinstance(value, Mapping) else parent, what, fix, key)

    def _read_node(self, key: str, value: Any) -> Node:
        if key == "use":
            name = str(value["use"])
            if name not in self._parts:
                return self._step(value, name)
            return self._guarded(self._part(value, name), value)
        if key == "steps":
            self.known(value, ("steps", *POLICIES))
            return self._guarded(self.node(value["steps"], value, "steps"), value)
        if key == "flow":
            return self._guarded(self._subflow(value), value)
        return self._guarded(self._construct(CONSTRUCTS[key], value), value)

    def _guarded(self, node: Node, value: Any) -> Node:
        """The node under the policies that are written beside its key."""
        policies = {name: value[name] for name in POLICIES if value.get(name) is not None}
        if not policies:
            return node
        if "fallback" in policies:
            policies["fallback"] = self.node(policies["fallback"], value, "fallback")
        self._remember(node, value)
        return Guard(node, **{name: plain(policy) for name, policy in policies.items()})

    def _step(self, value: Any, name: str) -> Node:
        try:
            kind = self.registry[name]
        except ConfigError as error:
            fix = error.fix
            if self._parts and (near := nearest(name, self._parts)):
                fix = f"did you mean the part {near!r}?"
            self.problem(value, error.what, fix, "use")
            return Sequence()
        fields = {str(k): plain(v) for k, v in value.items() if k not in ("use", "fallback")}
        fields = {k: v for k, v in fields.items() if not k.startswith("x-")}
        if value.get("fallback") is not None:
            fields["fallback"] = self.node(value["fallback"], value, "fallback")
        try:
            return kind(**fields)
        except RagError as error:
            for field, what, fix in wrong_fields(kind, PLACEMENT, error):
                self.problem(value, what, fix, field)
            return Sequence()

    # Constructs

    def _construct(self, kind: type[Construct], value: Any) -> Node:
        parts = kind.parts()
        head = [field for field, part in parts.items() if part.where == "head"]
        inside = {p.key or f: (f, p) for f, p in parts.items() if p.where == "inside"}
        beside = {p.key or f: (f, p) for f, p in parts.items() if p.where == "beside"}
        self.known(value, (kind.yaml_key, *beside, *POLICIES))
        fields: dict[str, Any] = {}
        if head:
            fields[head[0]] = self._branches(value, kind.yaml_key)
        else:
            settings = value[kind.yaml_key]
            if not isinstance(settings, Mapping):
                fix = f"write {EXAMPLES[kind.yaml_key]}"
                self.problem(value, f"`{kind.yaml_key}` is not a mapping", fix, kind.yaml_key)
                settings = {}
            else:
                self.known(settings, inside)
            fields |= self._fields(kind, settings, inside)
        fields |= self._fields(kind, value, beside)
        if kind.required() - fields.keys():
            return Sequence()
        return kind(**fields)

    def _fields(
        self, kind: type[Construct], value: Any, known: Mapping[str, tuple[str, Part]]
    ) -> dict[str, Any]:
        fields = {}
        for key, (field, part) in known.items():
            if value.get(key) is not None or (key in value and part.holds in ("node", "nodes")):
                fields[field] = self._field(value, key, part)
            elif field in kind.required():
                self.problem(value, f"`{key}` is missing", f"add {key}: ...")
        return fields

    def _field(self, value: Any, key: str, part: Part) -> Any:
        given = value[key]
        if part.holds == "node":
            return self.node([] if given is None else given, value, key)
        if part.holds == "choice":
            nested = isinstance(given, Mapping | list)
            return self.node(given, value, key) if nested else as_text(given)
        if part.holds == "nodes":
            return self._branches(value, key)
        if part.holds == "value" and part.schema == {"type": "string"}:
            return as_text(given)
        return plain(given)

    def _branches(self, value: Any, key: str) -> dict[Any, Node]:
        branches = value.get(key)
        if not isinstance(branches, Mapping) or not branches:
            self.problem(value, f"`{key}` is not a mapping of branches", "write {name: step}", key)
            return {"": Sequence()}
        return {name: self.node(branch, branches, name) for name, branch in branches.items()}

    # Flows inside flows

    def _subflow(self, value: Any) -> Node:
        self.known(value, ("flow", "inputs", "outputs", "name", *POLICIES))
        inner = value["flow"]
        flow = None
        if isinstance(inner, str):
            flow = self._included(value, inner)
        elif isinstance(inner, Mapping):
            try:
                flow = self._flow(inner)
            except BuildError as error:
                self.problems += [p for p in error.problems if p not in self.problems]
        else:
            fix = "write the inner flow: {steps: [...]}, or the name of its file"
            self.problem(value, "`flow` is neither a mapping nor a file", fix, "flow")
        if flow is None:
            return Sequence()
        inputs, outputs = plain(value.get("inputs") or {}), plain(value.get("outputs") or {})
        return SubFlow(flow, inputs, outputs, value.get("name"))

    def _included(self, value: Any, name: str) -> Flow | None:
        """The flow of another file, which is in the folder of this one or below."""
        folder = (self.base if self.path is None else self.path.parent).resolve()
        path = (folder / name).resolve()
        fix = f"name a pipeline file in {folder} or below"
        if not path.is_relative_to(folder):
            self.problem(value, f"{name!r} is outside the pipeline's folder", fix, "flow")
        elif path in (*self.including, self.path and self.path.resolve()):
            what = f"{name!r} includes itself"
            self.problem(value, what, "a flow calls itself with `recurse:`", "flow")
        else:
            including = (*self.including, *([self.path.resolve()] if self.path else []))
            reader = Reader(path, path.parent, self.registry, self.params, including)
            try:
                return reader.flow(read_text(path))
            except BuildError as error:
                self.problems += error.problems
            except ConfigError as error:
                self.problem(value, f"{name!r}: {error.what}", fix, "flow")
        return None
