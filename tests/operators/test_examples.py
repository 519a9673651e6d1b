"""What the docstrings of the operators say: complete, and their examples run."""

from __future__ import annotations

import inspect
import json
import re
import sqlite3
from typing import Any

import pytest
from langchain_core.documents import Document
from ruamel.yaml import YAML

from rag.flow import Flow
from rag.flow.operator import Operator
from rag.flow.registry import Registry
from rag.flow.signature import Signature
from rag.flow.types import show
from rag.index import Index, IndexWriter
from rag.models import Embedder, Generation
from rag.operators import CATALOGUE
from rag.testing.llm import ScriptedLLM
from tests.operators import tiny

OURS = sorted(
    name
    for name, where in CATALOGUE.items()
    if re.search(r"operators\.(indexing|pre_retrieval|generation|orchestration)\.", where)
)
TEXTS = ["The lock is 120 m long.", "The pump is loud."]
DOCUMENTS = [
    Document(
        page_content=text, id=str(n), metadata={"source": f"s{n}", "path": f"s{n}", "score": n}
    )
    for n, text in enumerate(TEXTS)
]
GIVEN: dict[str, Any] = {
    "query": "How long is the lock?",
    "queries": ["How long is it?"],
    "documents": DOCUMENTS,
    "answer": "The lock is 120 m long.",
    "draft": "The lock is long.",
    "answers": ["120 m.", "It is long."],
    "paths": [__file__],
    "critiques": ["Too short.", ""],
    "sentence": "It is long.",
    "tokens": [("It is ", -0.1), ("long.", -3.0)],
    "support": 0.4,
    "generation": Generation("It is.", 1, 2, "stop", None, (("It", -0.1), (" is.", -0.2))),
}
BY_TYPE = {
    "list[list[Document]]": [DOCUMENTS, DOCUMENTS],
    "dict[str, list[Document]]": {"dense": DOCUMENTS, "sparse": DOCUMENTS},
    "list[str]": ["120 m.", "It is 120 m long."],
}


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("examples")
    IndexWriter(folder / "index").write(DOCUMENTS, embedder)
    with sqlite3.connect(folder / "tables.sqlite") as connection:
        connection.execute("CREATE TABLE locks (name TEXT, metres INTEGER)")
    connection.close()
    said = {
        "text_to_sql": "SELECT metres FROM locks",
        "structured_answer": json.dumps({"answer": "a"}),
    }
    return {
        "index": Index.open(folder / "index"),
        "embedder": embedder,
        "llm": ScriptedLLM(said, probability=0.5),
        "database": str(folder / "tables.sqlite"),
        "nli": str(tiny.nli(folder / "nli", TEXTS)),
    }


@pytest.mark.parametrize("name", OURS)
def test_a_docstring_says_what_one_must_know(name: str) -> None:
    kind = Registry()[name]
    text = inspect.getdoc(kind) or ""
    signature = kind.signature()
    assert kind.use == name
    if signature.reads:
        reads, _, writes = text[text.lower().index("reads `") :].partition("; writes")
    else:
        reads, _, writes = text.partition("Writes `")
        writes = f"`{writes}"
    for port in signature.reads:
        assert f"`{port.name}`" in reads
    for port in signature.writes:
        assert f"`{port.name}`" in writes
    assert re.search(r"arXiv\s+\d{4}\.\d{5}|[A-Z][a-z]+\s+\d{4}", text), "its source"
    assert re.search(r"(?i)\b(for|between|behind|last step)\b", text), "when to use it"
    asks = any(port.name == "llm" for port in signature.resources)
    assert asks == bool(re.search(r"LLM\s+calls:", text))
    assert len(re.findall(r"^Example: `\{.*?\}`$", text, re.MULTILINE | re.DOTALL)) == 1


def example_of(name: str) -> Operator:
    """The step that the docstring shows."""
    kind = Registry()[name]
    (example,) = re.findall(r"Example: `(\{.*?\})`", kind.__doc__ or "", re.DOTALL)
    fields = YAML(typ="safe", pure=True).load(example)
    assert fields.pop("use") == name
    return kind(**fields)


def given_to(signature: Signature) -> dict[str, Any]:
    """Values for the channels that an operator requires."""
    return {
        port.name: GIVEN[port.name]
        if show(port.type) not in BY_TYPE
        or port.name in ("queries", "critiques", "answers", "paths")
        else BY_TYPE[show(port.type)]
        for port in signature.reads
        if port.required
    }


@pytest.mark.parametrize("name", OURS)
def test_its_example_runs(name: str, resources: dict[str, Any]) -> None:
    step = example_of(name)
    if name == "load_with":
        pytest.skip("its example names a library that is not installed, and a page of the web")
    signature = step.signature()
    given = given_to(signature)
    wanted = {port.name for port in signature.resources}
    if "tools" in wanted:  # the default one is a search
        wanted |= {"index", "embedder"}
    flow = Flow(
        step,
        inputs={port.name: port.type for port in signature.reads if port.required},
        resources={key: value for key, value in resources.items() if key in wanted},
    )
    result = flow.invoke(**given)
    for port in signature.writes:
        assert step.outputs.get(port.name, port.name) in result
