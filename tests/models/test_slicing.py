"""Prompts are computed in slices beside requests that decode: who waits, who ends, who is wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import aclosing
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.kvcache.decode import decoding
from rag.kvcache.engine import KVEngine
from rag.kvcache.passes import SLICE, Pass
from rag.kvcache.settings import ReuseSettings
from rag.models.local.pace import LEAST, Pace
from rag.models.local.scheduler import BATCH, SHORT, Reserve, Scheduler
from tests.kvcache.helpers import CHUNKS, CONTEXT, PREFIX, make_engine

LONG = [[(7 * n + 3) % 120 for n in range(first, first + 250)] for first in range(0, 2000, 250)]
"""2,000 tokens of context."""
MODES = ["full", "prefix", "concat", "focus", "craft", "ape", "blend"]


def greedy(logits: torch.Tensor) -> int:
    return int(logits.argmax())


@pytest.fixture(scope="module")
def engine() -> Iterator[KVEngine]:
    made = make_engine("llama")
    yield made
    made.store.close()


Work = Generator[Any, Any, None]


def answer(
    engine: KVEngine, mode: str = "full", chunks: list[list[int]] = CHUNKS, tokens: int = 12,
    question: int = 5,
) -> Work:  # fmt: skip
    room = tokens + 1
    suffix = [3, 9, question]
    done = yield from engine.prefilling(PREFIX, chunks, suffix, ReuseSettings(mode), room)
    yield from decoding(done, greedy, tokens, CONTEXT, 4)


class Watching:
    """Makes passes, and records the buffers and sizes of each round's."""

    def __init__(
        self, engine: KVEngine, before: Callable[[list[Pass]], None] | None = None
    ) -> None:
        self.engine = engine
        self.rounds: list[list[tuple[int, int]]] = []
        self.before = before

    def __call__(self, passes: list[Pass]) -> list[torch.Tensor]:
        self.rounds.append([(id(one.buffer), len(one.ids)) for one in passes])
        if self.before is not None:
            self.before(passes)
        return self.engine.view.steps(passes)


async def results(scheduler: Scheduler, work: Work) -> list[Any]:
    return [token async for token in scheduler.stream(work)]


def together(scheduler: Scheduler, *works: Work) -> list[Any]:
    async def everything() -> list[Any]:
        tasks = (results(scheduler, work) for work in works)
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(everything())


@pytest.mark.parametrize("mode", ["full", "focus"])
def test_a_token_between_every_two_slices(engine: KVEngine, mode: str) -> None:
    engine.store.clear()
    passes = Watching(engine)
    scheduler = Scheduler(passes)

    async def everything() -> None:
        reading = asyncio.create_task(results(scheduler, answer(engine, tokens=4000)))
        await asyncio.create_task(results(scheduler, answer(engine, mode, LONG, tokens=1)))
        reading.cancel()

    asyncio.run(everything())
    long = [round_ for round_ in passes.rounds if any(size > SHORT for _, size in round_)]
    beside = [sum(size <= SHORT for _, size in round_) for round_ in long[1:]]
    assert len(beside) >= 2000 // SLICE
    assert set(beside) == {1}
    assert all(sum(size for _, size in round_) <= SLICE + SHORT for round_ in long)


def test_prompts_take_turns(engine: KVEngine) -> None:
    """A short prompt that comes second does not wait for a long one's end."""
    passes = Watching(engine)
    ended: list[str] = []

    def named(name: str, work: Work) -> Work:
        yield from work
        ended.append(name)

    together(
        Scheduler(passes),
        named("long", answer(engine, "full", LONG, tokens=1)),
        named("short", answer(engine, "full", LONG[:2], tokens=1)),
    )
    assert ended == ["short", "long"]


def begun_together(engine: KVEngine, count: int) -> list[int]:
    """How many prompts each of the first rounds has, of some that came while another worked."""
    passes, gate = Watching(engine), threading.Event()

    def busy() -> Work:
        gate.wait()
        yield 1

    async def everything() -> None:
        works = [answer(engine, "full", CHUNKS, tokens=2, question=n) for n in range(count)]
        asked = [asyncio.create_task(results(scheduler, work)) for work in (busy(), *works)]
        await asyncio.sleep(0)  # all have come
        gate.set()
        await asyncio.gather(*asked)

    scheduler = Scheduler(passes)
    asyncio.run(everything())
    return [sum(size > SHORT for _, size in round_) for round_ in passes.rounds]


def test_prompts_of_which_little_is_computed_begin_together(
    engine: KVEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.models.local.scheduler.TURN", 1e6)
    prompt = len(PREFIX) + sum(map(len, CHUNKS)) + 3
    fit = -(-SLICE // prompt)
    first, *_ = begun_together(engine, BATCH - 1)
    assert first == min(fit, BATCH - 1) > 2
    # What they do before their first pass takes time, which the others have to wait for.
    monkeypatch.setattr("rag.models.local.scheduler.TURN", 0.0)
    assert begun_together(engine, 3)[:2] == [1, 1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rounds", [1, 3, 30])
def test_cancelled_it_ends_within_a_slice(engine: KVEngine, mode: str, rounds: int) -> None:
    """In its first slice, in a later one, and while it decodes."""
    engine.store.clear()
    closed: list[int] = []
    left = threading.Event()

    def counted() -> Work:
        try:
            yield from answer(engine, mode, LONG[:4], tokens=300)
        finally:
            closed.append(len(passes.rounds))
            left.set()

    async def everything() -> list[Any]:
        loop = asyncio.get_running_loop()
        reader = asyncio.create_task(results(scheduler, counted()))

        async def leave() -> None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

        leaving.append(lambda: asyncio.run_coroutine_threadsafe(leave(), loop).result())
        await asyncio.to_thread(left.wait)
        return await results(scheduler, answer(engine))

    leaving: list[Callable[[], None]] = []

    def before(made: list[Pass]) -> None:
        if len(passes.rounds) == rounds:
            leaving.pop()()  # while the pass is made

    passes = Watching(engine, before)
    scheduler = Scheduler(passes)
    assert asyncio.run(everything()) == alone(engine, "full", 5)
    assert closed == [rounds]


def test_cancelled_while_it_waits_for_its_turn_or_for_memory() -> None:
    begun: list[int] = []

    def waiting(number: int) -> Work:
        yield Reserve(100)
        begun.append(number)
        yield "result"

    def first() -> Work:
        yield Reserve(60)
        for cancel in leaving:
            cancel()
        yield "result"

    scheduler = Scheduler(list, buffers=100)
    leaving: list[Callable[[], None]] = []

    async def everything() -> list[Any]:
        loop = asyncio.get_running_loop()
        works = (waiting(number) for number in range(BATCH + 4))
        own = results(scheduler, first())
        readers = [asyncio.create_task(results(scheduler, work)) for work in works]

        async def leave() -> None:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

        leaving.append(lambda: asyncio.run_coroutine_threadsafe(leave(), loop).result())
        return [await own, await results(scheduler, waiting(-1))]

    assert asyncio.run(everything()) == [["result"], ["result"]]
    assert begun == [-1]


def alone(engine: KVEngine, mode: str, question: int) -> list[int]:
    return list(together(Scheduler(engine.view.steps), answer(engine, mode, question=question))[0])


@pytest.mark.parametrize("when", ["prompt", "answer"])
def test_one_whose_pass_fails_ends_alone(engine: KVEngine, when: str) -> None:
    """Out of memory for one of sixteen: the answers of the other fifteen are right."""
    questions = range(100, 100 + BATCH)
    expected = [alone(engine, "full", question) for question in questions]
    bad = 103
    broken: set[int] = set()

    def before(made: list[Pass]) -> None:
        for one in made:
            if one.logits == "last" and bad in one.ids.tolist():
                broken.add(id(one.buffer))
        fails = [id(one.buffer) in broken and one.logits == kind for one in made]
        if any(fails):
            # Half of the joint pass has been made: slots are in use.
            for one in made:
                one.buffer.prepare(one.positions, one.rewrite)
            raise MemoryError("no room")

    kind = "last" if when == "prompt" else "all"
    scheduler = Scheduler(Watching(engine, before))
    works = (answer(engine, "full", question=question) for question in questions)
    found = together(scheduler, *works)
    place = questions.index(bad)
    assert isinstance(found[place], MemoryError)
    found[place] = expected[place]
    assert found == expected


def test_requests_wait_for_memory_and_a_large_one_runs_alone() -> None:
    held: list[int] = []
    most: list[int] = []

    def work(size: int) -> Work:
        yield Reserve(size)
        held.append(size)
        most.append(sum(held))
        for _ in range(3):
            yield "turn"
            most.append(sum(held))
        held.remove(size)

    sizes = [40, 50, 30, 250, 60, 10, 90]
    found = together(Scheduler(list, buffers=100), *map(work, sizes))
    assert found == [["turn"] * 3] * len(sizes)
    assert max(total for total in most if total != 250) <= 100
    assert 250 in most


@cache
def engine_of(name: str) -> KVEngine:
    return make_engine(name)


ALONE: dict[tuple[str, str, int], list[int]] = {}


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(["gemma3", "llama"]),
    requests=st.lists(
        st.tuples(st.sampled_from(MODES), st.integers(4, 8), st.integers(0, 6)),
        min_size=2,
        max_size=6,
    ),
    slice_=st.integers(3, 40),
    broken=st.sets(st.integers(0, 30), max_size=3),
)
def test_no_answer_depends_on_what_ran_beside(
    name: str, requests: list[tuple[str, int, int]], slice_: int, broken: set[int]
) -> None:
    """Whatever comes, waits, leaves and fails: in any order and slices of any size."""
    engine = engine_of(name)
    for mode, question, _ in requests:
        if (name, mode, question) not in ALONE:
            engine.store.clear()
            alone(engine, mode, question)
            # Variants are stored where a chunk stands: from the second time on all is as stored.
            ALONE[name, mode, question] = alone(engine, mode, question)

    rounds = [0]

    def failing(passes: list[Pass]) -> list[torch.Tensor]:
        rounds[0] += 1
        if rounds[0] in broken and len(passes) > 1:
            engine.view.steps(passes[:1])
            raise RuntimeError("a joint pass fails")
        return engine.view.steps(passes)

    scheduler = Scheduler(failing)
    scheduler._pace.tokens = lambda *, decoding: slice_  # type: ignore[method-assign]

    async def one(mode: str, question: int, leaves: int) -> list[int] | None:
        tokens = []
        async with aclosing(scheduler.stream(answer(engine, mode, question=question))) as stream:
            async for token in stream:
                tokens.append(token)
                if leaves and len(tokens) > 2 * leaves:
                    return None
        return tokens

    async def everything() -> list[Any]:
        return await asyncio.gather(*(one(*each) for each in requests))

    for (mode, question, _), found in zip(requests, asyncio.run(everything()), strict=True):
        assert found is None or found == ALONE[name, mode, question]


def test_the_pace_is_set_by_what_was_measured() -> None:
    pace = Pace()
    assert pace.tokens(decoding=True) == SLICE
    pace.record(0, 1.0, decoding=True)
    pace.record(SLICE, SLICE * 0.02, decoding=False)
    assert pace.tokens(decoding=False) == SLICE
    assert pace.tokens(decoding=True) == 100
    for _ in range(40):
        pace.record(100, 1.0 + 100 * 0.01, decoding=True)  # a token of decoding beside the slice
    assert pace.tokens(decoding=True) == pytest.approx(200, abs=2)
    for _ in range(40):
        pace.record(200, 201.0, decoding=True)
    assert pace.tokens(decoding=True) == LEAST
