"""Opening a decoder without transformers: proved once, and again where a file has changed."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from rag.kvcache.native.decoder import Decoder
from rag.models import LLM, Prompt, Sampling
from rag.models.local.model import LocalLLM
from rag.models.local.tokenizer import FastTokenizer
from rag.models.opening.native import open_native
from rag.testing.tiny_models import config_of, tiny_model
from tests.models import reference

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>"]


def saved(folder: Path, name: str = "llama", template: str = TEMPLATE) -> Path:
    """A tiny model with a tokenizer of bytes, as transformers saves them."""
    alphabet = sorted(ByteLevel.alphabet())
    backend = Tokenizer(BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevelDecoder()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=SPECIAL[0], eos_token=SPECIAL[1]
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    config = config_of(name)
    config.vocab_size = len(tokenizer)
    tiny_model(config).save_pretrained(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def opens(folder: Path) -> bool:
    return open_native(str(folder), torch.float32, "cpu") is not None


def proofs(cache: Path) -> int:
    return len(list(cache.glob("native-*.json")))


def test_a_later_start_never_imports_transformers(llm: LocalLLM) -> None:
    """`llm` has proved the model, if nobody had before."""
    assert isinstance(llm.model, Decoder)
    program = (
        "import sys, asyncio\n"
        "from rag.models import LLM, Prompt, Sampling\n"
        "llm = LLM.load(LLM.default)\n"
        "prompt = Prompt('Who?', 'Answer.', ('The keeper.', 'The gate.'))\n"
        "from rag.kvcache.settings import ReuseSettings\n"
        "for mode in ('full', 'prefix', 'focus', 'parallel'):\n"
        "    asyncio.run(llm.generate(prompt, Sampling(max_tokens=2), ReuseSettings(mode)))\n"
        "asyncio.run(llm.score(prompt, ['Yes']))\n"
        "print('transformers' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "False", done.stderr


def test_tokens_and_prompts_are_those_of_transformers(llm: LocalLLM) -> None:
    ours, theirs = llm.tokenizer, reference.tokenizer()
    assert isinstance(ours, FastTokenizer)
    text = "Zürich 🚢 naïve\n\n  <|im_end|> 中文字 '12,5'"
    for split in (True, False):
        ids = theirs(text, add_special_tokens=False, split_special_tokens=split)["input_ids"]
        assert ours(text, split_special_tokens=split)["input_ids"] == ids
        for skip in (True, False):
            expected = theirs.decode(ids, skip_special_tokens=skip)
            assert ours.decode(ids, skip_special_tokens=skip) == expected
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    assert ours.apply_chat_template(messages, add_generation_prompt=True) == (
        theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    )


def test_states_are_stored_under_the_same_fingerprint(llm: LocalLLM) -> None:
    theirs = reference.by_library(512, llm.engine.view.geometry.dtype)
    assert llm.engine.view.fingerprint() == theirs.engine.view.fingerprint()


def test_the_number_format_is_part_of_the_fingerprint(tmp_path: Path, cache: Path) -> None:
    folder = str(saved(tmp_path / "model"))
    found = [open_native(folder, dtype, "cpu") for dtype in (torch.float32, torch.bfloat16)]
    prints = {one[0].config.fingerprint for one in found if one is not None}
    assert len(prints) == 2


@pytest.mark.parametrize("name", ["llama", "mistral-sliding", "smollm3-nope"])
def test_a_family_model_is_proved_once(name: str, tmp_path: Path, cache: Path) -> None:
    folder = saved(tmp_path / "model", name)
    assert opens(folder)
    assert opens(folder)
    assert proofs(cache) == 1


@pytest.mark.parametrize("name", ["phi3", "gemma2", "llama-dynamic-rope"])
def test_another_family_falls_through_and_is_not_compared_again(
    name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "model", name)
    assert not opens(folder)
    monkeypatch.setattr("rag.models.opening.native._proved", lambda *_: pytest.fail("compared"))
    assert not opens(folder)


def other_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATE + " ")


def other_weight(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\x3f")


def other_constant(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))


@pytest.mark.parametrize("change", [other_template, other_weight, other_constant])
def test_a_changed_file_is_compared_anew(
    change: Callable[[Path], None], tmp_path: Path, cache: Path
) -> None:
    folder = saved(tmp_path / "model")
    assert opens(folder)
    change(folder)
    assert opens(folder)
    assert proofs(cache) == 2


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)


def cleaned_spaces(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "clean_up_tokenization_spaces": 1}))


def refusing_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}")


@pytest.mark.parametrize(
    "change",
    [without_tokenizer, damaged_tokenizer, damaged_weights, cleaned_spaces, refusing_template],
)
def test_what_is_not_read_here_is_left_to_transformers(
    change: Callable[[Path], None], tmp_path: Path, cache: Path
) -> None:
    folder = saved(tmp_path / "model")
    assert opens(folder)
    change(folder)
    assert not opens(folder)


def test_a_damaged_verdict_is_left_to_transformers(tmp_path: Path, cache: Path) -> None:
    folder = saved(tmp_path / "model")
    assert opens(folder)
    (verdict,) = cache.glob("native-*.json")
    verdict.write_text("{}")
    assert not opens(folder)


def test_several_files_of_weights(tmp_path: Path, cache: Path) -> None:
    folder = saved(tmp_path / "model")
    config = config_of("llama")
    config.vocab_size = 258
    (folder / "model.safetensors").unlink()
    tiny_model(config).save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert opens(folder)


def test_it_answers_as_the_library_does(tmp_path: Path, cache: Path) -> None:
    folder = saved(tmp_path / "model")
    spec: Any = {"model": str(folder), "dtype": "float32"}
    native = LLM.load(spec)
    shutil.rmtree(cache)
    (folder / "chat_template.jinja").write_text(TEMPLATE + "{% generation %}{% endgeneration %}")
    library = LLM.load(spec)
    assert isinstance(native, LocalLLM)
    assert isinstance(library, LocalLLM)
    assert isinstance(native.model, Decoder)
    assert not isinstance(library.model, Decoder)
    prompt, sampling = Prompt("Who?", chunks=("A b c.", "d e")), Sampling(max_tokens=12)
    one, other = (asyncio.run(llm.generate(prompt, sampling)) for llm in (native, library))
    assert one == other


def test_templates_get_what_transformers_gives_them(tmp_path: Path) -> None:
    template = (
        "{%- for m in messages %}\n    {%- if loop.index > 9 %}{% break %}{% endif %}\n"
        "{{ m | tojson }} {{ m.content | tojson(indent=1) }}\n{% endfor %}"
        "{{ bos_token }}{{ eos_token }}{{ strftime_now('%Y')|length }}{{ tools is none }}{{ more }}"
    )
    folder = saved(tmp_path / "model", template=template)
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    messages = [{"role": "user", "content": "<é> &"}]
    expected = theirs.apply_chat_template(messages, tokenize=False, more=1)
    assert (
        FastTokenizer(folder).apply_chat_template(messages, add_generation_prompt=False, more=1)
        == expected
    )


def test_a_template_can_reach_nothing(tmp_path: Path) -> None:
    from jinja2.exceptions import SecurityError

    folder = saved(tmp_path / "model", template="{{ messages.__class__.__mro__ }}")
    with pytest.raises(SecurityError):
        FastTokenizer(folder).apply_chat_template([], add_generation_prompt=True)
