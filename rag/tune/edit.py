"""A flow with another step, field, resource or prompt in the place of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rag.errors import ConfigError
from rag.files import write_atomically
from rag.flow import Flow, Node, Operator, Resource
from rag.flow import Sequence as Steps
from rag.flow.absence import kinds_of
from rag.flow.node import Construct, place_of, root_of, walk
from rag.flow.place import Place, segment
from rag.flow.resources import kind_of, well_known
from rag.models import LLM
from rag.names import suggestion
from rag.prompts.templates import FIXED, prompt_set

Path_ = tuple[str, ...]
"""The edges from the flow's node to one below it."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A node in a flow.

    Attributes:
        node: What is there.
        place: Its place.
        path: The edges that lead to it.
    """

    node: Node
    place: Place
    path: Path_


def find(flow: Flow, key: str) -> Found:
    """The node that a key names: its place or its branch's as text, or a label that is its alone.

    Raises:
        ConfigError: None has it, or several.
    """
    known: dict[str, list[Found]] = {}
    for found, names in _named(flow):
        for name in names:
            known.setdefault(name, []).append(found)
    matches = known.get(key, [])
    if len({one.path for one in matches}) == 1:
        return matches[0]
    if matches:
        places = ", ".join(str(one.place) for one in matches)
        raise ConfigError(f"{len(matches)} steps are called {key!r}", fix=f"write one of: {places}")
    raise ConfigError(f"there is no step {key!r}", fix=suggestion(key, known, label="there are"))


def _named(flow: Flow) -> Iterator[tuple[Found, set[str]]]:
    """Every node but the flow's own sequence, with what it may be called."""

    def below(node: Node, place: Place, path: Path_) -> Iterator[tuple[Found, set[str]]]:
        for edge, child in node.children().items():
            where = place_of(node, place, edge, child)
            branch = place.below(edge)
            names = {str(where), where[-1], str(branch), branch[-1]} if edge else {str(where)}
            if node.shares_place and not edge:
                names = set()  # what guards it has the name
            yield Found(child, where, (*path, edge)), names
            yield from below(child, where, (*path, edge))

    root = root_of(flow.node)
    if not isinstance(flow.node, Steps):
        yield Found(flow.node, root, ()), {str(root)}
    yield from below(flow.node, root, ())


Specs = Mapping[str, Any]
"""Name of a resource to what is said of it."""


def _with_node(flow: Flow, node: Node, spare: Specs) -> Flow:
    """The flow with another node, and of the resources with names of its own those it binds."""
    used = {
        name
        for _, one in walk(node)
        if isinstance(one, Operator)
        for name in one.resources.values()
    }
    resources = flow.resources.but({})
    resources.specs = {
        name: spec
        for name, spec in {**spare, **flow.resources.specs}.items()
        if name in used or (name in well_known() and name in flow.resources.specs)
    }
    return flow.with_node(node, resources)


def with_step(flow: Flow, key: str, new: Node | None, spare: Specs | None = None) -> Flow:
    """The flow with another node in a step's place; None leaves the step, or the branch, out.

    Args:
        flow: The flow.
        key: The step.
        new: What takes its place.
        spare: Resources for steps that bind them.

    Raises:
        ConfigError: There is no such step.
        BuildError: The flow does not fit together then.
    """
    return _with_node(flow, _put(flow.node, find(flow, key).path, new), spare or {})


def _put(node: Node, path: Path_, new: Node | None) -> Node:
    if not path:
        return Steps() if new is None else new
    edge, *rest = path
    if new is None and not rest:
        return _without(node, edge)
    return node.with_children({edge: _put(node.children()[edge], tuple(rest), new)})


def _without(node: Node, edge: str) -> Node:
    """The node without what is at an edge."""
    if isinstance(node, Construct):
        for name, part in node.parts().items():
            value = getattr(node, name)
            if part.holds == "nodes":
                left = {one: child for one, child in value.items() if segment(one) != edge}
                if 0 < len(left) < len(value):
                    return dataclasses.replace(node, **{name: left})  # type: ignore[type-var]
            elif edge.startswith(".") and part.edge == edge and isinstance(value, Node):
                return dataclasses.replace(node, **{name: None})  # type: ignore[type-var]
    return node.with_children({edge: Steps()})


def with_field(
    flow: Flow, key: str, field: Sequence[str], value: Any, spare: Specs | None = None
) -> Flow:
    """The flow with another value of a step's field.

    Args:
        flow: The flow.
        key: The step.
        field: Names of fields inside each other: `reuse`, `mode`.
        value: What it gets.
        spare: Resources for steps that bind them.

    Raises:
        ConfigError: There is no such step or field, or the value is wrong.
        BuildError: The flow does not fit together then.
    """
    found = find(flow, key)
    node = _put(flow.node, found.path, _changed(found.node, field, value))
    return _with_node(flow, node, spare or {})


def _changed(node: Node, field: Sequence[str], value: Any) -> Node:
    first, *rest = field
    if isinstance(node, Operator):
        given = {name: getattr(node, name) for name in type(node).model_fields}
        return type(node)(**{**given, first: _set(given.get(first), rest, value)})
    if isinstance(node, Construct):
        keys = {part.key or name: name for name, part in node.parts().items()}
        values = [key for key, name in keys.items() if node.parts()[name].holds == "value"]
        if first in values:
            return dataclasses.replace(node, **{keys[first]: value})  # type: ignore[type-var]
        what = f"{node.yaml_key} has no field {first!r} that can be tuned"
        raise ConfigError(what, fix=suggestion(first, values))
    raise ConfigError("several steps have no fields", fix="name one of the steps")


def _set(before: Any, path: Sequence[str], value: Any) -> Any:
    """A mapping with another value at a path; None takes the name out."""
    if not path:
        return value
    if isinstance(before, BaseModel):
        before = before.model_dump(exclude_unset=True)
    first, *rest = path
    found = dict(before) if isinstance(before, Mapping) else {}
    inner = _set(found.get(first), rest, value)
    if inner is None:
        found.pop(first, None)
    else:
        found[first] = inner
    return found


def with_resource(flow: Flow, name: str, field: Sequence[str], value: Any) -> Flow:
    """The flow with another resource, or another value of a field of one.

    Raises:
        ConfigError: There is no such resource, or it was given open and has no fields.
        BuildError: The flow does not fit together then.
    """
    kind = _kind(flow, name)
    spec = flow.resources.specs.get(name, kind.default if kind else None)
    if field and isinstance(spec, Resource):
        what = f"the resource {name!r} was given open: its fields cannot be changed"
        raise ConfigError(what, fix="name it by its specification")
    if field and kind is not None and isinstance(spec, str) and kind.shorthand is not None:
        spec = {kind.shorthand: spec}
    return flow.with_resources(**{name: _set(spec, field, value)})


def _kind(flow: Flow, name: str) -> type[Resource] | None:
    taken = kinds_of(flow.needs)
    kind = taken.get(name) or kind_of(name)
    if kind is None and name not in flow.resources.specs:
        known = {*taken, *flow.resources.specs}
        raise ConfigError(f"there is no resource {name!r}", fix=suggestion(name, known))
    return kind


def with_prompts(flow: Flow, name: str, texts: Mapping[str, str], folder: Path) -> Flow:
    """The flow whose model is given other texts, from a file that is written.

    Args:
        flow: The flow.
        name: The model's resource.
        texts: Name of a prompt to its text.
        folder: Where the file is; named by its content.

    Raises:
        ConfigError: A name is no prompt's, or the model was given open.
    """
    kind = _kind(flow, name) or LLM
    profile = _profile(flow.resources.specs.get(name, kind.default))
    given = profile.get("prompts")
    whole: dict[str, str] = {}
    if given is not None:
        here = given if given in ("small", "strong") else str(flow.resources.base / given)
        whole = {n: one.text for n, one in prompt_set(here).items() if not n.startswith(FIXED)}
    file = folder / prompts_file(content := prompts_yaml({**whole, **texts}))
    if not file.exists():
        write_atomically(file, content)
    return with_resource(flow, name, ("profile", "prompts"), str(file.absolute()))


def _profile(spec: Any) -> dict[str, Any]:
    profile = spec.get("profile") if isinstance(spec, Mapping) else None
    return dict(profile or {})


def prompts_yaml(texts: Mapping[str, str]) -> str:
    """A file of prompts."""
    from ruamel.yaml import YAML

    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width = False, 100
    yaml.dump(dict(texts), out)
    return out.getvalue()


def prompts_file(content: str) -> str:
    """The name of a file of prompts, by its content."""
    return f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.yaml"
