"""What a model writes of chunks at ingest: its prompts, and what is made of its answers."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.flow import Flow
from rag.flow.resources import Resources
from rag.index import Index, IndexBinding, IndexWriter
from rag.index.ingest.describe import describe
from rag.index.spec import DescribeSpec, IndexSpec
from rag.models import LLM, Embedder, Generation
from rag.operators import BM25, Describe, Neighbours, Parents
from rag.testing.llm import Reply, ScriptedLLM
from rag.text.chunk import Chunk
from rag.text.splitting import split

LOCKS = "The north lock opens at six. The keeper on duty turns it by hand. It closes at ten."
ICE = "The ice breaker sails at eight centimetres. Her captain is Ada Moor."


def cut(text: str, source: str, size: int = 8, overlap: int = 0, **more: Any) -> list[Chunk]:
    document = Document(page_content=text, metadata={"source": source, **more})
    return split([document], size=size, overlap=overlap)


def written(chunks: list[Chunk], llm: LLM, by: Any = "context", **how: Any) -> list[Chunk]:
    return asyncio.run(describe(chunks, DescribeSpec(by=by, **how), llm))


def passages(llm: ScriptedLLM) -> list[str]:
    return [prompt.question.rpartition("Passage: ")[2] for prompt in llm.prompts]


def test_a_context_stands_before_the_text_and_behind_the_title() -> None:
    chunk = Chunk("It closes at ten.", {"title": "Locks", "context": "Of the north lock."})
    assert chunk.indexed_text == "Locks\nOf the north lock.\nIt closes at ten."
    assert chunk.embedding_text == "Locks\nIt closes at ten."


def test_each_passage_is_asked_of_with_its_whole_document() -> None:
    chunks = [*cut(LOCKS, "locks"), *cut(ICE, "ice", title="Ice")]
    llm = ScriptedLLM({"describe_context": lambda prompt: f"Of {prompt.chunks[0][:5]}"})
    found = written(chunks, llm)
    assert [chunk.text for chunk in found] == [chunk.text for chunk in chunks]
    assert {chunk.source: chunk.metadata["context"] for chunk in found} == {
        "locks": "Of The n", "ice": "Of Ice",
    }  # fmt: skip
    asked = dict(zip(passages(llm), (prompt.chunks for prompt in llm.prompts), strict=True))
    assert asked == {
        chunk.text: ((LOCKS,) if chunk.source == "locks" else (f"Ice\n\n{ICE}",))
        for chunk in chunks
    }


def test_what_overlaps_is_read_once() -> None:
    llm = ScriptedLLM("x")
    written(cut(LOCKS, "locks", size=12, overlap=7), llm)
    assert {prompt.chunks for prompt in llm.prompts} == {(LOCKS,)}


def test_chunks_without_a_source_are_documents_of_their_own() -> None:
    llm = ScriptedLLM("x")
    written([Chunk("One."), Chunk("Two.")], llm)
    assert [prompt.chunks for prompt in llm.prompts] == [("One.",), ("Two.",)]


def test_a_document_is_read_by_one_call_before_the_others() -> None:
    chunks = [*cut(LOCKS, "locks"), *cut(ICE, "ice")]
    llm = ScriptedLLM("x")
    written(chunks, llm)
    firsts = [chunk.text for chunk in chunks if chunk.start == 0]
    assert sorted(passages(llm)[:2]) == sorted(firsts)


def test_a_long_document_is_read_in_parts_each_chunk_in_its_own() -> None:
    text = " ".join(f"Number {n} is a sentence about boats." for n in range(60))
    chunks = cut(text, "long")
    llm = ScriptedLLM("x", window=500)
    assert [one.text for one in written(chunks, llm)] == [one.text for one in chunks]
    read = [prompt.chunks[0] for prompt in llm.prompts]
    assert len({*read}) > 1
    assert all(passage in text for passage, text in zip(passages(llm), read, strict=True))
    assert all(llm.count(prompt.chunks[0] + prompt.question) < 500 for prompt in llm.prompts)


def test_a_local_model_computes_a_document_once(llm: LLM, monkeypatch: Any) -> None:
    reused: list[int] = []
    generate = type(llm).generate

    async def watched(self: LLM, *args: Any) -> Generation:
        done = await generate(self, *args)
        assert done.reuse is not None
        reused.append(done.reuse["reused"])
        return done

    monkeypatch.setattr(type(llm), "generate", watched)
    chunks = cut(LOCKS + " Only this test reads it.", "locks")
    assert len(chunks) > 2
    written(chunks, llm, max_tokens=2)
    assert reused[0] == 0
    assert min(reused[1:]) >= llm.count(LOCKS)


def test_reuse_changes_nothing_that_is_written(monkeypatch: Any) -> None:
    # In bfloat16 rounding decides between two tokens that are equally likely.
    with closing(LLM.load({"model": LLM.default, "dtype": "float32"}, base=Path())) as llm:
        chunks = cut(LOCKS, "locks")
        fast = written(chunks, llm, max_tokens=8)
        monkeypatch.setattr(type(llm), "reuses", False)
        assert written(chunks, llm, max_tokens=8) == fast


@pytest.mark.parametrize("answer", ["", " \n", "...", Reply("<|im_end|>")])
def test_a_chunk_of_which_nothing_is_written_stays_as_it_is(answer: Any) -> None:
    chunks = cut(LOCKS, "locks")
    llm = ScriptedLLM(answer if isinstance(answer, str) else "")
    for by in ("context", "propositions", "triples", "summary"):
        assert written(chunks, llm, by) == chunks


def test_propositions_are_found_and_their_passage_is_read(
    tmp_path: Path, embedder: Embedder
) -> None:
    llm = ScriptedLLM(
        lambda prompt: "- Zola keeps the lock." if "keeper" in prompt.chunks[0] else "A boat."
    )
    found = written(cut(LOCKS, "locks", size=14, title="Locks"), llm, "propositions")
    assert [chunk.written_as for chunk in found] == ["", "proposition"] * (len(found) // 2)
    assert found[1].indexed_text == "Locks\nZola keeps the lock."
    IndexWriter(tmp_path / "i").write([chunk.document() for chunk in found], embedder)
    with closing(Index.open(tmp_path / "i")) as index:
        (read,) = Flow(
            BM25(k=1) >> Parents(), inputs={"query": str}, resources={"index": index}
        ).invoke(query="Zola")["documents"]
        assert read.page_content == found[0].text
        assert "written_as" not in read.metadata
        around = Flow(BM25(k=1) >> Parents() >> Neighbours(), resources={"index": index})
        (whole,) = around.invoke(query="Zola")["documents"]
    assert "Zola" not in whole.page_content


def test_propositions_of_a_hierarchy_keep_its_levels() -> None:
    chunk = Chunk("A and B.", {"start": 40, "end": 48, "parents": [0]})
    passage, one = written([chunk], ScriptedLLM("A is."), "propositions")
    assert passage.parents == one.parents == (0, 40)


def test_triples_are_kept_and_not_indexed() -> None:
    answer = "1. Ada Moor | is captain of | the ice breaker\nnonsense\n| a | b\nAda | is\nx|y|z"
    (chunk, _) = written(cut(ICE, "ice"), ScriptedLLM(answer), "triples")
    assert chunk.metadata["triples"] == [
        ["Ada Moor", "is captain of", "the ice breaker"], ["x", "y", "z"],
    ]  # fmt: skip
    assert "captain of" not in chunk.indexed_text


@pytest.mark.parametrize("by", ["context", "propositions", "triples"])
def test_only_questions_and_summaries_stand_for_the_text(by: str) -> None:
    resources = Resources({"index": {"describe": {"by": by, "text": False}}})
    with pytest.raises(ConfigError, match="leave out `text`"):
        _ = IndexBinding(resources).spec


@pytest.mark.parametrize(
    ("by", "most", "tokens"),
    [("questions", 3, 64), ("summary", 1, 64), ("context", 1, 96), ("propositions", 12, 384)],
)
def test_limits_follow_what_is_written(by: Any, most: int, tokens: int) -> None:
    how = DescribeSpec(by=by)
    assert (how.most, how.tokens) == (most, tokens)
    how = DescribeSpec(by=by, n=5, max_tokens=7)
    assert (how.most, how.tokens) == (5, 7)


def test_a_pipeline_file_asks_for_it(embedder: Embedder) -> None:
    llm = ScriptedLLM({"describe_context": "It is of the locks."})
    spec = IndexSpec(describe=DescribeSpec(by="context"))
    binding = IndexBinding(Resources({"index": spec, "embedder": embedder, "llm": llm}))
    (chunk,) = binding.splitter()([Document(page_content=LOCKS, metadata={"path": "a.md"})])
    assert chunk.metadata["context"] == "It is of the locks."


def test_a_step_asks_for_it() -> None:
    llm = ScriptedLLM({"describe_context": "It is of the locks."})
    flow = Flow(
        Describe(by="context"), inputs={"documents": list[Document]}, resources={"llm": llm}
    )
    documents = [chunk.document() for chunk in cut(LOCKS, "locks")]
    found = flow.invoke(documents=documents)["documents"]
    assert {one.metadata["context"] for one in found} == {"It is of the locks."}
