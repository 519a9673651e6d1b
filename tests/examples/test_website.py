"""The site: its pages are put together, its reference is whole; mkdocs builds it if it is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rag.operators import CATALOGUE
from rag.pipelines import names
from tests.examples.pages import PAGES, ROOT
from tests.examples.test_commands_in_pages import RAG
from website.pages import assemble, linked
from website.reference.classes import PACKAGES
from website.reference.markdown import docstring, table

MKDOCS = ROOT / ".cache" / "website" / "venv" / "bin" / "mkdocs"
CONFIG = ROOT / "website" / "mkdocs.yml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    assemble(folder)
    return folder


def headings(page: Path) -> set[str]:
    return set(re.findall(r"^##+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_page_is_there_and_in_the_navigation(site: Path) -> None:
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.md")}
    assert {page.relative_to(ROOT / "docs").as_posix() for page in PAGES} < pages
    listed = re.findall(r"^ +- ([\w./-]+\.md)$", CONFIG.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(pages)


def test_the_reference_has_every_operator_flow_command_and_package(site: Path) -> None:
    reference = site / "reference"
    operators = {name for page in (reference / "operators").iterdir() for name in headings(page)}
    assert operators == set(CATALOGUE)
    assert headings(reference / "flows.md") == set(names())
    commands = {name.split()[1] for name in headings(reference / "commands.md") if " " in name}
    assert commands == set(RAG.commands)
    assert {page.stem for page in (reference / "python").iterdir()} == set(PACKAGES)
    assert "Flow.invoke" in headings(reference / "python" / "rag.md")


def test_pages_that_are_as_they_were_are_not_written_again(site: Path) -> None:
    page = site / "README.md"
    before = page.stat().st_mtime_ns
    (site / "old.md").write_text("gone")
    (site / "assets").mkdir()
    (site / "assets" / "kept.js").write_text("")
    assemble(site)
    assert page.stat().st_mtime_ns == before
    assert not (site / "old.md").exists()
    assert (site / "assets" / "kept.js").exists()


def test_links_are_made_to_fit() -> None:
    places = {"docs/a/b.md": "a/b.md", "SECURITY.md": "project/security.md"}
    text = "[s](../../SECURITY.md#two) [x](https://e.org)\n\n```\n[y](gone.md)\n```\n"
    moved = linked(text, "docs/a/b.md", places)
    assert moved == text.replace("../../SECURITY.md", "../project/security.md")
    with pytest.raises(ValueError, match=r"gone\.md leads to nothing"):
        linked("[y](gone.md)", "docs/a/b.md", places)


def test_docstrings_and_tables_become_markdown() -> None:
    def documented() -> None:
        """Say <a> of `b|c`.

        Args:
            one: The first,
                and more.

        Raises:
            ValueError: Never.
        """

    text = docstring(documented)
    assert text.startswith("Say &lt;a> of `b|c`.")
    assert "**Args**\n\n- `one`: The first,\n    and more." in text
    assert "- `ValueError`: Never." in text
    assert table(["A"], []) == ""
    assert table(["A", "B"], [("x|y", "1\n2")]) == "| A | B |\n|---|---|\n| x\\|y | 1 2 |\n"


@pytest.mark.slow
@pytest.mark.skipif(not MKDOCS.exists(), reason="no mkdocs: make docs")
def test_it_is_built_strictly_and_asks_no_other_host(site: Path, tmp_path: Path) -> None:
    config = tmp_path / "mkdocs.yml"
    text = CONFIG.read_text().replace("../.cache/website/pages", str(site))
    config.write_text(text.replace("../.cache/website/site", str(tmp_path / "built")))
    (site / "assets").mkdir(exist_ok=True)
    shutil.copy(ROOT / "website" / "site.css", site / "assets")
    (site / "assets" / "mermaid.min.js").write_text("window.mermaid = {}")
    command = [str(MKDOCS), "build", "--strict", "--quiet", "--config-file", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    home = (tmp_path / "built" / "index.html").read_text(encoding="utf-8")
    fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', home)
    assert fetched == []
