"""Fits what a local model's tokens cost on this machine (see `rag.eval.runtime`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from rag.errors import ConfigError, ModelError
from rag.eval.runtime import ModelCosts, ModelUse, features
from rag.flow.run.runtime import RUNTIME
from rag.models import Prompt, Sampling

if TYPE_CHECKING:
    from rag.kvcache.settings import ReuseSettings
    from rag.models import LLM

PROMPTS = (64, 128, 256, 512, 1024)
"""Tokens of the prompts that are timed, as far as the model's window goes."""
OUTPUTS = (1, 12, 32)
"""Tokens of their outputs, at most."""


@dataclass(frozen=True)
class Timing:
    """One call, and what it took at best.

    Attributes:
        use: Its tokens.
        seconds: The shortest of its repetitions: what else the machine did only adds to it.
        spread: The median of the repetitions over the shortest; near 1 on a quiet machine.
    """

    use: ModelUse
    seconds: float
    spread: float


@dataclass(frozen=True)
class Calibration:
    """Costs, and how well they explain what was timed.

    Attributes:
        costs: What was fitted.
        error: The median over the timings of the relative difference between the fit and what
            was measured.
        spread: The median of the timings' spreads.
        timings: What was timed.
    """

    costs: ModelCosts
    error: float
    spread: float
    timings: tuple[Timing, ...]


def calibrate(
    llm: LLM,
    *,
    reuse: ReuseSettings | None = None,
    repeats: int = 3,
    clock: Callable[[], float] = perf_counter,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Time prompts and outputs of several lengths, and fit the model's costs to them.

    Args:
        llm: The model; one on this machine, since a served one's queue would be timed.
        reuse: With it, prompts over chunks that were stored before are timed as well.
        repeats: Of each call; the shortest counts.
        clock: Seconds.
        progress: Called with the number of calls that are done, and of all.

    Raises:
        ModelError: The model cannot be called, or cannot reuse states.
        ConfigError: Its window is too small.
    """
    lengths = [length for length in PROMPTS if length + max(OUTPUTS) < llm.window]
    if len(lengths) < 2:
        raise ConfigError(
            f"the window of {llm.id!r} holds {llm.window} tokens: too few to see what more of them "
            "cost",
            where="resources.llm", fix=f"use a model with {PROMPTS[1] + max(OUTPUTS)} or more",
        )  # fmt: skip
    kinds = [None, reuse] if reuse is not None else [None]
    cases = [(n, out, kind) for kind in kinds for n in lengths for out in OUTPUTS]
    _timed(llm, lengths[0], OUTPUTS[0], None, 1, clock)  # weights and thread pools are warm then
    timings = []
    for number, case in enumerate(cases):
        progress(number, len(cases))
        timings.append(_timed(llm, *case, repeats, clock))
    if reuse is not None and not any(one.use.reused_tokens for one in timings):
        raise ModelError(f"{llm.id!r} reused no states", where="--reuse", fix="give another mode")
    return fit(timings)


def fit(timings: Sequence[Timing]) -> Calibration:
    """The costs, none below 0, that explain the timings best, each by its share.

    Non-negative least squares (Lawson and Hanson 1974) on relative differences: a call of a second
    and one of a hundredth count the same.

    Args:
        timings: At least two.
    """
    import numpy as np
    from scipy.optimize import nnls

    seconds = np.asarray([one.seconds for one in timings])
    table = np.asarray([features(one.use) for one in timings]) / seconds[:, None]
    scale = np.maximum(np.abs(table).max(0), 1e-30)
    found, _ = nnls(table / scale, np.ones(len(timings)))
    names = [field.name for field in fields(ModelCosts)]
    costs = ModelCosts(**dict(zip(names, map(float, found / scale), strict=True)))
    errors = [abs(costs.seconds(one.use) - one.seconds) / one.seconds for one in timings]
    spread = median(one.spread for one in timings)
    return Calibration(costs, median(errors), spread, tuple(timings))


def _timed(
    llm: LLM,
    length: int,
    output: int,
    reuse: ReuseSettings | None,
    repeats: int,
    clock: Callable[[], float],
) -> Timing:
    """The shortest of several equal calls."""
    took, use = [], ModelUse(llm.id, 0, 0)
    prompt = _prompt(llm, length)
    for _ in range(repeats + (reuse is not None)):
        started = clock()
        done = RUNTIME.run(llm.generate(prompt, Sampling(max_tokens=output), reuse))
        took.append(max(clock() - started, 1e-9))
        reused = int((done.reuse or {}).get("reused", 0))
        use = ModelUse(llm.id, done.prompt_tokens, done.completion_tokens, reused)
    if reuse is not None:
        took = took[1:]  # the first one stored the states
    return Timing(use, min(took), median(took) / min(took))


def _prompt(llm: LLM, length: int) -> Prompt:
    """A prompt of about so many tokens, in two chunks."""
    text = " ".join("lock pump tug ice quay north"[at % 6 * 4 :][:4] for at in range(2 * length))
    half = max((length - 24) // 2, 4)
    chunks = tuple(llm.clip(f"{part} {text}", half) for part in ("first", "second"))
    return Prompt("What do they say?", "Answer.", chunks, numbered=False)
