"""A data set's corpus, indexed as each pipeline specifies."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.flow import Resource
from rag.flow.absence import kinds_of
from rag.index import Index, IndexBinding, IndexWriter
from rag.models import LLM, Embedder

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset
    from rag.flow import Flow

BATCH = 512
"""Documents that are split, embedded and committed together."""

Progress = Callable[[str, int, int], None]
"""Takes the name of the work, how much of it is done, and how much there is."""


def no_progress(work: str, done: int, total: int) -> None:
    """Report nothing."""


class Corpus:
    """The indexes of one data set: pipelines that split and embed alike share one.

    A data set without documents is asked over the pipelines' own indexes, which stay as they are.

    A context manager: closes the indexes, and removes temporary ones.

    Args:
        data: Its documents are indexed.
        folder: Keeps the indexes, each in a folder of its own; what is unchanged there is not
            indexed again. None: a temporary folder.
        progress: Called while documents are indexed.
    """

    def __init__(
        self, data: Dataset, folder: Path | None = None, progress: Progress = no_progress
    ) -> None:
        self._data, self._folder, self._progress = data, folder, progress
        self._indexes: dict[str, Index] = {}
        self._models: dict[tuple[Any, ...], Resource] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="rag-eval-")
            self._folder = Path(self._stack.enter_context(temporary))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def bind(self, flow: Flow) -> Flow:
        """The flow over this corpus; of a data set without one, over the index that it names.

        The models that its steps take are opened, unless another flow specifies them alike: then
        they are shared. Each stays its flow's to close, after the corpus.

        Args:
            flow: The pipeline as loaded.

        Raises:
            ConfigError: The specification of its index or of a model is wrong.
            IndexStateError: There is no index, and the data set has no corpus.
        """
        bound = flow.with_resources(**self._opened(flow))
        if not self._data.documents:
            bound.check_resources()
            return bound
        embedder = IndexBinding(bound.resources).open_embedder()
        # The open embedder counts by its id; other resources by their specification.
        named = IndexBinding(flow.with_resources(embedder=embedder).resources)
        # With the corpus: a folder that is kept may hold the index of another one.
        name = f"{named.fingerprint}-{self._data.digest}"
        if name not in self._indexes:
            self._indexes[name] = self._index(name, IndexBinding(bound.resources))
        return bound.with_resources(index=self._indexes[name], embedder=embedder)

    def _opened(self, flow: Flow) -> dict[str, Resource]:
        """What the flow's steps take, and what fills the index; all but the index itself."""
        base, specs = flow.resources.base.resolve(), flow.resources.specs
        kinds: dict[str, type[Resource]] = {"embedder": Embedder} if self._data.documents else {}
        if IndexBinding(flow.resources).spec.describe is not None:
            kinds["llm"] = LLM
        kinds |= {
            name: kind
            for name, kind in kinds_of(flow.needs).items()
            if not issubclass(kind, Index | IndexWriter)
        }
        opened = {}
        for name, kind in kinds.items():
            key = (kind, repr(specs.get(name, kind.default)), base)
            if key not in self._models:
                self._models[key] = flow.resources.get(name, kind)
            opened[name] = self._models[key]
        return opened

    def _index(self, name: str, binding: IndexBinding) -> Index:
        if self._folder is None:
            raise RuntimeError("a Corpus is used in a `with` block")
        path = self._folder / name
        split, embedder = binding.splitter(), binding.open_embedder()
        writer, documents = IndexWriter(path), self._data.documents
        for start in range(0, len(documents), BATCH):
            self._progress("indexing", start, len(documents))
            chunks = split(documents[start : start + BATCH])
            writer.write([chunk.document() for chunk in chunks], embedder)
        index = Index.open(path)
        self._stack.callback(index.close)
        return index
