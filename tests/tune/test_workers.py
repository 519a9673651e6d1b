"""The processes of `rag tune --workers`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import Any

import pytest

from rag.tune.job import end_with_parent

SPAWN = multiprocessing.get_context("spawn")


def _works(pipe: Any) -> None:
    end_with_parent()
    pipe.send("begun")
    threading.Event().wait()


def _starts(pipe: Any) -> None:
    SPAWN.Process(target=_works, args=(pipe,)).start()
    threading.Event().wait()


def test_a_worker_ends_when_the_command_is_killed() -> None:
    here, there = SPAWN.Pipe()
    command = SPAWN.Process(target=_starts, args=(there,))
    command.start()
    there.close()
    assert here.poll(240), "it never began"
    assert here.recv() == "begun"
    os.kill(command.pid or 0, signal.SIGKILL)
    assert here.poll(60), "it goes on alone"
    with pytest.raises(EOFError):  # nobody is there any more who could say something
        here.recv()
