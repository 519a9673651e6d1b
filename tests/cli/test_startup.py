"""What is imported, and so how soon a command starts; `benchmarks/startup.py` has the seconds."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rag.flow import load_flow
from rag.index import Index, IndexBinding
from rag.index.ingest.ingest import ingest
from rag.index.ingest.plan import plan
from rag.models import LLM, Embedder
from rag.testing.encoders import ScriptedEmbedder
from rag.text.chunk import Chunk
from tests.cli.command import rag

HEAVY = {
    "faiss", "langchain_text_splitters", "numpy", "scipy", "sentence_transformers", "sklearn",
    "tantivy", "torch", "transformers",
}  # fmt: skip
UNNEEDED = {
    "accelerate", "bs4", "datasets", "fastapi", "gguf", "httpx", "huggingface_hub", "joblib",
    "langchain", "langchain_text_splitters", "lxml", "openai", "pandas", "pdfplumber", "peft",
    "pyarrow", "requests", "scipy", "sentence_transformers", "sklearn", "starlette", "sympy",
    "transformers", "uvicorn",
}  # fmt: skip
"""What a question with the written-out models has no use for."""
MODELS = {"langchain_core", "pydantic", "pydantic_core"}
HELP = """
import sys
sys.argv = ["rag", "--help"]
from rag.cli.main import main
try:
    main()
except SystemExit:
    pass
"""


INGEST = """
import sys
sys.argv = ["rag", "ingest", "files"]
from rag.cli.main import main
try:
    main()
except SystemExit as done:
    assert done.code == 3, "a file was skipped"
"""


def imported(code: str, folder: Path | None = None) -> set[str]:
    """The packages outside the standard library that are imported when the code has run."""
    code += "\nimport sys\nprint('imported:', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("imported:")]
    names = {name.partition(".")[0] for name in line.split()[1:]}
    return {name for name in names - set(sys.stdlib_module_names) if not name.startswith("_")}


def test_the_package_imports_nothing_until_it_is_used() -> None:
    assert imported("import rag") == {"rag"}


@pytest.mark.parametrize(
    ("code", "missing"), [("import rag.flow", HEAVY), (HELP, HEAVY | MODELS)], ids=["flow", "help"]
)
def test_heavy_libraries_are_imported_where_they_are_needed(code: str, missing: set[str]) -> None:
    assert imported(code) & missing == set()


def test_an_ingest_without_changes_opens_no_model(tmp_path: Path) -> None:
    """Also with a file that cannot be read, which is not tried again."""
    (tmp_path / "rag.yaml").write_text("name: one\nsteps: [{use: hybrid}]\n")
    files = tmp_path / "files"
    files.mkdir()
    (files / "lock.txt").write_text("The north lock opens at nine.")
    (files / "torn.pdf").write_text("%PDF-1.4 torn")
    binding = IndexBinding(load_flow(tmp_path / "rag.yaml").resources)
    todo = plan([files], None, binding.fingerprint, root=binding.root)
    embedder = ScriptedEmbedder(16)
    with closing(Index.writer(binding.address, embedder=embedder.id, dim=16)) as index:
        report = ingest(
            todo,
            index,
            embedder,
            split=lambda documents: [Chunk.of(one) for one in documents],
            fingerprint=binding.fingerprint,
        )
    assert (report.files, len(report.skipped)) == (1, 1)
    before = {"faiss", "torch", "transformers", "sentence_transformers", "scipy", "tokenizers"}
    assert imported(INGEST, tmp_path) & before == set()


def test_the_probe_sees_what_is_imported() -> None:
    assert {"numpy", "pydantic"} <= imported("def f():\n    import numpy, pydantic\nf()")


ASK = """
import sys
sys.argv = ["rag", "ask", "When does the north lock open?"]
from rag.cli.main import main
try:
    main()
except SystemExit as done:
    assert not done.code
"""


def test_prompts_are_read_without_the_reader_that_keeps_lines() -> None:
    assert "ruamel" not in imported("from rag.prompts.templates import prompts\nprompts()")


@pytest.mark.slow
def test_a_question_imports_only_what_answers_it(
    tmp_path: Path, embedder: Embedder, llm: LLM
) -> None:
    """The default pipeline quotes: the encoder is computed by NumPy, and no decoder is opened.

    Who has the model write needs torch and its files' readers. The fixtures have compared both
    models with their libraries, which is done once per model.
    """
    (tmp_path / "lock.txt").write_text("The north lock opens at nine.")
    rag("ingest", "lock.txt", cwd=tmp_path)
    found = imported(ASK, tmp_path)
    assert {"numpy", "tokenizers"} <= found
    assert found & (UNNEEDED | {"torch", "safetensors"}) == set()
    written = ASK.replace('"rag", "ask",', '"rag", "ask", "-p", "answer=written",')
    found = imported(written, tmp_path)
    assert {"torch", "safetensors", "tokenizers"} <= found
    assert found & UNNEEDED == set()
