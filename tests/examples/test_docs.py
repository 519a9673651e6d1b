"""The pages of the documentation run as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rag.flow import load_flow
from rag.flow.registry import Registry
from rag.operators import CATALOGUE
from rag.pipelines import names, path
from tests.examples.pages import PAGES, README, ROOT, TEXTS, blocks, blocks_of, is_walked
from tests.pipeline_schema import as_json, validator

CHECKED = {"python", "yaml", "sh", "", "py", "yml", "json", "toml", "html", "mermaid"}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if not is_walked(page)], ids=lambda page: page.stem
)
def test_its_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": page.stem}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, block {number}", "exec"), space)  # noqa: S102


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_its_pipelines_load(page: Path) -> None:
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.language != "yaml" or "steps:newest" in block.code:
            continue  # one with an operator of the page's own is loaded where the page is walked
        flow = load_flow(block.code)
        assert load_flow(flow.to_yaml()) == flow
        validator().validate(as_json(block.code))


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_its_blocks_are_of_a_kind_that_is_checked(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {block.language for block in blocks_of(text)} <= CHECKED
    assert text.count("\n```") + text.startswith("```") == 2 * len(blocks_of(text))


@pytest.mark.parametrize(("page", "module"), [("haystack", "haystack"), ("langchain", "langgraph")])
def test_code_of_other_projects_runs_where_they_are_installed(page: str, module: str) -> None:
    found = blocks(ROOT / "docs" / "migrating" / f"{page}.md", "py")
    compiled = [compile(block, page, "exec") for block in found]
    assert compiled
    pytest.importorskip(module)
    for one in compiled:
        exec(one, {"__name__": page})  # noqa: S102


def rows(heading: str) -> dict[str, list[str]]:
    """Name to cells, of the table below a heading of the page about operators."""
    page = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    part = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {cells[0].strip("| `"): [cell.strip("| ") for cell in cells] for cells in lines}


@pytest.mark.parametrize(
    ("heading", "module"),
    [
        ("Indexing", "indexing"),
        ("Before retrieval", "pre_retrieval"),
        ("Generation", "generation"),
        ("Orchestration", "orchestration"),
    ],
)
def test_the_table_of_operators_is_true(heading: str, module: str) -> None:
    table = rows(heading)
    where = {k: v.partition(":")[0].removeprefix("rag.") for k, v in CATALOGUE.items()}
    assert set(table) == {name for name in where if where[name].startswith(f"operators.{module}.")}
    for name, (_, what, place, paper, reads, writes, _, test) in table.items():
        signature = Registry()[name].signature()
        assert place == f"`{where[name].replace('.', '/')}.py`"
        expected = [f"`{p.name}`" + ("" if p.required else "?") for p in signature.reads]
        assert reads == ", ".join(expected)
        assert writes == ", ".join(f"`{port.name}`" for port in signature.writes)
        number = re.search(r"\d{4}\.\d{5}", paper)
        summary, _, _ = (Registry()[name].__doc__ or "").partition("\n")
        assert re.sub(r" \([^()]*\)", "", summary).startswith(what)
        said = " ".join((Registry()[name].__doc__ or "").split())
        assert (number[0] if number else paper) in said
        assert (
            Registry()[name].__name__ in (ROOT / test.strip("`")).read_text()
            or name in (ROOT / test.strip("`")).read_text()
        )


def test_the_table_of_flows_is_true() -> None:
    table = rows("Ready-made flows")
    assert set(table) == set(names())
    tests = "".join(one.read_text() for one in (ROOT / "tests" / "pipelines").glob("test_*.py"))
    for name, (_, good, _, cost, test, *_) in table.items():
        lines = path(name).read_text().splitlines()
        head = " ".join(line[2:] for line in lines if line.startswith("# "))
        assert good in head
        assert cost in head
        assert f"def {test.strip('`')}(" in tests
