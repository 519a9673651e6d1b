"""Texts of the code as Markdown: docstrings, tables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Example|Examples):(.*)$")
_ITEM = re.compile(r"^ {4}(\*{0,2}[\w.]+(?: \([^)]*\))?): (.*)$")
_CODE = re.compile(r"(`+[^`]+`+)")


def escaped(text: str) -> str:
    """Text in which Markdown and HTML mean nothing, but for code in backticks."""
    parts = _CODE.split(text)
    parts[::2] = [re.sub(r"([*_\[\]])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)


def cell(text: Any) -> str:
    """Text of a table's cell."""
    return " ".join(escaped(str(text)).replace("|", "\\|").split())


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; cells are texts. Empty without rows."""
    lines = ["| " + " | ".join(cell(one) for one in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join(["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *lines, ""])


def code(text: str) -> str:
    """Text as code within a line; a backtick in it would end it."""
    return f"`{text}`" if text and "`" not in text else text


def docstring(thing: Any) -> str:
    """The docstring of a class or function; its sections become lists."""
    lines: list[str] = []
    section = False
    for line in (inspect.getdoc(thing) or "").splitlines():
        if found := _SECTION.match(line):
            section = True
            lines += [
                "",
                f"**{found[1]}**{': ' + escaped(found[2].strip()) if found[2] else ''}",
                "",
            ]
        elif section and (item := _ITEM.match(line)):
            lines.append(f"- `{item[1]}`: {escaped(item[2])}")
        elif section and line.startswith(" "):
            lines.append(f"    {escaped(line.strip())}" if lines[-1][:1] in "- " else
                         escaped(line.strip()))  # fmt: skip
        else:
            section = section and not line
            lines.append(escaped(line))
    return "\n".join(lines).strip() + "\n"
