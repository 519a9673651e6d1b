"""An engine of every architecture that the cache must understand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rag.kvcache.composition import Defaults
from rag.kvcache.engine import KVEngine
from rag.testing.suites.composer import engine_of
from rag.testing.tiny_models import ARCHITECTURES
from tests.kvcache.helpers import shift


@pytest.fixture(params=ARCHITECTURES)
def engine(request: pytest.FixtureRequest) -> KVEngine:
    """One with an empty store, and a map for alignment."""
    engine = engine_of(request.param)
    engine.store.clear()
    return replace(engine, defaults=Defaults(alignment=shift(engine.view.geometry, 0.1)))
