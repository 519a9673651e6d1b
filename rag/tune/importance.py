"""Which dimensions mattered."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

from rag.extras import require
from rag.tune.dimensions import Choice
from rag.tune.propose import Known
from rag.tune.space import Space

FEWEST = 8
"""Trials below which nothing is said."""
ABSENT = "(does not count)"


def importance(space: Space, known: Sequence[Known], seed: int = 0) -> dict[str, float]:
    """Each dimension's share in the differences of the first objective, the largest first.

    By fANOVA (Hutter et al. 2014, ICML) as Optuna computes it. Where a dimension does
    not count, that is one more value of it.

    Args:
        space: The space.
        known: What was measured.
        seed: Of the forest.

    Returns:
        Shares that add up to 1; empty: there are too few trials, or all are equally good.

    Raises:
        ConfigError: Optuna is not installed.
    """
    worths = [one.worths[0] for one in known]
    if len(known) < FEWEST or max(worths) - min(worths) < 1e-12:
        return {}
    optuna = require("optuna", "tune", where="importance")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    kinds: dict[str, Any] = {}
    for name in space.order:
        values = [one.config.get(name, ABSENT) for one in known]
        if len(set(values)) > 1:
            whole = isinstance(space.dimensions[name], Choice) or ABSENT in values
            listed = sorted({str(value) for value in values})
            numbers = [float(v) for v in values if not isinstance(v, str)]
            kinds[name] = (
                optuna.distributions.CategoricalDistribution(listed)
                if whole
                else optuna.distributions.FloatDistribution(min(numbers), max(numbers))
            )
    if not kinds:
        return {}
    for one in known:
        params = {}
        for name, kind in kinds.items():
            value = one.config.get(name, ABSENT)
            categorical = isinstance(kind, optuna.distributions.CategoricalDistribution)
            params[name] = str(value) if categorical else float(value)
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=kinds, value=one.worths[0])
        )
    state = random.Random(seed).randrange(2**31)  # noqa: S311 - a seed, no secret
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=64, seed=state)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ordered = sorted(found.items(), key=lambda item: -item[1])
    return {name: float(share) for name, share in ordered}
