"""Reading files in another process, which a bad file may crash, stall or fill.

The process is started at the first file and used for the next ones; a thread that finds none free
starts another. It ends with this process. A file that it does not survive costs that file only.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from langchain_core.documents import Document

from rag.errors import LoadError

MEMORY = 3 * 2**30
"""Bytes of data of the process."""
START = 60
"""Seconds that the process may take until it is ready."""
WORKER = "rag.index.readers.worker"
"""The module that runs there."""


def read_apart(path: Path, name: str, seconds: int, warn: Callable[[str], None]) -> list[Document]:
    """As `rag.index.readers.read.read_here`, in another process.

    Args:
        path: The file.
        name: What citations call it.
        seconds: Of processor time at most; twice as many may pass.
        warn: Called with what could not be read.

    Raises:
        LoadError: The file cannot be read, or not within the limits.
    """
    process = None
    try:
        process = _borrow()
        answer = process.ask({"path": str(path), "name": name, "seconds": seconds}, 2 * seconds)
    except _Ended as error:
        raise LoadError(str(error), where=name) from None
    except BaseException:
        if process is not None:
            process.kill()
        raise
    _give_back(process)
    for text in answer["warnings"]:
        warn(text)
    if "error" in answer:
        raise LoadError(answer["error"], where=name)
    return [Document(page_content=text, metadata=known) for text, known in answer["documents"]]


class _Ended(Exception):  # noqa: N818 - why a process ended
    """A process ended without an answer."""


class _Process:
    def __init__(self) -> None:
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our module
            [sys.executable, "-m", WORKER, str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )
        self.owner = os.getpid()
        self._late = False
        self._answer(START)  # it has imported what it needs

    def ask(self, request: dict[str, object], seconds: float) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            _Ended: The process ended instead, for the reason given.
        """
        into = cast(IO[bytes], self._process.stdin)
        with contextlib.suppress(OSError):
            into.write(json.dumps(request).encode() + b"\n")
            into.flush()
        return self._answer(seconds)

    def _answer(self, seconds: float) -> dict[str, Any]:
        out = cast(IO[bytes], self._process.stdout)
        timer = threading.Timer(seconds, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            length = out.read(8)
            data = out.read(int.from_bytes(length, "big")) if len(length) == 8 else b""
        finally:
            timer.cancel()
        if data:
            return cast(dict[str, Any], json.loads(data))
        raise _Ended(_reason(self._process.wait(), seconds, late=self._late))

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let it end."""
        cast(IO[bytes], self._process.stdin).close()


def _reason(code: int, seconds: float, *, late: bool) -> str:
    killed = code == -getattr(signal, "SIGKILL", 9)
    if code == -getattr(signal, "SIGXCPU", 24) or (killed and late):
        return f"reading it takes more than {seconds / 2:.0f} seconds"
    if killed:
        return "reading it takes too much memory"
    if code == -getattr(signal, "SIGABRT", 6):  # what Rust and C++ do that get no memory
        return "its reader gave up, as where reading takes too much memory"
    return f"its reader crashed (exit code {code})"


_lock = threading.Lock()
_idle: list[_Process] = []


def _borrow() -> _Process:
    with _lock:
        # After a fork, processes belong to the parent.
        mine = [one for one in _idle if one.owner == os.getpid()]
        _idle[:] = mine[:-1]
    return mine[-1] if mine else _Process()


def _give_back(process: _Process) -> None:
    with _lock:
        _idle.append(process)


@atexit.register
def _close() -> None:
    with _lock:
        for process in _idle:
            if process.owner == os.getpid():
                process.close()
        _idle.clear()
