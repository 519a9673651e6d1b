"""Stored runs and other flows, leases, fingerprints, the cost of a write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rag import Checkpoints
from rag.errors import CheckpointError
from rag.flow import Flow, Map
from rag.flow.memory.postgres import PostgresRunStore
from tests.flow.bricks import inc

INT = {"x": int}


def test_another_flow_or_other_inputs_are_refused_unless_forced(where: str) -> None:
    named, other = Flow(inc(), name="one", inputs=INT), Flow(inc(), name="two", inputs=INT)
    with Checkpoints(where) as checkpoints:
        run = checkpoints.start(named, x=1)
        run.invoke()
        with pytest.raises(CheckpointError, match="a run of one, not of two"):
            checkpoints.resume(other, run.id)
        assert checkpoints.resume(other, run.id, force=True).invoke() == {"x": 2}
        with pytest.raises(CheckpointError, match="there is no run 'nope'"):
            checkpoints.get("nope")


def test_a_lease_that_is_not_prolonged_ends_and_one_that_is_does_not(postgres: Path) -> None:
    url = f"postgresql://rag@/postgres?host={postgres}"
    with Checkpoints(url) as checkpoints:
        run = checkpoints.start(Flow(inc(), inputs=INT), x=1)
        one, other = PostgresRunStore(url, lease=0.3), PostgresRunStore(url)
        with one.owned(run.id):
            lease = "SELECT lease FROM runs WHERE id = ?"
            ((before,),) = other.execute(lease, (run.id,))
            for _ in range(100):
                other.execute("SELECT pg_sleep(0.02)")
                if other.execute(lease, (run.id,)) != [(before,)]:
                    break
            else:
                pytest.fail("the lease was not prolonged")
            with pytest.raises(CheckpointError, match="another process"), other.owned(run.id):
                pass
        one._take(run.id, "a process that dies")  # nobody prolongs it
        other.execute("UPDATE runs SET lease = lease - 100 WHERE id = ?", (run.id,))
        assert checkpoints.resume(Flow(inc(), inputs=INT), run.id).invoke() == {"x": 2}
        one.close()
        other.close()


FINGERPRINT = """
from rag.flow import operator
from rag.flow.memory.fingerprint import fingerprint

@operator(writes="x")
def pick(x: int, *, words: set = frozenset(), table: dict = {}) -> int:
    return x if x in {1, 2, 3} or str(x) in {"a", "b", "c"} else 0

words = {"north", "south", "east", "west", "lock"}
print(fingerprint(pick(words=words, table={word: words for word in sorted(words)})))
"""


def test_a_set_in_the_configuration_has_one_fingerprint_in_all_processes() -> None:
    found = set()
    for seed in ("1", "2", "3"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        call = [sys.executable, "-c", FINGERPRINT]
        found.add(subprocess.run(call, env=env, capture_output=True, check=True).stdout)
    assert len(found) == 1


def test_a_write_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "runs") as checkpoints:
        flow, steps = Flow(Map(over="xs", as_="x", body=inc()), inputs={"xs": list[int]}), [0]

        def count() -> int:
            steps[0] += 1
            return 0

        checkpoints._store._db.set_progress_handler(count, 10)  # every ten steps of SQLite
        costs = []
        for items in (200, 800):
            run = checkpoints.start(flow, xs=[0] * items)
            steps[0] = 0
            run.invoke()
            costs.append(steps[0])
    assert costs[1] < 4 * costs[0] * 1.3
