"""Whether every option of a space is of use."""

from __future__ import annotations

import random

from rag.errors import BuildError, ConfigError, RagError
from rag.tune.dimensions import Choice, Config
from rag.tune.space import Space, config_key

TRIES = 40
"""Configurations that are drawn to see whether any with an option fits together."""


def check(space: Space) -> None:
    """See that every option is part of a configuration that fits together.

    Raises:
        BuildError: One is of none of those that were tried, with the reason of the first; or
            no configuration at all fits.
    """
    problems: list[RagError] = []
    options = 0
    for name in space.order:
        one = space.dimensions[name]
        for value in one.values() if isinstance(one, Choice) else (one.low,):
            options += 1
            why = _never(space, {**(space.alone(name) or {}), name: value})
            if why is not None:
                what = f"{value!r} fits into no configuration: {why.what}"
                problems.append(space.placed(ConfigError(what, fix=_with_when(why)), name))
    if problems and len(problems) == options:
        what = "no configuration of the space fits together"
        fix = "mend the alternatives, or give `when:` to those that need another"
        problems.insert(0, ConfigError(what, where="tune.space", fix=fix))
    if problems:
        raise BuildError(problems)


def _never(space: Space, fixed: Config) -> RagError | None:
    """Why no configuration with these values fits together; None: one does."""
    rng = random.Random(0)  # noqa: S311 - a sample, no secret
    first: RagError | None = None
    seen: set[str] = set()
    for _ in range(TRIES):
        config = space.sample(rng, fixed)
        if (key := config_key(config)) in seen:
            continue
        seen.add(key)
        problem = space.problem(config)
        if problem is None:
            return None
        first = first or (problem.problems[0] if isinstance(problem, BuildError) else problem)
    return first


def _with_when(error: RagError) -> str:
    hint = "give `when:` to the dimensions that need another option"
    return f"{hint}; {error.fix}" if error.fix else hint
