"""The ready-made flows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from langchain_core.documents import Document

from rag.flow import Flow, load_flow
from rag.index import Index, IndexWriter
from rag.models import LLM, Embedder
from rag.pipelines import path

QUESTION = "Who may open the north lock?"


def flow(name: str, index: Index, embedder: Embedder, llm: LLM, k: int | str = 2) -> Flow:
    """The ready-made flow over these resources, one model for all; it reads k documents."""
    loaded = _loaded(name, k)
    models = {name for _, name, kind in loaded.needs if issubclass(kind, LLM)}
    return Flow(
        loaded.node,
        inputs=loaded.inputs,
        outputs=loaded.outputs,
        resources={
            **loaded.resources.specs,
            **{name: {} for name in loaded.resources.specs if name == "answers"},  # in memory
            "index": index,
            "embedder": embedder,
            **dict.fromkeys(models, llm),
            **_answers(loaded),
        },
        budget=loaded.budget,
    )


def _answers(loaded: Flow) -> dict[str, dict[str, str]]:
    """A store of answers of its own, so that no run answers for another one."""
    if "answers" not in loaded.resources.specs:
        return {}
    return {"answers": {"path": str(Path(tempfile.mkdtemp()) / "answers.sqlite")}}


@cache
def _loaded(name: str, k: int | str) -> Flow:
    written = {"answer": "written"} if name == "hybrid" else {}  # it would quote for a small model
    return load_flow(path(name), params={"k": k, **written})


def made(path: Path, embedder: Embedder, texts: Sequence[str]) -> Index:
    """An index of these texts."""
    documents = [
        Document(page_content=text, metadata={"source": f"s{n}", "path": f"s{n}.md"})
        for n, text in enumerate(texts)
    ]
    if documents:
        IndexWriter(path).write(documents, embedder)
    else:
        Index.writer(path, embedder=embedder.id, dim=embedder.dim).close()
    return Index.open(path)
