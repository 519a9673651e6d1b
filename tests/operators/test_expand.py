"""Widening what was found: neighbours, parents, whole documents; and the chunks they come of."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from rag.flow import Flow, Operator
from rag.index import Index, SourceUpdate
from rag.operators import Neighbours, Parents
from rag.text.chunk import Chunk
from rag.text.splitting import split

TEXT = "# Locks\n\n" + " ".join(f"Sentence {n} is about lock {n}." for n in range(12))


@pytest.fixture
def chunks() -> list[Chunk]:
    document = Document(page_content=TEXT, metadata={"source": "a.md", "title": "A"})
    return split([document], size=14, overlap=0, parents=(40, 20))


@pytest.fixture
def index(tmp_path: Path, chunks: list[Chunk]) -> Iterator[Index]:
    import numpy as np

    made = Index.writer(tmp_path / "index", embedder="x", dim=4)
    # In any order: where a chunk stands is told by its metadata.
    for uri, found in (("a.md", chunks[::-1]), ("alone", [Chunk("alone")])):
        made.write([SourceUpdate(made.plan(uri, found), np.ones((len(found), 4)))])
    made.close()
    opened = Index.open(tmp_path / "index")
    yield opened
    opened.close()


def stored_of(index: Index, uri: str) -> list[Document]:
    """What a search would have found of a source."""
    return [chunk.document() for chunk in index.of_source(uri)]


def run(operator: Operator, documents: list[Document], index: Index) -> list[Document]:
    flow = Flow(operator, inputs={"documents": list[Document]}, resources={"index": index})
    found: list[Document] = flow.invoke(documents=documents)["documents"]
    return found


def test_chunks_of_a_source_come_in_its_order(index: Index, chunks: list[Chunk]) -> None:
    found = index.of_source("a.md")
    assert [one.text for one in found] == [one.text for one in chunks]
    assert index.of_source("nowhere") == []


def test_neighbours_are_the_text_around(index: Index) -> None:
    stored = stored_of(index, "a.md")
    (wide,) = run(Neighbours(before=1, after=1), [stored[2]], index)
    start, end = stored[1].metadata["start"], stored[3].metadata["end"]
    assert (wide.metadata["start"], wide.metadata["end"]) == (start, end)
    assert wide.page_content == TEXT[start:end]
    assert wide.id == stored[2].id


def test_windows_that_touch_become_one_in_the_place_of_the_better(index: Index) -> None:
    stored = stored_of(index, "a.md")
    alone = Document(page_content="elsewhere", metadata={"source": "b.md"})
    found = run(Neighbours(before=0, after=0), [stored[4], alone, stored[0], stored[3]], index)
    assert [one.id for one in found] == [stored[4].id, None, stored[0].id]
    assert found[0].page_content == TEXT[stored[3].metadata["start"] : stored[4].metadata["end"]]
    assert found[1] == alone


def test_a_bridge_joins_two_windows(index: Index) -> None:
    stored = stored_of(index, "a.md")
    found = run(Neighbours(before=0, after=0), [stored[0], stored[2], stored[1]], index)
    assert [one.id for one in found] == [stored[0].id]
    assert found[0].metadata["end"] == stored[2].metadata["end"]


def test_a_child_gives_way_to_its_parent(index: Index) -> None:
    stored = stored_of(index, "a.md")
    same = [one for one in stored if one.metadata["parents"] == stored[-1].metadata["parents"]]
    (found,) = run(Parents(), same[::-1], index)
    assert found.page_content == TEXT[same[0].metadata["start"] : same[-1].metadata["end"]]
    (outer,) = run(Parents(level=2), [stored[-1]], index)
    assert len(outer.page_content) > len(found.page_content)
    (whole,) = run(Parents(of="document"), [stored[5]], index)
    assert whole.page_content == TEXT
    assert whole.metadata["heading"] == "Locks"


def test_a_parent_needs_its_share_of_children(index: Index) -> None:
    stored = stored_of(index, "a.md")
    few, lone = [stored[0]], stored_of(index, "alone")
    assert run(Parents(of="document", share=0.5), few, index) == few
    assert len(run(Parents(of="document", share=0.5), stored[1:], index)) == 1
    assert run(Parents(), lone, index) == lone
    assert run(Parents(), [], index) == []


@pytest.mark.parametrize("parents", [(20,), (30, 20, 20)])
def test_parents_are_larger_than_what_is_cut_from_them(parents: Any) -> None:
    from rag.errors import ConfigError

    with pytest.raises(ConfigError, match="parents"):
        split([Document(page_content=TEXT)], size=20, overlap=0, parents=parents)


def test_what_two_chunks_share_is_read_once(tmp_path: Path) -> None:
    import numpy as np

    document = Document(page_content=TEXT, metadata={"source": "a.md", "title": "A"})
    chunks = split([document], size=14, overlap=7)
    spans = [(chunk.start or 0, chunk.end or 0) for chunk in chunks]
    assert any(one[1] > two[0] for one, two in pairwise(spans))
    made = Index.writer(tmp_path / "index", embedder="x", dim=4)
    made.write([SourceUpdate(made.plan("a.md", chunks), np.ones((len(chunks), 4)))])
    made.close()
    index = Index.open(tmp_path / "index")
    (found,) = run(Neighbours(before=99, after=99), stored_of(index, "a.md")[:1], index)
    assert found.page_content == TEXT[spans[0][0] : spans[-1][1]]
    index.close()
