"""What holds for every composer; a new one is found here by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rag.kvcache.composers.registry import composers
from rag.kvcache.decode import decode
from rag.kvcache.engine import KVEngine
from rag.kvcache.keys import Keys
from rag.kvcache.settings import ReuseSettings
from tests.kvcache.helpers import (
    ALL,
    CHUNKS,
    CONTEXT,
    PREFIX,
    SUFFIX,
    by_transformers,
    distance,
    make_engine,
    prefill,
)

MODES = list(composers())


def neutral(mode: str) -> dict[str, Any]:
    """Settings under which nothing is reweighted."""
    fields = composers()[mode].model_fields
    return {name: 1.0 for name in ("temperature", "scale") if name in fields}


@pytest.fixture(scope="module")
def llama() -> KVEngine:
    return make_engine("llama")


@pytest.mark.parametrize("mode", MODES)
def test_a_chunk_behind_the_prefix_alone_is_full(engine: KVEngine, mode: str) -> None:
    full = by_transformers(engine, [*PREFIX, *CHUNKS[0], *SUFFIX])
    for _ in ("cold", "warm"):
        done = prefill(engine, mode, CHUNKS[:1], **neutral(mode))
        assert distance(done.logits.float(), full) < 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_a_prompt_without_chunks_is_full(llama: KVEngine, mode: str) -> None:
    llama.store.clear()
    full = by_transformers(llama, [*PREFIX, *SUFFIX])
    nothing: list[list[list[int]]] = [[], [[]], [[], []]]
    for chunks in nothing:
        for suffix, prefix in ((SUFFIX, PREFIX), ([], [*PREFIX, *SUFFIX])):
            done = llama.prefill(prefix, chunks, suffix, ReuseSettings(mode))
            assert distance(done.logits, full) < 1e-3
            assert done.report.chunks == []


@pytest.mark.parametrize("mode", MODES)
def test_a_prompt_without_a_prefix(llama: KVEngine, mode: str) -> None:
    llama.store.clear()
    full = by_transformers(llama, [*CHUNKS[0], *SUFFIX])
    settings = ReuseSettings(mode, **neutral(mode))
    for _ in ("cold", "warm"):
        done = llama.prefill([], CHUNKS[:1], SUFFIX, settings)
        assert distance(done.logits, full) < 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_the_report_adds_up(llama: KVEngine, mode: str) -> None:
    llama.store.clear()
    kind = composers()[mode]
    for hit in (False, kind.stores != "nothing"):
        report = prefill(llama, mode).report
        assert (report.mode, report.kind, report.tokens) == (mode, kind.kind, len(ALL))
        assert [chunk.hit for chunk in report.chunks] == [hit] * len(CHUNKS)
        assert [chunk.tokens for chunk in report.chunks] == list(map(len, CHUNKS))
        assert report.reused + report.recomputed == len(CONTEXT)
        assert hit or report.recomputed == len(CONTEXT)
        assert {"recompute", "first_token"} <= report.milliseconds.keys()


@pytest.mark.parametrize("mode", MODES)
def test_another_salt_finds_nothing(llama: KVEngine, mode: str) -> None:
    llama.store.clear()
    prefill(llama, mode)
    other = KVEngine(llama.view, llama.store, Keys("llama", "another"))
    assert not any(chunk.hit for chunk in prefill(other, mode).report.chunks)
    assert not any(chunk.hit for chunk in prefill(llama.salted("third"), mode).report.chunks)


@pytest.mark.parametrize("mode", MODES)
def test_proposals_change_no_token(llama: KVEngine, mode: str) -> None:
    answers = []
    prefill(llama, mode)
    for draft in (0, 1, 3, 8):
        done = prefill(llama, mode, room=40)
        with torch.inference_mode():
            tokens = decode(llama.view, done, lambda x: int(x.argmax()), 30, CONTEXT, draft)
            answers.append(list(tokens))
    assert answers.count(answers[0]) == len(answers)
