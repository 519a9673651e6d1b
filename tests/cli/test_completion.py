"""The Tab key: commands, options and pipelines, as bash asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import _here


@pytest.mark.parametrize(
    ("line", "found", "missing"),
    [
        ("rag do", {"doctor", "down"}, {"ask"}),
        ("rag ask --tr", {"--trace"}, {"--json"}),
        ("rag ask -c hyb", {"hybrid", "hybrid_smoothed"}, {"naive"}),
        ("rag check mi", {"mine.yaml"}, {"hybrid"}),
    ],
)
def test_a_word_is_completed(
    line: str, found: set[str], missing: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").touch()
    monkeypatch.setenv("_RAG_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    code, out, err = _here((), tmp_path, "")
    assert (code, err) == (0, "")
    assert found <= set(out.split())
    assert not missing & set(out.split())
