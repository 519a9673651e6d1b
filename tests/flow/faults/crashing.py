"""A process that starts a stored run in children of its own, kills them, and resumes the run.

Called as `python -m tests.flow.faults.crashing STORE RUNS`; prints one JSON object per run. A child
is forked for each attempt: importing everything anew would take most of the time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from rag import Checkpoints, Flow, Loop, Map, Parallel, RunContext, operator
from rag.errors import CheckpointError
from tests.flow.bricks import named

KILLS = 2
"""Of each run."""

_report: int = -1
"""Where a child reports what its steps begin."""
_gate: int | None = None
"""What a step reads before it begins: it waits until the parent writes or closes."""


def report(line: str) -> None:
    """Report to the parent; a line is written at once or not at all."""
    os.write(_report, f"{line}\n".encode())


def begins(ctx: RunContext) -> None:
    """Report a step."""
    report(str(ctx.place))
    if _gate is not None:
        os.read(_gate, 1)


@operator(writes="x")
def plain(x: int, *, by: int = 1, ctx: RunContext) -> int:
    """Add, in a thread."""
    begins(ctx)
    return x + by


@operator(writes="x")
async def waiting(x: int, *, by: int = 1, ctx: RunContext) -> int:
    """Multiply, on the loop."""
    begins(ctx)
    return x * by


@operator(writes="xs")
def spread(x: int, *, ctx: RunContext) -> list[int]:
    """Make items."""
    begins(ctx)
    return [x, x + 1, x + 2]


@operator(writes="x")
def gather(x: list[int], *, ctx: RunContext) -> int:
    """Make one of many."""
    begins(ctx)
    return sum(x) % 1000


def flow() -> Flow:
    """A map, a loop and branches inside each other."""
    branches = Parallel(
        a=plain(by=2) >> waiting(by=3),
        b=waiting(by=5),
        c=Loop(body=plain(by=7), max_turns=2),
        join=gather(),
    )
    mapped = spread() >> Map(over="xs", as_="x", body=branches >> plain(), join=gather())
    both = Parallel(p=plain(by=1), q=waiting(by=2), join=named()) >> plain(name="last")
    return Flow(Loop(body=mapped, max_turns=2) >> both, inputs={"x": int}, outputs=["x", "named"])


def child(work: Callable[[], Any], gate: int | None = None) -> tuple[int, Iterator[str]]:
    """Do something in a process of its own.

    Returns:
        Its id and the lines that it reports; the last is `= RESULT` or `! ERROR`.
    """
    global _report, _gate
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _report, _gate = write, gate
        try:
            report(f"= {json.dumps(work())}")
        except CheckpointError as error:
            report(f"! {error.what}")
        finally:
            os._exit(0)
    os.close(write)

    def lines() -> Iterator[str]:
        with os.fdopen(read, encoding="utf-8") as stream:
            for line in stream:
                yield line.rstrip("\n")

    return pid, lines()


class Store:
    """Runs, each process with a connection of its own.

    Args:
        where: The file or the URL.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    def start(self) -> str:
        """A new run's id."""
        with Checkpoints(self.where) as checkpoints:
            return checkpoints.start(flow(), x=1).id

    def resume(self, run: str) -> Any:
        """The result."""
        with Checkpoints(self.where) as checkpoints:
            return checkpoints.resume(flow(), run).invoke()

    def finished(self, run: str) -> list[str]:
        """The places of the steps whose ends are stored."""
        with Checkpoints(self.where) as checkpoints:
            if self.where.startswith("postgresql"):  # nobody prolongs the lease of the dead
                checkpoints._store.execute("UPDATE runs SET lease = 0 WHERE id = ?", (run,))
            return [str(step.place) for step in checkpoints.steps(run)]


def killed(store: Store, seed: int, steps: int) -> dict[str, Any]:
    """Kill a run some times, each after a random number of steps began; then let it end."""
    chance, run = random.Random(seed), store.start()  # noqa: S311
    begun: list[str] = []
    repeated: list[str] = []
    kills, result = 0, None
    finished: set[str] = set()
    while result is None:
        left = chance.randint(0, steps // KILLS) if kills < KILLS else None
        pid, lines = child(lambda: store.resume(run))
        for line in lines:
            if line.startswith("= "):
                result = json.loads(line[2:])
            else:
                begun.append(line)
                repeated += [line] if line in finished else []
            if left is not None:
                left -= 1
                if left < 0:
                    os.kill(pid, signal.SIGKILL)
                    break
        lines.close()  # type: ignore[attr-defined]
        kills += os.waitpid(pid, 0)[1] == signal.SIGKILL
        finished = set(store.finished(run))
    missing = set(begun) - finished
    return {"result": result, "kills": kills, "repeated": repeated, "missing": sorted(missing)}


def resumed_at_once(store: Store) -> dict[str, Any]:
    """Three processes resume one run that was killed; each step of theirs waits for the gate."""
    run = store.start()
    pid, lines = child(lambda: store.resume(run))
    for _ in range(5):
        next(lines)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    store.finished(run)
    gate, opener = os.pipe()
    children = [child(lambda: store.resume(run), gate) for _ in range(3)]
    first = [next(lines) for _, lines in children]
    os.close(gate)
    with suppress(BrokenPipeError):
        os.write(opener, b"x" * 1000)
    ends = [line for _, lines in children for line in lines]
    for pid, _ in children:
        os.waitpid(pid, 0)
    return {
        "refused": [line[2:] for line in first if line.startswith("!")],
        "results": [json.loads(line[2:]) for line in ends if line.startswith("= ")],
    }


def main(where: str, runs: int) -> None:
    """See above."""
    store = Store(where)
    pid, lines = child(lambda: store.resume(store.start()))
    *undisturbed, last = lines
    os.waitpid(pid, 0)
    print(json.dumps({"result": json.loads(last[2:]), "steps": len(undisturbed)}))
    for seed in range(runs):
        print(json.dumps(killed(store, seed, len(undisturbed))))
    print(json.dumps(resumed_at_once(store)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
