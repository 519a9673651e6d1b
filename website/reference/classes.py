"""Pages of the public classes and functions, from their docstrings and signatures."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from types import ModuleType
from typing import Any

from website.reference.markdown import docstring

PACKAGES = {
    "rag": "Flows",
    "rag.index": "The index",
    "rag.models": "Models",
    "rag.connect.langchain": "LangChain's classes",
    "rag.serve": "Serving",
    "rag.testing": "Testing",
    "rag.errors": "Errors",
}
"""Front doors of the package: module to title."""


def public(module: ModuleType) -> list[str]:
    """The names that a module offers, as it lists them, or else its own classes."""
    named = getattr(module, "__all__", None)
    if named is None:
        own = [one for one in vars(module).values() if inspect.isclass(one)]
        named = [one.__name__ for one in own if one.__module__ == module.__name__]
    return sorted((one for one in named if not one.startswith("_")), key=str.lower)


def _signature(name: str, thing: Any) -> str:
    try:
        parameters = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return ""
    # Addresses of default values differ from run to run.
    text = re.sub(r" at 0x[0-9a-f]+", "", f"{name}{parameters}").replace("'", "")
    shown = re.sub(r"\b(?:[a-z_]+\.)+([A-Za-z_]\w*)", r"\1", text)
    return f"```text\n{shown}\n```\n"


def _methods(kind: type) -> list[tuple[str, Any]]:
    """The methods that a class of this package defines itself and that have a docstring."""
    found = []
    for name, member in vars(kind).items():
        function = getattr(member, "__func__", member)
        if name.startswith("_") or not (inspect.isfunction(function) and function.__doc__):
            continue
        found.append((name, function))
    return found


def _entry(name: str, thing: Any) -> list[str]:
    parts = [f"## {name}\n"]
    if inspect.isclass(thing) or inspect.isfunction(thing):
        parts += [_signature(name, thing), docstring(thing)]
    if inspect.isclass(thing) and thing.__module__.startswith("rag."):
        for method, function in _methods(thing):
            parts += [f"### {name}.{method}\n", _signature(method, function), docstring(function)]
    return parts


def pages() -> dict[str, str]:
    """Dotted name of a front door to its page."""
    found = {}
    for dotted, title in PACKAGES.items():
        module = import_module(dotted)
        parts = [f"# {title}: `{dotted}`\n", docstring(module)]
        for name in public(module):
            parts += _entry(name, getattr(module, name))
        found[dotted] = "\n".join(part for part in parts if part)
    return found
