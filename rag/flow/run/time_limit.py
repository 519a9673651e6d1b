"""A budget's seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rag.errors import BudgetError
from rag.flow.policies import Budget


@asynccontextmanager
async def time_limit(
    budget: Budget | None, where: str, what: str = "it took longer than the budget"
) -> AsyncIterator[None]:
    """End what runs inside with a BudgetError when the budget's seconds are over.

    Args:
        budget: The budget; None, or one without seconds: there is no limit.
        where: The place of what runs inside.
        what: What is said of it.
    """
    if budget is None or budget.seconds is None:
        yield
        return
    try:
        async with asyncio.timeout(budget.seconds) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise BudgetError(
            f"{what} of {budget.seconds:g} s",
            where=where,
            fix="raise budget: {seconds: ...}, or make the flow do less",
        ) from error
