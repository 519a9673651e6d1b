"""What an editor knows of this package: pyright, opened on a user's file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.examples.pages import python_of

PYRIGHT = Path(sys.executable).parent / "basedpyright"
USER = """\
from rag import Flow, load_flow
from rag.operators import BM25, Generate
from rag.pipelines import path

reveal_type(BM25(k=3))
reveal_type(BM25().k)
reveal_type(BM25() >> Generate())
reveal_type(Flow(BM25()).invoke(query="ice"))
reveal_type(load_flow(path("hybrid")))
BM25(kk=3)
"""


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What pyright says of the file, with its defaults."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "user.py").write_text(USER)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    done = subprocess.run(
        [str(PYRIGHT), "--pythonpath", sys.executable, "--outputjson"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    said: list[dict[str, Any]] = json.loads(done.stdout)["generalDiagnostics"]
    return said


def test_operators_and_flows_have_their_own_types(findings: list[dict[str, Any]]) -> None:
    revealed = [one["message"] for one in findings if one["severity"] == "information"]
    assert [one.rpartition(" is ")[2] for one in revealed] == [
        '"BM25"', '"int"', '"Sequence"', '"dict[str, Any]"', '"Flow"',
    ]  # fmt: skip


def test_a_misspelt_field_is_seen_while_it_is_typed(findings: list[dict[str, Any]]) -> None:
    (error,) = [one for one in findings if one["severity"] == "error"]
    assert error["message"] == 'No parameter named "kk"'
    assert error["range"]["start"]["line"] == USER.splitlines().index("BM25(kk=3)")


def test_blocks_of_a_page_stand_at_their_own_lines() -> None:
    page = (
        "# Page\n\n```python\na = 1\n```\n\n```yaml\nb: 2\n```\n\n```python\nc = 3\n\nd = 4\n```\n"
    )
    source = python_of(page)
    assert [
        (number, line) for number, line in enumerate(source.splitlines()) if line
    ] == [(3, "a = 1"), (11, "c = 3"), (13, "d = 4")]  # fmt: skip
    assert python_of("no code") == ""
