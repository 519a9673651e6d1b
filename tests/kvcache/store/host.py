"""A machine with its own home and model folder: `python -m tests.kvcache.store.host MODEL URL`.

Prints for each chunk of a prompt whether its states were there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from rag.kvcache.settings import ReuseSettings
from rag.models import LLM, Prompt
from rag.models.llm import Sampling
from rag.testing.tiny_models import tiny_model

TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}assistant"
TEXTS = ("the tide comes twice a day", "bread needs an hour to rise", "the ferry leaves at nine")


def save_model(folder: Path) -> None:
    """A tiny model with a tokenizer of the words above, in a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted({"assistant", "user", "system", *" ".join(TEXTS).split()})
    vocabulary = {word: at for at, word in enumerate(["<unk>", "<s>", "</s>", *words])}
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    tiny_model("llama").save_pretrained(folder)


def main(model: str, url: str) -> None:
    """Ask one question over the texts."""
    llm = LLM.load({"model": model, "kv": {"memory": 0, "redis": url}})
    prompt = Prompt("when", "", TEXTS, numbered=False)
    done = asyncio.run(llm.generate(prompt, Sampling(max_tokens=1), ReuseSettings("concat")))
    llm.close()
    assert done.reuse is not None
    print(json.dumps([chunk["tier"] for chunk in done.reuse["chunks"]]))


if __name__ == "__main__":
    main(*sys.argv[1:])
