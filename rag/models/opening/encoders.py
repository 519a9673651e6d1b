"""Opening the encoders: embedders, cross-encoders, NLI models and sparse encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag.errors import ConfigError, ModelError
from rag.flow.resources import Use
from rag.models.embedder import Embedder, EmbedderSpec
from rag.models.langchain_embedder import LangChainEmbedder
from rag.models.local.embedder import LocalEmbedder
from rag.models.local.encoder.library import LibraryEncoder
from rag.models.local.encoder.proof import weights_digest
from rag.models.local.nli import LocalNLI
from rag.models.local.reranker import LocalCrossEncoder
from rag.models.local.sparse import LocalSparseEncoder
from rag.models.nli import NLI
from rag.models.opening.adapter import Adapter
from rag.models.opening.find import ModelFiles, find_model, huge_pages, unreadable, without_adapter
from rag.models.opening.foreign import made
from rag.models.opening.native_encoder import open_native_encoder
from rag.models.reranker import CrossEncoder
from rag.models.resource import ModelSpec
from rag.models.sparse import SparseEncoder


def open_embedder(spec: Any, base: Path) -> Embedder:
    """Open an embedder; an adapter's folder opens the model that it is of, with it in its weights.

    Args:
        spec: What `rag.flow.resources.parse` makes of a specification: an `EmbedderSpec`, a
            `Use`, LangChain `Embeddings`, or an open `Embedder`, which is returned.
        base: The folder that relative paths start from.

    Raises:
        ModelError: There is no such model, or it cannot be read.
        ConfigError: The specification describes no embedder.
    """
    if isinstance(spec, EmbedderSpec):
        return _local(spec, find_model(spec.model, base))
    if isinstance(spec, Use):
        return LangChainEmbedder(made(spec, str(Embedder.foreign)))
    if isinstance(spec, Embedder):
        return spec
    if isinstance(wrapped := getattr(spec, "embedder", None), Embedder):
        return wrapped
    if hasattr(spec, "embed_documents"):
        return LangChainEmbedder(spec)
    raise ConfigError(f"{spec!r} is no embedder", fix=f"give {Embedder.foreign}, or a name")


def _local(spec: EmbedderSpec, files: ModelFiles) -> LocalEmbedder:
    huge_pages()
    adapter = None if files.adapter is None else Adapter(files.adapter)

    def by_library(**how: Any) -> Any:
        model = _load("SentenceTransformer", files, **how)
        if adapter is not None:
            adapter.merge(model[0].auto_model)
        return model

    native = open_native_encoder(files.location, spec.dtype, by_library, adapter)
    if native is not None:
        return LocalEmbedder(native, f"{files.name}@{native.config.digest}")
    model = by_library(**({} if spec.dtype == "auto" else {"model_kwargs": {"dtype": spec.dtype}}))
    return LocalEmbedder(
        LibraryEncoder(model, spec.batch_size), f"{files.name}@{weights_digest(model)}"
    )


def open_cross_encoder(spec: ModelSpec | CrossEncoder, base: Path) -> CrossEncoder:
    """Open a cross-encoder of sentence-transformers.

    Raises:
        ModelError: There is no such model, or it cannot be read.
    """
    if isinstance(spec, CrossEncoder):
        return spec
    return LocalCrossEncoder(_load("CrossEncoder", without_adapter(find_model(spec.model, base))))


def open_nli(spec: ModelSpec | NLI, base: Path) -> NLI:
    """Open a cross-encoder of sentence-transformers that knows entailment.

    Raises:
        ModelError: There is no such model, or none of its labels is `entailment`.
    """
    if isinstance(spec, NLI):
        return spec
    files = without_adapter(find_model(spec.model, base))
    model = _load("CrossEncoder", files)
    labels = {name.lower(): number for number, name in model.config.id2label.items()}
    if "entailment" not in labels:
        raise ModelError(
            f"{files.name!r} has the labels {', '.join(labels)}, and not `entailment`",
            fix="name a model of natural language inference",
        )
    return LocalNLI(model, int(labels["entailment"]))


def open_sparse_encoder(spec: ModelSpec | SparseEncoder, base: Path) -> SparseEncoder:
    """Open a sparse encoder of sentence-transformers.

    Raises:
        ModelError: There is no such model, or it cannot be read.
    """
    if isinstance(spec, SparseEncoder):
        return spec
    files = without_adapter(find_model(spec.model, base))
    model = _load("SparseEncoder", files)
    return LocalSparseEncoder(model, f"{files.name}@{weights_digest(model)}")


def _load(kind: str, files: ModelFiles, **how: Any) -> Any:
    """A model of the class `kind` of sentence-transformers."""
    huge_pages()
    import sentence_transformers

    if files.gguf is not None:
        fix = "name a sentence-transformers model, such as all-minilm-l6-v2"
        raise ModelError("a GGUF file holds no encoder", where=str(files.gguf), fix=fix)
    try:
        return getattr(sentence_transformers, kind)(files.location, **how)
    except Exception as error:  # the libraries below raise of every kind
        raise unreadable(files, error) from error
