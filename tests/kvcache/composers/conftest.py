"""An engine of every architecture that the cache must understand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rag.kvcache.engine import KVEngine
from tests.kvcache.helpers import make_engine
from tests.kvcache.models import CONFIGS


@pytest.fixture(params=CONFIGS, scope="session")
def opened(request: pytest.FixtureRequest) -> Iterator[KVEngine]:
    engine = make_engine(request.param)
    yield engine
    engine.store.close()


@pytest.fixture
def engine(opened: KVEngine) -> KVEngine:
    """One with an empty store."""
    opened.store.clear()
    return opened
