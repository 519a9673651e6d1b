"""What holds for every composer; a new one is found here by itself."""

from __future__ import annotations

import pytest
import torch

from rag.kvcache.composers.registry import composers
from rag.kvcache.composition import Defaults
from rag.kvcache.decode import decode
from rag.kvcache.engine import KVEngine
from rag.kvcache.model import ModelView
from rag.testing.suites.composer import ComposerSuite
from tests.kvcache.helpers import CONTEXT, make_engine, prefill, shift

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
