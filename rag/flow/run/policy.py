"""What happens when a step is slow or fails: time limit, further attempts, another step instead."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from rag.errors import StepError
from rag.flow.run.events import FellBack, NodeFailed, Retried
from rag.flow.run.run import Run, Runner, State


class Retry(BaseModel):
    """Further attempts of a step that failed.

    The wait doubles with every attempt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: PositiveInt = Field(default=2, description="attempts after the first")
    on: tuple[str, ...] = Field(
        default=(), description="names of the errors, or their bases; all if not given"
    )
    wait: NonNegativeFloat = Field(default=0.1, description="seconds before the second attempt")

    def covers(self, error: BaseException) -> bool:
        """Whether this error is worth another attempt."""
        return not self.on or any(kind.__name__ in self.on for kind in type(error).__mro__)


class Cache(BaseModel):
    """The step's result may be taken from an earlier run with the same inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttl: PositiveFloat | None = Field(
        default=None, description="seconds that a result stays good; until evicted if not given"
    )


class Budget(BaseModel):
    """What one run may use; a run that would use more ends with a BudgetError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: PositiveFloat | None = None
    llm_calls: PositiveInt | None = None
    tokens: PositiveInt | None = Field(default=None, description="read and written, all calls")


def guarded(
    runner: Runner, path: str, timeout: float | None, retry: Retry | None, fallback: Runner | None
) -> Runner:
    """The runner of a step under its policies.

    Args:
        runner: Writes to the state only when it succeeds.
        path: The step's.
        timeout: Seconds that each attempt may take.
        retry: Which errors are worth further attempts.
        fallback: Runs in the step's place when the last attempt failed.
    """

    async def attempt(state: State, run: Run) -> StepError | None:
        try:
            async with asyncio.timeout(timeout):
                await runner(state, run)
        except TimeoutError as error:
            failed = StepError(f"took longer than {timeout:g} s", where=path)
            failed.__cause__ = error
            if run.emit is not None:
                run.emit(NodeFailed(path, failed, timeout or 0.0))
            return failed
        except StepError as error:
            return error
        return None

    async def run_guarded(state: State, run: Run) -> None:
        number = 1
        while (failed := await attempt(state, run)) is not None:
            again = retry is not None and retry.covers(failed.__cause__ or failed)
            if retry is None or not again or number > retry.times:
                break
            if run.emit is not None:
                run.emit(Retried(path, number, failed))
            await asyncio.sleep(retry.wait * 2 ** (number - 1))
            number += 1
        if failed is None:
            return
        if fallback is None:
            raise failed
        if run.emit is not None:
            run.emit(FellBack(path, failed))
        await fallback(state, run)

    return run_guarded
