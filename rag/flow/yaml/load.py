"""From YAML to a flow, with the line of everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rag.errors import BuildError, ConfigError
from rag.flow.constructs import Interrupt, Loop, Map, Parallel, Recurse, Route, Sequence
from rag.flow.flow import Flow
from rag.flow.node import Node
from rag.flow.operator import PLACEMENT, Operator
from rag.flow.registry import Registry
from rag.flow.resources import Resources
from rag.flow.run.policy import Budget
from rag.flow.types import parse
from rag.flow.yaml.source import Source, nearest

TOP_KEYS = ("name", "description", "inputs", "outputs", "resources", "budget", "steps")


def load_flow(
    source: str | Path,
    *,
    params: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    base: Path | None = None,
) -> Flow:
    """Read a flow from a pipeline file, or from its text.

    Args:
        source: A path, or YAML text (a string of more than one line).
        params: Values for `${name}` and `${name:default}`; the environment comes second.
        registry: The operators that may be used; default: all that are installed.
        base: The folder that resources' relative paths start from; default: the file's.

    Raises:
        ConfigError: The file is missing or not YAML.
        BuildError: The flow does not fit together; all problems, each with its line.
    """
    if isinstance(source, str) and "\n" in source:
        text, path = source, None
    else:
        path = Path(source)
        text = _read(path)
    folder = path.parent if path else Path()
    return _Reader(path, base or folder, registry or Registry(), params or {}).flow(text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        fix = "`rag init DIR` writes one to start from"
        raise ConfigError(f"cannot be read: {reason}", where=str(path), fix=fix) from error


class _Reader(Source):
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

    def flow(self, text: str) -> Flow:
        """The flow that the whole text describes."""
        document = self.parse(text)
        if not isinstance(document, Mapping):
            raise ConfigError(
                "a pipeline file is a mapping", where=self.file, fix="start with `steps:`"
            )
        return self._flow(self.substitute(document))

    def _flow(self, document: Any) -> Flow:
        """The flow that a mapping describes; raises all problems found so far."""
        self.known(document, TOP_KEYS)
        if "steps" not in document:
            self.problem(document, "there are no steps", "add `steps:` with a list")
        node = self._node(document.get("steps", []))
        inputs = self._inputs(document)
        resources = document.get("resources") or {}
        if not isinstance(resources, Mapping):
            self.problem(
                document, "`resources` is not a mapping", "write {name: what}", "resources"
            )
            resources = {}
        budget = self._budget(document)
        if self.problems:
            raise BuildError(self.problems)
        outputs = document.get("outputs")
        return Flow(
            node,
            name=document.get("name"),
            description=document.get("description"),
            inputs=inputs,
            outputs=[outputs] if isinstance(outputs, str) else outputs,
            resources=Resources(_plain(resources), base=self.base),
            budget=budget,
            positions=self.positions,
        )

    def _budget(self, document: Any) -> Budget | None:
        given = document.get("budget")
        if given is None:
            return None
        try:
            return Budget.model_validate(_plain(given))
        except ValidationError as error:
            for detail in error.errors():
                port = ".".join(map(str, detail["loc"]))
                self.problem(document, f"budget.{port}: {detail['msg']}", None, "budget")
            return None

    # Nodes

    def _node(self, value: Any, parent: Any = None, key: Any = None) -> Node:
        if isinstance(value, list):
            return Sequence(*(self._node(item, value, i) for i, item in enumerate(value)))
        kinds: dict[str, Callable[[Any], Node]] = {
            "use": self._step,
            "steps": lambda v: self._node(v["steps"], v, "steps"),
            "parallel": self._parallel,
            "map": self._map,
            "route": self._route,
            "loop": self._loop,
            "flow": self._subflow,
            "recurse": self._recurse,
            "interrupt": self._interrupt,
        }
        found = [k for k in kinds if isinstance(value, Mapping) and k in value]
        if len(found) != 1:
            what = f"a step has exactly one of the keys {', '.join(kinds)}"
            if isinstance(value, Mapping):
                what += f"; here are: {', '.join(map(str, value)) or 'none'}"
            near = [
                nearest(str(k), tuple(kinds)) for k in (value if isinstance(value, Mapping) else ())
            ]
            fix = next(
                (n for n in near if n.startswith("did")), "a step looks like {use: bm25, k: 20}"
            )
            self.problem(value if isinstance(value, Mapping) else parent, what, fix, key)
            return Sequence()
        before = len(self.problems)
        try:
            node = kinds[found[0]](value)
        except ConfigError as error:
            if len(self.problems) == before:
                self.problem(value, error.what, error.fix)
            return Sequence()
        self.positions[id(node)] = self.where(value)
        return node

    def _operator(self, value: Any, parent: Any, key: str) -> Operator | None:
        if value is None:
            return None
        node = self._node(value, parent, key)
        if isinstance(node, Sequence) and len(node.nodes) == 1:
            node = node.nodes[0]
        if not isinstance(node, Operator):
            if not isinstance(node, Sequence) or node.nodes:
                self.problem(parent, f"`{key}` is one operator", f"write {key}: {{use: ...}}", key)
            return None
        return node

    def _step(self, value: Any) -> Node:
        try:
            kind = self.registry[str(value["use"])]
        except ConfigError as error:
            self.problem(value, error.what, error.fix, "use")
            return Sequence()
        fields = {k: _plain(v) for k, v in value.items() if k not in ("use", "fallback")}
        if value.get("fallback") is not None:
            fields["fallback"] = self._operator(value["fallback"], value, "fallback")
        try:
            return kind(**fields)
        except ValidationError as error:
            known = tuple(n for n in kind.model_fields if n not in PLACEMENT) + tuple(
                sorted(PLACEMENT)
            )
            for detail in error.errors():
                name = str(detail["loc"][0]) if detail["loc"] else ""
                if detail["type"] == "extra_forbidden":
                    what, fix = f"{kind.use} has no field {name!r}", nearest(name, known)
                elif detail["type"] == "missing":
                    what, fix = (
                        f"{kind.use} needs the field {name!r}",
                        f"`rag operators {kind.use}`",
                    )
                else:
                    port = ".".join(map(str, detail["loc"]))
                    what = f"{kind.use}.{port} is {detail.get('input')!r}: {detail['msg']}"
                    fix = f"`rag operators {kind.use}` tells what it takes"
                self.problem(value, what, fix, name)
            return Sequence()

    def _parallel(self, value: Any) -> Node:
        self.known(value, ("parallel", "join", "on_error", "name"))
        branches = self._branches(value, "parallel")
        return Parallel(
            branches,
            join=self._operator(value.get("join"), value, "join"),
            on_error=value.get("on_error", "fail"),
            name=value.get("name"),
        )

    def _map(self, value: Any) -> Node:
        self.known(value, ("map", "body", "join", "on_error", "name"))
        settings = self._settings(value, "map", ("over", "as", "concurrency"), ("over", "as"))
        self._required(value, "body")
        return Map(
            over=str(settings.get("over")),
            as_=str(settings.get("as")),
            body=self._node(value.get("body", []), value, "body"),
            join=self._operator(value.get("join"), value, "join"),
            on_error=value.get("on_error", "fail"),
            concurrency=settings.get("concurrency"),
            name=value.get("name"),
        )

    def _route(self, value: Any) -> Node:
        self.known(value, ("route", "name"))
        settings = self._settings(value, "route", ("by", "cases", "default"), ("by", "cases"))
        by = settings.get("by", "")
        default = settings.get("default")
        return Route(
            by=self._node(by, settings, "by") if isinstance(by, Mapping | list) else str(by),
            cases=self._branches(settings, "cases"),
            default=None if default is None else self._node(default, settings, "default"),
            name=value.get("name"),
        )

    def _loop(self, value: Any) -> Node:
        self.known(value, ("loop", "body", "name"))
        settings = self._settings(
            value, "loop", ("max_turns", "until", "carry", "history"), ("max_turns",)
        )
        self._required(value, "body")
        carry = settings.get("carry")
        until = settings.get("until")
        return Loop(
            body=self._node(value.get("body", []), value, "body"),
            max_turns=settings.get("max_turns", 1),
            until=None if until is None else str(until),
            carry=None if carry is None else tuple(carry),
            history=settings.get("history"),
            name=value.get("name"),
        )

    def _subflow(self, value: Any) -> Node:
        self.known(value, ("flow", "inputs", "outputs", "name"))
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
        return flow.at(
            inputs=value.get("inputs"), outputs=value.get("outputs"), name=value.get("name")
        )

    def _included(self, value: Any, name: str) -> Flow | None:
        """The flow of another file, which lies in the folder of this one or below."""
        folder = (self.base if self.path is None else self.path.parent).resolve()
        path = (folder / name).resolve()
        fix = f"name a pipeline file in {folder} or below"
        if not path.is_relative_to(folder):
            self.problem(value, f"{name!r} lies outside the pipeline's folder", fix, "flow")
        elif path in (*self.including, self.path and self.path.resolve()):
            what = f"{name!r} includes itself"
            self.problem(value, what, "a flow calls itself with `recurse:`", "flow")
        else:
            including = (*self.including, *([self.path.resolve()] if self.path else []))
            reader = _Reader(path, path.parent, self.registry, self.params, including)
            try:
                return reader.flow(_read(path))
            except BuildError as error:
                self.problems += error.problems
            except ConfigError as error:
                self.problem(value, f"{name!r}: {error.what}", fix, "flow")
        return None

    def _recurse(self, value: Any) -> Node:
        self.known(value, ("recurse", "base", "inputs", "outputs", "name"))
        settings = self._settings(value, "recurse", ("max_depth",), ("max_depth",))
        self._required(value, "base")
        return Recurse(
            base=self._node(value.get("base", []), value, "base"),
            max_depth=settings.get("max_depth", 1),
            inputs=_plain(value.get("inputs") or {}),
            outputs=_plain(value.get("outputs") or {}),
            name=value.get("name"),
        )

    def _interrupt(self, value: Any) -> Node:
        self.known(value, ("interrupt", "name"))
        known = ("message", "show", "edit")
        settings = self._settings(value, "interrupt", known, ("message",))
        lists = {}
        for port in ("show", "edit"):
            given = settings.get(port) or []
            lists[port] = tuple([given] if isinstance(given, str) else given)
        return Interrupt(str(settings.get("message")), **lists, name=value.get("name"))

    def _settings(
        self, value: Any, key: str, known: tuple[str, ...], required: tuple[str, ...]
    ) -> Any:
        settings = value[key]
        if not isinstance(settings, Mapping):
            fix = f"write {key}: {{{', '.join(f'{name}: ...' for name in required)}}}"
            self.problem(value, f"`{key}` is not a mapping", fix, key)
            return {}
        self.known(settings, known)
        for name in required:
            self._required(settings, name)
        return settings

    def _required(self, value: Any, key: str) -> None:
        if key not in value:
            self.problem(value, f"`{key}` is missing", f"add {key}: ...")

    def _branches(self, value: Any, key: str) -> dict[Any, Node]:
        branches = value.get(key)
        if not isinstance(branches, Mapping) or not branches:
            self.problem(value, f"`{key}` is not a mapping of branches", "write {name: step}", key)
            return {"": Sequence()}
        return {name: self._node(branch, branches, name) for name, branch in branches.items()}

    def _inputs(self, document: Any) -> dict[str, Any] | None:
        given = document.get("inputs")
        if given is None:
            return None
        if not isinstance(given, Mapping):
            self.problem(document, "`inputs` is not a mapping", "write {query: str}", "inputs")
            return None
        inputs = {}
        for name, text in given.items():
            try:
                inputs[str(name)] = parse(str(text))
            except ValueError as error:
                self.problem(given, str(error), "write types such as list[str]", name)
        return inputs


def _plain(value: Any) -> Any:
    """A YAML value without what ruamel adds to it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
