"""The Tab key: commands, options and pipelines, as bash asks for them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import COMMAND


@pytest.mark.parametrize(
    ("line", "found", "missing"),
    [
        ("rag do", {"doctor", "down"}, {"ask"}),
        ("rag ask --tr", {"--trace"}, {"--json"}),
        ("rag ask -c hyb", {"hybrid", "hybrid_smoothed"}, {"naive"}),
        ("rag check mi", {"mine.yaml"}, {"hybrid"}),
    ],
)
def test_a_word_is_completed(line: str, found: set[str], missing: set[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    asked = {
        "_RAG_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    done = subprocess.run(
        [str(COMMAND)], cwd=tmp_path, env={**os.environ, **asked}, capture_output=True, text=True,
        check=True, timeout=240,
    )  # fmt: skip
    assert done.stderr == ""
    assert found <= set(done.stdout.split())
    assert not missing & set(done.stdout.split())
