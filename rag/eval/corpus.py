"""A data set's corpus, indexed as each pipeline says."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.index import Index, IndexWriter
from rag.index.spec import IndexSpec
from rag.models import LLM, Embedder

if TYPE_CHECKING:
    from rag.eval.beir import Dataset
    from rag.flow import Flow, Resource

BATCH = 512
"""Documents that are cut, embedded and committed together."""

Progress = Callable[[str, int, int], None]
"""Takes what is being done, how many are done, and of how many."""


class Corpus:
    """The indexes of one data set: pipelines that cut and embed alike share one.

    A context manager: closes the indexes, and takes temporary ones away.

    Args:
        data: Its documents are indexed.
        where: Folder that keeps the indexes, each in a folder of its own; what is unchanged there
            is not indexed again. A temporary one if not given.
        told: The progress.
    """

    def __init__(self, data: Dataset, where: Path | None, told: Progress) -> None:
        self._data, self._where, self._told = data, where, told
        self._open: dict[str, Index] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._where is None:
            scratch = tempfile.TemporaryDirectory(prefix="rag-eval-")
            self._where = Path(self._stack.enter_context(scratch))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def bound(self, flow: Flow, **shared: Resource) -> Flow:
        """The flow over this corpus.

        Args:
            flow: The pipeline as its file says it.
            shared: Open resources in the place of those that it specifies alike.

        Raises:
            ConfigError: Its index or its embedder is not well described.
        """
        specs = flow.resources.specs
        flow = flow.with_resources(**shared)
        embedder = flow.resources.get("embedder", Embedder)
        spec = IndexSpec.of(specs.get("index", Index.default))
        # With the corpus: a folder that is kept may have held another one.
        name = f"{spec.fingerprint(embedder.id, specs.get('llm'))}-{self._data.digest}"
        if name not in self._open:
            self._open[name] = self._indexed(name, spec, embedder, flow)
        return flow.with_resources(index=self._open[name], embedder=embedder)

    def _indexed(self, name: str, spec: IndexSpec, embedder: Embedder, flow: Flow) -> Index:
        if self._where is None:
            raise RuntimeError("a Corpus is used in a `with` block")
        path = self._where / name
        split: Any = spec.splitter_of(embedder, lambda: flow.resources.get("llm", LLM))
        writer, documents = IndexWriter(path), self._data.documents
        for start in range(0, len(documents), BATCH):
            self._told("indexing", start, len(documents))
            writer.write(split(documents[start : start + BATCH]), embedder)
        opened = Index.open(path)
        self._stack.callback(opened.close)
        return opened
