"""Requests that are decoded together: each as if it were alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import aclosing
from typing import Any

import pytest
import torch

from rag.kvcache.decode import decode, decoding
from rag.kvcache.engine import KVEngine
from rag.kvcache.passes import Pass
from rag.kvcache.settings import ReuseSettings
from rag.models.local.scheduler import BATCH, Scheduler
from tests.kvcache.helpers import CHUNKS, CONTEXT, PREFIX, make_engine


def greedy(logits: torch.Tensor) -> int:
    return int(logits.argmax())


class Counting:
    """Makes the passes, and counts how many were made together."""

    def __init__(self, engine: KVEngine) -> None:
        self.engine = engine
        self.sizes: list[int] = []

    def __call__(self, passes: list[Pass]) -> list[torch.Tensor]:
        self.sizes.append(len(passes))
        return self.engine.view.steps(passes)


def prefilled(engine: KVEngine, number: int) -> Any:
    settings = ReuseSettings(mode="ape" if number % 2 else "full")
    return engine.prefill(PREFIX, CHUNKS, [3, 9, 5 + number], settings, room=40)


def work(engine: KVEngine, number: int, draft: int = 4) -> Generator[Any, Any, None]:
    yield from decoding(prefilled(engine, number), greedy, 20, CONTEXT, draft)


async def results(scheduler: Scheduler, task: Generator[Any, Any, None]) -> list[int]:
    return [token async for token in scheduler.stream(task)]


@pytest.mark.parametrize("name", ["llama", "qwen3", "mistral-sliding", "gemma3"])
def test_together_as_alone(name: str) -> None:
    engine = make_engine(name)
    count = BATCH + 3
    with torch.inference_mode():
        alone = [
            list(decode(engine.view, prefilled(engine, number), greedy, 20))
            for number in range(count)
        ]
    passes = Counting(engine)
    scheduler = Scheduler(passes)

    async def everything() -> list[list[int]]:
        return await asyncio.gather(
            *(results(scheduler, work(engine, number)) for number in range(count))
        )

    assert asyncio.run(everything()) == alone
    assert max(passes.sizes) > BATCH // 2
    assert len(passes.sizes) < sum(map(len, alone)) / 3
    engine.store.close()


def test_one_that_fails_or_leaves_disturbs_nobody() -> None:
    engine = make_engine("llama")
    passes = Counting(engine)
    scheduler = Scheduler(passes)

    def failing() -> Generator[Any, Any, None]:
        tokens = work(engine, 1, draft=0)
        yield next(tokens)
        raise ValueError("no")

    async def leaving() -> int:
        async with aclosing(scheduler.stream(work(engine, 2))) as tokens:
            async for token in tokens:
                return int(token)
        return -1

    async def everything() -> list[Any]:
        return await asyncio.gather(
            results(scheduler, work(engine, 0)),
            results(scheduler, failing()),
            leaving(),
            return_exceptions=True,
        )

    whole, failed, left = asyncio.run(everything())
    with torch.inference_mode():
        assert whole == list(decode(engine.view, prefilled(engine, 0), greedy, 20))
    assert isinstance(failed, ValueError)
    assert left >= 0
    engine.store.close()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the abandoned stream is never awaited
def test_a_reader_whose_loop_is_closed_stops_nobody_else() -> None:
    closed, step = threading.Event(), threading.Event()

    def work() -> Generator[Any, Any, None]:
        yield 1
        step.set()
        closed.wait()
        yield 2

    async def first(results: Any) -> int:
        return int(await anext(results))

    scheduler = Scheduler(list)
    loop = asyncio.new_event_loop()
    abandoned = scheduler.stream(work())
    assert loop.run_until_complete(first(abandoned)) == 1
    step.wait()
    loop.close()
    closed.set()

    async def later() -> list[int]:
        async with asyncio.timeout(60):  # it would hang, and not be slow
            return await results(scheduler, (n for n in (3, 4)))

    assert asyncio.run(later()) == [3, 4]


LEAVES = """
import asyncio, atexit, threading

def alive():
    print([t.name for t in threading.enumerate() if t.name == "rag-llm"], flush=True)

atexit.register(alive)  # runs after what is registered later
from rag.models.local.scheduler import Scheduler

def endless():
    while True:
        yield 1

async def first(results):
    return await anext(results)

results = Scheduler(list).stream(endless())
print(asyncio.new_event_loop().run_until_complete(first(results)))
"""


def test_a_process_that_ends_waits_for_the_thread() -> None:
    """torch aborts a process that ends while one of its threads computes."""
    done = subprocess.run(
        [sys.executable, "-c", LEAVES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1", "[]"]
