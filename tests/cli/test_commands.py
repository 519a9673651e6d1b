"""The `rag` command, as a person or a script runs it."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.command import EXAMPLES, rag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose index holds the part of the handbook about operations."""
    folder = tmp_path_factory.mktemp("pipeline")
    rag("init", ".", cwd=folder)
    rag("ingest", str(EXAMPLES / "handbook" / "operations"), cwd=folder)
    return folder


@pytest.mark.slow
def test_ask_answers_with_sources(folder: Path) -> None:
    said = rag("ask", "How long does a passage of the north lock take?", cwd=folder)
    assert "operations" not in said.split("\n")[0]
    assert "locks.md, Locks > North lock" in said
    asked = "How many stop logs are there?"
    written = ("--json", "--trace", "-p", "answer=written")
    found = json.loads(rag("ask", "-", *written, cwd=folder, stdin=asked, process=True))
    assert set(found) == {"question", "answer", "citations", "documents", "seconds", "trace"}
    steps = {one["place"].rpartition("/")[2]: one for one in found["trace"]["occurrences"]}
    assert steps["select_context"]["writes"]["documents"]
    (call,) = steps["generate"]["calls"]
    assert asked in call["prompt"][-1]["content"]
    assert call["prompt_tokens"] > 100
    assert any("locks.md" in document["metadata"]["path"] for document in found["documents"])
    for citation in found["citations"]:
        assert citation["quote"]
        assert citation["place"]


def test_a_second_ingest_says_what_is_unchanged(folder: Path) -> None:
    again = rag("ingest", str(EXAMPLES / "handbook" / "operations"), cwd=folder)
    assert "0 files ingested, 8 unchanged" in again


def test_run_gives_the_outputs_as_json(folder: Path) -> None:
    found = json.loads(
        rag(
            "run",
            "rag.yaml",
            "--input",
            "query=ice",
            "--param",
            "k=2",
            "--param",
            "answer=written",
            "--json",
            cwd=folder,
        )
    )
    assert len(found["documents"]) == 2
    assert found["answer"]


def test_index_stats(folder: Path) -> None:
    stats = json.loads(rag("index", "stats", "--json", cwd=folder))
    assert stats["sources"] == 8
    assert stats["chunks"] > 20
    assert stats["embedder"].startswith("all-minilm-l6-v2@")


def test_check_show_and_operators(folder: Path) -> None:
    assert rag("check", cwd=folder).startswith("hybrid OK\n")
    assert json.loads(rag("check", "naive", "--json", cwd=folder))["inputs"] == {"query": "str"}
    assert rag("show", cwd=folder).startswith("flowchart TD")
    rag("show", "--svg", "flow.svg", cwd=folder)
    assert (folder / "flow.svg").read_text().startswith("<svg")
    listed = json.loads(rag("operators", "--json", cwd=folder))
    assert {"bm25", "dense", "generate", "rerank", "rrf"} <= {one["name"] for one in listed}
    assert "number of documents to keep" in rag("operators", "rerank", cwd=folder)


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert rag("--version", cwd=tmp_path) == f"modular-rag {version('modular-rag')}\n"


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = rag("serve", "naive", cwd=tmp_path, code=2)
    assert "uvicorn is not installed" in said
    assert 'pip install "modular-rag[serve]"' in said


def test_init_leaves_what_is_there_alone(tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text("steps: []\n")
    rag("init", ".", cwd=tmp_path)
    assert (tmp_path / "rag.yaml").read_text() == "steps: []\n"


def test_what_cannot_be_read_is_skipped_with_a_reason(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("# Good\n\nThis one is read.\n")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    (docs / "empty.txt").touch()
    (docs / "movie.mp4").write_bytes(b"\x00" * 10)
    (docs / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (docs / "huge.txt").write_bytes(b"word " * (50 * 2**20 // 5))
    (docs / "loop").symlink_to(docs)
    (docs / "gone.md").symlink_to(docs / "nowhere.md")
    rag("init", ".", cwd=tmp_path)
    report = json.loads(rag("ingest", "docs", "missing", "--json", cwd=tmp_path, code=3))
    assert (report["files"], report["chunks_added"]) == (1, 1)
    reasons = {Path(one["path"]).name: one["reason"] for one in report["skipped"]}
    assert set(reasons) == {
        "broken.pdf", "empty.txt", "movie.mp4", "binary.txt", "huge.txt", "gone.md", "missing",
    }  # fmt: skip
    assert "too large" in reasons["huge.txt"]
    table = rag("ingest", "docs", cwd=tmp_path, code=3)
    assert "unknown file type .mp4" in table


WRONG: list[tuple[list[str], int, str]] = [
    (["ask", "x", "-c", "none.yaml"], 2, "cannot be read"),
    (["ask", "x", "-c", "hybird"], 2, "did you mean 'hybrid'?"),
    (["check", "no/hybrid"], 2, "cannot be read"),
    (["init", "file/below"], 2, "cannot be written"),
    (["ask", " "], 2, "the question is empty"),
    (["ask", "x"], 4, "rag ingest"),
    (["check", "typo.yaml"], 2, "typo.yaml:3"),
    (["run", "naive", "--input", "nothing"], 2, "NAME=VALUE"),
    (["run", "naive", "--input", "qery=x"], 2, "no input 'qery'"),
    (["operators", "rerankk"], 2, "did you mean 'rerank'"),
    (["init", "file"], 2, "is a file"),
    (["index", "stats"], 4, "rag ingest"),
    (["eval", "retrieval", "--data", "."], 2, "qrels"),
    (["run", "badllm.yaml", "-i", "documents=[]"], 5, "no such folder"),
]


@pytest.mark.parametrize(("args", "code", "what"), WRONG, ids=[" ".join(a) for a, _, _ in WRONG])
def test_wrong_use_gets_one_clear_error(
    args: list[str], code: int, what: str, tmp_path: Path
) -> None:
    (tmp_path / "typo.yaml").write_text("name: x\nsteps:\n  - {use: dens}\n")
    (tmp_path / "badllm.yaml").write_text(
        "inputs: {documents: 'list[Document]'}\nresources: {llm: ./no/model}\n"
        "steps: [{use: pack}]\n"
    )
    (tmp_path / "file").touch()
    said = " ".join(rag(*args, cwd=tmp_path, code=code).split())
    assert what in said


def test_errors_are_json_for_scripts(tmp_path: Path) -> None:
    found = json.loads(rag("index", "stats", "--json", cwd=tmp_path, code=4, process=True))
    assert found["error"]["kind"] == "IndexStateError"
    assert found["error"]["problems"][0]["fix"]


def test_another_embedder_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path
) -> None:
    other = (
        f"resources:\n  index: {folder / 'index'}\n"
        "  embedder: {use: langchain_core.embeddings.DeterministicFakeEmbedding, size: 16}\n"
        "steps:\n  - {use: dense}\n"
    )
    (tmp_path / "rag.yaml").write_text(other)
    (tmp_path / "new.md").write_text("something new")
    said = " ".join(rag("ingest", "new.md", cwd=tmp_path, code=4).split())
    assert "was made with all-minilm-l6-v2" in said


def test_index_verify_and_rebuild(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert rag("index", "verify", cwd=copy).endswith("chunks, no problems\n")
    with (copy / "index" / "vectors-1.f32").open("r+b") as file:
        file.write(b"\0\0")
    found = json.loads(rag("index", "verify", "--json", cwd=copy, code=1))
    assert [one["file"] for one in found["problems"]] == ["vectors-1.f32"]
    assert rag("index", "rebuild", cwd=copy) == "The index is sound.\n"
    assert rag("index", "verify", cwd=copy).endswith("no problems\n")
