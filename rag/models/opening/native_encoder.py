"""Opening an encoder of the BERT family without sentence-transformers, whose import takes seconds.

Once per model it is compared with what sentence-transformers computes. The result is kept in the
cache folder by a digest of the model's files, so a changed file is compared anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.files import write_atomically
from rag.kvcache.native.linear import Unsupported
from rag.models.local.encoder.arrays import ArrayEncoder
from rag.models.local.encoder.bert import Encoder
from rag.models.local.encoder.config import EncoderConfig
from rag.models.local.encoder.library import LibraryEncoder
from rag.models.local.encoder.native import NativeEncoder
from rag.models.local.encoder.states import Sparing
from rag.models.local.encoder.tokens import Tokens
from rag.models.opening.weights import (
    Weights,
    best_device,
    best_dtype,
    verdict_file,
    weight_files,
)

if TYPE_CHECKING:
    import torch

    from rag.models.opening.adapter import Adapter, Read

FORMAT = "2"
"""Raised when encoder or comparison change, so that models are compared anew."""


def open_native_encoder(
    folder: str,
    dtype: str,
    by_library: Callable[[], Any],
    adapter: Adapter | None = None,
) -> NativeEncoder | None:
    """Open a model that is proved, or prove it.

    Args:
        folder: With the files of a sentence-transformers model.
        dtype: Number format of the weights; `auto`: bfloat16 where the processor computes in it
            and the vectors stay near.
        by_library: Opens the same model as a `SentenceTransformer`, to compare with.
        adapter: Goes into the weights; `by_library` has it too.

    Returns:
        None where the model is of another family, is not in a local folder, or has files that are
        not read here: sentence-transformers opens it, or says what is wrong.
    """
    path = Path(folder)
    if not path.is_dir():
        return None
    try:
        weights = weight_files(path)
        files = sorted({*path.glob("*.json"), *path.glob("*/*.json"), *weights})
        if adapter is not None:
            files += adapter.files
        verdict = verdict_file("encoder", files, FORMAT)
        if not verdict.is_file():
            proved = _proved(path, by_library(), adapter)
            write_atomically(verdict, "null" if proved is None else proved.to_json())
        text = verdict.read_text()
        if text == "null":
            return None
        config = EncoderConfig.from_json(text)
        states = partial(_by_torch, path, config, dtype, adapter)
        tokens = Tokens(path, config.window)
        if "torch" in sys.modules or not config.arrays or dtype == "bfloat16":
            return NativeEncoder(states(), tokens)
        return NativeEncoder(Sparing(ArrayEncoder(config, weights), states), tokens)
    except Exception:  # noqa: BLE001 - whatever is wrong with a file, the library says it better
        return None


def _by_torch(folder: Path, config: EncoderConfig, dtype: str, adapter: Adapter | None) -> Encoder:
    import torch

    device = best_device()
    wanted = best_dtype(dtype, device)
    if dtype == "auto" and not config.bfloat16:
        wanted = torch.float32
    return _encoder(config, Weights(folder, wanted, device), adapter)


def _encoder(config: EncoderConfig, source: Weights, adapter: Adapter | None) -> Encoder:
    read: Read = source
    if adapter is not None:
        start = len(config.prefix)

        def read(name: str) -> torch.Tensor | None:
            return adapter.merged(name[start:], source(name))

    return Encoder(config, read)


def _proved(folder: Path, model: Any, adapter: Adapter | None) -> EncoderConfig | None:
    """What the encoder must be told; None: it does not compute what the library does."""
    import torch

    from rag.models.local.encoder.proof import NEAR_HALF, agrees, describe

    theirs = LibraryEncoder(model, 8)
    source = Weights(folder, torch.float32, best_device())
    try:
        config = replace(describe(model), prefix=source.prefix("embeddings.word_embeddings.weight"))
        tokens = Tokens(folder, config.window)
        if not agrees(NativeEncoder(_encoder(config, source, adapter), tokens), theirs):
            return None
        half = _encoder(config, Weights(folder, torch.bfloat16, "cpu"), adapter)
    except (Unsupported, AttributeError, KeyError, TypeError, ValueError):
        return None
    return replace(
        config,
        bfloat16=agrees(NativeEncoder(half, tokens), theirs, NEAR_HALF),
        arrays=adapter is None and _agree_arrays(config, source.files, tokens, theirs),
    )


def _agree_arrays(
    config: EncoderConfig, files: list[Path], tokens: Tokens, theirs: LibraryEncoder
) -> bool:
    from rag.models.local.encoder.proof import agrees

    try:
        return agrees(NativeEncoder(ArrayEncoder(config, files), tokens), theirs)
    except Unsupported:
        return False
