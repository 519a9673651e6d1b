"""The encoder by NumPy: the states that torch computes, and torch itself when it is worth it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rag.models.local.encoder import states
from rag.models.local.encoder.arrays import ArrayEncoder
from rag.models.local.encoder.config import EncoderConfig
from rag.models.local.encoder.native import NativeEncoder
from rag.models.local.encoder.states import Sparing
from rag.models.opening.weights import weight_files
from tests.models.test_encoder import TEXTS, cache, opened, proofs, saved

__all__ = ["cache"]


def two(folder: Path) -> tuple[NativeEncoder, NativeEncoder]:
    """One encoder by NumPy and one by torch."""
    by_torch = opened(folder).encoder
    assert isinstance(by_torch, NativeEncoder)
    arrays = ArrayEncoder(by_torch.config, weight_files(folder))
    return NativeEncoder(arrays, by_torch._tokens), by_torch


@pytest.mark.parametrize(
    ("pooling", "act"), [("mean", "gelu"), ("cls", "gelu_new"), ("mean", "relu")]
)
def test_it_computes_what_torch_does(pooling: str, act: str, tmp_path: Path, cache: Path) -> None:
    ours, theirs = two(saved(tmp_path, pooling=pooling, hidden_act=act))
    assert theirs.config.arrays
    assert np.allclose(
        ours.vectors(TEXTS, query=True), theirs.vectors(TEXTS, query=True), atol=1e-5
    )
    for one, other in zip(
        ours.tokens(TEXTS, query=False), theirs.tokens(TEXTS, query=False), strict=True
    ):
        assert one.shape == other.shape
        assert np.allclose(one, other, atol=1e-4)


def test_both_are_what_each_is_alone(tmp_path: Path, cache: Path) -> None:
    for encoder in two(saved(tmp_path)):
        vectors, tokens = encoder.both(TEXTS)
        assert np.array_equal(vectors, encoder.vectors(TEXTS, query=False))
        alone = encoder.tokens(TEXTS, query=False)
        assert all(np.array_equal(one, other) for one, other in zip(tokens, alone, strict=True))


def test_weights_in_another_format_are_left_to_torch(tmp_path: Path, cache: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = saved(tmp_path)
    file = folder / "model.safetensors"
    half = {name: weight.bfloat16() for name, weight in load_file(file).items()}
    save_file(half, file, metadata={"format": "pt"})
    opened(folder)
    (verdict,) = proofs(cache)
    assert not EncoderConfig.from_json(verdict.read_text()).arrays


def test_torch_takes_over_when_it_is_there_or_worth_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = two(saved(tmp_path))
    calls: list[str] = []

    def by_torch() -> Any:
        calls.append("opened")
        return theirs._encoder

    monkeypatch.setattr(states, "FEW", 40)
    monkeypatch.setattr(states, "sys", SimpleNamespace(modules={}))
    sparing = NativeEncoder(Sparing(ours._encoder, by_torch), ours._tokens)  # type: ignore[arg-type]
    short = ["The keeper opens the gate."]
    first = sparing.vectors(short, query=False)
    assert not calls
    for _ in range(9):
        again = sparing.vectors(short, query=False)
    assert calls == ["opened"]
    assert np.allclose(first, again, atol=1e-5)
    calls.clear()
    monkeypatch.setattr(states, "sys", SimpleNamespace(modules={"torch": torch}))
    at_once = NativeEncoder(Sparing(ours._encoder, by_torch), ours._tokens)  # type: ignore[arg-type]
    at_once.vectors(short, query=False)
    assert calls == ["opened"]


PROGRAM = """
import sys
from pathlib import Path
from rag.models import Embedder
found = Embedder.load({"model": sys.argv[1]}, base=Path())
print(found.embed_query("Who opens the gate?").shape, "torch" in sys.modules)
"""


def test_a_question_needs_no_torch(tmp_path: Path, cache: Path) -> None:
    folder = saved(tmp_path)
    opened(folder)
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.split("\n")[0] == "(32,) False"
