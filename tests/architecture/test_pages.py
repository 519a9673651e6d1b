"""The drawings of the rooms show what there is: every module, and only imports that exist."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from tests.architecture.imports import ROOT, Import, imports, modules

PAGES = ROOT / "docs" / "architecture"
ROOMS = sorted(page.stem for page in PAGES.glob("*.md") if page.stem not in ("README", "following"))
_BOX = re.compile(r'^ +(m_\w+)\["([\w/]+)"\]$', re.MULTILINE)
_ARROW = re.compile(r"^ +(m_\w+) --> (m_\w+)$", re.MULTILINE)
HIDDEN = {"operators": {"stub", "catalogue"}}
"""Modules that a drawing leaves out."""


def box_of(module: str, room: str, boxes: set[str]) -> str:
    """The box in a room's drawing that a module is in; "": none."""
    parts = module.removeprefix(f"rag.{room}").strip(".").split(".")
    folder = f"m_{parts[0]}_"
    return folder if folder in boxes else "m_" + "_".join(parts)


@pytest.fixture(scope="module")
def found() -> list[Import]:
    return imports(modules())


@pytest.mark.parametrize("room", ROOMS)
def test_a_drawing_shows_all_modules_and_no_import_that_is_not_there(
    room: str, found: list[Import]
) -> None:
    drawing = (PAGES / f"{room}.md").read_text(encoding="utf-8").split("```")[1]
    boxes = dict(_BOX.findall(drawing))
    inside = {}
    for name, file in modules().items():
        inner = name.removeprefix(f"rag.{room}.")
        box = box_of(name, room, set(boxes))
        if inner == name or inner in HIDDEN.get(room, ()):
            continue
        if file.name != "__init__.py" or box in boxes:
            inside[name] = box
    assert set(inside.values()) == set(boxes)
    uses: dict[str, set[str]] = defaultdict(set)
    for one in found:
        if one.importer in inside and one.imported in inside:
            uses[inside[one.importer]].add(inside[one.imported])
    drawn = _ARROW.findall(drawing)
    assert [f"{a} --> {b}" for a, b in drawn if b not in uses[a]] == []
    reached = _reached(drawn)
    missing = {(a, b) for a, below in uses.items() for b in below - {a}} - reached
    assert not missing, f"not drawn: {sorted(missing)}"


def _reached(arrows: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Pairs of boxes with a way along the arrows from the one to the other."""
    reached = set(arrows)
    while more := {(a, d) for a, b in reached for c, d in arrows if b == c} - reached:
        reached |= more
    return reached
