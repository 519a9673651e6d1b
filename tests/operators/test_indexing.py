"""Indexing by a flow: real files into a real index, and what is found there afterwards."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import BudgetError, BuildError, ConfigError, StepError
from rag.flow import Budget, Flow, Node, load_flow, operator
from rag.flow.registry import Registry
from rag.flow.run.events import Done, Warned
from rag.index import Index, IndexWriter, WriteReport
from rag.index.ingest import batch
from rag.index.ingest.plan import plan
from rag.index.spec import DescribeSpec, SplitSpec
from rag.models import Embedder
from rag.operators import (
    BM25,
    CATALOGUE,
    Dense,
    Describe,
    Label,
    Load,
    LoadWith,
    Parents,
    Split,
    WriteIndex,
)
from rag.serve.pipelines.pipeline import Pipeline
from rag.testing.llm import Reply, ScriptedLLM
from rag.text.chunk import Chunk
from tests.index.readers.files import pdf, word

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "indexing.md").read_text()
SECTIONS = {
    "North lock": "The keeper on duty opens the north lock at six.",
    "South lock": "The south lock is closed in May.",
    "Boat lift": "Visitors pay four crowns for the boat lift.",
}


def markdown(sections: dict[str, str]) -> str:
    return "\n".join(f"# {title}\n\n{text}\n" for title, text in sections.items())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of every kind."""
    made = tmp_path_factory.mktemp("files") / "docs"
    (made / "people").mkdir(parents=True)
    (made / "locks.md").write_text(markdown(SECTIONS))
    (made / "people" / "staff.txt").write_text("Hedda Holm is the harbour master.")
    (made / "pump.py").write_text("def lift(litres):\n    return litres / 240\n")
    (made / "tolls.csv").write_text("vessel,crowns\nbarge,40\nyacht,12\n")
    (made / "ice.html").write_text("<title>Ice</title><p>The ice breaker sails at 8 cm.</p>")
    (made / "heron.pdf").write_bytes(pdf("Heron lifts boats.", "Grease her in March."))
    (made / "rules.docx").write_bytes(word())
    return made


@pytest.fixture
def folder(files: Path, tmp_path: Path) -> Path:
    """A copy of them, which a test may change."""
    return Path(shutil.copytree(files, tmp_path / "docs"))


@pytest.fixture
def resources(tmp_path: Path, embedder: Embedder) -> dict[str, Any]:
    return {"index": str(tmp_path / "index"), "embedder": embedder}


def indexing(node: Node, resources: dict[str, Any], **more: Any) -> Flow:
    return Flow(node, inputs={"paths": list[str]}, resources=resources, **more)


def sections(*between: Node) -> Node:
    """Files to an index, a chunk for each section."""
    node: Node = Load()
    for step in (Split(splitter="markdown", chunk_overlap=0), *between, WriteIndex()):
        node = node >> step
    return node


def counts(written: WriteReport) -> tuple[int, int, int]:
    return written.added, written.kept, written.removed


def told(flow: Flow, **inputs: Any) -> tuple[dict[str, Any], list[str]]:
    """The result, and the warnings."""
    events = list(flow.stream(**inputs))
    (done,) = [event for event in events if isinstance(event, Done)]
    return done.result, [event.message for event in events if isinstance(event, Warned)]


def stored(path: str) -> list[Chunk]:
    index = Index.open(Path(path))
    try:
        return [chunk for batch in index.batches(1000) for chunk in batch]
    finally:
        index.close()


def test_files_of_every_kind_are_found(folder: Path, resources: dict[str, Any]) -> None:
    result, warnings = told(indexing(sections(), resources), paths=[str(folder)])
    chunks = stored(resources["index"])
    assert not warnings
    assert counts(result["written"]) == (len(chunks), 0, 0)
    assert {chunk.metadata["path"] for chunk in chunks} == {
        "heron.pdf", "ice.html", "locks.md", "people/staff.txt", "pump.py", "rules.docx",
        "tolls.csv",
    }  # fmt: skip
    pages = {c.metadata["page"] for c in chunks if c.metadata["path"] == "heron.pdf"}
    assert pages == {1, 2}
    with Flow(Dense(k=1), resources=resources) as search:
        (found,) = search.invoke(query="Who is in charge of the harbour?")["documents"]
    assert found.metadata["path"] == "people/staff.txt"
    assert found.metadata["source"] == (folder / "people" / "staff.txt").as_posix()
    with Flow(BM25(k=1), resources=resources) as search:
        (found,) = search.invoke(query="crowns yacht")["documents"]
    assert found.metadata["path"] == "tolls.csv"


def test_what_is_unchanged_costs_nothing(folder: Path, resources: dict[str, Any]) -> None:
    embedder = Watched(resources["embedder"])
    flow = indexing(sections(), {**resources, "embedder": embedder})
    first = flow.invoke(paths=[str(folder)])["written"]
    assert len(embedder.texts) == first.added
    embedder.texts.clear()
    assert counts(flow.invoke(paths=[str(folder)])["written"]) == (0, first.added, 0)
    assert embedder.texts == []

    before = {chunk.id for chunk in stored(resources["index"])}
    changed = {**SECTIONS, "South lock": "The south lock is closed in June."}
    del changed["Boat lift"]
    (folder / "locks.md").write_text(markdown(changed))
    assert counts(flow.invoke(paths=[str(folder)])["written"]) == (1, first.added - 2, 2)
    assert [text for text in embedder.texts if "June" in text] == embedder.texts
    after = {chunk.id for chunk in stored(resources["index"])}
    assert len(before & after) == first.added - 2


def test_other_sources_stay(folder: Path, resources: dict[str, Any]) -> None:
    flow = indexing(sections(), resources)
    flow.invoke(paths=[str(folder / "locks.md")])
    assert counts(flow.invoke(paths=[str(folder / "people")])["written"]) == (1, 0, 0)
    assert len(stored(resources["index"])) == len(SECTIONS) + 1


def test_what_cannot_be_read_is_named(folder: Path, resources: dict[str, Any]) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (folder / "empty.md").write_text("")
    (folder / "photo.xyz").write_bytes(b"\0\1")
    (folder / "blank.md").write_text(" \n ")
    paths = [str(folder), str(folder / "nowhere.md")]
    result, warnings = told(indexing(Load(), resources), paths=paths)
    assert len({document.metadata["path"] for document in result["documents"]}) == 7
    reasons = {
        Path(path).name: reason
        for path, _, reason in (warning.partition(" is left out: ") for warning in warnings)
    }
    assert reasons == {
        "broken.pdf": "broken PDF",
        "empty.md": "the file is empty",
        "photo.xyz": "unknown file type .xyz",
        "blank.md": "there is no text in it",
        "nowhere.md": "there is no such file or folder",
    }


@pytest.mark.parametrize("there", [False, True])
def test_without_documents_the_index_is_left_alone(
    folder: Path, resources: dict[str, Any], there: bool
) -> None:
    flow = indexing(sections(), resources)
    if there:
        flow.invoke(paths=[str(folder)])
    before = stored(resources["index"]) if there else []
    for paths in ([], [str(folder / "nowhere")]):
        result, warnings = told(flow, paths=paths)
        assert counts(result["written"]) == (0, 0, 0)
        assert warnings[-1] == "there are no documents to write"
    assert Path(resources["index"]).exists() == there
    assert not there or stored(resources["index"]) == before


def test_small_chunks_are_found_and_their_parents_read(
    tmp_path: Path, resources: dict[str, Any]
) -> None:
    text = "# Shifts\n\n" + " ".join(f"Shift {n} begins at {n} sharp." for n in range(12))
    (tmp_path / "shifts.md").write_text(text)
    node = Load() >> Split(chunk_size=20, chunk_overlap=0, parents=(80, 40)) >> WriteIndex()
    indexing(node, resources).invoke(paths=[str(tmp_path / "shifts.md")])
    (small, parent, outer) = (
        Flow(node, resources=resources).invoke(query="Shift 3")["documents"][0]
        for node in (BM25(k=1), BM25(k=1) >> Parents(), BM25(k=1) >> Parents(level=2))
    )
    assert small.page_content in parent.page_content
    assert parent.page_content in outer.page_content
    assert len(small.page_content) < len(parent.page_content) < len(outer.page_content)
    assert outer.page_content in text


def test_the_window_slides(tmp_path: Path, resources: dict[str, Any]) -> None:
    (tmp_path / "a.txt").write_text(" ".join(f"Boat {n} waits here." for n in range(12)))
    node = Load() >> Split(chunk_size=24, chunk_overlap=12)
    chunks = indexing(node, resources).invoke(paths=[str(tmp_path / "a.txt")])["documents"]
    spans = [(chunk.metadata["start"], chunk.metadata["end"]) for chunk in chunks]
    assert all(spans[at][1] > spans[at + 1][0] for at in range(len(spans) - 1))


@pytest.mark.parametrize(
    "splitter", ["structure", "markdown", "sentence", "token", "semantic", "code"]
)
def test_every_splitter_covers_the_text(
    splitter: Any, folder: Path, resources: dict[str, Any]
) -> None:
    node = Load() >> Split(splitter=splitter, chunk_size=12, chunk_overlap=0)
    chunks = indexing(node, resources).invoke(paths=[str(folder)])["documents"]
    text = (folder / "locks.md").read_text()
    mine = [chunk for chunk in chunks if chunk.metadata["path"] == "locks.md"]
    assert all(
        chunk.page_content == text[chunk.metadata["start"] : chunk.metadata["end"]]
        for chunk in mine
    )
    assert "".join("".join(c.page_content for c in mine).split()) == "".join(text.split())


def test_labels_are_searched_by(folder: Path, resources: dict[str, Any]) -> None:
    labels = Label(metadata={"*": {"open": True}, "people/*": {"department": "people"}})
    indexing(sections(labels), resources).invoke(paths=[str(folder)])
    for where, paths in [
        ({"department": "people"}, {"people/staff.txt"}),
        ({"open": True, "path": "pump.py"}, {"pump.py"}),
        ({"department": "operations"}, set()),
    ]:
        with Flow(Dense(k=99, where=where), resources=resources) as search:
            found = search.invoke(query="boats")["documents"]
        assert {document.metadata["path"] for document in found} == paths


def test_new_labels_need_no_new_vectors(folder: Path, resources: dict[str, Any]) -> None:
    added = indexing(sections(), resources).invoke(paths=[str(folder)])["written"].added
    flow = indexing(sections(Label(metadata={"*": {"year": 1990}})), resources)
    assert counts(flow.invoke(paths=[str(folder)])["written"]) == (0, added, 0)
    assert {chunk.metadata["year"] for chunk in stored(resources["index"])} == {1990}


def test_chunks_are_found_by_what_a_model_wrote(folder: Path, resources: dict[str, Any]) -> None:
    llm = ScriptedLLM({"other": "1. Where is bread?\n2) Where is flour?\n3. Too many?"})
    flow = indexing(sections(Describe(n=2, system="{n} questions, {please}")), resources)
    flow = flow.with_resources(llm=llm)
    result = flow.invoke(paths=[str(folder / "locks.md")])
    assert counts(result["written"]) == (len(SECTIONS), 0, 0)
    assert {prompt.question for prompt in llm.prompts} == {"2 questions, {please}"}
    with Flow(BM25(k=1), resources=resources) as search:
        (found,) = search.invoke(query="flour")["documents"]
    assert found.metadata["questions"] == ["Where is bread?", "Where is flour?"]
    assert "flour" not in found.page_content
    assert "flour" in Chunk.of(found).indexed_text


def test_a_summary_may_stand_in_the_text_s_place() -> None:
    given = [Document(page_content="Bread.", metadata={"source": "a"})]
    flow = Flow(
        Describe(by="summary", text=False, system="?"),
        inputs={"documents": list[Document]},
        resources={"llm": ScriptedLLM({"other": "It is about\nbaking."})},
    )
    (made,) = flow.invoke(documents=given)["documents"]
    assert Chunk.of(made).indexed_text == "It is about baking."
    assert made.page_content == "Bread."
    assert given[0].metadata == {"source": "a"}


@pytest.mark.parametrize("said", ["", " \n\n", "...\n--"])
def test_a_model_that_answers_nothing_changes_nothing(
    said: str, folder: Path, resources: dict[str, Any]
) -> None:
    plain = indexing(sections(), resources)
    added = plain.invoke(paths=[str(folder / "locks.md")])["written"].added
    flow = indexing(sections(Describe(text=False, system="?")), resources)
    flow = flow.with_resources(llm=ScriptedLLM({"other": said}))
    result, warnings = told(flow, paths=[str(folder / "locks.md")])
    assert warnings == [f"the model wrote nothing of {added} of {added} documents"]
    assert counts(result["written"]) == (0, added, 0)


def test_descriptions_spend_the_budget(folder: Path, resources: dict[str, Any]) -> None:
    llm = ScriptedLLM(Reply("some", prompt_tokens=1))
    many = Load() >> Split(splitter="markdown", chunk_overlap=0) >> Describe()
    paths = [str(folder / "locks.md")]
    resources = {**resources, "llm": llm}
    (done,) = [e for e in indexing(many, resources).stream(paths=paths) if isinstance(e, Done)]
    assert (done.llm_calls, done.tokens) == (len(SECTIONS), 2 * len(SECTIONS))
    with pytest.raises(BudgetError, match="llm_calls"):
        indexing(many, resources, budget=Budget(llm_calls=2)).invoke(paths=paths)
    assert len(llm.prompts) == len(SECTIONS) + 2


def test_a_document_beyond_the_window_is_cut_with_a_warning() -> None:
    llm = ScriptedLLM()
    long = Document(page_content="word " * 10_000)
    flow = Flow(Describe(), inputs={"documents": list[Document]}, resources={"llm": llm})
    result, warnings = told(flow, documents=[long])
    assert warnings == ["1 of 1 documents are cut to the window of 4096 tokens"]
    assert result["documents"][0].page_content == long.page_content
    assert llm.count(llm.prompts[0].chunks[0]) < llm.window


def test_descriptions_of_the_same_documents_may_be_kept(
    folder: Path, resources: dict[str, Any]
) -> None:
    llm = ScriptedLLM()
    node = Load() >> Split(splitter="markdown", chunk_overlap=0) >> Describe(cache=True)
    flow = indexing(node, {**resources, "llm": llm})
    first = flow.invoke(paths=[str(folder / "locks.md")])
    assert flow.invoke(paths=[str(folder / "locks.md")]) == first
    assert len(llm.prompts) == len(SECTIONS)


def test_another_embedder_is_refused(folder: Path, resources: dict[str, Any]) -> None:
    Index.writer(Path(resources["index"]), embedder="other", dim=8).close()
    with pytest.raises(StepError, match=r"was made with other \(8 dimensions\)") as caught:
        indexing(sections(), resources).invoke(paths=[str(folder)])
    assert caught.value.exit_code == 4
    assert "use the embedder other" in str(caught.value)
    assert "write_index" in str(caught.value)


def test_one_process_writes_at_a_time(folder: Path, resources: dict[str, Any]) -> None:
    flow, embedder = indexing(sections(), resources), resources["embedder"]
    path = Path(resources["index"])
    other = Index.writer(path, embedder=embedder.id, dim=embedder.dim)
    with pytest.raises(StepError, match="another process writes to this index") as caught:
        flow.invoke(paths=[str(folder)])
    assert caught.value.exit_code == 4
    other.close()
    flow.invoke(paths=[str(folder)])
    # The flow is still open, the index is not.
    Index.writer(path, embedder=embedder.id, dim=embedder.dim).close()


def test_runs_of_one_flow_wait_for_each_other(folder: Path, resources: dict[str, Any]) -> None:
    flow = indexing(sections(), resources)
    names = ["locks.md", "pump.py", "ice.html", "tolls.csv"]
    results = flow.batch([{"paths": [str(folder / name)]} for name in names])
    assert sum(one["written"].added for one in results) == len(stored(resources["index"])) == 6


def test_a_stopped_write_leaves_the_last_commit(
    folder: Path, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "WINDOW", 2)
    embedder = Watched(resources["embedder"], fails_at="South")
    (folder / "north.txt").write_text("North wind.")
    paths = [str(folder / name) for name in ("pump.py", "north.txt", "locks.md")]
    flow = indexing(sections(), {**resources, "embedder": embedder})
    with pytest.raises(StepError, match="power cut"):
        flow.invoke(paths=paths)
    kept = {chunk.metadata["path"] for chunk in stored(resources["index"])}
    assert kept == {"pump.py", "north.txt"}
    embedder.fails_at = ""
    assert counts(flow.invoke(paths=paths)["written"]) == (len(SECTIONS), 2, 0)


def test_documents_need_no_file(resources: dict[str, Any]) -> None:
    given = [
        Document(page_content="One.", metadata={"source": "a"}),
        Document(page_content="Two.", id="b"),
        Document(page_content="Three."),
        Document(page_content="Four.", metadata={"source": "a"}),
    ]
    flow = Flow(WriteIndex(), inputs={"documents": list[Document]}, resources=resources)
    assert counts(flow.invoke(documents=given)["written"]) == (4, 0, 0)
    assert counts(flow.invoke(documents=given[3:] + given[1:3])["written"]) == (0, 3, 1)
    sources = {c.text: c.source for c in stored(resources["index"])}
    assert sources.keys() == {"Two.", "Three.", "Four."}
    assert (sources["Two."], sources["Four."]) == ("b", "a")


def test_a_flow_may_search_the_index_that_it_writes(
    folder: Path, resources: dict[str, Any]
) -> None:
    path = Path(resources["index"])
    embedder = resources["embedder"]
    Index.writer(path, embedder=embedder.id, dim=embedder.dim).close()
    reader = Index.open(path)
    for index in (str(path), reader):
        flow = Flow(
            sections() >> Dense(k=1),
            inputs={"paths": list[str], "query": str},
            resources={**resources, "index": index},
        )
        result = flow.invoke(paths=[str(folder)], query="When is the lock closed?")
        assert result["documents"][0].metadata["heading"] == "South lock"
        flow.close()
    assert reader.stats().chunks > 0  # whoever gave it open closes it
    reader.close()


def test_an_own_step_stands_between(folder: Path, resources: dict[str, Any]) -> None:
    @operator(writes="documents")
    def shouted(documents: list[Document]) -> list[Document]:
        """In capitals."""
        return [
            one.model_copy(update={"page_content": one.page_content.upper()}) for one in documents
        ]

    node = Load() >> Split(splitter="markdown", chunk_overlap=0) >> shouted() >> WriteIndex()
    indexing(node, resources).invoke(paths=[str(folder / "locks.md")])
    assert all(chunk.text.isupper() for chunk in stored(resources["index"]))


def test_rag_ingest_knows_the_same_sources(folder: Path, resources: dict[str, Any]) -> None:
    indexing(sections(), resources).invoke(paths=[str(folder)])
    (folder / "pump.py").unlink()
    index = Index.open(Path(resources["index"]))
    todo = plan([folder], index, "c", prune=True)
    index.close()
    assert todo.gone == [(folder / "pump.py").as_posix()]
    assert len(todo.files) == 6


def test_sizes_that_cannot_be_are_said_before_the_run() -> None:
    with pytest.raises(ConfigError, match="chunks of 20 with an overlap of 30"):
        Split(chunk_size=20)
    text = "inputs: {documents: 'list[Document]'}\nsteps:\n  - {use: split, parents: [100, 400]}\n"
    with pytest.raises(BuildError, match=r"parents of \[100, 400\]"):
        load_flow(text)
    with pytest.raises(ConfigError, match="describes no IndexWriter"):
        IndexWriter.load(7, base=Path())


def test_fields_are_those_of_the_index_s_specification() -> None:
    assert SplitSpec.model_fields.keys() <= Split.model_fields.keys()
    assert DescribeSpec.model_fields.keys() <= Describe.model_fields.keys()


def test_a_flow_comes_back_from_yaml(tmp_path: Path) -> None:
    node = (
        Load()
        >> Label(metadata={"people/*": {"department": "people", "year": 1990}})
        >> Split(chunk_size=100, chunk_overlap=0, splitter="semantic", parents=(800, 400))
        >> Describe(by="summary", text=False, system="In Latin.")
        >> WriteIndex()
    )
    flow = indexing(node, {"index": "./index"}, outputs=["written"])
    assert load_flow(flow.to_yaml()) == flow


def test_the_flow_of_the_page_runs(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "indexing.yaml").write_text(block)
    command = ["run", "indexing.yaml", "--input", 'paths=["docs"]', "--json"]
    for again in (False, True):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        written = WriteReport(**json.loads(done.output)["written"])
        count = len(stored("index"))
        assert counts(written) == ((0, count, 0) if again else (count, 0, 0))
    found = [c for c in stored("index") if c.metadata.get("department") == "people"]
    assert [chunk.metadata["path"] for chunk in found] == ["people/staff.txt"]


def test_the_table_of_the_page_is_true() -> None:
    lines = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    table = {cells[0].strip("`"): cells for cells in lines}
    ours = {n: w for n, w in CATALOGUE.items() if w.startswith("rag.operators.indexing.")}
    assert table.keys() == ours.keys()
    for name, (_, place, _, source, _, calls) in table.items():
        module = ours[name].partition(":")[0].removeprefix("rag.")
        assert place == f"`{module.replace('.', '/')}.py`"
        said = " ".join((Registry()[name].__doc__ or "").split())
        numbers = re.findall(r"\[(\d{4}\.\d{5})\]", source)
        assert numbers
        assert all(number in said for number in numbers)
        counted = re.search(r"LLM calls: (documents(?: / size)?)", said)
        assert calls == (counted[1] if counted else "0")


class Watched(Embedder):
    """The real embedder; says what it was given, and fails where it is told to."""

    def __init__(self, real: Embedder, fails_at: str = "") -> None:
        self.real, self.fails_at = real, fails_at
        self.id, self.dim, self.window = real.id, real.dim, real.window
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if self.fails_at and any(self.fails_at in text for text in texts):
            raise OSError("power cut")
        self.texts += texts
        return self.real.embed(texts)

    def embed_query(self, text: str) -> np.ndarray:
        return self.real.embed_query(text)

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        return self.real.token_vectors(texts, query=query)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return self.real.lengths(texts)


def test_a_source_whose_chunks_a_step_leaves_out_is_emptied(
    tmp_path: Path, embedder: Embedder
) -> None:
    @operator(writes="documents")
    def published(documents: list[Document]) -> list[Document]:
        """Leave drafts out."""
        return [one for one in documents if "DRAFT" not in one.page_content]

    page = tmp_path / "locks.md"
    flow = Flow(
        Load() >> Split() >> published() >> WriteIndex(),
        inputs={"paths": list[str]},
        resources={"index": str(tmp_path / "index"), "embedder": embedder},
    )
    page.write_text("# Lock\n\nThe keeper opens it.\n")
    assert flow.invoke(paths=[str(page)])["written"].added == 1
    page.write_text("# Lock\n\nDRAFT: closed.\n")
    assert flow.invoke(paths=[str(page)])["written"].removed == 1
    index = Index.open(tmp_path / "index")
    assert index.stats().chunks == 0
    index.close()


def test_nothing_is_read_outside_of_the_root(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    secret = tmp_path / "secret.md"
    secret.write_text("# Secret\n\nThe key lies under the mat.\n")
    (inside / "open.md").write_text("# Open\n\nThe lock is long.\n")
    (inside / "link.md").symlink_to(secret)
    flow = Flow(Load(root=str(inside)), inputs={"paths": list[str]})
    paths = [str(inside), str(inside / ".." / "secret.md"), str(secret)]
    events = list(flow.stream(paths=paths))
    result = events[-1].result
    assert [d.metadata["title"] for d in result["documents"]] == ["Open"]
    assert len(result["sources"]) == 1
    assert any("it is not in" in e.message for e in events if isinstance(e, Warned))


def test_a_server_reads_no_file_that_a_request_names(tmp_path: Path) -> None:
    def flow(**fields: Any) -> Flow:
        return Flow(Load(**fields), inputs={"query": str, "paths": list[str]})

    with pytest.raises(ConfigError, match="any file of the server"):
        Pipeline("p", flow())
    assert Pipeline("p", flow(root=str(tmp_path))).settings == frozenset()


LOADER = """
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document


class WikiLoader(BaseLoader):
    def __init__(self, pages: dict[str, str]):
        self.pages = pages

    def lazy_load(self):
        for name, text in self.pages.items():
            if text == "broken":
                raise OSError("the wiki is away")
            yield Document(page_content=text, metadata={"source": f"wiki:{name}"})
"""


def test_another_librarys_loader_fills_the_index(
    tmp_path: Path, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "langchain_wiki.py").write_text(LOADER)
    monkeypatch.syspath_prepend(tmp_path)

    def load(**pages: str) -> Any:
        step = LoadWith(loader="langchain_wiki.WikiLoader", arguments={"pages": pages})
        steps = step >> Split(chunk_size=20, chunk_overlap=0) >> WriteIndex()
        return Flow(steps, inputs={}, resources=resources).invoke()["written"]

    assert counts(load(a="# North\n\nIt opens.", b="It is closed.")) == (2, 0, 0)
    assert {chunk.heading for chunk in stored(resources["index"])} == {"North", ""}
    assert counts(load(a="# North\n\nIt opens.", b="")) == (0, 1, 1)
    with pytest.raises(StepError, match="the wiki is away"):
        load(a="broken")
    with pytest.raises(StepError, match="is not a BaseLoader"):
        Flow(LoadWith(loader="langchain_core.documents.Document"), inputs={}).invoke()
