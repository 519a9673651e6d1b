"""What workers do of an ingest: files to chunks, chunks to vectors."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError, ModelError
from rag.flow.resources import Resources
from rag.index.binding import IndexBinding
from rag.index.embedding import embed_chunks
from rag.index.ingest.mapper import Lost, Mapper
from rag.index.ingest.parse import Parsed, Splitter, parse
from rag.index.readers.discover import FileRef
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

    from rag.models import Embedder


class IngestWork:
    """The methods that a `Mapper` calls. Each depends on its item alone, and changes nothing.

    Args:
        split: Documents to chunks.
        fingerprint: Of the settings of `split`.
        embedder: Makes the vectors.
    """

    def __init__(self, split: Splitter, fingerprint: str, embedder: Embedder) -> None:
        self._split, self._fingerprint, self._embedder = split, fingerprint, embedder

    def parse(self, item: tuple[FileRef, str]) -> Iterator[Parsed]:
        """The parts of a file, given with its URI; see `rag.index.ingest.parse.parse`."""
        return parse(*item, self._split, self._fingerprint)

    def embed(self, chunks: Sequence[Chunk]) -> Iterator[np.ndarray]:
        """One result: the vectors of chunks, float32 [chunks, dim]."""
        yield embed_chunks(self._embedder, chunks)


@dataclass(frozen=True)
class OpenWork:
    """Opens the work of a pipeline's index, in whatever process it is called.

    Attributes:
        specs: The pipeline's resources.
        base: The folder that relative paths in them start from.
        names: Of index, embedder and language model among them.
    """

    specs: Mapping[str, Any]
    base: Path
    names: tuple[str, str, str]

    @classmethod
    def of(cls, binding: IndexBinding) -> OpenWork:
        """For the index of a binding.

        Raises:
            ConfigError: A resource is an object of this process, and not a specification.
        """
        names = (binding.index, binding.embedder, binding.llm)
        specs = {name: spec for name, spec in binding.resources.specs.items() if name in names}
        for name, spec in specs.items():
            try:
                pickle.dumps(spec)
            except Exception as error:  # of every kind
                raise ConfigError(
                    f"{type(spec).__name__} cannot be sent to another process",
                    where=f"resources.{name}",
                    fix="name the model, or give its class by `use`",
                ) from error
        return cls(specs, binding.resources.base.resolve(), names)

    def __call__(self) -> IngestWork:
        """Open embedder and splitter.

        Raises:
            ConfigError, ModelError: They cannot be opened here.
        """
        index, embedder, llm = self.names
        binding = IndexBinding(Resources(self.specs, base=self.base), index, embedder, llm)
        return IngestWork(binding.splitter(), binding.fingerprint, binding.open_embedder())


def embedded(mapper: Mapper, slices: Sequence[Sequence[Chunk]]) -> Iterator[np.ndarray]:
    """The vectors of slices of chunks, by workers.

    Raises:
        ModelError: The embedder cannot be reached, or no worker survives a slice.
    """
    with closing(mapper.map("embed", slices, urgent=True)) as results:
        for result in results:
            if isinstance(result, Lost):
                raise ModelError(
                    f"no worker could embed {len(result.item)} chunks: {result.reason}",
                    fix="give workers more memory, or use fewer of them",
                )
            yield result
