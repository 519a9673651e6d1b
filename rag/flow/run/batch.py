"""Many runs of a flow, so many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rag.errors import ConfigError
from rag.flow.run.execution import Execution


async def run_all(
    many: Iterable[Mapping[str, Any]],
    execution: Callable[[Mapping[str, Any]], Execution],
    concurrency: int,
    *,
    return_exceptions: bool,
) -> list[Any]:
    """The outputs of runs, preserving order.

    Args:
        many: Their inputs.
        execution: Makes a run of inputs.
        concurrency: At most so many at a time.
        return_exceptions: Put errors in the places of outputs; else the first one cancels the
            other runs and is raised.

    Raises:
        ConfigError: `concurrency` is below 1.
    """
    if concurrency < 1:
        raise ConfigError(f"concurrency is {concurrency}", fix="at least 1 run at a time")
    waiting = enumerate(many)
    results: dict[int, Any] = {}

    async def work() -> None:
        for number, inputs in waiting:
            try:
                results[number] = await execution(inputs).ainvoke()
            except Exception as error:
                if not return_exceptions:
                    raise
                results[number] = error

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as found:
        raise found.exceptions[0] from found.exceptions[0].__cause__
    return [results[number] for number in sorted(results)]
