"""Processes that are killed in the middle of a stored run, and processes that take it up."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.flow.faults.crashing import KILLS


def test_what_a_kill_leaves_is_taken_up_by_one_process_and_repeats_nothing(where: str) -> None:
    runs = 3 if where.startswith("postgresql") else 10
    call = [sys.executable, "-m", "tests.flow.faults.crashing", where, str(runs)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    undisturbed, *killed, at_once = (json.loads(line) for line in done.stdout.splitlines())
    assert undisturbed["steps"] > 40
    assert len(killed) == runs
    for one in killed:
        assert one == {
            "result": undisturbed["result"],
            "kills": KILLS,
            "repeated": [],
            "missing": [],
        }
    assert at_once == {
        "refused": ["another process works on it"] * 2,
        "results": [undisturbed["result"]],
    }
