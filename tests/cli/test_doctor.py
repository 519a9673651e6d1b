"""`rag doctor`: what is there, what is missing, how to mend it, and an exit code."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from rag.cli import doctor
from rag.models.opening import find
from tests.cli.command import rag

FAKE = "llm: {use: langchain_core.language_models.FakeListChatModel, responses: [yes]}"
TALK = f"name: talk\nresources:\n  {FAKE}\nsteps: [{{use: generate}}]\n"


def findings(cwd: Path, code: int = 0, *more: str) -> dict[str, dict[str, Any]]:
    said = rag("doctor", "--json", *more, cwd=cwd, code=code)
    return {one["about"]: one for one in json.loads(said)}


def test_it_says_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text(TALK)
    found = findings(tmp_path)
    assert found["modular-rag"]["what"] == importlib.metadata.version("modular-rag")
    assert found["torch"]["ok"]
    assert found["model all-minilm-l6-v2"]["ok"]
    assert found["extra serve"]["what"] == "installed"
    assert "extra dev" not in found
    assert found["pipeline rag.yaml"]["what"] == "valid"


def test_an_index_that_is_missing_is_an_error_with_a_fix(tmp_path: Path) -> None:
    found = findings(tmp_path, 4)
    about = "pipeline hybrid, resources.index"
    assert (found[about]["ok"], found[about]["code"]) == (False, 4)
    assert "rag ingest" in found[about]["fix"]
    assert "fix: " in rag("doctor", cwd=tmp_path, code=4)


def test_a_wrong_pipeline_is_an_error_with_its_problem(tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text("name: x\nsteps: [{use: generat}]\n")
    found = findings(tmp_path, 2)
    assert "did you mean 'generate'?" in str(found["pipeline rag.yaml"])


def test_what_no_pipeline_needs_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rag.yaml").write_text(TALK)
    monkeypatch.setitem(find.PACKAGED, "other-model", ("no_such_package",))
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda _: ['no-such-thing<2,>=1; extra == "special"']
    )
    found = findings(tmp_path)
    assert found["model other-model"]["ok"] is None
    assert "modular-rag[local]" in found["model other-model"]["fix"]
    assert found["extra special"]["what"] == "no-such-thing not installed"
    assert found["extra special"]["fix"] == 'pip install "modular-rag[special]"'


def test_open_opens_what_the_pipeline_names(tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text(TALK)
    assert findings(tmp_path, 0, "--open")["pipeline rag.yaml, llm (LLM)"]["what"] == "opened"


def test_check_opens_what_a_pipeline_names_on_request(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(TALK)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text("{")
    (tmp_path / "bad.yaml").write_text("resources: {llm: ./torn}\nsteps: [{use: generate}]\n")
    assert "llm (LLM): opened" in rag("check", "good.yaml", "--open", cwd=tmp_path)
    assert "OK" in rag("check", "bad.yaml", cwd=tmp_path)
    found = json.loads(rag("check", "bad.yaml", "--open", "--json", cwd=tmp_path, code=5))
    (one,) = found["opened"]
    assert (one["name"], one["ok"]) == ("llm", False)
    assert "the model cannot be read" in one["what"]


def test_a_cache_folder_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "file"))
    (found,) = doctor._folders()
    assert (found.ok, found.code) == (False, 2)
