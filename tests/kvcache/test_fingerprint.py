"""A model is the same wherever it lies, and another as soon as one byte of it is."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing._internal.two_tensor import TwoTensor
from transformers import AutoModelForCausalLM

from rag.kvcache.fingerprint import fingerprint
from rag.testing.tiny_models import tiny_model


def of(model: Any) -> str:
    return fingerprint(model, model.config)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("llama")


def test_the_folder_and_the_library_do_not_matter(model: Any, tmp_path: Path) -> None:
    digests = set()
    for folder in ("here", "elsewhere"):
        model.save_pretrained(tmp_path / folder)
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / folder)
        assert loaded.config._name_or_path.endswith(folder)
        loaded.config.transformers_version = f"5.{folder}"
        loaded.config.dtype = None if folder == "here" else torch.float64
        loaded.config.use_cache = folder == "here"
        digests.add(of(loaded))
    assert digests == {of(model)}


def test_a_prompt_leaves_it_as_it_is(model: Any) -> None:
    dynamic = tiny_model("llama-dynamic-rope")
    before = of(dynamic)
    with torch.inference_mode():
        dynamic(torch.zeros(1, 600, dtype=torch.long))
    assert of(dynamic) == before


def one_weight(model: Any) -> None:
    """One that no sample at regular distances would see."""
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[37, 53] += 0.5


def a_buffer(model: Any) -> None:
    model.model.layers[0].mlp.get_buffer("qweight")[3] ^= 1


def the_format(model: Any) -> None:
    model.to(torch.bfloat16)


def a_name(model: Any) -> None:
    layers = model.model.layers
    layers[0], layers[1] = layers[1], layers[0]


def a_quantized_part(model: Any) -> None:
    model.extra = torch.nn.Parameter(TwoTensor(torch.ones(2), torch.zeros(2)), requires_grad=False)


def setting(name: str, value: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        setattr(model.config, name, value)

    return change


def theta(model: Any) -> None:
    model.config.rope_parameters = {"rope_type": "default", "rope_theta": 500000.0}


@pytest.mark.parametrize(
    "change",
    [
        one_weight,
        a_buffer,
        the_format,
        a_name,
        a_quantized_part,
        setting("rms_norm_eps", 1e-3),
        setting("hidden_act", "gelu"),
        theta,
    ],
)
def test_whatever_enters_the_states_changes_it(change: Callable[[Any], None], model: Any) -> None:
    other = deepcopy(model)
    other.model.layers[0].mlp.register_buffer("qweight", torch.arange(8, dtype=torch.int32))
    before = of(other)
    change(other)
    assert of(other) != before


def test_the_parts_of_quantized_tensors_are_told_apart(model: Any) -> None:
    digests = set()
    for scale in (0.0, 1.0):
        other = deepcopy(model)
        part = TwoTensor(torch.ones(2), torch.full((2,), scale))
        other.extra = torch.nn.Parameter(part, requires_grad=False)
        digests.add(of(other))
    assert len(digests) == 2
