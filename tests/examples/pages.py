"""README.md, the pages of the documentation, and the code in them.

How a block of code is marked says what becomes of it:

- `python` is run, the blocks of a page one after another; `yaml` is a pipeline, and loaded.
- `sh` is run, and blocks with a `title` are written to a file of that name, all in their order.
- A block without a mark has commands, whose form is checked.
- `py` and `yml` are other projects' code: `py` is run where that project is installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [*sorted(ROOT.glob("*.md")), *PAGES]
"""Also those that say how to work on the project."""
_BLOCK = re.compile(
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<code>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)
_INDENTED = re.compile(r"^    \S.*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code in a page."""

    language: str
    title: str | None
    code: str
    line: int
    """Of the page, where the code begins."""


def blocks_of(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return [
        Block(
            found["language"],
            found["title"],
            found["code"],
            text.count("\n", 0, found.start("code")) + 1,
        )
        for found in _BLOCK.finditer(text)
    ]


def blocks(page: Path, language: str) -> list[str]:
    """The page's blocks of code in a language, in order."""
    found = blocks_of(page.read_text(encoding="utf-8"))
    return [block.code for block in found if block.language == language]


def is_walked(page: Path) -> bool:
    """Whether the page is run as a whole, commands and files together."""
    return bool(blocks(page, "sh"))


def python_of(text: str) -> str:
    """A page's Python as one module: each block at its own lines, the lines between them blank.

    Where a block imports from a file that the page shows before, the line is blank too.
    """
    lines: list[str] = []
    for block in blocks_of(text):
        if block.language == "python":
            lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
    for shown in re.findall(r'title="(\w+)\.py"', text):
        lines = ["" if line.startswith(f"from {shown} import ") else line for line in lines]
    return "\n".join(lines) + "\n" if lines else ""


def commands_of(text: str) -> list[str]:
    """Lines of commands in a page's unmarked and `sh` blocks, continued lines as one."""
    fenced = "".join(block.code for block in blocks_of(text) if block.language in ("", "sh"))
    indented = "\n".join(line[4:] for line in _INDENTED.findall(_BLOCK.sub("", text)))
    return [line.strip() for line in f"{fenced}\n{indented}".replace("\\\n", " ").splitlines()]


def prose_of(text: str) -> str:
    """A page without its blocks of code."""
    return _BLOCK.sub("", text)
