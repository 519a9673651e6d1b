"""GGUF files: converted once into safetensors, so that every later start takes a second."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from rag.errors import ModelError

FORMAT = "1"
"""Part of the folder's name: raised when what is written changes."""
STALE_SECONDS = 3600.0
"""A temporary folder this old belongs to a process that died."""


def cache_folder() -> Path:
    """Where converted models are kept: `RAG_CACHE_DIR`, or the user's cache folder."""
    import platformdirs

    given = os.environ.get("RAG_CACHE_DIR")
    return Path(given) if given else platformdirs.user_cache_path("modular-rag")


def converted(file: Path) -> Path:
    """A folder with the model of `file` that `from_pretrained` loads, made if there is none.

    The folder is named by the file's SHA-256 and appears whole or not at all, so that a crash
    or a second process leaves nothing half written.

    Raises:
        ModelError: The file is no GGUF model that transformers can read.
    """
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = cache_folder() / "models" / f"gguf-{FORMAT}-{digest[:32]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    try:
        _convert(file, temporary)
        for path in temporary.iterdir():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        try:
            temporary.rename(folder)
        except OSError:  # another process was first: its folder is as good
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _sweep(parent: Path) -> None:
    for path in parent.glob(".converting-*"):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _convert(file: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **place)
        model = AutoModelForCausalLM.from_pretrained(
            str(file.parent), dtype=torch.bfloat16, **place
        )
    except ImportError as error:
        raise ModelError(
            f"reading GGUF needs more packages: {error}",
            where=str(file),
            fix="pip install gguf accelerate",
        ) from error
    except Exception as error:  # whatever the readers make of a broken file
        raise ModelError(
            f"not a GGUF model that transformers can read: {str(error).splitlines()[0]}",
            where=str(file),
            fix="fetch the file again, or name another model",
        ) from error
    config = model.config
    # The weights are plain numbers now: what says otherwise would have them unpacked again.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    if config.tie_word_embeddings:
        tied.add("lm_head.weight")
    weights = {n: t.contiguous() for n, t in model.state_dict().items() if n not in tied}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
