"""The notebooks run from their folder, cell by cell, and are stored without outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag.models import Embedder
from tests.examples.notebooks import FOLDER, NOTEBOOKS, read


def runs(name: str) -> dict[str, Any]:
    """Run a notebook as one module; what it defined at the end."""
    space: dict[str, Any] = {"__name__": name}
    notebook = read(FOLDER / f"{name}.ipynb")
    for number, cell in enumerate(notebook.code):
        exec(compile(cell, f"{name}.ipynb, cell {number}", "exec"), space)  # noqa: S102
    return space


@pytest.fixture(autouse=True)
def _here(embedder: Embedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Notebooks name their embedder; the suite's, which is the same, is open already."""
    monkeypatch.setattr(Embedder, "load", lambda *_, **__: embedder)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(FOLDER)


def test_quick_start() -> None:
    space = runs("1_quick_start")
    assert space["result"]["answer"]
    assert space["result"]["documents"][0].metadata["source"].endswith("locks.md")


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


@pytest.mark.slow
def test_reusing_contexts() -> None:
    reports = runs("4_reusing_contexts")["reports"]
    reused = {mode: report["reused"] for mode, report in reports.items()}
    assert reused["full"] == 0 < reused["focus"] < reused["concat"]
    assert reused["concat"] - reused["epic"] <= 3 * 4
    assert [report["kind"] for report in reports.values()] == [
        "exact", "unrepaired", "repaired", "repaired",
    ]  # fmt: skip


def test_evaluation_and_tuning() -> None:
    pytest.importorskip("optuna")
    space = runs("5_evaluation_and_tuning")
    assert len(space["data"].queries) >= 8
    assert space["outcome"].spent <= 40
    means = {row.pipeline: row.means for row in space["answer_rows"](space["results"])}
    assert means["words"]["containment"] > 0 < means["meaning"]["containment"]


def test_agent_with_tools() -> None:
    space = runs("6_agent_with_tools")
    uses: Callable[[Any], list[str]] = lambda found: [one.tool for one in found["tool_uses"]]  # noqa: E731
    assert uses(space["result"]) == ["search", "search", "calculator"]
    assert space["result"]["documents"][-1].page_content.endswith("3")
    assert space["ended"]["ended"] == "budget"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path: Path) -> None:
    cells = read(path).cells
    assert len({one["id"] for one in cells}) == len(cells)
    for one in cells:
        assert not one.get("outputs")
        assert one.get("execution_count") is None
