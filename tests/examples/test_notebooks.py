"""The notebooks run from their folder, cell by cell, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.examples.notebooks import FOLDER, NOTEBOOKS, read


def runs(name: str) -> dict[str, Any]:
    """Run a notebook as one module; what it defined at the end."""
    space: dict[str, Any] = {"__name__": name}
    notebook = read(FOLDER / f"{name}.ipynb")
    for number, cell in enumerate(notebook.code):
        exec(compile(cell, f"{name}.ipynb, cell {number}", "exec"), space)  # noqa: S102
    return space


def test_composing_flows() -> None:
    space = runs("2_composing_flows")
    asked = {"linear": "a rowing boat", "both": "swan", "choosing": "barge please"}
    said = {name: space[name].invoke(query=query)["answer"][:5] for name, query in asked.items()}
    assert said == {"linear": "Otter", "both": "Swan:", "choosing": "Heron"}
    assert space["record"].result()["answer"].startswith("Otter")


def test_your_own_operator(capsys: pytest.CaptureFixture[str]) -> None:
    runs("3_your_own_operator")
    said = capsys.readouterr().out
    assert "opens at seven" in said
    assert "opens at six" not in said
    assert "did you mean 'year'" in said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path: Path) -> None:
    cells = read(path).cells
    assert len({one["id"] for one in cells}) == len(cells)
    for one in cells:
        assert not one.get("outputs")
        assert one.get("execution_count") is None
