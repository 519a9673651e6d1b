"""What a pipeline file says of its index, from `rag ingest` to what is found."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import ConfigError
from rag.flow.resources import Resources
from rag.index import Index, IndexBinding
from rag.models import LLM, Embedder
from rag.text.chunk import Chunk
from rag.text.splitting import SIZE

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
    chunk = found[0].chunk
    assert chunk.metadata["department"] == "people"
    assert chunk.metadata["lang"] == "en"
    assert chunk.metadata["questions"] == ["Who bakes bread?", "Where is flour?"]
    assert "bread" not in chunk.text
    index.close()
    asked = run.invoke(app, ["run", "rag.yaml", "--input", "query=Shift 3", "--json"])
    assert "Shift 0 begins" in asked.output
    assert run.invoke(app, ["ingest", "docs"]).output.startswith("0 files ingested, 1 unchanged")
    (tmp_path / "rag.yaml").write_text(FILE.replace("chunk_size: 20", "chunk_size: 30"))
    assert "1 files ingested" in run.invoke(app, ["ingest", "docs"]).output


def bound(spec: object, embedder: Embedder, **resources: object) -> IndexBinding:
    return IndexBinding(Resources({"index": spec, "embedder": embedder, **resources}))


def test_a_description_stands_behind_the_text_or_in_its_place(embedder: Embedder) -> None:
    document = Document(page_content="Bread.", metadata={"source": "a", "title": "Bakery"})

    def chunk(**describe: object) -> Chunk:
        llm = LLM.load(FakeListChatModel(responses=["It is about bread."]), base=Path())
        spec = {"path": "x", "describe": {"by": "summary", **describe}}
        (made,) = bound(spec, embedder, llm=llm).splitter()([document])
        return made

    assert chunk().indexed_text == "Bakery\nBread.\nIt is about bread."
    assert chunk(text=False).indexed_text == "Bakery\nIt is about bread."
    assert chunk(text=False).embedding_text == "Bakery\nBread."


def test_the_fingerprint_sees_what_changes_chunks(embedder: Embedder) -> None:
    def fingerprint(spec: object, llm: object = "m", used: object = embedder) -> str:
        return IndexBinding(Resources({"index": spec, "embedder": used, "llm": llm})).fingerprint

    plain = fingerprint("./index")
    assert plain == fingerprint({"path": "x"}) == fingerprint("./index", "other")
    assert plain == fingerprint({"path": "x", "chunk_size": SIZE})
    for other in ({"splitter": "code"}, {"parents": [800]}, {"metadata": {"*": {"a": 1}}}):
        assert fingerprint(other) != plain
    assert fingerprint("./index", used="another") != plain
    described = {"describe": {"by": "summary"}}
    assert fingerprint(described) != fingerprint(described, "other")


def test_the_fingerprint_knows_models_by_where_they_are(tmp_path: Path) -> None:
    def fingerprint(base: Path, embedder: object) -> str:
        return IndexBinding(Resources({"embedder": embedder}, base=base)).fingerprint

    here = fingerprint(tmp_path, "./model")
    assert (
        here == fingerprint(tmp_path / "x", "../model") == fingerprint(Path(), f"{tmp_path}/model")
    )
    assert here != fingerprint(tmp_path / "x", "./model")


def test_names_of_resources_are_the_callers(tmp_path: Path, embedder: Embedder) -> None:
    resources = Resources(
        {"handbook": {"path": "h", "chunk_size": 9}, "small": embedder}, base=tmp_path
    )
    binding = IndexBinding(resources, index="handbook", embedder="small")
    assert str(binding.address) == str(tmp_path / "h")
    assert binding.spec.chunk_size == 9
    binding.writer().close()
    with closing(binding.open()) as index:
        assert index.embedder == embedder.id
    assert str(IndexBinding(resources).address) == str(tmp_path / "index")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (7, "describes no Index"),
        ({"chunksize": 3}, "chunksize"),
        ({"splitter": "words"}, "splitter"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"describe": {"by": "poems"}}, "describe.by"),
    ],
)
def test_a_wrong_specification_is_refused(spec: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        _ = IndexBinding(Resources({"index": spec})).spec
    assert caught.value.where == "resources.index"
    assert caught.value.fix


def test_an_open_index_does_not_say_how_it_is_filled(tmp_path: Path, embedder: Embedder) -> None:
    with (
        closing(bound(str(tmp_path / "i"), embedder).writer()) as index,
        pytest.raises(ConfigError, match="how an index is filled"),
    ):
        _ = bound(index, embedder).spec
