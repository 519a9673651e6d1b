"""`rag cache` and a pipeline that reuses states, as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import EXAMPLES, rag

PIPELINE = """
resources:
  llm: {model: smollm2-135m-instruct, kv: {disk: ./kv}}
steps:
  - {use: bm25, k: 3}
  - {use: generate, max_tokens: 12, reuse: {mode: "${mode:focus}"}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cached")
    (folder / "rag.yaml").write_text(PIPELINE)
    operations = EXAMPLES / "handbook" / "operations"
    rag("ingest", *(str(operations / f"{name}.md") for name in ("locks", "ice")), cwd=folder)
    return folder


def ask(place: Path, mode: str) -> dict[str, object]:
    question = "How long does a full passage of the north lock take?"
    said = json.loads(rag("ask", question, "-p", f"mode={mode}", "--json", cwd=place))
    reuse = said["reuse"]
    assert isinstance(reuse, dict)
    return reuse


@pytest.mark.slow
def test_the_second_time_a_question_is_asked_its_chunks_are_there(place: Path) -> None:
    first, second = ask(place, "craft"), ask(place, "craft")
    assert [chunk["hit"] for chunk in first["chunks"]] == [False] * 3  # type: ignore[union-attr, attr-defined]
    assert [chunk["tier"] for chunk in second["chunks"]] == ["disk"] * 3  # type: ignore[union-attr, attr-defined]
    assert second["kind"] == "repaired"


@pytest.mark.slow
def test_warming_makes_the_first_question_a_hit_and_resumes(place: Path) -> None:
    warmed = json.loads(rag("cache", "warm", "--json", cwd=place))
    assert warmed["computed"] == warmed["chunks"] > 8
    assert json.loads(rag("cache", "warm", "--json", cwd=place))["computed"] == 0
    reuse = ask(place, "focus")
    assert all(chunk["hit"] for chunk in reuse["chunks"])  # type: ignore[union-attr, attr-defined]
    stats = json.loads(rag("cache", "stats", "--json", cwd=place))
    assert stats["disk"]["entries"] >= warmed["computed"]
    assert stats["disk"]["reads"] >= len(reuse["chunks"])  # type: ignore[arg-type]
    assert stats["disk"]["saved_seconds"] > 0
    assert stats["memory"]["reads"] is None
    keys = json.loads(rag("cache", "keys", "--json", cwd=place))["keys"]
    assert json.loads(rag("cache", "pin", keys[0], "--json", cwd=place)) == {"pinned": 1}
    file = next((place / "kv").glob(f"*/{keys[1]}.safetensors"))
    file.write_bytes(file.read_bytes()[:-9])
    verified = json.loads(rag("cache", "verify", "--json", cwd=place))
    assert len(verified["damaged"]) == 1
    assert verified["good"] == len(keys) - 1
    assert json.loads(rag("cache", "prune", "--idle-days", "1", "--json", cwd=place)) == {"disk": 0}
    pruned = json.loads(rag("cache", "prune", "--max-bytes", "20MB", "--json", cwd=place))
    kept = json.loads(rag("cache", "stats", "--json", cwd=place))["disk"]
    assert 0 < kept["bytes"] <= 20 * 2**20
    assert pruned == {"disk": len(keys) - 1 - kept["entries"]}
    assert json.loads(rag("cache", "keys", "--json", cwd=place))["keys"].count(keys[0]) == 1
    assert "--idle-days 30" in rag("cache", "prune", cwd=place, code=2)
    assert "is no size" in rag("cache", "prune", "--max-bytes", "lots", cwd=place, code=2)
    assert json.loads(rag("cache", "clear", "--json", cwd=place))["deleted"] == kept["entries"]
    assert "disk" in rag("cache", "stats", cwd=place)


@pytest.mark.slow
def test_chunks_are_warmed_behind_those_that_are_like_them(place: Path) -> None:
    (place / "craft.yaml").write_text(PIPELINE.replace("focus", "craft"))
    arguments = ("cache", "warm", "--related", "1", "-c", "craft.yaml", "--json")
    warmed = json.loads(rag(*arguments, cwd=place))
    assert warmed["computed"] == warmed["chunks"] > 8
    assert json.loads(rag(*arguments, cwd=place))["computed"] == 0
    assert all(chunk["hit"] for chunk in ask(place, "craft")["chunks"])  # type: ignore[attr-defined]


def test_a_pipeline_without_a_folder_of_states_says_how_to_have_one(tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text("steps:\n  - {use: bm25}\n")
    assert "kv: ./kv" in rag("cache", "stats", cwd=tmp_path, code=2)
    assert "reuse: {mode: focus}" in rag("cache", "warm", cwd=tmp_path, code=2)
    (tmp_path / "rag.yaml").write_text(PIPELINE.replace("focus", "prefix"))
    (tmp_path / "index").mkdir()
    assert "nothing to warm" in rag("cache", "warm", cwd=tmp_path, code=2)
