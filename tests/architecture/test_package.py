"""What is built holds all that the folders hold, also by way of a source distribution."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.architecture.imports import FOLDERS, ROOT

SHIPPED = {".py", ".pyi", ".yaml", ".yml", ".html", ".css", ".js", ".mjs", ".svg", ".txt", ".typed"}
"""Endings of modules, stubs, texts, pipelines and the assets of the chat page."""


def shipped() -> set[str]:
    """Every file that the package needs, by its path in the package."""
    return {
        "/".join((*package.split("."), *file.relative_to(folder).parts))
        for package, folder in FOLDERS.items()
        for file in folder.rglob("*")
        if file.suffix in SHIPPED or file.name == "py.typed"
    }


def run(folder: Path, code: str, **env: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def built(kind: str, source: Path, target: Path) -> Path:
    """Build by setuptools alone, as an installer does, without a network."""
    target.mkdir()
    code = f"from setuptools import build_meta as b; b.build_{kind}({str(target)!r})"
    run(source, code)
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build sees of the repository, apart from it, since a build writes beside it."""
    folder = tmp_path_factory.mktemp("build") / "checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("rag", "operators", "pipelines", "tests", "docs"):
        shutil.copytree(
            ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


@pytest.fixture(scope="module")
def sdist(checkout: Path) -> Path:
    return built("sdist", checkout, checkout.parent / "sdist")


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    return built("wheel", checkout, checkout.parent / "wheel")


def in_wheel(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if ".dist-info/" not in name}


def test_the_rooms_outside_are_links() -> None:
    for name in ("operators", "pipelines"):
        link = ROOT / "rag" / name
        assert link.is_symlink(), f"{link} is no link: git config core.symlinks true"
        assert link.readlink() == Path("..") / name


def test_a_wheel_from_the_checkout_holds_every_file_and_no_other(wheel: Path) -> None:
    assert in_wheel(wheel) == shipped()


def test_a_wheel_by_way_of_a_source_distribution_is_the_same(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert in_wheel(built("wheel", source, tmp_path / "wheel")) == shipped()


def test_what_the_wheel_holds_can_be_imported(wheel: Path, tmp_path: Path) -> None:
    """Without the checkout: operators and pipelines are found in the package."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import rag, rag.operators, rag.pipelines, rag.prompts.templates as t, pathlib; "
        f"assert pathlib.Path(rag.__file__).is_relative_to({str(tmp_path)!r}); "
        "assert 'hybrid' in rag.pipelines.names(); "
        "assert t.prompts(); "
        "rag.load_flow(rag.pipelines.path('hybrid'))"
    )
    run(tmp_path, code, PYTHONPATH=str(tmp_path))
