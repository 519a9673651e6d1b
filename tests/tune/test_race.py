"""Races: how sure an interval is, who is dropped, and that the best seldom is."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.tune import Settings
from rag.tune.intervals import interval, look
from rag.tune.race import Board, dropped

BLOCK = 8


def board(
    rows: Sequence[Sequence[float | None]],
    settings: Settings | None = None,
    costs: Sequence[float] | None = None,
) -> Board:
    """The values of trials in containment, the baseline's first; each may cost LLM calls."""
    count = len(rows[0]) // BLOCK
    blocks = [[f"q{at}" for at in range(b * BLOCK, (b + 1) * BLOCK)] for b in range(count)]
    made = Board(settings or Settings(block=BLOCK), blocks)
    for trial, row in enumerate(rows):
        for block in range(count):
            values: dict[str, dict[str, float]] = {}
            for at in range(block * BLOCK, (block + 1) * BLOCK):
                if at >= len(row):
                    break
                value = row[at]
                values[f"q{at}"] = {} if value is None else {"containment": value}
                if costs is not None:
                    values[f"q{at}"]["llm_calls"] = costs[trial]
            if values:
                made.add(trial, values)
    return made


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.floats(0.6, 0.99))
def test_an_interval_turns_with_the_sign(values: list[float], confidence: float) -> None:
    one, other = interval(values, confidence), interval([-v for v in values], confidence)
    assert one.low == pytest.approx(-other.high, abs=1e-9)
    assert one.low <= one.high
    wider = interval(values, (1 + confidence) / 2)
    assert wider.low <= one.low + 1e-12
    assert wider.high >= one.high - 1e-12


def test_few_equal_differences_are_not_sure() -> None:
    assert interval([1.0, 1.0], 0.95).low < 0
    assert interval([1.0] * 8, 0.95).low > 0
    assert interval([0.0] * 8, 0.95) == interval([0.0], 0.95)


@given(st.floats(0.5, 0.99), st.integers(1, 400))
def test_all_looks_together_err_no_more_than_they_may(confidence: float, looks: int) -> None:
    assert sum(1 - look(confidence, n) for n in range(1, looks + 1)) <= 1 - confidence + 1e-9


def test_one_that_is_surely_worse_is_dropped_and_the_baseline_stays() -> None:
    made = board([[0.0] * 16, [1.0] * 16, [0.0] * 16, [1.0] * 15 + [0.0]])
    assert dropped(made, [0, 1, 2, 3]) == {2: "trial 1 is better"}


def test_one_with_more_questions_is_not_dropped_by_one_with_fewer() -> None:
    made = board([[0.0] * 16, [1.0] * 8, [0.0] * 16])
    assert dropped(made, [0, 1, 2]) == {}


def test_only_questions_with_both_values_count() -> None:
    made = board([[0.0] * 8, [1.0] * 4 + [None] * 4, [None] * 4 + [0.0] * 4])
    assert made.gain(1, 2, "containment", 1) is None
    assert dropped(made, [0, 1, 2]) == {}


def test_of_several_objectives_one_that_is_cheaper_stays() -> None:
    settings = Settings(minimise="llm_calls", block=BLOCK)
    rows = [[0.0] * 16, [1.0] * 16, [0.0] * 16, [0.0] * 16]
    made = board(rows, settings, costs=[2, 3, 1, 4])
    assert dropped(made, [0, 1, 2, 3]) == {3: "the baseline is better"}
    assert made.front([0, 1, 2]) == [1, 2]


def test_what_surely_breaks_a_constraint_is_dropped() -> None:
    settings = Settings(constraints={"llm_calls": 2}, block=BLOCK)
    made = board([[0.0] * 8, [1.0] * 8, [0.5] * 8], settings, costs=[1, 3, 2])
    assert dropped(made, [0, 1, 2]) == {1: "llm_calls is above 2"}
    assert made.front([0, 1, 2]) == [2]
    only = Settings(constraints={"containment": 0.9}, block=BLOCK)
    assert "containment is below 0.9" in dropped(board([[0.0] * 8, [0.1] * 8], only), [0, 1])[1]


def test_the_best_is_dropped_as_seldom_as_the_confidence_says() -> None:
    """Binary answers of ten configurations, the best ahead by little, over twelve blocks."""
    rng = random.Random(1)  # noqa: S311 - a sample, no secret
    lost, worlds, confidence = 0, 60, 0.9
    for _ in range(worlds):
        hard = [rng.random() for _ in range(12 * BLOCK)]
        skills = [0.45, 0.55, *(rng.uniform(0.3, 0.52) for _ in range(8))]
        rows = [[float(skill + rng.gauss(0, 0.2) > h) for h in hard] for skill in skills]
        made = Board(Settings(confidence=confidence), board(rows).blocks)
        live = list(range(len(rows)))
        for block in made.blocks:
            for trial in live:
                values = {q: {"containment": rows[trial][int(q[1:])]} for q in block}
                made.add(trial, values)
            out = dropped(made, live)
            lost += 1 in out
            live = [one for one in live if one not in out]
    assert lost / worlds <= 1 - confidence
