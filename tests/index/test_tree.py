"""Trees of summaries: what is summarised, what the summaries point at, and when they change."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from rag.flow import Flow
from rag.flow.resources import Resources
from rag.index import Index, IndexBinding, IndexWriter
from rag.index.ingest.tree import clusters, leaves_of, with_summaries
from rag.index.spec import SummariesSpec
from rag.models import Prompt
from rag.operators import BM25, Leaves, Neighbours, Parents, Summarise
from rag.testing.encoders import ScriptedEmbedder
from rag.testing.llm import ScriptedLLM
from rag.text.chunk import Chunk

WORDS = ("boat", "lock", "pump", "ice")


def cut(source: str, count: int = 8, **more: Any) -> list[Chunk]:
    """Chunks of a source, in turns of four subjects."""
    chunks = []
    for n in range(count):
        text = f"{WORDS[n % 4]} {WORDS[n % 4]} {WORDS[n % 4]} {n}."
        place = {"start": 20 * n, "end": 20 * n + len(text), "heading": f"H{n}"}
        chunks.append(Chunk(text, {"source": source, "title": "T", **place, **more}))
    return chunks


def numbers(prompt: Prompt) -> str:
    """A summary: the numbers of the chunks in it."""
    return "sum " + " ".join(word.strip(".") for word in prompt.chunks[0].split()
                             if word.strip(".").isdecimal())  # fmt: skip


def treed(chunks: list[Chunk], llm: ScriptedLLM | None = None, **how: Any) -> list[Chunk]:
    model = llm or ScriptedLLM({"summary_tree": numbers})
    spec = SummariesSpec(**how)
    return asyncio.run(with_summaries(chunks, spec, ScriptedEmbedder(), model))


def test_what_is_alike_is_summarised_together() -> None:
    found = treed(cut("a"), size=2, levels=1)
    assert found[:8] == cut("a")
    assert sorted(one.text for one in found[8:]) == ["sum 0 4", "sum 1 5", "sum 2 6", "sum 3 7"]


def test_summaries_are_summarised_until_one_is_left() -> None:
    found = treed(cut("a"), size=2, levels=9)
    levels = [one.metadata["level"] for one in found[8:]]
    assert levels == sorted(levels)
    assert (levels.count(1), levels.count(levels[-1])) == (4, 1)
    assert found[-1].metadata["children"] == [[0, 20 * n] for n in range(8)]


def test_levels_are_bounded() -> None:
    assert {one.metadata.get("level", 0) for one in treed(cut("a"), size=2, levels=2)} == {0, 1, 2}


def test_a_summary_points_at_its_chunks_and_has_the_metadata_of_the_source() -> None:
    found = treed(cut("a", department="x", page=3), size=2, levels=1)[8:]
    (one,) = [one for one in found if one.text == "sum 1 5"]
    assert one.metadata == {
        "source": "a", "title": "T", "department": "x", "written_as": "summary", "level": 1,
        "children": [[3, 20], [3, 100]],
    }  # fmt: skip
    assert leaves_of(one) == [(3, 20), (3, 100)]


def test_each_source_has_its_own_tree() -> None:
    llm = ScriptedLLM({"summary_tree": "s"})
    found = treed([*cut("a", 3), *cut("b", 1), *cut("c", 2)], llm)
    assert [one.source for one in found if one.written_as] == ["a", "c"]
    assert len(llm.calls) == 2


def test_what_a_model_wrote_is_in_no_tree() -> None:
    written = Chunk("boat 99.", {"source": "a", "start": 0, "written_as": "proposition"})
    found = treed([*cut("a", 2), written])
    assert found[-1].text == "sum 0 1"


def test_an_empty_summary_is_left_out() -> None:
    assert treed(cut("a"), ScriptedLLM(" ")) == cut("a")


def test_nothing_has_no_tree() -> None:
    assert treed([]) == []


def test_what_exceeds_the_window_is_cut() -> None:
    llm = ScriptedLLM("s", window=400)
    treed(cut("a", 300), llm, size=300, levels=1)
    (prompt,) = llm.prompts
    assert 50 < llm.count(prompt.chunks[0]) < 300


@pytest.mark.parametrize(("count", "size", "most"), [(1, 2, 1), (7, 2, 4), (40, 8, 5)])
def test_clusters_hold_each_vector_once(count: int, size: int, most: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = clusters(vectors, size)
    assert sorted(at for part in found for at in part) == list(range(count))
    assert 1 <= len(found) <= most
    assert found == clusters(vectors, size)


def written(folder: Path, chunks: list[Chunk]) -> Any:
    return IndexWriter(folder).write([one.document() for one in chunks], ScriptedEmbedder())


def test_a_changed_source_rebuilds_its_tree_alone(tmp_path: Path) -> None:
    other = treed(cut("b"))
    written(tmp_path / "i", [*treed(cut("a")), *other])
    wrote = written(tmp_path / "i", [*treed(cut("a", 9)), *other])
    with closing(Index.open(tmp_path / "i")) as index:
        texts = [one.text for one in index.of_source("a") if one.written_as]
    assert texts == [one.text for one in treed(cut("a", 9)) if one.written_as]
    assert wrote.kept >= len(other) + 8


def test_summaries_are_found_and_their_chunks_are_read(tmp_path: Path) -> None:
    llm = ScriptedLLM({"summary_tree": lambda prompt: "Zola " + numbers(prompt)})
    written(tmp_path / "i", treed(cut("a"), llm, size=2, levels=1))
    with closing(Index.open(tmp_path / "i")) as index:

        def found(node: Any, query: str) -> list[str]:
            flow = Flow(node, inputs={"query": str}, resources={"index": index})
            return [one.page_content for one in flow.invoke(query=query)["documents"]]

        assert found(BM25(k=1), "Zola 6") == ["Zola sum 2 6"]
        assert found(BM25(k=1) >> Leaves(), "Zola 6") == [
            "pump pump pump 2.", "pump pump pump 6.",
        ]  # fmt: skip
        assert found(BM25(k=1) >> Leaves(most=1), "Zola 6") == ["pump pump pump 2."]
        assert found(BM25(k=1) >> Leaves(), "boat") == found(BM25(k=1), "boat")
        assert "Zola" not in " ".join(found(BM25(k=1) >> Parents(of="document"), "boat"))
        assert "Zola" not in " ".join(found(BM25(k=1) >> Neighbours(before=9, after=9), "boat"))


def test_a_pipeline_file_and_a_step_ask_for_it() -> None:
    llm, embedder = ScriptedLLM({"summary_tree": "All of it."}), ScriptedEmbedder()
    spec = {"chunk_size": 6, "chunk_overlap": 0, "summaries": {"size": 2, "levels": 1}}
    document = Document(page_content="One is here. Two is there. Three is far away.",
                        metadata={"source": "a"})  # fmt: skip
    binding = IndexBinding(Resources({"index": spec, "embedder": embedder, "llm": llm}))
    chunks = binding.splitter()([document])
    assert chunks[-1].text == "All of it."
    plain = IndexBinding(Resources({"index": "./x", "embedder": "e", "llm": "m"})).fingerprint
    other = IndexBinding(Resources({"index": {"summaries": {}}, "embedder": "e", "llm": "m"}))
    assert other.fingerprint != plain
    flow = Flow(
        Summarise(size=2, levels=1),
        inputs={"documents": list[Document]},
        resources={"llm": llm, "embedder": embedder},
    )
    parts = [one.document() for one in chunks if not one.written_as]
    found = flow.invoke(documents=parts)["documents"]
    assert [one.page_content for one in found] == [one.text for one in chunks]
