import fcntl
import importlib
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from rag import locks
from rag.locks import FileLock

HOLD = """
import pathlib, sys
from rag.locks import FileLock
lock = FileLock(pathlib.Path(sys.argv[1]), remove=len(sys.argv) > 2)
lock.acquire()
print("held", flush=True)
input()
lock.release()
"""


@contextmanager
def holder(path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it reads a line or dies."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_holder_among_processes(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with holder(lock.path) as other:
        assert not lock.acquire(blocking=False)
        assert lock.holder() == str(other.pid)
        other.communicate("\n")
        assert lock.acquire(blocking=False)
        assert lock.holder() == str(os.getpid())
    lock.release()


def test_death_of_the_holder_releases(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with holder(lock.path) as other:
        assert not lock.acquire(blocking=False)
        other.kill()
        other.wait()
        assert lock.acquire(blocking=False)
    lock.release()


def test_one_holder_among_threads(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    taken = threading.Event()
    order = []

    def wait() -> None:
        with second:
            order.append("second")
            taken.set()

    with first:
        assert not second.acquire(blocking=False)
        thread = threading.Thread(target=wait)
        thread.start()
        order.append("first")
    assert taken.wait(60)
    thread.join()
    assert order == ["first", "second"]


def test_object_is_not_reentrant(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as lock, pytest.raises(RuntimeError, match="already"):
        lock.acquire(blocking=False)
    lock.release()
    assert lock.acquire(blocking=False)
    lock.release()


def test_who_waited_on_a_removed_file_takes_the_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waiting, former = FileLock(path), FileLock(path, remove=True)
    former.acquire()
    opened = threading.Event()
    real = locks._lock

    def lock(file: int, *, blocking: bool) -> bool:
        opened.set()
        return real(file, blocking=blocking)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "_lock", lock)
        thread = threading.Thread(target=waiting.acquire)
        thread.start()
        assert opened.wait(60)  # it has opened the file that is about to go
        former.release()
        thread.join()
    assert path.exists()
    assert not FileLock(path).acquire(blocking=False)
    waiting.release()


def _count(folder: Path, rounds: int) -> None:
    """Increments of a number in a file, which are lost if two processes are in at once."""
    counter = folder / "counter"
    for _ in range(rounds):
        with FileLock(folder / "lock", remove=True):
            counter.write_text(str(int(counter.read_text()) + 1))


def test_processes_that_remove_the_lock_file_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_count, args=(tmp_path, 200)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "counter").read_text() == "600"
    assert not (tmp_path / "lock").exists()


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "none" / "lock").acquire()
    assert FileLock(tmp_path / "none" / "lock").holder() == "unknown"


def test_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other half of the module, over a `msvcrt` made of POSIX calls."""
    msvcrt = ModuleType("msvcrt")

    def locking(file: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        assert os.lseek(file, 0, os.SEEK_CUR) > 1000  # the text of the file stays readable
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    msvcrt.__dict__.update(locking=locking, LK_NBLCK=2)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "msvcrt", msvcrt)
        patch.setitem(sys.modules, "fcntl", None)
        patch.setattr(sys, "platform", "win32")
        windows = importlib.reload(locks)
    try:
        lock, other = (windows.FileLock(tmp_path / "lock") for _ in range(2))
        assert lock.acquire()
        assert lock.holder() == str(os.getpid())
        assert not other.acquire(blocking=False)
        thread = threading.Thread(target=other.acquire)
        thread.start()
        lock.release()
        thread.join()
        assert not lock.acquire(blocking=False)
        other.release()
    finally:
        importlib.reload(locks)
