"""Stored runs for the peers' behaviours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.flow.memory.checkpoints import Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[Checkpoints]:
    """Runs in a file of their own."""
    with Checkpoints(tmp_path / "runs") as opened:
        yield opened
