"""Source code cut at its functions, classes and methods.

Python by its own syntax tree. Other languages by tree-sitter (the extra `code`), which also reads
files with errors in them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

Part = tuple[list[str], tuple[int, int]]
"""What a part of the code stands in, outermost first, and its first character and end."""

_LINE_END = re.compile(r"\r\n|\r|\n")
GRAMMARS = {"js": ("javascript",), "ts": ("typescript", "tsx")}
"""Names of grammars where they differ from the language's; the first that reads without errors."""
LANGUAGES = frozenset(
    "bash c cpp csharp go java js kotlin lua php python ruby rust scala swift ts".split()  # noqa: SIM905
)
"""Languages whose definitions are known."""
_FUNCTIONS = frozenset(
    """
    constructor_declaration function_declaration function_definition function_item
    function_signature_item init_declaration method method_declaration method_definition
    singleton_method
    """.split()  # noqa: SIM905
)
_CONTAINERS = frozenset(
    """
    class class_declaration class_definition class_specifier enum_declaration enum_item
    enum_specifier impl_item interface_declaration internal_module mod_item module
    namespace_declaration namespace_definition object_declaration object_definition
    protocol_declaration record_declaration struct_declaration struct_item struct_specifier
    trait_declaration trait_definition trait_item type_alias_declaration type_declaration
    union_specifier
    """.split()  # noqa: SIM905
)
_NEED_BODY = frozenset("class_specifier enum_specifier struct_specifier union_specifier".split())  # noqa: SIM905
_VALUES = frozenset("arrow_function function_expression function".split())  # noqa: SIM905
_ABOVE = re.compile(r"\s*(?://|/\*|\*|@|#\[|--|template\b)")
_HASH_ABOVE = re.compile(r"\s*#")
_HASHES = frozenset("bash php python ruby".split())  # noqa: SIM905
"""Languages whose comments begin with #."""
_CLOSING = re.compile(r"\s*(?:[\])}]+[;,)]*|end;?)?\s*")
_RECEIVER = re.compile(r"(\w+)(?:\[[^\]]*\])?\s*\)$")


def code_parts(text: str, language: str) -> list[Part]:
    """The functions, classes and methods of code, and what stands between them, in order.

    Comments, decorators and attributes directly above a definition belong to it.

    Args:
        text: Of one file.
        language: As `rag.index.readers` name it.

    Returns:
        None where the language or its grammar is not known, and for Python with errors where
        tree-sitter is not installed: then it is cut as text.
    """
    if language == "python":
        found = _python(text)
        if found:
            return found
    return _parsed(text, language) if language in LANGUAGES else []


def _python(text: str) -> list[Part]:
    """A part per function, class and method."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    starts = [0, *(match.end() for match in _LINE_END.finditer(text))]
    lines = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    marks: list[tuple[int, list[str]]] = [(0, [])]
    _definitions(tree, [], lines, marks)
    ends = [starts[line] for line, _ in marks[1:]] + [len(text)]
    return [
        (path, (starts[line], end))
        for (line, path), end in zip(marks, ends, strict=True)
        if text[starts[line] : end].strip()
    ]


def _definitions(
    node: ast.Module | ast.ClassDef,
    path: list[str],
    lines: list[str],
    marks: list[tuple[int, list[str]]],
) -> None:
    """Note the first line (from 0) of each definition, and of what stands behind it."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([child.lineno, *(one.lineno for one in child.decorator_list)]) - 1
            while first > marks[-1][0] and lines[first - 1].lstrip().startswith("#"):
                first -= 1
            below = [*path, child.name]
            if first > marks[-1][0] or not first:
                marks.append((first, below))
            if isinstance(child, ast.ClassDef):
                _definitions(child, below, lines, marks)
        elif marks[-1][1] != path and child.lineno - 1 > marks[-1][0]:
            marks.append((child.lineno - 1, path))


def _parsed(text: str, language: str) -> list[Part]:
    """The parts by tree-sitter: each line belongs to the innermost definition that it is in."""
    root = _tree(text, GRAMMARS.get(language, (language,)))
    if root is None:
        return []
    lines = text.split("\n")
    owners: list[tuple[str, ...]] = [()] * len(lines)
    floor = 0
    for first, last, path in _named(root):
        top = first
        while (
            top > floor and _belongs(lines[top - 1], language) and owners[top - 1] == owners[first]
        ):
            top -= 1
        owners[top : last + 1] = [path] * (last + 1 - top)
        floor = first
    for at in range(1, len(lines)):
        if _CLOSING.fullmatch(lines[at]):
            owners[at] = owners[at - 1]
    parts: list[Part] = []
    start = 0
    for path, group in groupby(zip(owners, lines, strict=True), lambda one: one[0]):
        end = start + sum(len(line) + 1 for _, line in group)
        if text[start:end].strip():
            parts.append((list(path), (start, min(end, len(text)))))
        start = end
    return parts if any(path for path, _ in parts) else []


def _belongs(line: str, language: str) -> bool:
    """Whether a line belongs to the definition below it."""
    above = _HASH_ABOVE.match(line) if language in _HASHES else None
    return bool(above or _ABOVE.match(line))


def _tree(text: str, grammars: tuple[str, ...]) -> Any:
    """The root of the syntax tree by the grammar that fits best; None: there is none."""
    try:
        from tree_sitter_language_pack import get_parser
    except ImportError:
        return None
    data = text.encode(errors="replace")
    roots = []
    for name in grammars:
        root = get_parser(name).parse(data).root_node  # type: ignore[arg-type]
        if not root.has_error:
            return root
        roots.append(root)
    return roots[0]


def _named(root: Any) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """First and last line, from 0, and path of each definition, outer ones before inner ones."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(root, ())]
    while waiting:
        node, path = waiting.pop()
        name = _name(node)
        if name:
            path = (*path, *name)
            yield node.start_point[0], _last_line(node), path
        if node.type not in _FUNCTIONS and not (name and node.type == "variable_declarator"):
            waiting += [(child, path) for child in reversed(node.named_children)]


def _last_line(node: Any) -> int:
    row, column = node.end_point
    return int(row - (column == 0 and row > node.start_point[0]))


def _name(node: Any) -> tuple[str, ...]:
    """What a definition is called; empty for what is none."""
    if node.type == "variable_declarator":
        value = node.child_by_field_name("value")
        found = node.child_by_field_name("name")
        return (_text(found),) if found and value and value.type in _VALUES else ()
    if node.type not in _FUNCTIONS and node.type not in _CONTAINERS:
        return ()
    if node.type in _NEED_BODY and node.child_by_field_name("body") is None:
        return ()
    found = node
    for field in ("name", "declarator", "type"):
        if found.child_by_field_name(field) is not None:
            found = found.child_by_field_name(field)
            break
    while found.child_by_field_name("declarator") is not None:
        found = found.child_by_field_name("declarator")
    if found == node:  # grammars without fields, and Go's types, which are a level below
        below = [node, *node.named_children]
        named = (one.child_by_field_name("name") for one in below)
        ends = (one for one in below if one.type.endswith("identifier"))
        found = next(filter(None, named), None) or next(ends, None)
    if found is None:
        return ()
    receiver = node.child_by_field_name("receiver")
    of = _RECEIVER.search(_text(receiver)) if receiver is not None else None
    return (*((of[1],) if of else ()), _text(found))


def _text(node: Any) -> str:
    return str(node.text.decode(errors="replace"))
