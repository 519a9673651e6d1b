"""What a pipeline file says of its index: where it is, and how it is filled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from rag.errors import ConfigError
from rag.text.sections import Splitter
from rag.text.splitting import OVERLAP, SIZE, split

if TYPE_CHECKING:
    from rag.models import LLM, Embedder


class Describe(BaseModel):
    """What a language model writes of each chunk at ingest, so that it is found by that too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["questions", "summary"] = Field(
        description="questions that the chunk answers, or what it says in a sentence"
    )
    n: PositiveInt = Field(default=3, description="questions for each chunk")
    text: bool = Field(default=True, description="whether its text is embedded and indexed as well")
    max_tokens: PositiveInt = Field(default=64, description="the model's answer at most")


class Cutting(BaseModel):
    """How documents are cut into chunks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunk_size: PositiveInt = Field(default=SIZE, description="tokens of the embedder, at most")
    chunk_overlap: int = Field(default=OVERLAP, ge=0, description="tokens that are repeated")
    splitter: Splitter = Field(default="structure", description="where a text may be cut")
    parents: tuple[PositiveInt, ...] = Field(
        default=(), description="sizes of larger chunks around these, largest first"
    )

    def cut(self, documents: Sequence[Document], embedder: Embedder) -> list[Document]:
        """The chunks of the documents: see `rag.text.splitting.split`.

        Args:
            documents: As `rag.index.readers` makes them.
            embedder: Counts tokens, and embeds sentences for `semantic`.

        Raises:
            ConfigError: The sizes do not fit each other.
        """
        return split(
            documents,
            size=self.chunk_size,
            overlap=self.chunk_overlap,
            count=embedder.lengths,
            splitter=self.splitter,
            parents=self.parents,
            embed=embedder.embed,
        )


class IndexSpec(Cutting):
    """The mapping under `resources: {index: ...}`; a string stands for `{path: ...}`."""

    path: Path = Field(default=Path("./index"), description="the folder")
    metadata: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="pattern of paths, such as `people/*`: what they get"
    )
    describe: Describe | None = Field(default=None, description="written by a language model")

    @classmethod
    def of(cls, spec: Any) -> IndexSpec:
        """Read what a pipeline says.

        Raises:
            ConfigError: It is neither a folder nor such a mapping.
        """
        if isinstance(spec, str | Path):
            return cls(path=Path(spec))
        if not isinstance(spec, Mapping):
            raise ConfigError(
                f"{spec!r} does not name an index",
                where="resources.index",
                fix="write a folder, for example index: ./index",
            )
        try:
            return cls(**spec)
        except (ValidationError, TypeError) as error:
            what = str(error)
            if isinstance(error, ValidationError):
                wrong = error.errors()[0]
                what = f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}"
            raise ConfigError(
                what,
                where="resources.index",
                fix=f"known: {', '.join(cls.model_fields)}",
            ) from error

    def splitter_of(
        self, embedder: Embedder, llm: Callable[[], LLM] | None = None
    ) -> Callable[[Sequence[Document]], list[Document]]:
        """Documents to chunks, as specified.

        Args:
            embedder: Counts tokens, and embeds sentences for `semantic`.
            llm: Opens the model for `describe`.

        Raises:
            ConfigError: `describe` without a model.
        """
        from rag.index.ingest.describe import described

        if self.describe is not None and llm is None:
            raise ConfigError("`describe` needs a language model", where="resources.llm")

        def run(documents: Sequence[Document]) -> list[Document]:
            chunks = self.cut([labelled(one, self.metadata) for one in documents], embedder)
            if self.describe is not None and llm is not None:
                return described(chunks, self.describe, llm())
            return chunks

        return run

    def fingerprint(self, embedder: Any, llm: Any) -> str:
        """Changes when chunks or vectors would come out otherwise.

        Args:
            embedder: Its specification.
            llm: The language model's, which counts with `describe`.
        """
        spec = self.model_dump(mode="json", exclude={"path"}, exclude_defaults=True)
        parts = [3, spec, embedder, llm if self.describe else None]
        text = json.dumps(parts, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def labelled(document: Document, labels: Mapping[str, Mapping[str, Any]]) -> Document:
    """The document with the metadata of all patterns that its path matches, later ones last.

    Args:
        document: Its metadata say where it comes from: `path`, else `source`.
        labels: Pattern of paths (`people/*`), of which the end may match, to metadata.
    """
    path = str(document.metadata.get("path", document.metadata.get("source", "")))
    given: dict[str, Any] = {}
    for pattern, values in labels.items():
        if fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}"):
            given |= values
    return document.model_copy(update={"metadata": {**document.metadata, **given}})
