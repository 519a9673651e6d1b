"""The default: what measures best with what is known of the model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rag.kvcache.composition import Defaults
from rag.kvcache.engine import KVEngine
from rag.kvcache.prefilled import Prefilled
from tests.kvcache.helpers import CHUNKS, make_engine, prefill, shift


@pytest.fixture(scope="module")
def llama() -> KVEngine:
    return replace(make_engine("llama"), defaults=Defaults())


def two_orders(engine: KVEngine, mode: str, **settings: float) -> Prefilled:
    engine.store.clear()
    prefill(engine, mode, CHUNKS[::-1], **settings)
    return prefill(engine, mode, **settings)


@pytest.mark.parametrize("settings", [{"fraction": 0.3}, {}])
def test_without_a_map_it_is_craft(llama: KVEngine, settings: dict[str, float]) -> None:
    done = two_orders(llama, "auto", **settings)
    assert torch.equal(done.logits, two_orders(llama, "craft", **settings).logits)
    assert (done.report.mode, done.report.kind) == ("craft", "repaired")


@pytest.mark.parametrize("settings", [{"fraction": 0.3}, {}])
def test_with_a_map_it_is_align(llama: KVEngine, settings: dict[str, float]) -> None:
    mapped = replace(llama, defaults=Defaults(alignment=shift(llama.view.geometry, 0.1)))
    done = two_orders(mapped, "auto", **settings)
    assert torch.equal(done.logits, two_orders(mapped, "align", **settings).logits)
    assert (done.report.mode, done.report.kind) == ("align", "aligned")
