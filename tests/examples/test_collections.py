"""The examples that search collections of their own: two by an agent, and code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rag import load_flow
from rag.models import Embedder
from rag.testing import ScriptedLLM
from tests.cli.command import EXAMPLES, rag

ROOT = EXAMPLES.parent


@pytest.fixture(autouse=True)
def _opened(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples name their embedder; the suite's, which is the same, is open already."""
    monkeypatch.setattr(Embedder, "load", lambda *_, **__: embedder)


def copied(name: str, tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLES / name, tmp_path / name)


def test_the_agent_searches_both_collections(tmp_path: Path) -> None:
    folder = copied("two_collections", tmp_path)
    tolls = EXAMPLES / "handbook" / "operations" / "tolls.md"
    rag("ingest", str(tolls), "-c", "handbook.yaml", cwd=folder)
    rag("ingest", "archive", "-c", "archive.yaml", cwd=folder)
    wanted = "toll for each permitted passenger of passenger boats"
    script = {
        "agent": [
            {"tool": "handbook", "arguments": {"query": wanted}},
            {"tool": "archive", "arguments": {"query": wanted}},
            {"tool": "calculator", "arguments": {"expression": "1.10 - 0.62"}},
            {"tool": "answer"},
        ],
        "generate": "It rose by 0.48 crowns.",
    }
    with load_flow(folder / "agent.yaml").with_resources(llm=ScriptedLLM(script)) as flow:
        result = flow.invoke(query="How has the toll of a passenger boat changed since 1998?")
    assert [use.tool for use in result["tool_uses"]] == ["handbook", "archive", "calculator"]
    read = dict.fromkeys(("tolls.md", "tolls_1998.md", "hours_1974.md"), "")
    for one in result["documents"][:-1]:
        read[Path(one.metadata["source"]).name] += one.page_content
    assert "1.10" in read["tolls.md"]
    assert "0.62" in read["tolls_1998.md"]
    assert "0.48" in result["documents"][-1].page_content
    assert result["ended"] == "answered"


def test_code_is_found_by_what_it_does(tmp_path: Path) -> None:
    folder = copied("code_search", tmp_path)
    for name in ("files", "locks", "sqlite", "names"):
        shutil.copy(ROOT / "rag" / f"{name}.py", tmp_path)
    files = [f"../{name}.py" for name in ("files", "locks", "sqlite", "names")]
    rag("ingest", *files, "-c", "search.yaml", cwd=folder)
    with load_flow(folder / "search.yaml") as flow:
        (first, *_) = flow.invoke(query="the nearest name to one that is misspelt")["documents"]
        found = flow.invoke(query="wait for another process that holds a lock")["documents"]
    assert Path(first.metadata["source"]).name == "names.py"
    assert Path(found[0].metadata["source"]).name == "locks.py"
    assert any("def " in one.page_content.partition("\n")[0] for one in [first, *found])
