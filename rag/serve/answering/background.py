"""Runs in the background: nobody has to listen; their events are kept for whoever follows them."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing

from rag.serve.answer import Answer
from rag.serve.answering.answering import Answering, AnswerRun
from rag.serve.answering.events import encoded
from rag.serve.answering.question import Question
from rag.serve.errors import Problem
from rag.serve.runs.runs import Runs
from rag.serve.runs.table import ServedRun


class BackgroundRuns:
    """Starts runs that outlive the connection that asked for them.

    Args:
        answering: Answers.
        runs: Keeps the events.
    """

    def __init__(self, answering: Answering, runs: Runs) -> None:
        self._answering, self._runs = answering, runs
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, question: Question) -> ServedRun:
        """Begin to answer a question; the run is stored.

        Raises:
            Problem: As `Answering.admit`.
        """
        run = await self._answering.admit(question, background=True)
        task = asyncio.create_task(self._work(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run.record

    async def finished(self) -> None:
        """Wait until all runs have ended and are stored."""
        await asyncio.gather(*self._tasks)

    async def _work(self, run: AnswerRun) -> None:
        # The end, also an error, is stored with the run.
        with contextlib.suppress(Problem):
            async with aclosing(run.events()) as events:
                async for event in events:
                    found = None if isinstance(event, Answer) else encoded(event)
                    if found is not None:
                        self._runs.add_event(run.record, *found)
