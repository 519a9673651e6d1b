"""APE is its dense reference, whatever T and S are."""

from __future__ import annotations

import pytest

from rag.kvcache.engine import KVEngine
from tests.kvcache.composers.dense import dense_logits
from tests.kvcache.helpers import distance, logits


@pytest.mark.parametrize(("t", "s"), [(0.7, 0.8), (1.0, 1.0)])
def test_ape_is_its_dense_reference(engine: KVEngine, t: float, s: float) -> None:
    assert (
        distance(logits(engine, "ape", temperature=t, scale=s), dense_logits(engine, t, s)) < 1e-3
    )


def test_calibrated_numbers_are_the_default(engine: KVEngine) -> None:
    defaults = engine.defaults
    assert (
        distance(logits(engine, "ape"), dense_logits(engine, defaults.temperature, defaults.scale))
        < 1e-3
    )
