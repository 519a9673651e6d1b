"""Opening an encoder of the BERT family without sentence-transformers, whose import takes seconds.

Once per model it is compared with what sentence-transformers computes. The result is kept in the
cache folder by a digest of the model's files, so a changed file is compared anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.files import write_atomically
from rag.kvcache.native.linear import Unsupported
from rag.models.local.encoder.bert import Encoder
from rag.models.local.encoder.config import EncoderConfig
from rag.models.local.encoder.library import LibraryEncoder
from rag.models.local.encoder.native import NativeEncoder
from rag.models.local.encoder.tokens import Tokens
from rag.models.opening.weights import Weights, best_dtype, verdict_file

if TYPE_CHECKING:
    import torch

    from rag.models.opening.adapter import Adapter, Read

FORMAT = "1"
"""Raised when encoder or comparison change, so that models are compared anew."""


def open_native_encoder(
    folder: str,
    dtype: str,
    device: str,
    by_library: Callable[[], Any],
    adapter: Adapter | None = None,
) -> NativeEncoder | None:
    """Open a model that is proved, or prove it.

    Args:
        folder: With the files of a sentence-transformers model.
        dtype: Number format of the weights; `auto`: bfloat16 where the processor computes in it
            and the vectors stay near.
        device: Where it is to compute.
        by_library: Opens the same model as a `SentenceTransformer`, to compare with.
        adapter: Goes into the weights; `by_library` has it too.

    Returns:
        None where the model is of another family, is not in a local folder, or has files that are
        not read here: sentence-transformers opens it, or says what is wrong.
    """
    import torch

    path = Path(folder)
    if not path.is_dir():
        return None
    try:
        source = Weights(path, torch.float32, device)
        files = sorted({*path.glob("*.json"), *path.glob("*/*.json"), *source.files})
        if adapter is not None:
            files += adapter.files
        verdict = verdict_file("encoder", files, FORMAT)
        if not verdict.is_file():
            proved = _proved(path, source, by_library(), adapter)
            write_atomically(verdict, "null" if proved is None else proved.to_json())
        text = verdict.read_text()
        if text == "null":
            return None
        config = EncoderConfig.from_json(text)
        wanted = best_dtype(dtype, device)
        if dtype == "auto" and not config.bfloat16:
            wanted = torch.float32
        return _open(path, config, Weights(path, wanted, device), adapter)
    except Exception:  # noqa: BLE001 - whatever is wrong with a file, the library says it better
        return None


def _open(
    folder: Path, config: EncoderConfig, source: Weights, adapter: Adapter | None
) -> NativeEncoder:
    read: Read = source
    if adapter is not None:
        start = len(config.prefix)

        def read(name: str) -> torch.Tensor | None:
            return adapter.merged(name[start:], source(name))

    return NativeEncoder(Encoder(config, read), Tokens(folder, config.window))


def _proved(
    folder: Path, source: Weights, model: Any, adapter: Adapter | None
) -> EncoderConfig | None:
    """What the encoder must be told; None: it does not compute what the library does."""
    import torch

    from rag.models.local.encoder.proof import NEAR_HALF, agrees, describe

    theirs = LibraryEncoder(model, 8)
    try:
        config = replace(describe(model), prefix=source.prefix("embeddings.word_embeddings.weight"))
        if not agrees(_open(folder, config, source, adapter), theirs):
            return None
        half = _open(folder, config, Weights(folder, torch.bfloat16, "cpu"), adapter)
    except (Unsupported, AttributeError, KeyError, TypeError, ValueError):
        return None
    return replace(config, bfloat16=agrees(half, theirs, NEAR_HALF))
