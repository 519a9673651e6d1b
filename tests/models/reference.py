"""The default language model as transformers opens and runs it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from rag.models import LLM
from rag.models.local.model import LocalLLM
from rag.models.opening.find import find_model
from rag.models.opening.gguf import library_folder


def folder() -> Path:
    """Its files, as `from_pretrained` reads them."""
    return Path(library_folder(find_model(LLM.default, Path())))


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder()))


@cache
def model(dtype: torch.dtype = torch.bfloat16) -> Any:
    """Never given to the engine: it would install its attention."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(folder()), dtype=dtype).eval()


def by_library(window: int, dtype: torch.dtype = torch.bfloat16) -> LocalLLM:
    """Our engine around a model of transformers."""
    from transformers import AutoModelForCausalLM

    own = AutoModelForCausalLM.from_pretrained(str(folder()), dtype=dtype).eval()
    return LocalLLM("library", own, tokenizer(), window=window)


def next_logits(ids: list[int], dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """The logits behind each token by transformers: [tokens, vocabulary]."""
    with torch.inference_mode():
        logits: torch.Tensor = model(dtype)(torch.tensor([ids]), use_cache=False).logits[0]
        return logits.float()
