"""Pages that show commands and files in turn are walked as a reader would, with real models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.forked import commands
from tests.examples.pages import PAGES, ROOT, blocks_of, is_walked

WALKED = [page for page in PAGES if is_walked(page)]


def script_of(text: str) -> str:
    """A page's blocks as one shell script: files are written, commands run, Python run."""
    parts = ["set -eu"]
    for block in blocks_of(text):
        if block.title:
            parts.append(f"cat > {block.title} <<'END_OF_BLOCK'\n{block.code}END_OF_BLOCK")
        elif block.language == "python":
            parts.append(f"python - <<'END_OF_BLOCK'\n{block.code}END_OF_BLOCK")
        elif block.language == "sh":
            parts.append(block.code)
    return "\n".join(parts) + "\n"


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What runs `rag`."""
    with commands(tmp_path_factory.mktemp("forked"), ROOT) as found:
        yield found


def walk(script: str, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder beside the example handbook, with `rag` and `python` of here."""
    programs = folder / "bin"
    programs.mkdir()
    for name, call in {"rag": command, "python": f'"{sys.executable}"'}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
        (programs / name).chmod(0o755)
    home = folder / "home"
    home.mkdir()
    (home / "handbook").symlink_to(ROOT / "examples" / "handbook")
    return subprocess.run(
        ["bash", "-c", script],
        cwd=home, capture_output=True, text=True, check=False, timeout=1500,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
             "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", WALKED, ids=lambda page: page.stem)
def test_every_command_of_the_page_ends_well(page: Path, tmp_path: Path, command: str) -> None:
    done = walk(script_of(page.read_text(encoding="utf-8")), tmp_path, command)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_a_page_whose_command_fails_is_noticed(tmp_path: Path) -> None:
    page = '```sh\nfalse\n```\n\n```python title="a.py"\nb = 1\n```\n'
    assert script_of(page).count("a.py") == 1
    assert walk(script_of(page), tmp_path, "rag").returncode != 0


def test_a_command_that_fails_is_one_that_fails(tmp_path: Path, command: str) -> None:
    done = walk("rag check nothing.yaml || echo code $?", tmp_path, command)
    assert "code 2" in done.stdout
    assert "nothing.yaml" in done.stderr
