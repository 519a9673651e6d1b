"""Tuning from Python, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag.tune.importance import importance
from rag.tune.outcome import Outcome, outcome
from rag.tune.propose import known_of
from rag.tune.settings import Settings
from rag.tune.study import Report, Study

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset
    from rag.flow import Flow
    from rag.tune.space import Space


def tune(
    space: Space,
    data: Dataset,
    settings: Settings | None = None,
    *,
    folder: Path,
    storage: str | None = None,
    concurrency: int = 1,
    report: Report = lambda plan: None,
) -> tuple[Outcome, Flow]:
    """Search a space, or go on with a search that was stopped.

    Args:
        space: What may be otherwise.
        data: Questions, and the corpus if there is one.
        settings: What is looked for.
        folder: The study's: its journal, answers and indexes.
        storage: Where the journal is, if not there: `postgresql://...`.
        concurrency: Questions answered at a time.
        report: Called before each task.

    Returns:
        What was found, and the winner as a flow, which may be the one that there was.

    Raises:
        ConfigError: The space, the settings and the data do not fit each other; no configuration
            keeps the constraints; or the folder is another study's.
        BuildError: An option of the space fits into no configuration.
    """
    with Study(
        space, data, settings or Settings(), folder, storage=storage, concurrency=concurrency
    ) as study:
        study.work(report)
        found = result(study)
        return found, study.flow(found.winner.trial)


def result(study: Study) -> Outcome:
    """What a study that is over has found."""
    plan = study.plan()
    known = known_of(study.state, plan.board)
    shares = importance(study.space, known, study.settings.seed)
    return outcome(study.search, plan, study.state, shares)
