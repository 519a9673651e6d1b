"""Inverted lists: what searches find over them, and that they are derived and nothing more."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rag.cli.main import app
from rag.index import Index, SourceUpdate
from rag.index.local import build_lists, lists, nearest
from rag.index.types import IndexProblem
from rag.text.chunk import Chunk
from tests.index import index_scenario as scenario

COUNT = 4_003


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists from few vectors on."""
    monkeypatch.setattr(build_lists, "FROM", 2_000)
    monkeypatch.setattr(build_lists, "TAIL", 500)
    monkeypatch.setattr(nearest, "EXACT", 100)


def add(index: Index, uri: str, count: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, scenario.DIM))
    vectors = centres[draw.integers(0, 40, count)] + draw.standard_normal((count, scenario.DIM)) / 2
    plan = index.plan(uri, [Chunk(f"ferry {seed} {n}", {"n": n}) for n in range(count)])
    index.write([SourceUpdate(plan, vectors)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_lists, "FROM", 2_000)
        with closing(scenario.writer(folder)) as index:
            add(index, "a", COUNT, 1)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "index"))


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Vectors of each scan that is made one by one."""
    made: list[int] = []
    search = nearest.search

    def counted(matrix: np.ndarray, *arguments: Any) -> Any:
        made.append(len(matrix))
        return search(matrix, *arguments)

    monkeypatch.setattr(nearest, "search", counted)
    return made


def query(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(scenario.DIM).astype(np.float32)


def recall(index: Index, where: dict[str, Any] | None = None, k: int = 10) -> float:
    """Against all vectors, one by one."""
    with index._store.reader.vectors() as (connection, snapshot):
        chosen = snapshot.select(connection, where)
        found = 0
        for seed in range(40):
            vector = query(seed) / np.linalg.norm(query(seed))
            products = snapshot.matrix @ vector
            right = np.argsort(-np.where(chosen.mask, products, -np.inf))[:k]
            mine, scores = nearest.nearest(snapshot, vector, k, chosen)
            assert scores == pytest.approx(products[mine], abs=1e-6)
            assert chosen.mask[mine].all()
            found += len({*right.tolist()} & {*mine.tolist()})
    return found / 40 / k


def test_most_is_found_and_most_is_not_scanned(folder: Path, scans: list[int]) -> None:
    with closing(Index.open(folder)) as index:
        assert recall(index) >= 0.9
        assert {*scans} == {COUNT % 8}
        stats = index.stats()
        assert (stats.vectors, stats.lists and stats.lists.vectors) == ("lists", 4_000)
        assert stats.lists is not None
        assert [one.k for one in stats.lists.efforts] == [10, 100]
        assert all(one.recall >= 0.9 for one in stats.lists.efforts)
        assert index.verify() == []


@pytest.mark.parametrize("most", [3_000, 50])
def test_under_a_filter(folder: Path, scans: list[int], most: int) -> None:
    with closing(Index.open(folder)) as index:
        assert recall(index, {"n": {"$lt": most}}) >= (0.9 if most > 100 else 1)
    assert {*scans} == ({COUNT % 8} if most > 100 else {COUNT})


def test_deep_searches_scan_everything(folder: Path, scans: list[int]) -> None:
    with closing(Index.open(folder)) as index:
        assert len(index.dense(query(0), COUNT)) == COUNT
        assert recall(index, k=500) == 1
    assert {*scans} == {COUNT}


def test_what_is_added_or_deleted_since_is_seen_at_once(folder: Path) -> None:
    with closing(scenario.writer(folder)) as index:
        before = [hit.chunk.id for hit in index.dense(query(0), 20)]
        plan = index.plan("b", [Chunk("nearest")])
        index.write([SourceUpdate(plan, query(0)[None])])
        found = index.dense(query(0), 20)
        assert found[0].chunk.text == "nearest"
        assert [hit.chunk.id for hit in found[1:]] == before[:19]
        index.delete(["b"])
        assert [hit.chunk.id for hit in index.dense(query(0), 20)] == before
        index.delete(["a"])
        assert index.dense(query(0), 20) == []


def test_lists_grow_with_the_index(folder: Path) -> None:
    def listed() -> list[tuple[int, int]]:
        with closing(sqlite3.connect(folder / "index.sqlite")) as db:
            return db.execute("SELECT vectors, trained FROM lists").fetchall()

    for uri, count, expected in (
        ("b", 400, (4_000, 4_000)),
        ("c", 400, (4_800, 4_000)),
        ("d", 4_000, (8_800, 8_800)),
    ):
        with closing(scenario.writer(folder)) as index:
            add(index, uri, count, count)
        assert listed() == [expected], uri
        assert len([*folder.glob("lists-*")]) == 1
    with closing(scenario.writer(folder)) as index:
        index.delete(["a"])
        index.compact()
    assert listed() == [(4_800, 4_800)]
    with closing(Index.open(folder)) as index:
        assert recall(index) >= 0.9
        assert index.verify() == []


def damaged(file: Path, how: str) -> None:
    if how == "gone":
        file.unlink()
    elif how == "cut":
        os.truncate(file, file.stat().st_size // 2)
    else:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


@pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
def test_damaged_lists_are_not_used_and_built_again(
    folder: Path, how: str, scans: list[int]
) -> None:
    (file,) = folder.glob("lists-*")
    damaged(file, how)
    with closing(Index.open(folder)) as index:
        assert recall(index) == 1
        assert {*scans} == {COUNT}
        assert [one.file for one in index.verify()] == [file.name]
    scenario.writer(folder).close()
    with closing(Index.open(folder)) as index:
        assert index.verify() == []
        scans.clear()
        assert recall(index) >= 0.9
        assert {*scans} == {COUNT % 8}


def test_lists_that_find_too_little_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_lists, "TARGETS", {10: 1.1})
    for _ in range(2):
        with closing(scenario.writer(tmp_path)) as index:
            if index.source("a") is None:
                add(index, "a", COUNT, 1)
        with closing(Index.open(tmp_path)) as index:
            assert recall(index) == 1
            assert index.stats().vectors == "flat"
            (file,) = tmp_path.glob("lists-*")
            assert index.verify() == []
    assert file.name == "lists-2.faiss", "built once"


@pytest.mark.parametrize("moment", ["sync", "measured", "put"])
def test_a_kill_while_lists_are_built_leaves_the_old_ones(folder: Path, moment: str) -> None:
    (old,) = folder.glob("lists-*")
    if (child := os.fork()) == 0:
        target = lists.ListsFile if moment == "put" else build_lists
        setattr(target, moment, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        index = scenario.writer(folder)
        add(index, "b", 1_000, 2)
        index.close()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with closing(Index.open(folder)) as index:
        assert index.verify() == []
        assert index.stats().lists is not None
        assert recall(index) >= 0.9
        assert index.stats().chunks == COUNT + 1_000
    scenario.writer(folder).close()
    assert [*folder.glob("lists-*")] != [old]
    assert len([*folder.glob("lists-*")]) == 1


def test_a_full_disk_costs_the_lists_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build_lists, "sync", full)
    index = scenario.writer(tmp_path)
    add(index, "a", COUNT, 1)
    index.close()
    assert "No space left" in caplog.text
    problems: list[IndexProblem]
    with closing(Index.open(tmp_path)) as reader:
        problems = reader.verify()
        assert recall(reader) == 1
    assert problems == []


def test_the_command_shows_what_is_found(made: Path) -> None:
    shown = CliRunner().invoke(app, ["index", "stats", "--index", str(made)]).output
    assert "vectors in lists: 4000\n" in shown
    assert re.search(
        r"nearest 10: \d+ lists scanned, \d+ vectors .*, recall (1\.000|0\.9\d+)", shown
    )
