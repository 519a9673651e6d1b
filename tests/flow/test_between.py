"""Loops that are left in their middle, and parallels of which some branches run."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import BuildError, ConfigError, StepError
from rag.flow import Flow, Guard, Loop, Parallel, Sequence, load_flow, operator
from rag.flow.memory.checkpoints import Checkpoints
from rag.flow.run.events import BranchSkipped, NodeFinished, NodeStarted, Reused
from rag.flow.yaml.dump import dump
from tests.flow.bricks import REGISTRY, Scale, inc, named, remember, speak, total

INT = {"x": int}


def test_between_runs_after_every_turn_but_the_last() -> None:
    loop = Loop(body=inc(), until="x >= 10", between=inc(by=3), max_turns=9)
    flow = Flow(loop, inputs=INT)
    events = list(flow.stream(x=0))
    assert events[-1].result == {"x": 13}
    assert [str(event.place) for event in events if isinstance(event, NodeStarted)] == [
        "loop@1/inc", "loop@1/.between/inc",
        "loop@2/inc", "loop@2/.between/inc",
        "loop@3/inc", "loop@3/.between/inc",
        "loop@4/inc",
    ]  # fmt: skip
    assert flow.invoke(x=9) == {"x": 10}


def test_between_does_not_run_when_the_turns_are_used_up() -> None:
    assert Loop(body=inc(), between=inc(by=10), max_turns=2).invoke(x=0) == {"x": 12}


def test_what_only_between_writes_is_optional() -> None:
    loop = Loop(body=inc(), until="x >= 3", between=remember(), max_turns=9)
    flow = Flow(loop, inputs=INT, outputs=["x", "seen"])
    assert flow.invoke(x=0) == {"x": 3, "seen": [1, 2]}
    assert flow.invoke(x=5) == {"x": 6}

    @operator(writes="n")
    def count(seen: list[int]) -> int:
        return len(seen)

    with pytest.raises(BuildError, match="from its second turn on"):
        Flow(loop >> count(), inputs=INT)


def test_carry_and_history_know_what_comes_between() -> None:
    loop = Loop(body=inc() >> remember(), between=inc(by=10), carry="seen", max_turns=3)
    assert loop.invoke(x=0) == {"x": 1, "seen": [1, 1, 1]}
    loop = Loop(body=inc(), between=Scale(), history="turns", max_turns=2)
    assert loop.invoke(x=1)["turns"] == [{"x": 4, "note": "times 2"}, {"x": 5}]
    with pytest.raises(BuildError, match="does not write 'note'"):
        Flow(Loop(body=inc(), between=inc(), carry="note", max_turns=2), inputs=INT)


def test_what_comes_between_may_change_what_the_next_turn_reads() -> None:
    @operator(writes="x")
    def spell(x: int) -> str:
        return "one"

    with pytest.raises(BuildError, match=r"'x' is .*str"):
        Flow(Loop(body=inc(), between=spell(), max_turns=2), inputs=INT)


def test_a_loop_resumes_between_two_turns(tmp_path: Path) -> None:
    broken = [True]

    @operator(writes="x")
    def moody(x: int) -> int:
        if broken[0] and x > 2:
            raise OSError("away")
        return x

    flow = Flow(Loop(body=inc(), between=moody(), until="x == 4", max_turns=9), inputs=INT)
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow, x=0)
        with pytest.raises(StepError, match=r"loop@3/\.between/moody"):
            run.invoke()
        broken[0] = False
        events = list(checkpoints.resume(flow, run.id).stream())
    assert events[-1].result == {"x": 4}
    assert sum(isinstance(event, Reused) for event in events) == 5


def test_only_the_selected_branches_run_in_their_order() -> None:
    node = Parallel(a=inc(), b=inc(by=2), c=inc(by=3), select="wanted", join=named())
    flow = Flow(node, inputs={"x": int, "wanted": list[str]})
    events = list(flow.stream(x=0, wanted=["c", "a"]))
    assert list(events[-1].result["named"].items()) == [("a", 1), ("c", 3)]
    assert [event.branch for event in events if isinstance(event, BranchSkipped)] == ["b"]
    assert flow.invoke(x=0, wanted=[])["named"] == {}


def test_selected_branches_write_optional_channels() -> None:
    node = Parallel(
        a=inc(outputs={"x": "y"}), b=inc(outputs={"x": "z"}), select="['a'] if x else ['a', 'b']"
    )
    flow = Flow(node, inputs=INT, outputs=["y", "z"])
    assert flow.invoke(x=1) == {"y": 2}
    assert flow.invoke(x=0) == {"y": 1, "z": 1}
    with pytest.raises(BuildError, match="may be missing"):
        Flow(node >> inc(inputs={"x": "y"}), inputs=INT)


def test_a_selection_of_what_is_not_there_is_an_error() -> None:
    flow = Flow(
        Parallel(a=inc(), b=inc(), select="wanted", join=total()),
        inputs={"x": int, "wanted": list[str]},
    )
    with pytest.raises(StepError, match="no branch is called 'bb'"):
        flow.invoke(x=0, wanted=["bb"])
    with pytest.raises(BuildError, match="a list of branches' names is wanted"):
        Flow(Parallel(a=inc(), select="x"), inputs=INT)
    with pytest.raises(BuildError, match="nothing upstream writes it"):
        Flow(Parallel(a=inc(), select="wanted"), inputs=INT)
    with pytest.raises(ConfigError, match="select is a function"):
        Parallel(a=inc(), select=lambda x: ["a"])  # type: ignore[arg-type]
    with pytest.raises(StepError, match="not a list of names"):
        Flow(Parallel(a=inc(), select="x + 1", join=total()), inputs=INT).invoke(x=0)


def test_both_are_written_to_files_and_drawn() -> None:
    flow = Flow(
        Loop(body=inc(), between=inc(by=2), until="x > 3", max_turns=3)
        >> Parallel(a=inc(), b=inc(), select="['a']", join=total()),
        inputs=INT,
    )
    again = load_flow(dump(flow, REGISTRY), registry=REGISTRY)
    assert again == flow
    assert '|"else"|' in again.mermaid()
    assert "else" not in Flow(Loop(body=inc(), max_turns=2), inputs=INT).mermaid()
    assert again.svg().count('data-node="loop/.between/inc"') == 1
    ran = [e for e in again.stream(x=0) if isinstance(e, NodeFinished)]
    assert [str(e.place) for e in ran][-2:] == ["parallel/a/inc", "parallel/.join/total"]


def test_an_empty_branch_gives_a_join_what_was_there_before() -> None:
    node = Parallel(before=Sequence(), after=inc(by=5), join=named())
    flow = Flow(node, inputs=INT)
    assert flow.invoke(x=1)["named"] == {"before": 1, "after": 6}
    assert load_flow(dump(flow, REGISTRY), registry=REGISTRY) == flow
    assert Parallel(before=Sequence(), after=inc(outputs={"x": "y"}), join=inc()).invoke(x=1) == {
        "x": 2
    }
    mixed = Parallel(before=Sequence(), after=speak(outputs={"answer": "x"}), join=total())
    with pytest.raises(BuildError, match=r"list\[int \| str\]"):
        Flow(mixed, inputs={"x": int, "query": str})


def test_a_cached_loop_and_parallel_depend_on_all_that_they_read() -> None:
    @operator(writes="x")
    def plus(x: int, step: int) -> int:
        return x + step

    loop = Guard(Loop(body=inc(), between=plus(), max_turns=2), cache=True)
    flow = Flow(loop, inputs={"x": int, "step": int})
    assert [flow.invoke(x=0, step=step)["x"] for step in (1, 1, 10)] == [3, 3, 12]
    node = Parallel(a=inc(), b=inc(by=2), select="wanted", join=total())
    flow = Flow(Guard(node, cache=True), inputs={"x": int, "wanted": list[str]})
    assert [flow.invoke(x=0, wanted=list(names))["total"] for names in ("a", "b", "ab")] == [
        1, 2, 3,
    ]  # fmt: skip


def test_behind_a_loop_a_channel_is_what_the_body_wrote() -> None:
    @operator(writes="x")
    def number(x: int | str) -> int:
        return len(str(x))

    @operator(writes="x")
    def spell(x: int) -> str:
        return "=" * (x + 1)

    loop = Loop(body=number(), between=spell(), max_turns=3)
    assert Flow(loop >> inc(), inputs=INT).invoke(x=5) == {"x": 4}
