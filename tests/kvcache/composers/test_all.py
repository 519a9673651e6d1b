"""What holds for every composer; a new one is found here by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch

from rag.kvcache.composers.registry import composers
from rag.kvcache.composition import Defaults
from rag.kvcache.decode import decode
from rag.kvcache.engine import KVEngine
from rag.kvcache.model import ModelView
from rag.kvcache.store import DiskTier, KVStore, MemoryTier
from rag.kvcache.store.base import Found, Miss, Tier
from rag.testing.suites.composer import ComposerSuite
from tests.kvcache.helpers import CHUNKS, CONTEXT, make_engine, prefill, shift

MODES = list(composers())
EVERYTHING = {"craft": {"alpha": 1e9, "fraction": 1.0}, "epic": {"first": 1000}}
"""Settings with which a composer computes everything again, where `fraction` alone does not."""
ALONE = {"ape": {"temperature": 1.0, "scale": 1.0}}
"""Settings with which nothing is reweighted."""


class Conforms(ComposerSuite):
    def defaults(self, view: ModelView) -> Defaults:
        return Defaults(alignment=shift(view.geometry, 0.1))


for mode in MODES:
    attributes = {
        "mode": mode,
        "everything": EVERYTHING.get(mode),
        "alone": ALONE.get(mode, {}),
        "__module__": __name__,
    }
    name = f"Test{mode.title()}"
    globals()[name] = type(name, (Conforms,), attributes)


@pytest.fixture(scope="module")
def llama() -> KVEngine:
    return make_engine("llama")


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


class Recorded(KVStore):
    """Records which look-ups were not read ahead."""

    def __init__(self, tiers: Sequence[Tier]) -> None:
        super().__init__(tiers)
        self.announced, self.late = set[str](), list[int]()

    def prefetch(self, keys: Iterable[str]) -> None:
        found = list(keys)
        self.announced.update(found)
        super().prefetch(found)

    def get(self, key: str, ids: Sequence[int]) -> Found | Miss:
        if key not in self.announced:
            self.late.append(len(ids))
        return super().get(key, ids)


@pytest.mark.parametrize("mode", [mode for mode in MODES if composers()[mode].stores != "nothing"])
def test_chunks_are_read_ahead(mode: str, tmp_path: Path) -> None:
    store = Recorded([MemoryTier(0), DiskTier(tmp_path)])
    llama = make_engine("llama", store)
    prefill(llama, mode)
    store.flush()
    store.announced.clear()
    store.late.clear()
    report = prefill(llama, mode).report
    assert all(chunk.hit for chunk in report.chunks)
    assert not set(store.late) & set(map(len, CHUNKS))
    store.close()
