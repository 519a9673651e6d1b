"""Pages of all operators, by module, and of the ready-made flows with their drawings."""

from __future__ import annotations

import inspect
import json
from typing import Any

from typer.testing import CliRunner

from rag.cli.main import app
from rag.flow import load_flow
from rag.flow.draw.mermaid import mermaid
from rag.flow.registry import Registry
from rag.operators import CATALOGUE
from rag.pipelines import names, path
from website.reference.markdown import code, docstring, escaped, table

MODULES = {
    "indexing": "Indexing",
    "pre_retrieval": "Before retrieval",
    "retrieval": "Retrieval",
    "post_retrieval": "After retrieval",
    "generation": "Generation",
    "orchestration": "Orchestration",
}


def described() -> list[dict[str, Any]]:
    """The operators of this package, as `rag operators --json` describes them."""
    done = CliRunner().invoke(app, ["operators", "--json"], catch_exceptions=False)
    return [one for one in json.loads(done.stdout) if one["name"] in CATALOGUE]


def _ports(title: str, ports: list[dict[str, Any]]) -> str:
    rows = [
        (code(port["name"]) + ("" if port.get("required", True) else "?"), code(port["type"]))
        for port in ports
    ]
    return table([title, "Type"], rows)


def _operator(one: dict[str, Any]) -> list[str]:
    fields = [
        (
            code(field["name"]),
            code(field["type"]),
            "required" if field["required"] else code(json.dumps(field["default"])),
            field.get("description") or "",
        )
        for field in one["fields"]
    ]
    return [
        f"## {one['name']}\n",
        f"`{inspect.getmodule(Registry()[one['name']]).__name__}`\n",  # type: ignore[union-attr]
        docstring(Registry()[one["name"]]),
        _ports("Reads", one["reads"]),
        _ports("Writes", one["writes"]),
        _ports("Resources", one["resources"]),
        table(["Field", "Type", "Default", "What it is"], fields),
    ]


def pages() -> dict[str, str]:
    """Name of a module to its page."""
    found: dict[str, str] = {}
    everything = described()
    for module, title in MODULES.items():
        inside = [one for one in everything if f"operators.{module}." in CATALOGUE[one["name"]]]
        parts = [f"# {title}\n", "`?` marks a channel that may be missing.\n"]
        for one in inside:
            parts += _operator(one)
        found[module] = "\n".join(part for part in parts if part)
    return found


def flows() -> str:
    """The page of the ready-made flows: what each is, its drawing and its file."""
    parts = ["# Ready-made flows\n", "Run by name, as `rag ask -c hybrid`.\n"]
    for name in names():
        text = path(name).read_text(encoding="utf-8")
        head = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
        drawing = mermaid(load_flow(path(name)))
        parts += [f"## {name}\n", escaped(head) + "\n", f"```mermaid\n{drawing.strip()}\n```\n"]
        parts.append(f'```yaml title="{name}.yaml"\n{text.strip()}\n```\n')
    return "\n".join(parts)
