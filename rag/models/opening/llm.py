"""Opening a language model: by transformers on this machine, or a LangChain chat model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag.errors import ConfigError, ModelError
from rag.flow.resources import Use
from rag.models.langchain import LangChainLLM
from rag.models.llm import LLM, HostedSpec, LLMSpec
from rag.models.local.model import LocalLLM
from rag.models.opening.find import find_model, huge_pages, unreadable
from rag.models.opening.foreign import made
from rag.models.opening.gguf import converted
from rag.models.profiles import local


def open_llm(spec: Any, base: Path) -> LLM:
    """Open a language model.

    Args:
        spec: What `rag.flow.resources.parse` makes of a specification: an `LLMSpec`, a `Use`, a
            LangChain chat model, or an open `LLM`, which is returned.
        base: The folder that relative paths start from.

    Raises:
        ModelError: There is no such model, it cannot be read, or it has no chat template.
        ConfigError: The specification describes no language model.
    """
    if isinstance(spec, LLMSpec):
        return open_local(spec, base)
    if isinstance(spec, Use):
        given = spec.profile if isinstance(spec, HostedSpec) else None
        return LangChainLLM(made(spec, str(LLM.foreign)), given, base)
    if isinstance(spec, LLM):
        return spec
    if isinstance(wrapped := getattr(spec, "llm", None), LLM):
        return wrapped
    if hasattr(spec, "astream"):  # a chat model, also one that is bound or has retries
        return LangChainLLM(spec)
    raise ConfigError(f"{spec!r} is no language model", fix=f"give a {LLM.foreign}, or a name")


def open_local(spec: LLMSpec, base: Path) -> LocalLLM:
    """Load a model of transformers, or of a GGUF file, which is converted first.

    Raises:
        ModelError: There is no such model, it cannot be read, or it has no chat template.
    """
    files = find_model(spec.model, base)
    folder = str(converted(files.gguf)) if files.gguf else files.location
    huge_pages()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if spec.threads:
        torch.set_num_threads(spec.threads)
    device = _device()
    dtype = _dtype(spec.dtype, device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    except Exception as error:  # the libraries below raise of every kind
        raise unreadable(files, error) from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"the model {files.name!r} has no chat template",
            fix="name an instruction-tuned model",
        )
    limit = int(getattr(model.config, "max_position_embeddings", 4096))
    profile = local(files.name, model.config).but(spec.profile, base)
    return LocalLLM(
        files.name,
        model.to(device).eval(),
        tokenizer,
        min(spec.window or profile.window or limit, limit),
        kv=(spec.kv, base),
        salt=spec.salt,
        int8=spec.int8,
        buffers=spec.buffers,
        profile=profile,
    )


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(name: str, device: str) -> Any:
    """The torch dtype of a name; `auto` is bfloat16 where the device computes in it."""
    import torch

    if name != "auto":
        return getattr(torch, name)
    if device == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16
