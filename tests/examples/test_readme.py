"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rag.flow import load_flow
from rag.index import Index
from rag.index.ingest.ingest import ingest
from rag.index.ingest.plan import plan
from rag.models import Embedder
from rag.pipelines import path
from rag.text.splitting import split
from tests.examples.pages import README, ROOT, blocks


def test_the_pipeline_searches_as_the_default_one() -> None:
    read = YAML(typ="safe", pure=True).load
    shown, default = read(blocks(README, "yaml")[0]), read(path("hybrid"))
    assert load_flow(blocks(README, "yaml")[0]).output_types["answer"] is str
    assert shown["resources"] == default["resources"]
    assert shown["steps"][:2] == default["steps"][:2]
    assert shown["steps"][-1] == default["steps"][-1]


def test_the_python_example_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    embedder: Embedder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    index = Index.writer(tmp_path / "index", embedder=embedder.id, dim=embedder.dim)
    todo = plan([ROOT / "examples/handbook/operations/locks.md"], None, "test")
    ingest(
        todo,
        index,
        embedder,
        split=lambda documents: split(documents, count=embedder.lengths),
        fingerprint="test",
    )
    index.close()
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks(README, "python")[0], "README.md", "exec"), {"__name__": "readme"})  # noqa: S102
    assert re.search(r"lock .*\[\d\]", capsys.readouterr().out)
