"""What changes a digest: steps, resources, corpus, judge; and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document

from rag.eval.dataset import Dataset
from rag.eval.digests import answers_digest, flow_digest
from rag.eval.loading import load_dataset
from rag.eval.support import Judge
from rag.flow import Flow, load_flow
from rag.models import LLM
from rag.prompts.templates import PromptTemplate, prompts

FILE = """
name: words
resources:
  index: {path: ./index, chunk_size: 40}
  llm: {model: smollm2-135m-instruct}
steps:
  - {use: bm25, k: 4}
  - {use: generate, max_tokens: 12}
"""


def flow(text: str = FILE, base: str = "") -> Flow:
    return load_flow(text, base=Path(base))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("k: 4", "k: 5"),
        ("{model: smollm2-135m-instruct}", "Qwen/Qwen3-4B-Instruct-2507"),
        ("smollm2-135m-instruct}", "smollm2-135m-instruct, weights: int8}"),
        ("chunk_size: 40", "chunk_size: 50"),
        ("  llm: ", "  embedder: another\n  llm: "),
        ("steps:", "budget: {llm_calls: 1}\nsteps:"),
        ("steps:", "outputs: [answer]\nsteps:"),
    ],
)
def test_another_flow_is_another(old: str, new: str) -> None:
    assert old in FILE
    assert flow_digest(flow(FILE.replace(old, new))) != flow_digest(flow())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("./index", "./elsewhere"),
        ("  llm: ", "  embedder: all-minilm-l6-v2\n  llm: "),  # the default
        ("  llm: ", "  nli: no step takes it\n  llm: "),
        ("name: words", "name: other"),
    ],
)
def test_what_does_not_matter_does_not_count(old: str, new: str) -> None:
    assert old in FILE
    assert flow_digest(flow(FILE.replace(old, new))) == flow_digest(flow())


def test_a_file_counts_with_its_place() -> None:
    text = FILE.replace("smollm2-135m-instruct", "./models/mine")
    assert flow_digest(flow(text, "/one")) != flow_digest(flow(text, "/two"))
    assert flow_digest(flow(text, "/one")) == flow_digest(flow(text, "/one"))
    assert flow_digest(flow(base="/one")) == flow_digest(flow(base="/two"))


def test_an_open_model_counts_by_its_id(llm: LLM) -> None:
    given = flow().with_resources(llm=llm)
    assert flow_digest(given) == flow_digest(flow().with_resources(llm=llm))
    assert flow_digest(given) != flow_digest(flow())


def test_resources_of_inner_flows_count() -> None:
    def outer(model: str) -> Flow:
        return Flow(flow(FILE.replace("smollm2-135m-instruct", model)).at())

    assert flow_digest(outer("one")) == flow_digest(outer("one"))
    assert flow_digest(outer("one")) != flow_digest(outer("two"))


def test_corpus_and_judge_count(data: Path) -> None:
    whole = load_dataset(data)
    judges = [Judge(), Judge("llm"), Judge("llm", {"llm": "another"}), Judge("nli", {"nli": "a"})]
    found = {answers_digest(flow(), whole, judge.digest) for judge in judges}
    assert len(found) == len(judges)
    assert answers_digest(flow(), whole, Judge("words", {"llm": "unused"}).digest) in found
    assert answers_digest(flow(), load_dataset(data, limit=1), Judge().digest) in found
    corpus = data / "corpus.jsonl"
    corpus.write_text(corpus.read_text() + '\n{"_id": "d4", "text": "new"}')
    assert answers_digest(flow(), load_dataset(data), Judge().digest) not in found


def test_what_models_are_told_counts(monkeypatch: pytest.MonkeyPatch, llm: LLM) -> None:
    before, version = flow_digest(flow()), llm.version()
    other = {**prompts(), "useful": PromptTemplate("Is it of use?", 2)}
    monkeypatch.setattr("rag.prompts.templates.prompts", lambda: other)
    assert flow_digest(flow()) != before
    assert llm.version() != version


def test_the_same_texts_of_other_files_are_another_corpus() -> None:
    """An index that is kept would hold both."""

    def data(source: str) -> Dataset:
        document = Document(page_content="A lock.", metadata={"source": source})
        return Dataset("locks", [document], [])

    assert data("/a/lock.md").digest == data("/a/lock.md").digest
    assert data("/a/lock.md").digest != data("/b/lock.md").digest
