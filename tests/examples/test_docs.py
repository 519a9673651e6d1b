"""The pages of the documentation run as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from rag.flow import load_flow
from rag.flow.yaml.schema import schema

PAGES = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": page.stem}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, block {number}", "exec"), space)  # noqa: S102


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_pipelines_load(page: Path) -> None:
    validator = Draft202012Validator(schema())
    for block in blocks(page, "yaml"):
        flow = load_flow(block)
        assert load_flow(flow.to_yaml()) == flow
        validator.validate(YAML(typ="safe").load(block))
