"""Work that is shared out: in order, within bounds, nothing lost and nothing twice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import LoadError
from rag.index.ingest.mapper import Lost, Mapper, WorkerLost
from rag.index.ingest.workers import ProcessWorker, ThreadWorker


class Counting:
    """Gives numbers, as many as the item says."""

    def upto(self, item: int) -> Iterator[tuple[int, int]]:
        for number in range(item):
            yield item, number

    def fails(self, item: int) -> Iterator[int]:
        if item == 2:
            raise LoadError("two", where="there")
        yield item


class Deadly:
    """Ends its process: once for each item of which a file does not tell yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def upto(self, item: tuple[int, str]) -> Iterator[tuple[int, int, int]]:
        count, name = item
        marker = self.folder / name
        for number in range(count):
            if number == count // 2 and (name == "always" or not marker.exists()):
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield count, number, os.getpid()


class Open:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> Deadly:
        return Deadly(self.folder)


@given(
    st.lists(st.integers(0, 4), max_size=12), st.integers(1, 4), st.integers(1, 6),
    st.integers(0, 3),
)  # fmt: skip
def test_results_come_in_the_order_of_the_items(
    items: list[int], workers: int, room: int, weight: int
) -> None:
    with Mapper(lambda: ThreadWorker(Counting()), workers) as mapper:
        found = list(mapper.map("upto", items, weigh=lambda _: weight, room=room))
    assert found == [pair for item in items for pair in Counting().upto(item)]


def test_what_the_work_raises_comes_in_its_turn() -> None:
    with Mapper(lambda: ThreadWorker(Counting()), 3) as mapper:
        results = mapper.map("fails", range(5))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(LoadError, match="two"):
            next(results)


def test_what_the_items_raise_comes_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LoadError("no more")

    with Mapper(lambda: ThreadWorker(Counting()), 2) as mapper:
        results = mapper.map("upto", items())
        assert next(results) == (1, 0)
        with pytest.raises(LoadError, match="no more"):
            next(results)


def test_no_more_is_begun_than_there_is_room_for() -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            begun.append(number)
            yield 1

    with Mapper(lambda: ThreadWorker(Counting()), 2) as mapper:
        results = mapper.map("upto", items(), weigh=lambda _: 4, room=10)
        for taken in range(1, 50):
            next(results)
            # Two results of 5 fill the room, and two workers may be at one more each.
            assert len(begun) <= taken + 4


def test_what_is_urgent_comes_before_what_was_begun() -> None:
    gate = threading.Event()
    done: list[str] = []

    class Work:
        def wait(self, item: str) -> Iterator[str]:
            gate.wait()
            done.append(item)
            yield item

    with Mapper(lambda: ThreadWorker(Work()), 1) as mapper:
        plain = mapper.map("wait", ["a", "b", "c"])
        urgent = mapper.map("wait", ["x", "y"], urgent=True)
        gate.set()
        assert list(urgent) == ["x", "y"]
        assert list(plain) == ["a", "b", "c"]
    assert done.index("x") <= 1
    assert done.index("y") <= 2


def test_a_caller_that_stops_does_not_hold_up_the_next(tmp_path: Path) -> None:
    with Mapper(lambda: ThreadWorker(Counting()), 2) as mapper:
        results = mapper.map("upto", [3] * 50, room=2)
        next(results)
        results.close()
        assert list(mapper.map("upto", [1])) == [(1, 0)]


def test_a_worker_that_cannot_be_started_is_the_callers_error() -> None:
    def start() -> Any:
        raise LoadError("no worker")

    with Mapper(start, 2) as mapper, pytest.raises(LoadError, match="no worker"):
        list(mapper.map("upto", [1]))


def test_what_a_killed_process_had_to_do_is_done_again(tmp_path: Path) -> None:
    """Its results so far are neither lost nor given twice; one that kills always is given up."""
    items = [(4, "a"), (3, "always"), (5, "b"), (1, "c")]
    with Mapper(lambda: ProcessWorker(Open(tmp_path), 1), 2) as mapper:
        found = list(mapper.map("upto", items))
    lost = [one for one in found if isinstance(one, Lost)]
    assert lost == [Lost((3, "always"), "its process was ended by SIGKILL")]
    numbers = [one[:2] for one in found if not isinstance(one, Lost)]
    expected = [(4, n) for n in range(4)] + [(3, 0)] + [(5, n) for n in range(5)] + [(1, 0)]
    assert numbers == expected
    assert os.getpid() not in {one[2] for one in found if not isinstance(one, Lost)}


def test_an_error_of_a_process_comes_back_whole(tmp_path: Path) -> None:
    with Mapper(lambda: ProcessWorker(Counting, 1), 1) as mapper:
        results = mapper.map("fails", [1, 2, 3])
        assert next(results) == 1
        with pytest.raises(LoadError, match="two") as caught:
            next(results)
        assert caught.value.where == "there"


def test_closing_ends_the_processes() -> None:
    made: list[ProcessWorker] = []

    def start() -> ProcessWorker:
        made.append(ProcessWorker(Counting, 1))
        return made[-1]

    with Mapper(start, 1) as mapper:
        results = mapper.map("upto", [1_000_000], room=3)
        next(results)
    assert made[0]._process.exitcode == -signal.SIGKILL
    with pytest.raises(WorkerLost):
        list(made[0].run("upto", 1))
