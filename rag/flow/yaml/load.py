"""From YAML to a flow, with the line of everything that is wrong."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rag.errors import BuildError, ConfigError, RagError
from rag.flow.constructs import Loop, Map, Parallel, Route, Sequence
from rag.flow.flow import Flow
from rag.flow.node import Node
from rag.flow.operator import PLACEMENT, Operator
from rag.flow.policy import Budget
from rag.flow.registry import Registry
from rag.flow.resources import Resources
from rag.flow.types import parse

TOP_KEYS = ("name", "description", "inputs", "outputs", "resources", "budget", "steps")
_PARAMETER = re.compile(r"\$\{(\w+)(?::([^}]*))?\}")


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
        text, name, folder = source, "pipeline", Path()
    else:
        path = Path(source)
        text, name, folder = _read(path), path.name, path.parent
    return _Reader(name, base or folder, registry or Registry(), params or {}).flow(text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        fix = "`rag init DIR` writes one to start from"
        raise ConfigError(f"cannot be read: {reason}", where=str(path), fix=fix) from error


class _Reader:
    def __init__(
        self, file: str, base: Path, registry: Registry, params: Mapping[str, Any]
    ) -> None:
        self.file, self.base, self.registry, self.params = file, base, registry, params
        self.problems: list[RagError] = []
        self.positions: dict[int, str] = {}

    def flow(self, text: str) -> Flow:
        """The flow that the whole text describes."""
        document = self._parse(text)
        if not isinstance(document, Mapping):
            raise ConfigError(
                "a pipeline file is a mapping", where=self.file, fix="start with `steps:`"
            )
        document = self._substitute(document)
        self._known(document, TOP_KEYS)
        if "steps" not in document:
            self._problem(document, "there are no steps", "add `steps:` with a list")
        node = self._node(document.get("steps", []))
        inputs = self._inputs(document)
        resources = document.get("resources") or {}
        if not isinstance(resources, Mapping):
            self._problem(
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
                self._problem(document, f"budget.{port}: {detail['msg']}", None, "budget")
            return None

    def _parse(self, text: str) -> Any:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            return YAML(typ="rt", pure=True).load(text)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{self.file}:{mark.line + 1}" if mark else self.file
            problem = str(getattr(error, "problem", None) or error).split("\n")[0]
            raise ConfigError(f"not YAML: {problem}", where=where) from error

    # Where things stand

    def _where(self, value: Any, key: Any = None) -> str:
        """The file and line of a mapping, a list, or a key or item in one."""
        position = getattr(value, "lc", None)
        if position is None:
            return self.file
        line = position.line
        if key is not None and position.data and key in position.data:
            line = position.data[key][0]
        return f"{self.file}:{line + 1}"

    def _problem(self, value: Any, what: str, fix: str | None = None, key: Any = None) -> None:
        self.problems.append(ConfigError(what, where=self._where(value, key), fix=fix))

    def _known(self, value: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        for wrong in [key for key in value if key not in keys]:
            self._problem(value, f"unknown key {wrong!r}", nearest(str(wrong), keys), wrong)

    # Parameters

    def _substitute(self, value: Any, parent: Any = None, key: Any = None) -> Any:
        if isinstance(value, str):
            return self._scalar(value, parent, key)
        if isinstance(value, Mapping):
            for name in value:
                value[name] = self._substitute(value[name], value, name)  # type: ignore[index]
        elif isinstance(value, list):
            for index, item in enumerate(value):
                value[index] = self._substitute(item, value, index)
        return value

    def _scalar(self, text: str, parent: Any, key: Any) -> Any:
        whole = _PARAMETER.fullmatch(text)
        if whole:
            found = self._parameter(whole, parent, key)
            return self._parse(found) if isinstance(found, str) and found else found
        return _PARAMETER.sub(lambda match: str(self._parameter(match, parent, key)), text)

    def _parameter(self, match: re.Match[str], parent: Any, key: Any) -> Any:
        name, default = match.groups()
        if name in self.params:
            return self.params[name]
        if name in os.environ:
            return os.environ[name]
        if default is None:
            fix = f"give it: --param {name}=..., or a default: ${{{name}:...}}"
            self._problem(parent, f"the parameter {name!r} has no value", fix, key)
        return default

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
            self._problem(value if isinstance(value, Mapping) else parent, what, fix, key)
            return Sequence()
        before = len(self.problems)
        try:
            node = kinds[found[0]](value)
        except ConfigError as error:
            if len(self.problems) == before:
                self._problem(value, error.what, error.fix)
            return Sequence()
        self.positions[id(node)] = self._where(value)
        return node

    def _operator(self, value: Any, parent: Any, key: str) -> Operator | None:
        if value is None:
            return None
        node = self._node(value, parent, key)
        if isinstance(node, Sequence) and len(node.nodes) == 1:
            node = node.nodes[0]
        if not isinstance(node, Operator):
            if not isinstance(node, Sequence) or node.nodes:
                self._problem(parent, f"`{key}` is one operator", f"write {key}: {{use: ...}}", key)
            return None
        return node

    def _step(self, value: Any) -> Node:
        try:
            kind = self.registry[str(value["use"])]
        except ConfigError as error:
            self._problem(value, error.what, error.fix, "use")
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
                self._problem(value, what, fix, name)
            return Sequence()

    def _parallel(self, value: Any) -> Node:
        self._known(value, ("parallel", "join", "on_error", "name"))
        branches = self._branches(value, "parallel")
        return Parallel(
            branches,
            join=self._operator(value.get("join"), value, "join"),
            on_error=value.get("on_error", "fail"),
            name=value.get("name"),
        )

    def _map(self, value: Any) -> Node:
        self._known(value, ("map", "body", "join", "on_error", "name"))
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
        self._known(value, ("route", "name"))
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
        self._known(value, ("loop", "body", "name"))
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
        self._known(value, ("flow", "inputs", "outputs", "name"))
        inner = value["flow"]
        if not isinstance(inner, Mapping):
            self._problem(
                value, "`flow` is not a mapping", "write the inner flow: {steps: [...]}", "flow"
            )
            return Sequence()
        self._known(inner, TOP_KEYS)
        flow = Flow(
            self._node(inner.get("steps", []), inner, "steps"),
            name=inner.get("name"),
            description=inner.get("description"),
            inputs=self._inputs(inner),
            outputs=inner.get("outputs"),
            resources=Resources(_plain(inner.get("resources") or {}), base=self.base),
            positions=self.positions,
        )
        return flow.at(
            inputs=value.get("inputs"), outputs=value.get("outputs"), name=value.get("name")
        )

    def _settings(
        self, value: Any, key: str, known: tuple[str, ...], required: tuple[str, ...]
    ) -> Any:
        settings = value[key]
        if not isinstance(settings, Mapping):
            fix = f"write {key}: {{{', '.join(f'{name}: ...' for name in required)}}}"
            self._problem(value, f"`{key}` is not a mapping", fix, key)
            return {}
        self._known(settings, known)
        for name in required:
            self._required(settings, name)
        return settings

    def _required(self, value: Any, key: str) -> None:
        if key not in value:
            self._problem(value, f"`{key}` is missing", f"add {key}: ...")

    def _branches(self, value: Any, key: str) -> dict[Any, Node]:
        branches = value.get(key)
        if not isinstance(branches, Mapping) or not branches:
            self._problem(value, f"`{key}` is not a mapping of branches", "write {name: step}", key)
            return {"": Sequence()}
        return {name: self._node(branch, branches, name) for name, branch in branches.items()}

    def _inputs(self, document: Any) -> dict[str, Any] | None:
        given = document.get("inputs")
        if given is None:
            return None
        if not isinstance(given, Mapping):
            self._problem(document, "`inputs` is not a mapping", "write {query: str}", "inputs")
            return None
        inputs = {}
        for name, text in given.items():
            try:
                inputs[str(name)] = parse(str(text))
            except ValueError as error:
                self._problem(given, str(error), "write types such as list[str]", name)
        return inputs


def nearest(name: str, known: tuple[str, ...]) -> str:
    """A hint for a name that is not known."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = f"known: {', '.join(known)}"
    return f"did you mean {found[0]!r}? {listed}" if found else listed


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
