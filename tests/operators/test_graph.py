"""The graph of entities: what texts name, where walks go, and what is found by them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from rag.flow import Flow
from rag.flow.run.events import Done, Warned
from rag.index import Index, IndexWriter
from rag.operators import BM25, Graph
from rag.operators.entities import entities, mentioned, normalised
from rag.operators.entity_graph import entity_graph, named
from rag.testing.encoders import ScriptedEmbedder
from rag.text.chunk import Chunk

TEXTS = {
    "moor": "Ada Moor commands the Heron.",
    "heron": "The Heron was built in Tilburg.",
    "tilburg": "Tilburg brews beer.",
    "crane": "A crane lifts stones.",
}


def filled(folder: Path, texts: dict[str, str], **metadata: Any) -> Index:
    documents = [
        Document(page_content=text, metadata={"source": name, **metadata.get(name, {})})
        for name, text in texts.items()
    ]
    embedder = ScriptedEmbedder()
    if documents:
        IndexWriter(folder).write(documents, embedder)
    else:
        Index.writer(folder, embedder=embedder.id, dim=embedder.dim).close()
    return Index.open(folder)


def found(index: Index, query: str, node: Any = None, **how: Any) -> tuple[list[str], list[str]]:
    """The sources, best first, and the warnings."""
    step = Graph(synonyms=2, **how)
    flow = Flow(
        step if node is None else node >> step,
        inputs={"query": str},
        resources={"index": index, "embedder": ScriptedEmbedder()},
    )
    events = list(flow.stream(query=query))
    (done,) = [event for event in events if isinstance(event, Done)]
    warned = [event.message for event in events if isinstance(event, Warned)]
    return [one.metadata["source"] for one in done.result["documents"]], warned


@pytest.fixture
def index(tmp_path: Path) -> Any:
    with closing(filled(tmp_path / "i", TEXTS)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Then Maria Curie met King Olav V in Oslo.", ["maria curie", "king olav v", "oslo"]),
        ("It is the Bank of Norway that pays.", ["bank of norway"]),
        ("The keeper's Apollo 11 badge", ["apollo 11", "keeper"]),
        ("we measured the boundary layer of it", ["boundary layer"]),
        ("", []),
        ("... 12 %", []),
    ],
)
def test_names_and_phrases_are_found_by_rules(text: str, names: list[str]) -> None:
    assert set(names) <= set(entities(text))
    assert bool(names) == bool(entities(text))


def test_names_come_first_and_are_bounded() -> None:
    text = "small boats sail. " * 3 + "Oslo. Bergen. Narvik."
    assert entities(text, most=3) == ["oslo", "bergen", "narvik"]
    assert "small boats sail" in entities(text)


@pytest.mark.parametrize(
    ("name", "plain"),
    [("The  Heron", "heron"), ("Ada's", "ada"), ("keepers\u2019 hut", "keepers hut"), ("A.", "a")],
)
def test_names_are_compared_without_case_and_article(name: str, plain: str) -> None:
    assert normalised(name) == plain


def test_the_longest_names_of_a_question_count() -> None:
    known = {"nobel prize", "prize", "physics", "who"}
    assert mentioned("who won the Nobel Prize in physics", known) == ["nobel prize", "physics"]


def test_walks_reach_what_the_question_does_not_name(index: Index) -> None:
    sources, _ = found(index, "Where was the ship of Ada Moor made?")
    assert sources == ["moor", "heron", "tilburg"]


def test_walks_that_go_on_longer_reach_further(index: Index) -> None:
    chunks, graph = entity_graph(ScriptedEmbedder(), 2).of(index)
    seeds = np.zeros(len(graph.names) + len(chunks))
    seeds[graph.names["ada moor"]] = 1
    short, long = graph.shares(seeds, 0.2), graph.shares(seeds, 0.8)
    assert short.sum() == pytest.approx(1)
    assert long.sum() == pytest.approx(1)
    last = len(graph.names) + [chunk.source for chunk in chunks].index("tilburg")
    assert long[last] > short[last] > 0


def test_shares_are_those_of_the_linear_system(index: Index) -> None:
    chunks, graph = entity_graph(ScriptedEmbedder(), 2).of(index)
    seeds = np.zeros(len(graph.names) + len(chunks))
    seeds[graph.names["heron"]] = seeds[graph.names["tilburg"]] = 0.5
    walk = graph.walk.toarray()
    exact = 0.5 * np.linalg.solve(np.eye(len(seeds)) - 0.5 * walk, seeds)
    assert np.allclose(graph.shares(seeds, 0.5), exact, atol=1e-5)


def test_rare_names_weigh_more(tmp_path: Path) -> None:
    texts = {f"many{n}": f"Oslo is large, says paper {n}." for n in range(6)}
    texts["rare"] = "Narvik is small."
    with closing(filled(tmp_path / "i", texts)) as index:
        assert found(index, "Oslo or Narvik?")[0][0] == "rare"


def test_documents_are_where_walks_begin_too(index: Index) -> None:
    sources, warned = found(index, "which stones", BM25(k=1))
    assert (sources[0], warned) == ("crane", [])
    sources, _ = found(index, "Tilburg stones", BM25(k=1), passages=0.1)
    assert {"tilburg", "crane"} <= set(sources)


def test_a_question_that_names_nothing_finds_nothing_and_says_so(index: Index) -> None:
    sources, warned = found(index, "Why?")
    assert sources == []
    assert warned == ["the graph knows nothing that the question names"]


def test_an_empty_index_has_an_empty_graph(tmp_path: Path) -> None:
    with closing(filled(tmp_path / "i", {})) as index:
        assert found(index, "Ada Moor?") == ([], [])


def test_texts_without_names_have_a_graph_without_edges(tmp_path: Path) -> None:
    with closing(filled(tmp_path / "i", {"a": "12", "b": "..."})) as index:
        assert found(index, "Ada Moor?")[0] == []


def test_facts_of_a_model_replace_the_rules(tmp_path: Path) -> None:
    chunk = Chunk("Ada Moor sails.", {"triples": [["The Heron", "carries", "Coal"], ["x"], 7]})
    assert named(chunk) == (["heron", "coal"], [(0, 1)])
    triples = {"a": {"triples": [["Heron", "carries", "coal"]]}}
    with closing(filled(tmp_path / "i", {"a": "Nobody.", "b": "Coal burns."}, **triples)) as index:
        assert found(index, "Heron")[0][0] == "a"
        _, graph = entity_graph(ScriptedEmbedder(), 2).of(index)
        heron, coal = graph.names["heron"], graph.names["coal"]
        assert graph.walk[coal, heron] == pytest.approx(0.5)


def test_similar_names_are_connected_by_their_cosine(tmp_path: Path) -> None:
    vectors = {"heron": [1.0, 0, 0], "herons": [0.9, 0.4, 0], "crane": [0, 0, 1.0]}
    embedder = ScriptedEmbedder(dim=3, vectors=vectors)
    chunks = ["Heron.", "Herons.", "Crane."]
    with closing(filled(tmp_path / "i", dict(zip("abc", chunks, strict=True)))) as index:
        _, graph = entity_graph(embedder, 0.8).of(index)
    one, other, third = (graph.names[name] for name in vectors)
    assert graph.walk[one, other] > 0
    assert graph.walk[other, one] > 0
    assert graph.walk[one, third] == 0


def test_an_unknown_name_stands_for_the_nearest(tmp_path: Path) -> None:
    with closing(filled(tmp_path / "i", TEXTS)) as index:
        assert found(index, "Captain Ada Moor Esquire?", linked=0.5)[0][0] == "moor"
        assert found(index, "Tilburgs?", linked=1.1)[0] == []


def test_what_was_read_off_chunks_is_stored_and_follows_the_index(tmp_path: Path) -> None:
    embedder = ScriptedEmbedder()
    with closing(filled(tmp_path / "i", TEXTS)) as index:
        entity_graph(embedder, 2).of(index)
    embedded = len(embedder.texts)
    more = Document(page_content="Coal burns in Narvik.", metadata={"source": "coal"})
    IndexWriter(tmp_path / "i").write([more], ScriptedEmbedder())
    with closing(Index.open(tmp_path / "i")) as index:
        _, graph = entity_graph(embedder, 2).of(index)
    assert {"heron", "narvik"} <= set(graph.names)
    assert embedder.texts[embedded:] == sorted(entities("Coal burns in Narvik."))
