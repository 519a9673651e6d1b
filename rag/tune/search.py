"""What is to be done next in a study: a function of what is known, and of nothing else.

Iterated racing (Lopez-Ibanez et al. 2016, Operations Research Perspectives 3): a sampler
proposes a wave of configurations, which race against the best of the waves before; a last race
decides with what is left of the budget. What is proposed and dropped depends on whole rounds only.
So a study that was stopped, or that has many workers, comes to the same result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag.errors import ConfigError
from rag.eval.compare import Gain
from rag.tune.race import Board, dropped
from rag.tune.settings import Settings
from rag.tune.state import BASELINE, State, Task

WAVES = 0.75
"""Share of the budget for the waves; the last race has the rest."""
FEWEST = 3
"""Configurations of a wave, at least."""
SHOWN = 8
"""Trials of the front that the held-out questions are put to, at most."""


@dataclass
class Plan:
    """Where a study stands.

    Attributes:
        tasks: What can be done now, in any order; empty: the study is done.
        stage: What is going on, for people.
        board: What was measured.
        live: Trials that are left.
        dropped: Trial to why it is no longer.
        spent: Questions put to configurations so far.
        front: The best trials, once the search is over; the first is the winner.
    """

    board: Board
    tasks: tuple[Task, ...] = ()
    stage: str = ""
    live: list[int] = field(default_factory=lambda: [BASELINE])
    dropped: dict[int, str] = field(default_factory=dict)
    spent: int = 0
    front: tuple[int, ...] = ()


class Search:
    """Plans a study.

    Args:
        settings: How it is searched.
        blocks: Ids of the questions for the search, in blocks.
        holdout: Ids of the others, in blocks.
        dimensions: Of the space.

    Raises:
        ConfigError: The budget is too small for a race.
    """

    def __init__(
        self,
        settings: Settings,
        blocks: Sequence[Sequence[str]],
        holdout: Sequence[Sequence[str]],
        dimensions: int,
    ) -> None:
        self.settings, self.blocks, self.holdout = settings, blocks, holdout
        spread = math.floor(math.log2(max(dimensions, 1)))
        self.waves = settings.waves or 2 + spread
        several = len(settings.objectives) > 1
        self.keep = (2 + spread) * (2 if several else 1)
        """Trials that go on to the next wave."""
        self._gains: dict[tuple[int, int, str, int], Gain | None] = {}
        least = (FEWEST + 1) * len(blocks[0])
        if settings.budget < least:
            raise ConfigError(
                f"a budget of {settings.budget} questions is too small for a race",
                where="budget", fix=f"give at least {least}, or smaller blocks",
            )  # fmt: skip

    def fresh(self, wave: int) -> int:
        """How many configurations a wave proposes: later ones are compared for longer."""
        share = WAVES * self.settings.budget / self.waves
        return max(FEWEST, int(share / (len(self.blocks[0]) * (1 + min(wave + 1, 3)))))

    def plan(self, state: State) -> Plan:
        """Where a study stands, and what is to be done next."""
        plan = Plan(Board(self.settings, self.blocks, self._gains))
        limit = WAVES * self.settings.budget / self.waves
        for wave in range(self.waves):
            room = self.settings.budget - plan.spent
            if room < FEWEST * len(self.blocks[0]):
                break
            plan.stage = f"wave {wave + 1} of {self.waves}"
            if len(state.waves) <= wave:
                plan.tasks = (Task("propose", wave),)
                return plan
            if not state.waves[wave]:
                break  # there is nothing new in the space
            plan.live += state.waves[wave]
            if not self._race(plan, state, min(limit, room), self.keep):
                return plan
            best = plan.board.ranked(plan.live)[: self.keep]
            for trial in plan.live:
                if trial not in best and trial != BASELINE:
                    plan.dropped[trial] = f"{self.keep} are better so far"
            plan.live = [one for one in plan.live if one in best or one == BASELINE]
        plan.stage = "last race"
        several = len(self.settings.objectives) > 1
        left = self.settings.budget - plan.spent
        if not self._race(plan, state, left, 0 if several else 1):
            return plan
        most = max(plan.board.count(one) for one in plan.live)
        sure = [one for one in plan.live if 2 * plan.board.count(one) >= most]
        plan.front = tuple(plan.board.front(sure)[:SHOWN])
        plan.stage = "held-out questions"
        plan.tasks = tuple(
            task
            for block in range(len(self.holdout))
            for trial in dict.fromkeys((BASELINE, *plan.front))
            if not state.done(task := Task("holdout", trial, block))
        )
        return plan

    def _race(self, plan: Plan, state: State, limit: float, keep: int) -> bool:
        """Race the trials that are left.

        Args:
            plan: Gets what is to be done, or who is left.
            state: What is known.
            limit: Questions that may be put.
            keep: Stop when so few are left.

        Returns:
            False: something must be measured first.
        """
        spent = 0
        for at, block in enumerate(self.blocks):
            missing = [one for one in plan.live if plan.board.count(one) <= at]
            cost = len(missing) * len(block)
            if spent + cost > limit and (at or not missing):
                break
            tasks = [Task("search", one, at) for one in missing]
            plan.tasks = tuple(one for one in tasks if not state.done(one))
            if plan.tasks:
                return False
            spent += cost
            plan.spent += cost
            for one in missing:
                if one in state.errors:
                    plan.dropped[one] = state.errors[one]
                else:
                    plan.board.add(one, state.results[Task("search", one, at)])
            plan.live = [one for one in plan.live if one not in state.errors]
            for one, why in dropped(plan.board, plan.live).items():
                plan.dropped[one] = why
                plan.live.remove(one)
            if len(plan.live) <= keep:
                break
        return True
