"""From a flow to YAML."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from typing import Any

from rag.errors import ConfigError
from rag.flow.description import Description
from rag.flow.node import Construct, Node, Part, Sequence
from rag.flow.operator import Operator
from rag.flow.registry import Registry
from rag.flow.resources import Resources
from rag.flow.types import parse, show

_MISREAD = re.compile("^[?]|[\\x85\\u2028\\u2029]")
"""Texts that ruamel would write in a way that it reads as something else."""


def dump(flow: Description, registry: Registry | None = None) -> str:
    """The flow as YAML; `load_flow` of it gives an equal flow.

    Args:
        flow: What to write.
        registry: The names of its operators; default: those of installed packages.

    Raises:
        ConfigError: A resource was given open, or a type has no name in pipeline files.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt", pure=True)
    yaml.width, yaml.indent = 100, None
    yaml.map_indent, yaml.sequence_indent, yaml.sequence_dash_offset = 2, 4, 2
    out = io.StringIO()
    yaml.dump(_escaped(_Writer(registry or Registry()).flow(flow)), out)
    return out.getvalue()


class _Writer:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def flow(self, flow: Description) -> dict[str, Any]:
        nodes = flow.node.nodes if isinstance(flow.node, Sequence) else (flow.node,)
        plain = flow.inputs == {"query": str} and not flow.defaults
        return _given(
            {
                "name": flow.name,
                "description": flow.description,
                "inputs": None if plain else _inputs(flow),
                "outputs": None if flow.outputs is None else list(flow.outputs),
                "resources": _specs(flow.resources) or None,
                "budget": flow.budget and flow.budget.model_dump(exclude_defaults=True),
                "steps": [self.node(node) for node in nodes],
            }
        )

    def node(self, node: Node) -> Any:
        if isinstance(node, Operator):
            return self._step(node)
        if isinstance(node, Sequence):
            return [self.node(child) for child in node.nodes]
        assert isinstance(node, Construct)  # noqa: S101 - there is nothing else
        if node.shares_place:
            return self._guard(node)
        if node.yaml_key == "flow":
            flow = self.flow(node.flow)  # type: ignore[attr-defined]
            return _given({"flow": flow, **self._parts(node, "beside")})
        inside = self._parts(node, "inside")
        head = self._parts(node, "head")
        value = next(iter(head.values())) if head else _leaf(inside)
        return _given({node.yaml_key: value, **self._parts(node, "beside")})

    def _step(self, node: Operator) -> Any:
        apart = {"fallback", "cache"}
        fields = node.model_dump(mode="json", exclude_defaults=True, exclude=apart)
        cache = node.cache and (node.cache.model_dump(exclude_defaults=True) or True)
        fallback = None if node.fallback is None else self.node(node.fallback)
        more = _given({"cache": cache, "fallback": fallback})
        return _leaf({"use": self._registry.name_of(type(node)), **fields, **more})

    def _guard(self, node: Any) -> Any:
        body = self.node(node.body)
        if not isinstance(body, dict) or "use" in body or set(body) & set(POLICIES):
            body = {"steps": body if isinstance(body, list) else [body]}
        policies = {}
        for name in POLICIES:
            value = getattr(node, name)
            if hasattr(value, "model_dump"):
                value = value.model_dump(mode="json", exclude_defaults=True) or True
                value = {} if name == "retry" and value is True else value
            policies[name] = self.node(value) if isinstance(value, Node) else value
        return {**body, **_given(policies)}

    def _parts(self, node: Construct, where: str) -> dict[str, Any]:
        required = node.required()
        defaults = {field: _default(node, field) for field in node.parts()}
        found = {}
        for field, part in node.parts().items():
            value = getattr(node, field)
            if part.where == where and (field in required or value != defaults[field]):
                found[part.key or field] = self._part(part, value)
        return found

    def _part(self, part: Part, value: Any) -> Any:
        if part.holds == "nodes":
            return {name: self.node(child) for name, child in value.items()}
        if isinstance(value, Node):
            return self.node(value)
        return (
            list(value)
            if part.holds == "texts"
            else dict(value)
            if value and isinstance(value, Mapping)
            else value
        )


POLICIES = ("timeout", "retry", "fallback", "cache", "concurrency", "budget")
"""The fields of `Guard` that are written beside the guarded node's key."""


def _default(node: Construct, field: str) -> Any:
    import dataclasses

    for one in dataclasses.fields(node):  # type: ignore[arg-type]
        if one.name == field:
            if one.default_factory is not dataclasses.MISSING:
                return one.default_factory()
            return one.default
    return None


def _given(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}


def _inputs(flow: Description) -> dict[str, str]:
    written = {}
    for name, kind in flow.inputs.items():
        text = show(kind)
        try:
            parse(text)
        except ValueError as error:
            what = f"the type of the input {name!r} cannot be written: {error}"
            raise ConfigError(what, where=f"inputs.{name}") from error
        default = flow.defaults.get(name)
        if default is not None:
            try:
                text += f" = {json.dumps(default, ensure_ascii=False)}"
            except TypeError as error:
                what = f"the default of the input {name!r} cannot be written: {error}"
                raise ConfigError(what, where=f"inputs.{name}") from error
        written[name] = text
    return written


def _specs(resources: Resources) -> dict[str, Any]:
    for name, spec in resources.specs.items():
        if not isinstance(spec, str | int | float | bool | list | dict):
            raise ConfigError(
                f"the resource {name!r} is an open {type(spec).__name__}, which cannot be written",
                fix="name it by its specification, such as ./index",
            )
    return resources.specs


_PARAMETER = re.compile(r"\$(\$*)\{")


def _escaped(value: Any) -> Any:
    """The value with every `${` in its texts escaped, so that it is read as it is."""
    if isinstance(value, str):
        text = _PARAMETER.sub(lambda found: "$" + found[0], value)
        return _quoted(text) if _MISREAD.search(text) else text
    if isinstance(value, dict):
        for key in value:
            value[key] = _escaped(value[key])
        return value
    return [_escaped(item) for item in value] if isinstance(value, list) else value


def _quoted(text: str) -> str:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    quoted: str = DoubleQuotedScalarString(text)
    return quoted


def _leaf(mapping: dict[str, Any]) -> Any:
    """A mapping that is written on one line, if nothing in it is longer."""
    from ruamel.yaml.comments import CommentedMap

    leaf = CommentedMap(mapping)
    if not any(isinstance(value, dict) and "by" not in mapping for value in mapping.values()):
        leaf.fa.set_flow_style()
    return leaf
