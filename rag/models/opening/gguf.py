"""GGUF files: converted once into safetensors, so that every later start takes a second."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from rag.errors import ModelError
from rag.files import sync, sync_folder
from rag.models.opening.find import ModelFiles
from rag.paths import cache_folder

FORMAT = "1"
"""Part of the folder's name; raised when the conversion changes."""
STALE_SECONDS = 3600.0
"""A temporary folder this old belongs to a process that died."""


def library_folder(files: ModelFiles) -> str:
    """What `from_pretrained` opens a model from: a folder, or a hub id.

    Raises:
        ModelError: See `converted`.
    """
    return files.location if files.gguf is None else str(converted(files.gguf))


def converted(file: Path) -> Path:
    """A folder from which `from_pretrained` loads the model of `file`; converts it the first time.

    The folder is named by the file's SHA-256 and appears complete or not at all, whatever crashes
    and however many processes convert the same file.

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
            sync(path)
        try:
            temporary.rename(folder)
        except OSError:  # another process was first: its folder is as good
            if not folder.is_dir():
                raise
        sync_folder(folder.parent)
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

    source: dict[str, Any] = {"gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **source)
        model = AutoModelForCausalLM.from_pretrained(
            str(file.parent), dtype=torch.bfloat16, **source
        )
    except ImportError as error:
        raise ModelError(
            f"reading GGUF needs more packages: {error}",
            where=str(file),
            fix="pip install gguf accelerate",
        ) from error
    except Exception as error:  # the readers raise of every kind for a broken file
        raise ModelError(
            f"not a GGUF model that transformers can read: {str(error).splitlines()[0]}",
            where=str(file),
            fix="download the file again, or name another model",
        ) from error
    config = model.config
    # The weights are dequantised now; this field would have them dequantised again.
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
