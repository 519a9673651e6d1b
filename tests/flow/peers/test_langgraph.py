"""What LangGraph's suite holds of its graphs, with our constructs: shapes and questions.

Each test names the test under `libs/langgraph/tests` that it stands for. `Send` there is a `Map`
here, a conditional edge to several nodes a `Parallel(select=)`, a reducer over messages a channel
that steps rewrite, and a thread a stored run. Policies and stored runs
have files of their own beside this one.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from rag.errors import Interrupted
from rag.flow import (
    Flow,
    Interrupt,
    Loop,
    Map,
    Parallel,
    Route,
    RunContext,
    operator,
)
from rag.flow.memory.checkpoints import Checkpoints
from rag.flow.run.events import BranchSkipped
from tests.flow.peers.bricks import add, labels, note, ran, total

INT = {"x": int}


# Sends, edges, graphs within graphs


def test_a_body_per_item_and_one_answer() -> None:
    """`test_pregel.py::test_conditional_entrypoint_to_multiple_state_graph` (map-reduce)."""

    @operator(writes="weather")
    def look(town: str) -> str:
        return f"{town}: {'sunny' if len(town) > 2 else 'cloudy'}"

    @operator(writes="report")
    def report(weather: list[str]) -> str:
        return "; ".join(weather)

    flow = Flow(
        Map(over="towns", as_="town", body=look(), join=report()), inputs={"towns": list[str]}
    )
    assert flow.invoke(towns=["sf", "nyc"])["report"] == "sf: cloudy; nyc: sunny"
    assert sorted(ran(flow, towns=["sf", "nyc"])) == [
        "map#0/look", "map#1/look", "map/.join/report",
    ]  # fmt: skip


def test_items_take_different_ways() -> None:
    """`test_pregel.py::test_concurrent_emit_sends`: sends to different nodes, and a plain edge."""

    @operator(writes="done")
    def work(item: int, *, kind: str) -> str:
        return f"{kind}|{item}"

    way = Route(by="item > 1", cases={True: work(kind="big"), False: work(kind="small")})
    flow = Flow(
        Parallel(
            sent=Map(over="items", as_="item", body=way),
            direct=work(kind="3.1", inputs={"item": "x"}, outputs={"done": "direct"}),
        ),
        inputs={"items": list[int], "x": int},
    )
    result = flow.invoke(items=[1, 2, 3], x=0)
    assert (result["done"], result["direct"]) == (["small|1", "big|2", "big|3"], "3.1|0")


def test_nothing_to_send() -> None:
    """`test_pregel.py::test_send_sequences`, its list of sends being empty."""
    flow = Flow(Map(over="xs", as_="x", body=add(), join=total()), inputs={"xs": list[int]})
    assert flow.invoke(xs=[])["total"] == 0
    assert ran(flow, xs=[]) == ["map/.join/total"]


@operator(writes="messages")
def reply(messages: list[BaseMessage], *, text: str) -> list[BaseMessage]:
    """Answer with a text."""
    return [*messages, AIMessage(text)]


def test_messages_grow_step_by_step() -> None:
    """`test_messages_state.py::test_messages_state` and `test_pregel.py::test_add_sequence`."""
    flow = Flow(reply(text="one") >> reply(text="two"), inputs={"messages": list[BaseMessage]})
    given: list[BaseMessage] = [HumanMessage("hello")]
    assert [m.content for m in flow.invoke(messages=given)["messages"]] == ["hello", "one", "two"]
    assert len(given) == 1


def test_a_graph_as_a_node_keeps_its_inside_to_itself() -> None:
    """`test_pregel.py::test_nested_graph`: the inner state is its own, keys are renamed."""
    inner = Flow(
        add(outputs={"x": "secret"}) >> add(inputs={"x": "secret"}, outputs={"x": "y"}),
        inputs=INT,
        outputs=["y"],
        name="inner",
    )
    flow = Flow(add() >> inner.at(outputs={"y": "z"}), inputs=INT)
    assert flow.invoke(x=0) == {"x": 1, "z": 3}
    assert ran(flow, x=0) == ["add", "inner/add", "inner/add:2"]


@pytest.mark.parametrize("targets", [["a", "c"], ["b"], []])
def test_an_edge_to_several_of_many(targets: list[str]) -> None:
    """`test_pregel.py::test_in_one_fan_out_state_graph_waiting_edge_multiple_cond_edge`.

    A condition names any number of the nodes behind it; the next node waits for those.
    """
    branches = {name: note(text=name) for name in "abc"}

    @operator(writes="log")
    def merge(log: list[list[str]]) -> list[str]:
        return [text for one in log for text in one]

    flow = Flow(Parallel(branches, select="targets", join=merge()), inputs={"targets": list[str]})
    assert flow.invoke(targets=targets)["log"] == targets
    skipped = [e.branch for e in flow.stream(targets=targets) if isinstance(e, BranchSkipped)]
    assert {*skipped, *targets} == {"a", "b", "c"}


def test_an_agent_calls_tools_at_the_same_time() -> None:
    """`test_large_cases.py::test_prebuilt_tool_chat`: calls of one turn run together.

    The loop is left behind the model where it calls nothing; tools run between two turns.
    """
    met = threading.Barrier(2, timeout=30)
    script = iter([
        AIMessage("", tool_calls=[
            {"name": "search", "args": {"query": text}, "id": text} for text in ("a", "b")
        ]),
        AIMessage("found a and b"),
    ])  # fmt: skip

    @operator(writes=("messages", "calls"))
    def think(messages: list[BaseMessage]) -> tuple[list[BaseMessage], list[dict[str, Any]]]:
        answer = next(script)
        return [*messages, answer], [dict(call) for call in answer.tool_calls]

    @operator(writes="result")
    def use(call: dict[str, Any]) -> ToolMessage:
        met.wait()  # nobody passes alone
        return ToolMessage(f"about {call['args']['query']}", tool_call_id=call["id"])

    @operator(writes="messages")
    def take(messages: list[BaseMessage], result: list[ToolMessage]) -> list[BaseMessage]:
        return [*messages, *result]

    tools = Map(over="calls", as_="call", body=use(), join=take())
    flow = Flow(
        Loop(body=think(), until="not calls", between=tools, max_turns=5),
        inputs={"messages": list[BaseMessage]},
        outputs=["messages"],
    )
    record = flow.run(messages=[HumanMessage("a and b?")])
    contents = [message.content for message in record.result()["messages"]]
    assert contents == ["a and b?", "", "about a", "about b", "found a and b"]
    assert labels([str(one.place) for one in record.occurrences]) == [
        "think", "use", "use", "take", "think",
    ]  # fmt: skip


# Questions to a person


def test_a_step_asks_until_the_answer_is_good(checkpoints: Checkpoints) -> None:
    """`test_pregel.py::test_interrupt_loop`: asked within a node, again and again."""
    asked: list[str] = []

    @operator(writes="age")
    async def ask(query: str, *, ctx: RunContext) -> int:
        question = "How old are you?"
        while True:
            answer = str((await ctx.interrupt(question, age=""))["age"])
            if answer.isdigit() and int(answer) >= 18:
                return int(answer)
            question = f"{answer!r} will not do."

    flow = Flow(ask(), outputs=["age"])
    run = checkpoints.start(flow, query="")
    for answer in ("13", "x", "19"):
        with pytest.raises(Interrupted) as pause:
            run.invoke()
        asked.append(pause.value.what)
        run = checkpoints.resume(flow, run.id, age=answer)
    assert run.invoke() == {"age": 19}
    assert asked == ["How old are you?", "'13' will not do.", "'x' will not do."]


def test_a_refusal_takes_another_way(checkpoints: Checkpoints) -> None:
    """`test_large_cases.py::test_send_react_interrupt_control`: approve a call, or refuse it."""
    ways = {True: note(text="sent"), False: note(text="dropped")}
    flow = Flow(
        Interrupt("Send it?", show="query", answer="approved") >> Route(by="approved", cases=ways),
        outputs=["log"],
    )
    for edits, log in (({}, ["sent"]), ({"approved": False}, ["dropped"])):
        run = checkpoints.start(flow, query="q")
        with pytest.raises(Interrupted):
            run.invoke()
        assert checkpoints.resume(flow, run.id, edits).invoke() == {"log": log}


def test_every_item_asks_for_itself(checkpoints: Checkpoints) -> None:
    """`test_pregel.py::test_parallel_interrupts`: three at once, answered one by one."""
    body = Interrupt("Right?", edit="x") >> add()
    flow = Flow(Map(over="xs", as_="x", body=body, join=total()), inputs={"xs": list[int]})
    run = checkpoints.start(flow, xs=[1, 2, 3])
    waits = []
    for item in range(3):
        with pytest.raises(Interrupted) as pause:
            run.invoke()
        waits.append(len(pause.value.stops))
        answer = {f"map#{item}/interrupt": {"x": 10 * (item + 1)}}
        run = checkpoints.resume(flow, run.id, answers=answer)
    assert run.invoke()["total"] == 11 + 21 + 31
    assert waits == [3, 2, 1]


def test_a_question_in_a_graph_in_a_loop(checkpoints: Checkpoints) -> None:
    """`test_pregel.py::test_interrupt_subgraph` in each turn of a loop."""
    inner = Flow(add() >> Interrupt("Go on?", edit="x"), inputs=INT, outputs=["x"], name="inner")
    flow = Flow(Loop(body=inner, max_turns=3), inputs=INT)
    run = checkpoints.start(flow, x=0)
    places = []
    for _ in range(3):
        with pytest.raises(Interrupted) as pause:
            run.invoke()
        (stop,) = pause.value.stops
        places.append(str(stop.place))
        run = checkpoints.resume(flow, run.id, x=stop.channels["x"] * 10)
    assert run.invoke() == {"x": ((1 * 10 + 1) * 10 + 1) * 10}
    assert places == [f"loop@{turn}/inner/interrupt" for turn in (1, 2, 3)]


def test_a_question_leaves_its_siblings_to_end(checkpoints: Checkpoints) -> None:
    """`test_pregel_async.py::test_node_not_cancelled_on_other_node_interrupted`.

    The sibling is still at work when two others ask; both are asked at once, its result is kept.
    """
    calls = []

    @operator(writes="w")
    async def work(x: int) -> int:
        for _ in range(5):
            await asyncio.sleep(0)
        calls.append(x)
        return x + 100

    ask = {name: Interrupt(f"{name}?", answer=name) for name in ("a", "b")}
    flow = Flow(Parallel({**ask, "c": work()}), inputs=INT)
    run = checkpoints.start(flow, x=1)
    with pytest.raises(Interrupted) as pause:
        run.invoke()
    assert [stop.message for stop in pause.value.stops] == ["a?", "b?"]
    assert calls == [1]
    assert checkpoints.resume(flow, run.id).invoke() == {"x": 1, "a": True, "b": True, "w": 101}
    assert calls == [1]
