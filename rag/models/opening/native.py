"""Opening a decoder of the Llama family without transformers, whose import alone takes a second.

Once per model it is compared with what transformers computes, weights, tokenizer and chat template
alike. The result is kept in the cache folder by a digest of the model's files, so a changed file is
compared anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError
from rag.files import write_atomically
from rag.kvcache.native.config import DecoderConfig
from rag.kvcache.native.decoder import Decoder
from rag.kvcache.native.linear import Unsupported
from rag.models.local.tokenizer import FastTokenizer
from rag.models.opening.weights import Weights, verdict_file

if TYPE_CHECKING:
    import torch

    from rag.models.opening.adapter import Adapter

FORMAT = "1"
"""Raised when decoder, tokenizer or comparison change, so that models are compared anew."""
_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_TEXTS = (
    "What's the capital of France?\n\n  Paris, \tnaïve café — 12,345.67!",
    "東京は日本の首都です。 Привет \U0001f642 \u200b\r\n",
    "<|im_start|>user\n<|im_end|></s><s>[INST] <|eot_id|><|endoftext|>",
)
_MESSAGES = (
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who\nasks?"}],
    [
        {"role": "user", "content": " One? "},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ],
)


def open_native(
    folder: str,
    dtype: torch.dtype,
    device: str,
    mapped: bool = False,
    adapter: Adapter | None = None,
) -> tuple[Decoder, FastTokenizer] | None:
    """Open a model that is proved, or prove it.

    Args:
        folder: With the files of transformers' `save_pretrained`.
        dtype: Number format of the weights.
        device: Where it is to compute.
        mapped: Leave the weights in their file where they have its number format.
        adapter: Goes into the weights. What is proved is the model without it: the computation is
            the same, whatever the weights are.

    Raises:
        ModelError: The adapter does not fit.

    Returns:
        None where the model is of another family, is not in a local folder, or has files that are
        not read here: transformers opens it, or says what is wrong.
    """
    path = Path(folder)
    if not path.is_dir():
        return None
    try:
        source = Weights(path, dtype, device, mapped)
        tokenizer = FastTokenizer(path)
        files = (*(path / name for name in _FILES), *source.files)
        verdict = verdict_file("native", files, FORMAT, dtype, device)
        if not verdict.is_file():
            config = _proved(folder, source, tokenizer, dtype, device)
            write_atomically(verdict, "null" if config is None else config.to_json())
        text = verdict.read_text()
        if text == "null":
            return None
        config = DecoderConfig.from_json(text)
        if adapter is None:
            return Decoder(config, source, fused=not mapped), tokenizer
        # Stored states are of the weights that computed them.
        config = replace(config, fingerprint=f"{config.fingerprint}+{adapter.digest()}")
        return Decoder(config, adapter.over(source), fused=not mapped), tokenizer
    except ModelError:
        raise
    except Exception:  # noqa: BLE001 - whatever is wrong with a file, transformers says it better
        return None


def _proved(
    folder: str, source: Weights, tokenizer: FastTokenizer, dtype: torch.dtype, device: str
) -> DecoderConfig | None:
    """What the decoder must be told; None: it does not compute what transformers does."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rag.kvcache.native.proof import agrees, describe
    from rag.kvcache.opening import open_library

    if not _same_tokens(tokenizer, AutoTokenizer.from_pretrained(folder)):
        return None
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
    view = open_library(model, folder)
    try:
        config = describe(view)
        return config if agrees(view, Decoder(config, source)) else None
    except (Unsupported, AttributeError, ValueError):
        return None


def _same_tokens(ours: FastTokenizer, theirs: Any) -> bool:
    """Whether texts, tokens and prompts are those of transformers' tokenizer."""
    for text in _TEXTS:
        for split in (True, False):
            how = {"add_special_tokens": False, "split_special_tokens": split}
            one, other = (each(text, return_offsets_mapping=True, **how) for each in (ours, theirs))
            if list(one["input_ids"]) != list(other["input_ids"]):
                return False
            if [*map(tuple, one["offset_mapping"])] != [*map(tuple, other["offset_mapping"])]:
                return False
            if ours.decode(one["input_ids"]) != theirs.decode(one["input_ids"]):
                return False
    if (ours.bos_token_id, ours.eos_token_id) != (theirs.bos_token_id, theirs.eos_token_id):
        return False
    if not ours.chat_template or not theirs.chat_template:
        return False
    return all(
        ours.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=thinks)
        == theirs.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinks
        )
        for messages in _MESSAGES
        for thinks in (False, True)
    )
