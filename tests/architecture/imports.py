"""The import graph of the package, read from the source: at the top, in functions, for types."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "rag": ROOT / "rag",
    "rag.operators": ROOT / "operators",
    "rag.pipelines": ROOT / "pipelines",
}
"""Package to the folder that holds it."""


@dataclass(frozen=True)
class Import:
    """An import of one module by another, with its line."""

    importer: str
    imported: str
    line: int


def modules(folders: Mapping[str, Path] = FOLDERS) -> dict[str, Path]:
    """Module name to file. A folder that is a link is listed under its own package only."""
    found = {}
    for package, folder in folders.items():
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = file
    return found


def imports(known: Mapping[str, Path]) -> list[Import]:
    """Every import between the known modules, wherever it is written."""
    return [
        Import(importer, imported, line)
        for importer, file in known.items()
        for imported, line in _imported(importer, file, known)
        if imported != importer
    ]


def _imported(importer: str, file: Path, known: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    package = importer if file.name == "__init__.py" else importer.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((one.name, node.lineno) for one in node.names if one.name in known)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, package)
            for one in node.names:
                # `from rag import paths` is an import of the module `rag.paths`, not of `rag`.
                name = f"{source}.{one.name}"
                if name in known or source in known:
                    yield name if name in known else source, node.lineno


def _absolute(node: ast.ImportFrom, package: str) -> str:
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def circles(found: Iterable[Import]) -> list[list[Import]]:
    """Shortest circles of imports, none of which shares a module with another."""
    graph: dict[str, dict[str, Import]] = {}
    for one in found:
        graph.setdefault(one.importer, {}).setdefault(one.imported, one)
    candidates = [_back(graph, start) for start in sorted(graph)]
    result: list[list[Import]] = []
    used: set[str] = set()
    for circle in sorted(filter(None, candidates), key=len):
        names = {one.importer for one in circle}
        if not names & used:
            used |= names
            result.append(circle)
    return result


def _back(graph: Mapping[str, Mapping[str, Import]], start: str) -> list[Import]:
    """The shortest way from a module back to itself; empty if there is none."""
    ways: dict[str, list[Import]] = {start: []}
    waiting = deque([start])
    while waiting:
        module = waiting.popleft()
        for imported, one in graph.get(module, {}).items():
            if imported == start:
                return [*ways[module], one]
            if imported not in ways:
                ways[imported] = [*ways[module], one]
                waiting.append(imported)
    return []


def shown(circle: list[Import]) -> str:
    """A circle on one line: `a:3 -> b:7 -> a`."""
    steps = [f"{one.importer}:{one.line}" for one in circle]
    return " -> ".join([*steps, circle[0].importer])
