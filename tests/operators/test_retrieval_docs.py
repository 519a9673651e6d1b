"""What the operators of retrieval say of themselves is true: their examples run."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from rag.connect.langchain import EmbedderEmbeddings
from rag.flow import Flow, load_flow
from rag.flow.registry import Registry
from rag.index import Index, IndexWriter
from rag.models import LLM, Embedder
from rag.operators import CATALOGUE
from rag.text.splitting import split
from tests.operators import tiny
from tests.operators.test_retrieval import TEXTS

NAMES = sorted(
    name
    for name, where in CATALOGUE.items()
    if where.startswith(("rag.operators.retrieval.", "rag.operators.post_retrieval."))
)
EXAMPLES = [
    (name, example)
    for name in NAMES
    for example in re.findall(
        r"`(\{use: [^`]*\})`", " ".join((Registry()[name].__doc__ or "").split())
    )
]


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_reads_and_writes_with_an_example(name: str) -> None:
    kind = Registry()[name]
    text = kind.__doc__ or ""
    signature = kind.signature()
    assert "Reads" in text
    for port in (*signature.reads, *signature.writes):
        assert f"`{port.name}`" in text
    assert [example for owner, example in EXAMPLES if owner == name]


def test_the_page_has_a_row_for_each() -> None:
    page = Path(__file__).parents[2] / "docs" / "operators-retrieval.md"
    table, _, _ = page.read_text().partition("\n## ")
    modules = {
        name: cells[2].strip().replace("-", "_")
        for cells in (line.split("|") for line in table.splitlines() if line.startswith("| `"))
        for name in re.findall(r"`(\w+)`", cells[1])
    }
    where = {name: CATALOGUE[name].split(".")[2] for name in modules}
    assert set(NAMES) <= modules.keys()
    assert modules == where


@pytest.fixture(scope="module")
def resources(
    tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, llm: LLM
) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("examples")
    whole = Document(page_content="\n\n".join(TEXTS), metadata={"source": "a", "year": 1990})
    chunks = split([whole], size=16, overlap=0, parents=(40,))
    IndexWriter(folder / "index").write([chunk.document() for chunk in chunks], embedder)
    with sqlite3.connect(folder / "tables.sqlite") as connection:
        connection.execute("CREATE TABLE tolls (vessel TEXT, crowns INTEGER)")
        connection.execute("INSERT INTO tolls VALUES ('lock', 4)")
    connection.close()
    store = InMemoryVectorStore(EmbedderEmbeddings(embedder))
    store.add_documents([Document(page_content=text) for text in TEXTS])
    index = Index.open(folder / "index")
    yield {
        "index": index, "embedder": embedder, "llm": llm, "store": store,
        "database": str(folder / "tables.sqlite"),
        "sparse_encoder": str(tiny.splade(folder / "splade", TEXTS)),
        "reranker": str(tiny.cross_encoder(folder / "cross", TEXTS)),
    }  # fmt: skip
    index.close()


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_its_example_runs(name: str, example: str, resources: dict[str, Any]) -> None:
    if name == "external":  # the filter is in the language of the store that the example means
        example = re.sub(r", filter: \{[^}]*\}", "", example)
    flow = load_flow(f"name: example\nsteps:\n  - {{use: bm25, k: 3}}\n  - {example}\n")
    assert load_flow(flow.to_yaml()) == flow
    found = Flow(flow.node, resources=resources).invoke(query="the north lock")["documents"]
    assert found
    assert all(isinstance(one, Document) for one in found)
