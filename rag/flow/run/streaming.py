"""Operators that yield: what they stream on the way, and the value in the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rag.flow.run.context import RunContext
from rag.flow.run.run import Run

Collect = Callable[[Any, dict[str, Any], RunContext, Run], Awaitable[Any]]


def collector(*, joined: bool, is_async: bool) -> Collect:
    """What calls a generator function and makes one value of what it yields.

    Args:
        joined: Texts are streamed as tokens and joined; other values are emitted as custom
            events called `item` and collected in a list.
        is_async: Whether it is an asynchronous generator; a plain one gets a thread.
    """

    def note(ctx: RunContext, item: Any) -> None:
        if joined:
            ctx.token(item)
        else:
            ctx.emit("item", item)

    async def collect(function: Any, arguments: dict[str, Any], ctx: RunContext, run: Run) -> Any:
        items: list[Any] = []
        if is_async:
            async for item in function(**arguments):
                note(ctx, item)
                items.append(item)
            return "".join(items) if joined else items

        def drain() -> None:
            for item in function(**arguments):
                if ctx.cancelled:
                    return
                note(ctx, item)
                items.append(item)

        if run.inline:
            drain()
        else:
            await run.in_thread(drain, ctx.started)
        return "".join(items) if joined else items

    return collect
