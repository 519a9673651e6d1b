"""CacheBlend: the tokens whose values at layer 1 change most."""

from __future__ import annotations

import torch

from rag.kvcache.buffer import KVBuffer
from rag.kvcache.composers.blend import Blend
from rag.kvcache.composers.repair import place
from rag.kvcache.composition import Composition
from rag.kvcache.engine import KVEngine
from rag.kvcache.layout import Layout
from rag.kvcache.passes import Pass, run
from rag.kvcache.report import Report
from tests.kvcache.helpers import (
    ALL,
    CHUNKS,
    CONTEXT,
    PREFIX,
    SUFFIX,
)


def test_the_values_that_change_most_are_chosen(engine: KVEngine) -> None:
    view = engine.view
    with torch.inference_mode():
        whole = KVBuffer(view.geometry, len(ALL))
        view.forward(Pass(torch.tensor(ALL), torch.arange(len(ALL)), whole))
        composition = Composition(
            view,
            engine.store,
            engine.keys,
            Layout(PREFIX, CHUNKS, SUFFIX),
            Report("blend", "exact"),
        )
        entries = run(composition.chunk_entries(), view.steps)
        placed = run(place(composition, entries), view.steps)
        context = slice(len(PREFIX), len(PREFIX) + len(CONTEXT))
        change = (whole.values[1] - placed.values[1])[:, context].square().sum((0, 2))
        chosen = run(Blend(fraction=0.25).choose(composition, placed), view.steps)
    rest = [place for place in range(len(CONTEXT)) if place not in chosen.tolist()]
    assert len(chosen) == -(-len(CONTEXT) // 4)
    assert change[chosen].min() >= change[rest].max() - 1e-6
