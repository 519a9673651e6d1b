"""Opening a language model: on this machine, written out or by transformers; or LangChain's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError, ModelError
from rag.flow.resources import Use
from rag.kvcache.native.decoder import Decoder
from rag.models.langchain import LangChainLLM
from rag.models.llm import LLM, HostedSpec, LLMSpec
from rag.models.local.model import LocalLLM
from rag.models.opening.adapter import Adapter
from rag.models.opening.find import ModelFiles, find_model, huge_pages, unreadable
from rag.models.opening.foreign import made
from rag.models.opening.gguf import library_folder
from rag.models.opening.native import open_native
from rag.models.opening.weights import best_device, best_dtype
from rag.models.profiles import local, window_of

if TYPE_CHECKING:
    from rag.kvcache.native.linear import Packed


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
    """Load a model from a folder, the hub, or a GGUF file, which is converted first.

    An adapter's folder opens the model that it is of, with the adapter in its weights.

    Raises:
        ModelError: There is no such model, it cannot be read, or it has no chat template.
    """
    files = find_model(spec.model, base)
    folder = library_folder(files)
    adapter = None if files.adapter is None else Adapter(files.adapter)
    huge_pages()
    import torch

    if spec.threads:
        torch.set_num_threads(spec.threads)
    device = best_device()
    dtype = best_dtype(spec.dtype, device)
    mapped = spec.weights != "full"
    model, tokenizer = open_native(folder, dtype, device, mapped, adapter) or _by_library(
        files, folder, dtype, device, adapter
    )
    if mapped and isinstance(model, Decoder):
        _quantize(model, spec.weights, files, folder, adapter)
    if not tokenizer.chat_template:
        raise ModelError(
            f"the model {files.name!r} has no chat template",
            fix="name an instruction-tuned model",
        )
    profile = local(files.name, model.config).but(spec.profile, base)
    return LocalLLM(
        files.name,
        model,
        tokenizer,
        window_of(spec.window, profile, model.config),
        kv=(spec.kv, base),
        salt=spec.salt,
        weights=spec.weights,
        buffers=spec.buffers,
        profile=profile,
    )


def _quantize(
    model: Decoder, weights: str, files: ModelFiles, folder: str, adapter: Adapter | None
) -> None:
    int4: Packed | None = None
    if weights == "int4" and files.gguf is not None and model.device.type == "cpu":
        from rag.models.opening.int4 import packed

        int4 = packed(files.gguf, Path(folder), model.config)
    if model.device.type != "cpu" or (weights == "int4" and int4 is None):
        from rag.kvcache.opening import not_quantized

        raise not_quantized(files.name, model.config.architecture, weights)
    model.quantize(int4 if int4 is None or adapter is None else _besides(int4, adapter))


def _besides(int4: Packed, adapter: Adapter) -> Packed:
    """The file's four bits of the weights that an adapter leaves as they are."""
    return lambda name: None if name in adapter else int4(name)


def _by_library(
    files: ModelFiles, folder: str, dtype: Any, device: str, adapter: Adapter | None
) -> tuple[Any, Any]:
    """Model and tokenizer of transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    except Exception as error:  # the libraries below raise of every kind
        raise unreadable(files, error) from error
    if adapter is not None:
        adapter.merge(model)
    return model.to(device).eval(), tokenizer
