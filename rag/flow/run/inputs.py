"""The channels that a flow begins with: checked, defaults filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rag.errors import InputError
from rag.flow.types import show
from rag.names import nearest

_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Lone surrogates, which JSON can carry and no tokenizer, database or file takes."""


class Takes(Protocol):
    """What must be known of a flow's inputs."""

    inputs: Mapping[str, Any]
    defaults: Mapping[str, Any]
    matchers: Mapping[str, Callable[[Any], bool]]


def initial_state(flow: Takes, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The flow's channels in the beginning.

    Raises:
        InputError: An input is missing, unknown or of another type.
    """
    for wrong in inputs.keys() - flow.inputs.keys():
        near = nearest(wrong, flow.inputs)
        fix = f"{f'did you mean {near!r}? ' if near else ''}the inputs are: {_listed(flow)}"
        raise InputError(f"the flow has no input {wrong!r}", fix=fix)
    state = {**flow.defaults, **inputs}
    for name, kind in flow.inputs.items():
        if name not in state:
            what = f"the input {name!r} ({show(kind)}) is missing"
            raise InputError(what, fix=f"the inputs are: {_listed(flow)}")
        if name in inputs and not flow.matchers[name](state[name]):
            given = type(state[name]).__name__
            raise InputError(f"the input {name!r} is {given}, {show(kind)} is wanted")
        if isinstance(text := state[name], str) and (found := _SURROGATE.search(text)):
            what = f"the input {name!r} has a lone surrogate at position {found.start()}"
            raise InputError(what, fix="give whole Unicode text")
    return state


def _listed(flow: Takes) -> str:
    return ", ".join(f"{name} ({show(kind)})" for name, kind in flow.inputs.items()) or "none"
