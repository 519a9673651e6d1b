"""Names that users give may be those of this library's own parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag import Checkpoints
from rag.errors import ConfigError, Interrupted
from rag.flow import Flow, Input, Interrupt, operator
from rag.flow.operator import PLACEMENT
from tests.flow.bricks import inc

NAMES = ["source", "flow", "self", "run", "inputs", "edits", "answers", "force", "config", "named"]
NAMES += ["node", "before", "many", "place", "channels", "name"]


def copying(name: str) -> Flow:
    """A flow with an input of that name."""

    @operator(writes="y")
    def copy(x: int) -> int:
        return x + 1

    return Flow(copy(inputs={"x": name}), inputs={name: int}, outputs=["y"])


@pytest.mark.parametrize("name", NAMES)
def test_an_input_may_have_any_name(name: str, tmp_path: Path) -> None:
    flow, given = copying(name), {name: 1}
    assert flow.invoke(**given) == {"y": 2}
    assert flow.run(**given).outputs == {"y": 2}
    assert list(flow.stream(**given))[-1].result == {"y": 2}
    assert flow.batch([given]) == [{"y": 2}]
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow, given)
        assert run.invoke() == {"y": 2}
        assert checkpoints.resume(flow, run.id).invoke() == {"y": 2}
        assert checkpoints.fork(flow, run.id, inputs={name: 5}).invoke() == {"y": 6}


@pytest.mark.parametrize("name", NAMES)
def test_an_edited_channel_may_have_any_name(name: str, tmp_path: Path) -> None:
    flow = Flow(Interrupt("right?", edit=name), inputs={name: int})
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow, {name: 1})
        with pytest.raises(Interrupted):
            run.invoke()
        assert checkpoints.resume(flow, run.id, {name: 2}).invoke() == {name: 2}


@pytest.mark.parametrize("name", sorted(PLACEMENT))
def test_configuration_may_not_take_the_name_of_a_policy(name: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def step(x: int, *, {name}: float = 1.0) -> int:\n    return x\n", space)  # noqa: S102
    with pytest.raises(ConfigError, match=f"every step has a field '{name}' already") as caught:
        operator(writes="x")(space["step"])
    assert caught.value.fix == "give the parameter another name"


def test_configuration_differs_in_one_run() -> None:
    flow = Flow(inc(by=1) >> inc(by=1, name="second"), inputs={"x": int, "k": Input(int, 20)})
    assert flow.invoke(x=0, config={"second": {"by": 10}}) == {"x": 11, "k": 20}
    assert flow.invoke(x=0, k=3) == {"x": 2, "k": 3}
    with pytest.raises(ConfigError, match="second"):
        flow.invoke(x=0, config={"secnd": {"by": 10}})
    with pytest.raises(ConfigError, match="by"):
        flow.invoke(x=0, config={"second": {"buy": 10}})
    with pytest.raises(ConfigError, match="by"):
        flow.invoke(x=0, config={"second": {"by": "many"}})
