"""Damage is found wherever it is, and what can be made anew is."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.errors import IndexStateError
from rag.index import Index
from rag.index.local.checksums import checksum
from rag.index.local.derived import Derived
from rag.index.types import IndexProblem
from rag.text.chunk import Chunk
from tests.index import index_scenario as scenario

FLIPS = 12
"""Bits that are flipped in each file."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with several commits, deletions, changed metadata, and derived data."""
    folder = tmp_path_factory.mktemp("made") / "index"
    with closing(scenario.writer(folder)) as index:
        for number in range(scenario.STEPS):
            scenario.step(index, number)
        scenario.put(index, "doc0", "keel lock ferry", "jetty", "anchor bridge", level=1)
        scenario.put(index, "doc0", "keel lock ferry", "jetty", "anchor bridge", level=2)
        lengths = Derived(
            "length",
            compute=lambda chunks: [bytes([len(chunk.text)]) for chunk in chunks],
            build=lambda data: [one[0] for one in data],
        )
        lengths.of(index)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "index"))


def verified(folder: Path) -> list[IndexProblem]:
    with closing(Index.open(folder)) as index:
        return index.verify()


def content(folder: Path) -> Any:
    """All that can be read from an index."""
    with closing(Index.open(folder)) as index:
        chunks = [(one.id, one.text, one.metadata) for one in next(index.batches(10_000))]
        with index._store.reader.vectors() as (_, snapshot):
            vectors = snapshot.matrix[snapshot.live.mask].copy()
        # Scores count deleted chunks until a rebuild, which damage may cause.
        words = sorted(str(hit.chunk.id) for hit in index.sparse(" ".join(scenario.WORDS), 1000))
        return chunks, vectors.tobytes(), words, [*index.sources()]


def texts_and_vectors(folder: Path) -> tuple[list[str], np.ndarray]:
    chunks, vectors, *_ = content(folder)
    return [text for _, text, _ in chunks], np.frombuffer(vectors, np.float32).reshape(
        -1, scenario.DIM
    )


def flip(file: Path, at: int, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1 << bit
    file.write_bytes(data)


def rebuild(folder: Path) -> list[str]:
    def embed(chunks: Sequence[Chunk]) -> np.ndarray:
        return scenario.vectors_of([chunk.text for chunk in chunks])

    with closing(Index.writer(folder, embedder="scripted", dim=scenario.DIM, embed=embed)) as index:
        return index.rebuild()


def files(folder: Path) -> list[str]:
    names = [
        str(one.relative_to(folder)) for one in sorted(folder.rglob("*")) if one.stat().st_size
    ]
    return [name for name in names if (folder / name).is_file()]


def test_an_index_as_it_was_written_has_no_problems(made: Path) -> None:
    assert verified(made) == []


def test_every_flipped_bit_is_found_or_changes_nothing(made: Path, tmp_path: Path) -> None:
    expected = content(made)
    chance = random.Random(0)  # noqa: S311 - to be repeated
    found: dict[str, int] = {}
    for name in files(made):
        for number in range(FLIPS):
            copy = Path(shutil.copytree(made, tmp_path / f"{number}" / name))
            flip(copy / name, chance.randrange((copy / name).stat().st_size), chance.randrange(8))
            try:
                seen = bool(verified(copy))
            except IndexStateError:
                seen = True
            if not seen:
                assert content(copy) == expected, name
            found[name] = found.get(name, 0) + seen
    assert found["vectors-1.f32"] == FLIPS


def damage(folder: Path, file: str, value: bytes) -> None:
    """Change one letter of a value where it stands in a file."""
    at = (folder / file).read_bytes().index(value)
    flip(folder / file, at, 0)


def test_a_changed_text_is_found_and_its_source_forgotten(folder: Path) -> None:
    damage(folder, "index.sqlite", b"keel lock ferry")
    of_index, of_source = [one.what for one in verified(folder)]
    assert "chunks_equal" in of_index
    assert of_source == "what is stored of doc0 is not what was written"
    before = content(folder)[0]
    assert rebuild(folder) == ["doc0"]
    assert verified(folder) == []
    assert content(folder)[0] == [one for one in before if one[2]["source"] != "doc0"]
    with closing(scenario.writer(folder)) as index:
        assert index.source("doc0") is None
        scenario.put(index, "doc0", "keel lock ferry")
        assert [hit.chunk.text for hit in index.sparse("keel ferry", 1)] == ["keel lock ferry"]


def test_changed_vectors_are_found_and_embedded_again(folder: Path) -> None:
    expected = content(folder)
    flip(folder / "vectors-1.f32", 70, 6)
    problems = verified(folder)
    assert [one.file for one in problems] == ["vectors-1.f32"]
    with (
        closing(scenario.writer(folder)) as index,
        pytest.raises(IndexStateError, match="rag index rebuild"),
    ):
        index.compact()  # a copy would pass for whole
    assert verified(folder) == problems
    with (
        closing(scenario.writer(folder)) as index,
        pytest.raises(IndexStateError, match="embedder"),
    ):
        index.rebuild()
    assert rebuild(folder) == []
    assert verified(folder) == []
    assert content(folder)[:2] == expected[:2]


def test_a_changed_segment_of_words_is_found_and_made_anew(folder: Path) -> None:
    expected = content(folder)
    name = next(name for name in files(folder) if name.endswith(".store"))
    flip(folder / name, 3, 1)
    assert [(one.file, one.what) for one in verified(folder)] == [(name, "the checksum is wrong")]
    assert rebuild(folder) == []
    assert verified(folder) == []
    assert content(folder)[:2] == expected[:2]


def test_a_source_whose_name_changed_is_forgotten(folder: Path) -> None:
    damage(folder, "index.sqlite", b"doc1")
    assert verified(folder)
    rebuild(folder)
    assert verified(folder) == []


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM segments WHERE start > 0",
        "UPDATE chunks SET row = row + 1000 WHERE row % 5 = 0",
    ],
)
def test_vectors_of_which_nothing_is_known_are_embedded_again(folder: Path, change: str) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite")) as db, db:
        db.create_function("checksum", -1, checksum, deterministic=True)
        db.execute(change)
    assert verified(folder)
    rebuild(folder)
    assert verified(folder) == []
    for text, vector in zip(
        texts_and_vectors(folder)[0], texts_and_vectors(folder)[1], strict=True
    ):
        assert np.allclose(vector, scenario.embed(text))


def test_derived_data_that_changed_are_not_used(folder: Path) -> None:
    calls: list[str] = []

    def compute(chunks: Sequence[Chunk]) -> list[bytes]:
        calls.extend(chunk.text for chunk in chunks)
        return [bytes([len(chunk.text)]) * 40 for chunk in chunks]

    def lengths() -> list[int]:
        with closing(Index.open(folder)) as index:
            derived = Derived("long", compute, lambda data: [one[7] for one in data])
            return derived.of(index)[1]

    expected = lengths()
    computed = len(calls)
    at = (folder / "derived.sqlite").read_bytes().index(bytes([expected[0]]) * 40)
    flip(folder / "derived.sqlite", at + 7, 0)
    assert "long of chunk" in " ".join(one.what for one in verified(folder))
    assert lengths() == expected
    assert len(calls) == computed + 1
    assert verified(folder) == []


def test_an_index_of_another_format_is_refused(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite")) as db:
        db.execute("PRAGMA user_version=1")
    with pytest.raises(IndexStateError, match=r"format 1.*\n.*into another folder"):
        Index.open(folder)
