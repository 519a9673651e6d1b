"""Habits of the tests themselves."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.imports import ROOT
from tests.conftest import LONGEST

CLOCKS = {"perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "timeit"}
"""Not CPU time: two measurements of it in one process may be compared."""


def clocks(file: Path) -> list[str]:
    """Where a test reads a clock; `time.time()` is a date, and may be needed."""
    lines = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in CLOCKS:
                lines.append(node.lineno)
            case ast.Call(func=ast.Attribute(value=ast.Call(), attr="time")):  # of an event loop
                lines.append(node.lineno)
    return [f"{file.relative_to(ROOT)}:{line}" for line in lines]


def test_no_test_measures_time() -> None:
    """A busy machine is slow without being wrong: figures belong to benchmarks/."""
    tests = sorted((ROOT / "tests").rglob("*.py"))
    found = [place for file in tests for place in clocks(file)]
    assert not found, "\n".join(["clocks read in tests:", *found])


@pytest.mark.parametrize("table", ["flow/README.md", "flow/peers/README.md", "pipelines/README.md"])
def test_the_tests_that_tables_name_are_there(table: str) -> None:
    page = ROOT / "tests" / table
    named = re.findall(r"`([\w./]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    assert len(named) > 30
    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"def {test}(" not in (page.parent / file).read_text(encoding="utf-8")
    ]
    assert not missing


def test_the_longest_files_are_there() -> None:
    assert LONGEST
    assert not [file for file in LONGEST if not (ROOT / file).is_file()]
