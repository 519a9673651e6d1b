"""What is done next depends on what is known, and not on who found it, or when."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from rag.errors import ConfigError
from rag.tune import Range, Settings, Space
from rag.tune.search import Search
from rag.tune.state import State, Task
from tests.tune.bricks import Paper, chance, space


def worth(config: Mapping[str, Any], question: str) -> dict[str, float]:
    skill = float(config["steps.guess.skill"])
    skill += {"plain": 0.0, "bold": 0.1, "wild": -0.3}[config["steps.guess.style"]]
    noise = 0.3 * chance(question, str(config))
    return {
        "containment": float(0.7 * chance(question) + noise < skill),
        "llm_calls": 1.0 + 4 * float(config["steps.guess.skill"]),
    }


BEST = {"steps.guess.skill": "0.9", "steps.guess.style": "bold"}


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "grid"])
def test_every_sampler_finds_the_best(sampler: Any) -> None:
    paper = Paper(Settings(budget=600, sampler=sampler), worth)
    plan = paper.run()
    assert paper.winner() == BEST
    assert plan.spent <= 600
    assert len({str(one.config) for one in paper.state.trials.values()}) == len(paper.state.trials)


def test_the_order_of_the_work_changes_nothing() -> None:
    settings = Settings(budget=500, minimise="llm_calls")
    first = Paper(settings, worth)
    first.run()
    rng = random.Random(3)  # noqa: S311 - a sample, no secret
    other = Paper(settings, worth)
    other.run(rng.choice)
    assert first.state.trials == other.state.trials
    assert first.state.results == other.state.results
    assert first.search.plan(first.state).front == other.search.plan(other.state).front


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been() -> None:
    settings = Settings(budget=400)
    whole = Paper(settings, worth)
    whole.run()
    for cut in range(0, len(whole.entries), 7):
        again = Paper(settings, worth)
        again.entries = list(whole.entries[:cut])
        again.state.add(again.entries)
        again.run()
        assert again.entries == whole.entries


def test_entries_of_two_workers_that_did_the_same_count_once() -> None:
    paper = Paper(Settings(budget=300), worth)
    plan = paper.search.plan(paper.state)
    paper.do(plan.tasks[0], plan)
    trials = dict(paper.state.trials)
    paper.add("wave", {"number": 0, "trials": [], "texts": {}})
    task = Task("search", 1, 0)
    for value in (1.0, 0.0):
        values = {"q0": {"containment": value}}
        paper.add("result", {"kind": "search", "number": 1, "block": 0, "values": values})
    assert paper.state.trials == trials
    assert paper.state.results[task] == {"q0": {"containment": 1.0}}


def test_later_waves_are_smaller_and_a_small_space_ends_early() -> None:
    search = Search(Settings(budget=2000), [["q"] * 8] * 20, [], 8)
    counts = [search.fresh(wave) for wave in range(search.waves)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] >= 3
    paper = Paper(Settings(budget=3000, sampler="grid"), worth, 16)
    plan = paper.run()
    assert len(paper.state.trials) == 16  # with the baseline
    assert plan.spent < 3000


def test_a_front_has_no_member_that_another_beats() -> None:
    paper = Paper(Settings(budget=900, minimise="llm_calls"), worth)
    plan = paper.run()
    names = paper.settings.objectives
    points = [[plan.board.worth(one, name) for name in names] for one in plan.front]
    assert len(points) > 1
    for one in points:
        assert not any(all(a > b for a, b in zip(two, one, strict=True)) for two in points)
    values = [point[0] for point in points]
    assert values == sorted(values, reverse=True)


def test_constraints_hold_for_the_winner() -> None:
    paper = Paper(Settings(budget=600, constraints={"llm_calls": 3.2}), worth)
    paper.run()
    assert float(paper.winner()["steps.guess.skill"]) == 0.5


def test_a_trial_that_cannot_be_measured_is_left_out() -> None:
    paper = Paper(Settings(budget=400, sampler="grid"), worth)
    plan = paper.search.plan(paper.state)
    paper.do(plan.tasks[0], plan)
    bad = next(n for n, one in paper.state.trials.items() if one.config)
    paper.add("failed", {"number": bad, "why": "no such model"})
    plan = paper.run()
    assert plan.dropped[bad] == "no such model"
    assert bad not in plan.front


def test_a_budget_that_is_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="too small") as error:
        Search(Settings(budget=20), [["q"] * 8], [], 2)
    assert "at least 32" in str(error.value.fix)


def test_ranges_are_searched_too() -> None:
    own = Space(
        space().flow,
        {"steps.guess.skill": Range(0.05, 0.95), "steps.guess.style": ["plain", "bold"]},
    )
    paper = Paper(Settings(budget=900), worth, own=own)
    paper.run()
    assert float(paper.winner()["steps.guess.skill"]) > 0.75


def test_what_is_proposed_next_is_the_same_for_the_same_state() -> None:
    paper = Paper(Settings(budget=400), worth)
    paper.run()
    twin = Paper(Settings(budget=400), worth)
    twin.state = State()
    twin.state.add(paper.entries)
    assert twin.search.plan(twin.state).front == paper.search.plan(paper.state).front
