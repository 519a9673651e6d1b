"""A budget of one node within that of the run."""

from __future__ import annotations

from typing import Any

from rag.flow.place import Place
from rag.flow.policies import Budget
from rag.flow.run.run import Run, Runner, Spent, State
from rag.flow.run.time_limit import time_limit


def within_budget(runner: Runner, place: Place, budget: Budget) -> Runner:
    """The runner, each execution of it within a budget of its own; the run's counts it too."""

    async def run_within_budget(state: State, run: Run) -> dict[str, Any]:
        view = run.view(spent=Spent(budget, run.spent))
        async with time_limit(budget, str(run.at(place))):
            return await runner(state, view)

    return run_within_budget
