"""Adapters of low rank: merged as they are opened, whatever opens the model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rag.errors import ModelError
from rag.kvcache.native.decoder import Decoder
from rag.models import LLM, Embedder, Prompt, Sampling
from rag.models.local.model import LocalLLM
from rag.models.opening.adapter import Adapter
from rag.models.opening.find import find_model
from tests.models.test_native import saved

PROMPT = Prompt("Who may open the gate?", "Answer.", ("The keeper may.", "It is old."))
TARGET = "model.layers.1.mlp.up_proj"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "cache"))


def adapter(folder: Path, base: str, **settings: Any) -> Path:
    """An adapter of one weight of the tiny model, in PEFT's format."""
    folder.mkdir()
    config = {
        "peft_type": "LORA", "base_model_name_or_path": base, "r": 2, "lora_alpha": 4,
        "target_modules": ["layers.1.mlp.up_proj"],
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))
    torch.manual_seed(1)
    name = f"base_model.model.{TARGET}.lora"
    pair = {f"{name}_A.weight": torch.randn(2, 64), f"{name}_B.weight": torch.randn(96, 2)}
    save_file(pair, folder / "adapter_model.safetensors")
    return folder


def test_it_opens_as_a_model_whose_weights_have_the_sum(tmp_path: Path) -> None:
    saved(tmp_path / "base")
    reader = adapter(tmp_path / "reader", "../base")
    base, trained = (
        LLM.load({"model": name, "dtype": "float32"}, base=tmp_path) for name in ("base", "reader")
    )
    assert isinstance(base, LocalLLM)
    assert isinstance(trained, LocalLLM)
    assert isinstance(trained.model, Decoder)
    assert trained.id == "reader"
    pair = load_file(reader / "adapter_model.safetensors")
    down, up = (pair[f"base_model.model.{TARGET}.lora_{one}.weight"] for one in "AB")
    before, after = (one.model.layers[1].gate_up.parts[0][96:] for one in (base, trained))
    torch.testing.assert_close(after, before + 2 * up @ down)
    untouched = [one.model.layers[1].gate_up.parts[0][:96] for one in (base, trained)]
    assert torch.equal(*untouched)
    assert base.engine.view.fingerprint() != trained.engine.view.fingerprint()
    answers = [asyncio.run(one.generate(PROMPT, Sampling(max_tokens=8))).text
               for one in (base, trained)]  # fmt: skip
    assert answers[0] != answers[1]


def test_another_adapter_has_other_states(tmp_path: Path) -> None:
    saved(tmp_path / "base")
    first = adapter(tmp_path / "first", "../base")
    second = adapter(tmp_path / "second", "../base", lora_alpha=8)
    assert Adapter(first).digest() != Adapter(second).digest()


def test_by_the_library_it_is_the_same(tmp_path: Path) -> None:
    """A model that is not written out is opened by transformers."""
    saved(tmp_path / "base", "llama-dynamic-rope")
    adapter(tmp_path / "reader", str(tmp_path / "base"))
    base, trained = (
        LLM.load({"model": name, "dtype": "float32"}, base=tmp_path) for name in ("base", "reader")
    )
    assert isinstance(base, LocalLLM)
    assert isinstance(trained, LocalLLM)
    assert not isinstance(trained.model, Decoder)
    weights = [one.model.get_parameter(f"{TARGET}.weight") for one in (base, trained)]
    assert not torch.equal(*weights)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_peft_computes_the_same(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    saved(tmp_path / "base")
    reader = adapter(tmp_path / "reader", str(tmp_path / "base"))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(plain, str(reader)).merge_and_unload()
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    Adapter(reader).merge(ours)
    ids = torch.arange(3, 20)[None]
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"base_model_name_or_path": None}, "no base model"),
        ({"r": None}, "cannot be read"),
    ],
)
def test_another_kind_of_adapter_is_refused(
    settings: dict[str, Any], what: str, tmp_path: Path
) -> None:
    saved(tmp_path / "base")
    adapter(tmp_path / "reader", "../base", **settings)
    with pytest.raises(ModelError, match=what):
        LLM.load("reader", base=tmp_path)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "base")
    reader = adapter(tmp_path / "reader", "../base")
    other = {f"base_model.model.{TARGET}.lora_{one}.weight": torch.zeros(*shape)
             for one, shape in (("A", (2, 32)), ("B", (96, 2)))}  # fmt: skip
    save_file(other, reader / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="another shape"):
        LLM.load("reader", base=tmp_path)


def test_a_damaged_adapter_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "base")
    reader = adapter(tmp_path / "reader", "../base")
    (reader / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="cannot be read"):
        LLM.load("reader", base=tmp_path)


def test_an_adapter_of_another_model_is_no_embedder_and_has_no_adapter(tmp_path: Path) -> None:
    saved(tmp_path / "base")
    adapter(tmp_path / "reader", "../base")
    with pytest.raises(ModelError, match="does not fit"):
        Embedder.load("reader", base=tmp_path)
    adapter(tmp_path / "again", "../reader")
    with pytest.raises(ModelError, match="no model by itself"):
        find_model("again", tmp_path)
