"""Keys of a pipeline file that are not part of the flow: other rooms read them."""

from __future__ import annotations

import importlib
from typing import Any

SECTIONS = {"tune": "rag.tune.schema:schema"}
"""Key to `module:function` that makes its JSON Schema. It takes the schema of a node."""


def section_schemas(node: dict[str, Any]) -> dict[str, Any]:
    """Key to JSON Schema of each.

    Args:
        node: The schema of a node of a flow.
    """
    found = {}
    for key, opener in SECTIONS.items():
        module, _, function = opener.partition(":")
        found[key] = getattr(importlib.import_module(module), function)(node)
    return found
