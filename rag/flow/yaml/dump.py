"""From a flow to YAML."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rag.errors import ConfigError
from rag.flow.constructs import (
    Interrupt,
    Loop,
    Map,
    Parallel,
    Recurse,
    Route,
    Sequence,
    SubFlow,
)
from rag.flow.flow import Flow
from rag.flow.node import Node
from rag.flow.operator import Operator
from rag.flow.registry import Registry
from rag.flow.resources import Resources
from rag.flow.types import parse, show


def dump(flow: Flow, registry: Registry | None = None) -> str:
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
    yaml.dump(_document(flow, registry or Registry()), out)
    return out.getvalue()


def _document(flow: Flow, registry: Registry) -> dict[str, Any]:
    nodes = flow.node.nodes if isinstance(flow.node, Sequence) else (flow.node,)
    document: dict[str, Any] = {
        "name": flow.name,
        "description": flow.description,
        "inputs": None if flow.inputs == {"query": str} else _types(flow.inputs),
        "outputs": None if flow.outputs is None else list(flow.outputs),
        "resources": _specs(flow.resources) or None,
        "budget": flow.budget and flow.budget.model_dump(exclude_defaults=True),
        "steps": [_value(node, registry) for node in nodes],
    }
    return _given(document)


def _given(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}


def _types(inputs: Mapping[str, Any]) -> dict[str, str]:
    for name, kind in inputs.items():
        try:
            parse(show(kind))
        except ValueError as error:
            raise ConfigError(
                f"the type of the input {name!r} cannot be written: {error}"
            ) from error
    return {name: show(kind) for name, kind in inputs.items()}


def _specs(resources: Resources) -> dict[str, Any]:
    for name, spec in resources.specs.items():
        if not isinstance(spec, str | int | float | bool | list | dict):
            raise ConfigError(
                f"the resource {name!r} is an open {type(spec).__name__}, which cannot be written",
                fix="name it by its specification, such as ./index",
            )
    return resources.specs


def _value(node: Node, registry: Registry) -> Any:
    match node:
        case Operator():
            apart = {"fallback", "cache"}
            fields = node.model_dump(mode="json", exclude_defaults=True, exclude=apart)
            cache = node.cache and (node.cache.model_dump(exclude_defaults=True) or True)
            more = _given({"cache": cache, "fallback": _maybe(node.fallback, registry)})
            return _leaf({"use": registry.name_of(type(node)), **fields, **more})
        case Sequence(nodes=nodes):
            return [_value(child, registry) for child in nodes]
        case Parallel():
            value = {"parallel": {k: _value(v, registry) for k, v in node.branches.items()}}
            return _given({**value, **_joined(node, registry)})
        case Map():
            settings = _leaf(
                _given({"over": node.over, "as": node.as_, "concurrency": node.concurrency})
            )
            value = {"map": settings, "body": _value(node.body, registry)}
            return _given({**value, **_joined(node, registry)})
        case Route():
            settings = {
                "by": node.by if isinstance(node.by, str) else _value(node.by, registry),
                "cases": {k: _value(v, registry) for k, v in node.cases.items()},
                "default": _maybe(node.default, registry),
            }
            return _given({"route": _given(settings), "name": node.name})
        case Loop():
            carry = None if node.carry is None else list(node.carry)
            settings = _given(
                {
                    "max_turns": node.max_turns,
                    "until": node.until,
                    "carry": carry,
                    "history": node.history,
                }
            )
            return _given(
                {"loop": _leaf(settings), "body": _value(node.body, registry), "name": node.name}
            )
        case SubFlow():
            renames = {"inputs": dict(node.inputs) or None, "outputs": dict(node.outputs) or None}
            return _given({"flow": _document(node.flow, registry), **renames, "name": node.name})
        case Recurse():
            renames = {"inputs": dict(node.inputs) or None, "outputs": dict(node.outputs) or None}
            value = {"recurse": _leaf({"max_depth": node.max_depth})}
            base = {"base": _value(node.base, registry)}
            return _given({**value, **base, **renames, "name": node.name})
        case Interrupt():
            shown = {"show": list(node.show) or None, "edit": list(node.edit) or None}
            settings = _leaf(_given({"message": node.message, **shown}))
            return _given({"interrupt": settings, "name": node.name})
    raise TypeError(f"{type(node).__name__} is no construct")


def _joined(node: Parallel | Map, registry: Registry) -> dict[str, Any]:
    on_error = None if node.on_error == "fail" else node.on_error
    return {"join": _maybe(node.join, registry), "on_error": on_error, "name": node.name}


def _maybe(node: Node | None, registry: Registry) -> Any:
    return None if node is None else _value(node, registry)


def _leaf(mapping: dict[str, Any]) -> Any:
    """A mapping that is written on one line."""
    from ruamel.yaml.comments import CommentedMap

    leaf = CommentedMap(mapping)
    leaf.fa.set_flow_style()
    return leaf
