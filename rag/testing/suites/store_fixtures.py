"""What the tests of a store are made of: fixtures, and short ways to write and to search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from rag.index import Hit, Index, SourceUpdate, WriteReport
from rag.index.store import Address
from rag.testing.encoders import ScriptedEmbedder
from rag.text.chunk import Chunk

Reader = Callable[[], Index]
EMBEDDER = ScriptedEmbedder(16)


class StoreFixtures:
    """Where the tests of a store get their indexes from."""

    shared: bool = True
    nul: bool = True

    @pytest.fixture
    def address(self, tmp_path: Path) -> Address:
        """Where there is no index yet, for each test another."""
        raise NotImplementedError("override the fixture address")

    def age(self, address: Address) -> None:
        """Let the index at an address be of an older format, behind the store's back."""
        raise NotImplementedError("override age")

    @pytest.fixture
    def opened(self) -> Iterator[list[Index]]:
        """The indexes that a test has opened, which are closed behind it."""
        opened: list[Index] = []
        yield opened
        for index in opened:
            index.close()

    @pytest.fixture
    def reader(self, opened: list[Index], address: Address) -> Reader:
        """What opens the index for reading."""

        def make() -> Index:
            opened.append(Index.open(address))
            return opened[-1]

        return make

    @pytest.fixture
    def index(self, opened: list[Index], address: Address) -> Index:
        """The index, empty, open for writing."""
        opened.append(Index.writer(address, embedder="scripted", dim=16))
        return opened[-1]


def vector(text: str) -> np.ndarray:
    """What a text is embedded as: float32 [16]."""
    return np.asarray(EMBEDDER.embed([text])[0])


def update(index: Index, uri: str, chunks: Sequence[Chunk | str]) -> SourceUpdate:
    """The update that makes a source consist of these chunks."""
    plan = index.plan(uri, [Chunk(one) if isinstance(one, str) else one for one in chunks])
    return SourceUpdate(plan, EMBEDDER.embed([chunk.text for chunk in plan.new]))


def put(index: Index, uri: str, *chunks: Chunk | str) -> WriteReport:
    """Make a source consist of these chunks."""
    return index.write([update(index, uri, chunks)])


def texts_of(found: Sequence[Chunk | Hit]) -> list[str]:
    """The texts of chunks, or of those that were found."""
    return [one.chunk.text if isinstance(one, Hit) else one.text for one in found]
