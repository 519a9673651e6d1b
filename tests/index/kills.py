"""Work on an index that is killed at random calls, in processes that are forked for it."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any


def killed_runs(base: Path, work: Callable[[Path], object], kills: int) -> None:
    """Do the work in `counted`, and begin it in `killed0`, `killed1`, ..., in this process's forks.

    A fresh process would spend its time on imports. Printed is how many were killed.

    Args:
        base: Has these folders.
        work: What is done with one.
        kills: How many are killed, each at a call that is drawn at random.
    """

    def fork(name: str, calls: int) -> int:
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writing, str(_run_and_die(work, base / name, calls)).encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return 0 if os.WIFSIGNALED(status) else int(pipe.read())

    calls = fork("counted", 0)
    draw = random.Random(7)  # noqa: S311 - to be repeated
    made = [fork(f"killed{number}", draw.randint(1, calls)) for number in range(kills)]
    print(made.count(0))


def _run_and_die(work: Callable[[Path], object], folder: Path, calls: int) -> int:
    """Work, but be killed at a call of this thread; returns the calls made, if not."""
    made = 0

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal made
        if event in ("call", "c_call") and "rag.index" in frame.f_globals.get("__name__", ""):
            made += 1
            if made == calls:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    work(folder)
    sys.setprofile(None)
    return made
