"""The specification of an index in a pipeline file: where it is, and how it is filled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.documents import Document
from pydantic import Field, PositiveInt, model_validator

from rag.flow.resources import Spec
from rag.text.chunk import Chunk
from rag.text.sections import Splitter
from rag.text.splitting import OVERLAP, SIZE, split

if TYPE_CHECKING:
    from rag.models import Embedder


Written = Literal["questions", "summary", "context", "propositions", "triples"]
"""What a model may write of a chunk."""
_MOST: dict[Written, int] = {"questions": 3, "propositions": 12, "triples": 12}
_TOKENS: dict[Written, int] = {"context": 96, "propositions": 384, "triples": 256}


class DescribeSpec(Spec):
    """What a language model writes about each chunk at ingest, used for retrieval."""

    by: Written = Field(
        description="questions: that the chunk answers; summary: what it says in a sentence; "
        "context: what it is about, seen from the whole document; propositions: its statements, "
        "each found on its own; triples: its facts, for `graph`"
    )
    n: PositiveInt | None = Field(
        default=None,
        description="questions (default 3), propositions or triples (12) for each chunk, at most",
    )
    text: bool = Field(
        default=True,
        description="whether its text is embedded and indexed as well; false for questions and "
        "summary only",
    )
    max_tokens: PositiveInt | None = Field(
        default=None,
        description="the model's answer at most; default: 64, context 96, propositions 384, "
        "triples 256",
    )

    @model_validator(mode="after")
    def _read(self) -> Self:
        if not self.text and self.by not in ("questions", "summary"):
            raise ValueError(f"{self.by} are found beside the text: leave out `text`")
        return self

    @property
    def most(self) -> int:
        """Lines of an answer at most."""
        return self.n or _MOST.get(self.by, 1)

    @property
    def tokens(self) -> int:
        """Tokens of an answer at most."""
        return self.max_tokens or _TOKENS.get(self.by, 64)


class SummariesSpec(Spec):
    """A tree of summaries over the chunks of each source, written by a language model at ingest."""

    size: int = Field(default=8, ge=2, description="chunks, or summaries, for each summary")
    levels: PositiveInt = Field(default=3, description="levels of summaries at most")
    max_tokens: PositiveInt = Field(default=128, description="of a summary at most")


class SplitSpec(Spec):
    """How documents are split into chunks."""

    chunk_size: PositiveInt = Field(default=SIZE, description="tokens of the embedder, at most")
    chunk_overlap: int = Field(default=OVERLAP, ge=0, description="tokens that are repeated")
    splitter: Splitter = Field(default="structure", description="where a text may be cut")
    parents: tuple[PositiveInt, ...] = Field(
        default=(), description="sizes of larger chunks around these, largest first"
    )

    late_chunking: bool = Field(
        default=False,
        description="whether a chunk's vector is pooled from the token vectors of its whole "
        "document; for local embedders",
    )

    def split(self, documents: Sequence[Document], embedder: Embedder) -> list[Chunk]:
        """The chunks of the documents: see `rag.text.splitting.split`.

        Args:
            documents: As `rag.index.readers` makes them.
            embedder: Counts tokens, and embeds sentences for `semantic`.

        Raises:
            ConfigError: The sizes do not fit each other.
            ModelError: The embedder cannot do late chunking.
        """
        if self.late_chunking:
            embedder.embed_spans("", [])  # whether it can, before anything is read
        found: list[Chunk] = []
        for document in documents:
            chunks = split(
                [document],
                size=self.chunk_size,
                overlap=self.chunk_overlap,
                count=embedder.lengths,
                splitter=self.splitter,
                parents=self.parents,
                embed=embedder.embed,
            )
            if self.late_chunking:
                digest = hashlib.sha256(document.page_content.encode(errors="replace"))
                chunks = [one.updated(pooled_within=digest.hexdigest()[:16]) for one in chunks]
            found += chunks
        return found


class IndexSpec(SplitSpec):
    """The mapping under `resources: {index: ...}`; a string stands for `{path: ...}`."""

    path: str = Field(
        default="./index",
        description="the folder, or an address on a server: postgresql://host/database",
    )
    root: str = Field(
        default=".",
        description="the folder that files are named relative to: when it moves, nothing is "
        "embedded again",
    )
    metadata: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="pattern of paths, such as `people/*`: what they get"
    )
    filter: tuple[str, ...] = Field(
        default=(), description="metadata keys that get an index, as `where:` often names them"
    )
    describe: DescribeSpec | None = Field(default=None, description="written by a language model")

    summaries: SummariesSpec | None = Field(
        default=None, description="a tree of summaries of each source, by a language model"
    )

    @property
    def asks_model(self) -> bool:
        """Whether a language model writes part of what is stored."""
        return bool(self.describe or self.summaries)

    def fingerprint(self, embedder: Any, llm: Any) -> str:
        """Changes when chunks or vectors would come out otherwise.

        Args:
            embedder: Its specification.
            llm: The language model's, which counts with `describe` and `summaries`.
        """
        apart = {"path", "filter", "root"}
        spec = self.model_dump(mode="json", exclude=apart, exclude_defaults=True)
        parts = [3, spec, embedder, llm if self.asks_model else None]
        text = json.dumps(parts, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def root_of(spec: IndexSpec | Any, base: Path) -> Path | None:
    """The folder that files are named relative to; None where nothing says one.

    Args:
        spec: What a pipeline says of the index, or something else that says where it is.
        base: The folder that a relative path starts from.
    """
    if not isinstance(spec, IndexSpec):
        return None
    return Path(os.path.abspath(base / Path(spec.root).expanduser()))  # noqa: PTH100 - as `absolute`


def labelled(document: Document, labels: Mapping[str, Mapping[str, Any]]) -> Document:
    """The document with the metadata of all patterns that its path matches, later ones last.

    Args:
        document: Its metadata say where it comes from: `path`, else `source`.
        labels: Pattern of paths (`people/*`), of which the end may match, to metadata.
    """
    chunk = Chunk.of(document)
    path = chunk.path or chunk.source
    given: dict[str, Any] = {}
    for pattern, values in labels.items():
        if fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}"):
            given |= values
    return chunk.document(**given)
