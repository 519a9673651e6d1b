"""What a pipeline file says of its index, from `rag ingest` to what is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import ConfigError
from rag.index import Index
from rag.index.spec import IndexSpec
from rag.models import LLM, Embedder
from rag.text.splitting import embedding_text, indexed_text

FILE = """
name: small
resources:
  index:
    path: ./index
    chunk_size: 20
    chunk_overlap: 0
    splitter: markdown
    parents: [60]
    metadata: {"people/*": {department: people}, "*.md": {lang: en}}
    describe: {by: questions, n: 2}
  llm:
    use: langchain_core.language_models.fake_chat_models.FakeListChatModel
    responses: ["1. Who bakes bread?\\n2. Where is flour?\\n3. Too many?"]
steps:
  - {use: bm25, k: 2}
  - {use: parents}
"""


def test_all_of_it_reaches_the_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/people").mkdir(parents=True)
    text = "# Shifts\n\n" + " ".join(f"Shift {n} begins at {n} sharp." for n in range(8))
    (tmp_path / "docs/people/shifts.md").write_text(text)
    (tmp_path / "rag.yaml").write_text(FILE)
    run = CliRunner()
    done = run.invoke(app, ["ingest", "docs"])
    assert done.exit_code == 0, done.output
    index = Index.load({"path": "index", "chunk_size": 20}, base=tmp_path)
    found = index.sparse("bread", 10)
    assert len(found) == index.stats().chunks > 2
    chunk = found[0]
    assert chunk.metadata["department"] == "people"
    assert chunk.metadata["lang"] == "en"
    assert chunk.metadata["questions"] == ["Who bakes bread?", "Where is flour?"]
    assert "bread" not in chunk.page_content
    index.close()
    asked = run.invoke(app, ["run", "rag.yaml", "--input", "query=Shift 3", "--json"])
    assert "Shift 0 begins" in asked.output
    assert run.invoke(app, ["ingest", "docs"]).output.startswith("0 files ingested, 1 unchanged")
    (tmp_path / "rag.yaml").write_text(FILE.replace("chunk_size: 20", "chunk_size: 30"))
    assert "1 files ingested" in run.invoke(app, ["ingest", "docs"]).output


def test_a_description_stands_behind_the_text_or_in_its_place(embedder: Embedder) -> None:
    document = Document(page_content="Bread.", metadata={"source": "a", "title": "Bakery"})

    def chunk(**describe: object) -> Document:
        llm = LLM.load(FakeListChatModel(responses=["It is about bread."]), base=Path())
        spec = IndexSpec.of({"path": "x", "describe": {"by": "summary", **describe}})
        (made,) = spec.splitter_of(embedder, lambda: llm)([document])
        return made

    assert indexed_text(chunk()) == "Bakery\nBread.\nIt is about bread."
    assert indexed_text(chunk(text=False)) == "Bakery\nIt is about bread."
    assert embedding_text(chunk(text=False)) == "Bakery\nBread."


def test_the_fingerprint_sees_what_changes_chunks() -> None:
    plain = IndexSpec.of("./index")
    assert plain.fingerprint("e", "m") == IndexSpec.of({"path": "x"}).fingerprint("e", "other")
    for other in ({"splitter": "code"}, {"parents": [800]}, {"metadata": {"*": {"a": 1}}}):
        assert IndexSpec.of(other).fingerprint("e", "m") != plain.fingerprint("e", "m")
    described = IndexSpec.of({"describe": {"by": "summary"}})
    assert described.fingerprint("e", "m") != described.fingerprint("e", "other")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (7, "does not name an index"),
        ({"chunksize": 3}, "chunksize"),
        ({"splitter": "words"}, "splitter"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"describe": {"by": "poems"}}, "describe.by"),
    ],
)
def test_a_wrong_specification_is_said(spec: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        IndexSpec.of(spec)
    assert caught.value.fix


def test_descriptions_need_a_model(embedder: Embedder) -> None:
    with pytest.raises(ConfigError, match="needs a language model"):
        IndexSpec.of({"describe": {"by": "summary"}}).splitter_of(embedder)
