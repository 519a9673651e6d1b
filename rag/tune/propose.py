"""What is tried next: proposed by Optuna's samplers, at random, or one by one."""

from __future__ import annotations

import hashlib
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag.errors import RagError
from rag.extras import require
from rag.tune.dimensions import Choice, Config, Range, Value, active
from rag.tune.race import Board
from rag.tune.settings import Settings
from rag.tune.space import Space, config_key
from rag.tune.state import BASELINE, State

TRIES = 60
"""Proposals for each that is wanted: some do not fit together, or were there before."""


@dataclass(frozen=True)
class Known:
    """A configuration that was measured.

    Attributes:
        config: Its values.
        worths: Its gain over the baseline by each objective; more is better.
        excess: By how much it misses each bound; above 0: it does not keep it.
        attrs: What the sampler noted of it.
    """

    config: Config
    worths: Sequence[float]
    excess: Sequence[float] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)


def known_of(state: State, board: Board) -> list[Known]:
    """What was measured of each trial but the baseline."""
    found = []
    for number, trial in state.trials.items():
        if number == BASELINE or not board.count(number):
            continue
        worths = [board.worth(number, name) for name in board.settings.objectives]
        if all(math.isfinite(one) for one in worths):
            excess = [min(one, 1e9) for one in board.excess(number)]
            found.append(Known(trial.config, worths, excess, trial.attrs))
    return found


@dataclass(frozen=True)
class Proposal:
    """A configuration to try: its values, what proposed it, and what that noted of it."""

    config: dict[str, Value]
    origin: str
    attrs: dict[str, Any] = field(default_factory=dict)


def propose(
    space: Space,
    settings: Settings,
    known: Sequence[Known],
    count: int,
    *,
    wave: int,
    fits: Callable[[Config], bool],
    texts: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Proposal]:
    """Configurations that were not there before, fewer than wanted if the space has no more.

    The same for the same arguments: a sampler is seeded anew for each wave.

    Args:
        space: What may be otherwise.
        settings: The sampler and its seed.
        known: What was measured.
        count: How many are wanted.
        wave: Number of the wave.
        fits: Whether a configuration fits together and is new; it notes those that it accepts.
        texts: Dimension of a prompt to texts that a model proposed.
    """
    seed = _seed(settings.seed, wave)
    if settings.sampler in ("tpe", "nsga2"):
        source = _by_optuna(space, settings, known, count, seed, texts or {})
    elif settings.sampler == "grid":
        listed = list(space.grid())
        random.Random(settings.seed).shuffle(listed)  # noqa: S311 - an order, no secret
        source = (Proposal(one, "grid") for one in listed)
    else:
        source = _at_random(space, seed, count)
    found: list[Proposal] = []
    for one in source:
        if fits(one.config):
            found.append(one)
        if len(found) == count:
            break
    return found


def _seed(seed: int, wave: int) -> int:
    digest = hashlib.sha256(f"{seed} {wave}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _at_random(space: Space, seed: int, count: int) -> Iterator[Proposal]:
    rng = random.Random(seed)  # noqa: S311 - a sample, no secret
    for _ in range(TRIES * count):
        yield Proposal(space.sample(rng), "random")


def _by_optuna(
    space: Space,
    settings: Settings,
    known: Sequence[Known],
    count: int,
    seed: int,
    texts: Mapping[str, Mapping[str, str]],
) -> Iterator[Proposal]:
    """A sampler's proposals, then some at random: it may come to the same again and again."""
    optuna = require("optuna", "tune", where="sampler")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        directions=["maximize"] * len(settings.objectives),
        sampler=_sampler(optuna, settings, count, seed),
    )
    for one in known:
        study.add_trial(_finished(optuna, space, one))
    for _ in range(TRIES * count // 2):
        trial = study.ask()
        config = _suggested(trial, space, texts)
        yield Proposal(config, settings.sampler, _noted(trial))
    yield from _at_random(space, seed, count)


def _sampler(optuna: Any, settings: Settings, count: int, seed: int) -> Any:
    bounded = {"constraints_func": _excess} if settings.constraints else {}
    with warnings.catch_warnings():
        # What is experimental there is what suits conditions; the other form is new in Optuna 5.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)
        if settings.sampler == "nsga2":
            size = max(count, 4)
            return optuna.samplers.NSGAIISampler(population_size=size, seed=seed, **bounded)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=8,
            **bounded,
        )  # fmt: skip


def _excess(trial: Any) -> Sequence[float]:
    found: Sequence[float] = trial.user_attrs["excess"]
    return found


def _noted(trial: Any) -> dict[str, Any]:
    """What a sampler keeps with a trial to find again: its generation."""
    plain = (str, int, float, bool)
    attrs = trial.storage.get_trial(trial._trial_id).system_attrs
    return {key: value for key, value in attrs.items() if isinstance(value, plain)}


def _finished(optuna: Any, space: Space, one: Known) -> Any:
    names = [name for name in space.order if name in one.config]
    return optuna.trial.create_trial(
        params={name: _slot(space, name, one.config[name]) for name in names},
        distributions={name: _distribution(optuna, space, name) for name in names},
        values=list(one.worths),
        user_attrs={"excess": list(one.excess)},
        system_attrs={**one.attrs, **({"constraints": tuple(one.excess)} if one.excess else {})},
    )


def _distribution(optuna: Any, space: Space, name: str) -> Any:
    one = space.dimensions[name]
    kinds = optuna.distributions
    if isinstance(one, Choice):
        return kinds.CategoricalDistribution(_slots(one))
    if one.whole:
        return kinds.IntDistribution(int(one.low), int(one.high), one.log, int(one.step or 1))
    return kinds.FloatDistribution(one.low, one.high, one.log, one.step)


def _slots(one: Choice) -> list[str]:
    """The options, and places for those that a model has yet to propose."""
    return [*one.options, *(proposed(number) for number in range(one.propose))]


def proposed(number: int) -> str:
    """The name of a text that a model proposed, by its number from 0."""
    return f"proposed-{number + 1}"


def _slot(space: Space, name: str, value: Value) -> Value:
    one = space.dimensions[name]
    return value if isinstance(one, Choice) or not one.whole else int(value)


def _suggested(
    trial: Any, space: Space, texts: Mapping[str, Mapping[str, str]]
) -> dict[str, Value]:
    """A sampler's configuration; an option that is not there yet is left for another one."""
    config: dict[str, Value] = {}
    for name in space.order:
        one = space.dimensions[name]
        if not active(one, config):
            continue
        if isinstance(one, Range):
            step = one.step or 1
            if one.whole:
                value = trial.suggest_int(name, one.low, one.high, step=int(step), log=one.log)
            else:
                value = trial.suggest_float(name, one.low, one.high, step=one.step, log=one.log)
            config[name] = value
            continue
        slot = trial.suggest_categorical(name, _slots(one))
        there = [*one.options, *texts.get(name, {})]
        config[name] = slot if slot in there else there[_slots(one).index(slot) % len(there)]
    return config


def new_configs(
    space: Space, seen: set[str], texts: Mapping[str, Mapping[str, str]]
) -> Callable[[Config], bool]:
    """Whether a configuration fits together and is not in `seen`, to which it is added."""

    def fits(config: Config) -> bool:
        key = config_key(config)
        if key in seen:
            return False
        seen.add(key)
        try:
            space.build(config, texts)
        except RagError:
            return False
        return True

    return fits
