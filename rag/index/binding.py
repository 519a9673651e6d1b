"""From the resources that a flow names to its index, and to how the index is filled."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from pydantic import BaseModel

from rag.errors import ConfigError, IndexStateError
from rag.flow.resources import Resource, Resources, parse
from rag.flow.run.runtime import RUNTIME
from rag.index.address import address_of
from rag.index.embedding import embed_chunks
from rag.index.index import Index
from rag.index.spec import IndexSpec, labelled, root_of
from rag.index.store import Address
from rag.models import LLM, Embedder
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    from rag.index.ingest.parse import Splitter

SHARED = "shared"
"""The collection that is the pipeline's own index."""
PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""Names that any file system and database takes."""


def plain(name: str) -> str:
    """A name that any file system and database takes: the name itself, or a digest of it."""
    if PLAIN.fullmatch(name):
        return name
    return "h_" + hashlib.sha256(name.encode()).hexdigest()[:40]


@dataclass(frozen=True)
class IndexBinding:
    """What an index is, and how it is filled, by the resources that a pipeline names.

    Nothing is opened before it is needed: `spec`, `address` and `fingerprint` open nothing.

    Attributes:
        resources: Of a flow; whoever gives them closes them.
        index: The name of the index among them.
        embedder: The name of the embedder that makes its vectors.
        llm: The name of the language model that describes chunks, if the index wants that.
        collection: Which of the indexes that stand beside one another (`Address.of_collection`);
            `shared` is the one that the pipeline names.
    """

    resources: Resources
    index: str = "index"
    embedder: str = "embedder"
    llm: str = "llm"
    collection: str = SHARED

    @cached_property
    def spec(self) -> IndexSpec:
        """What the pipeline says of the index.

        Raises:
            ConfigError: It is wrong, or an open index, which says nothing of how it is filled.
        """
        found = self._named(self.index, Index)
        try:
            spec = parse(Index, found)
        except ConfigError as error:
            where = f"resources.{self.index}"
            raise ConfigError(error.what, where=error.where or where, fix=error.fix) from error
        if not isinstance(spec, IndexSpec):
            raise ConfigError(
                f"{type(spec).__name__} does not say how an index is filled",
                where=f"resources.{self.index}",
                fix=f"write where it is, for example {self.index}: ./index",
            )
        return spec

    @property
    def address(self) -> Address:
        """Where the index is.

        Raises:
            ConfigError: There is no such kind of store.
        """
        own = address_of(self.spec, self.resources.base)
        return own if self.collection == SHARED else own.of_collection(plain(self.collection))

    @property
    def root(self) -> Path | None:
        """The folder that files are named relative to."""
        return root_of(self.spec, self.resources.base)

    @property
    def fingerprint(self) -> str:
        """Changes when chunks or vectors would come out otherwise."""
        base = self.resources.base
        return self.spec.fingerprint(
            described(self._named(self.embedder, Embedder), base),
            described(self._named(self.llm, LLM), base),
        )

    def open_embedder(self) -> Embedder:
        """The embedder, opened if it was not.

        Raises:
            ConfigError, ModelError: It cannot be opened.
        """
        return self.resources.get(self.embedder, Embedder)

    def open(self, *, repair: bool = False) -> Index:
        """The index, for reading.

        Args:
            repair: Where it cannot be opened, open it for writing first: that finishes an index
                which was begun, and makes lost vectors again.

        Raises:
            IndexStateError: See `Index.open`, and with `repair` `Index.writer`.
        """
        try:
            return Index.open(self.address)
        except IndexStateError:
            if not repair:
                raise
        self.writer().close()
        return Index.open(self.address)

    def writer(self, address: Address | None = None) -> Index:
        """The index, for writing; made if it is missing.

        Args:
            address: Of another one that is filled in the same way.

        Raises:
            IndexStateError: See `Index.writer`.
        """
        embedder = self.open_embedder()
        index = Index.writer(
            address or self.address,
            embedder=embedder.id,
            dim=embedder.dim,
            embed=partial(embed_chunks, embedder),
        )
        try:
            index.index_metadata(self.spec.filter)
        except BaseException:
            index.close()
            raise
        return index

    def splitter(self) -> Splitter:
        """Documents to the chunks that are written: labelled, split, described and summarised."""
        embedder, spec = self.open_embedder(), self.spec

        def split(documents: Sequence[Document]) -> list[Chunk]:
            chunks = spec.split([labelled(one, spec.metadata) for one in documents], embedder)
            if not spec.asks_model:
                return chunks
            return RUNTIME.run(written(chunks, spec, embedder, self.resources.get(self.llm, LLM)))

        return split

    def _named(self, name: str, kind: type[Resource]) -> Any:
        return self.resources.specs.get(name, kind.default)


async def written(
    chunks: list[Chunk], spec: IndexSpec, embedder: Embedder, llm: LLM
) -> list[Chunk]:
    """Chunks with what a model writes of them: descriptions, then trees of summaries."""
    from rag.index.ingest.describe import describe
    from rag.index.ingest.tree import with_summaries

    if spec.describe is not None:
        chunks = await describe(chunks, spec.describe, llm)
    if spec.summaries is not None:
        chunks = await with_summaries(chunks, spec.summaries, embedder, llm)
    return chunks


def described(spec: Any, base: Path) -> Any:
    """A resource's specification as JSON data that says what it is, wherever that is.

    Args:
        spec: What a pipeline says of it, or the open resource: known by its class, its id (one
            without an id is like no other) and its version.
        base: The folder that relative paths start from.
    """
    match spec:
        case Resource():
            return [type(spec).__qualname__, getattr(spec, "id", repr(spec)), spec.version()]
        case BaseModel():
            return described(spec.model_dump(mode="json", exclude_defaults=True), base)
        case Mapping():
            return {str(key): described(value, base) for key, value in spec.items()}
        case list() | tuple():
            return [described(value, base) for value in spec]
        case str() if spec.startswith((".", "~", "/")):
            return str((base / Path(spec).expanduser()).resolve())
        case _:
            return spec
