"""What is laid out as a package index can be installed from, and what is missing is found."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.architecture.imports import ROOT

RELEASE: dict[str, Any] = runpy.run_path(str(ROOT / "packages" / "release.py"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wheel and source distribution of a small package."""
    folder = tmp_path_factory.mktemp("release")
    source = folder / "source"
    (source / "Some_Bricks").mkdir(parents=True)
    (source / "Some_Bricks" / "__init__.py").write_text("X = 1\n")
    (source / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'Some.Bricks'\nversion = '1.2'\nrequires-python = '>=3.11'\n"
        "[tool.setuptools]\npackages = ['Some_Bricks']\n"
    )
    code = "from setuptools import build_meta as b; b.build_sdist('..'); b.build_wheel('..')"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    return sorted((*folder.glob("*.whl"), *folder.glob("*.tar.gz")))


def test_pip_installs_from_the_index(built: list[Path], tmp_path: Path) -> None:
    index = built[0].parent / "simple"
    RELEASE["write_index"](index, built)
    assert '<a href="some-bricks/">' in (index / "index.html").read_text()
    page = (index / "some-bricks" / "index.html").read_text()
    assert page.count("#sha256=") == len(built) == 2
    assert 'data-requires-python="&gt;=3.11"' in page
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    where = ["--index-url", index.as_uri(), "--target", str(tmp_path)]
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    subprocess.run([*pip, *where, "some-bricks"], check=True, env=env)
    assert (tmp_path / "Some_Bricks" / "__init__.py").is_file()


def test_a_distribution_has_folders_for_the_links() -> None:
    tracked = ["rag/a.py", "rag/operators", "rag/pipelines", "operators/b.py", "docs/c.md"]
    assert RELEASE["in_distribution"](tracked) == {"rag/a.py", "rag/operators/b.py", "docs/c.md"}


def test_names_are_read_from_both_kinds(built: list[Path]) -> None:
    for file in built:
        assert "Some_Bricks/__init__.py" in RELEASE["names_in"](file)
        assert "Some_Bricks/other.py" not in RELEASE["names_in"](file)


def test_the_page_about_installing_names_every_extra() -> None:
    page = (ROOT / "docs" / "installing.md").read_text()
    rows = re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted([*named, "dev", "docs"]) == sorted(project["optional-dependencies"])


def test_the_pythons_that_are_said_are_tested_in_ci() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = [re.search(r":: (3\.\d+)$", line) for line in project["classifiers"]]
    versions = [match[1] for match in said if match]
    workflow = YAML(typ="safe", pure=True).load(ROOT / ".github" / "workflows" / "ci.yml")
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == versions
    assert project["requires-python"] == f">={versions[0]}"
    page = (ROOT / "docs" / "installing.md").read_text()
    assert f"Python {versions[0]} to {versions[-1]}" in page
