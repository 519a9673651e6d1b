"""Agents in stored runs: nothing that is done is done again, and a person may be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rag.errors import InputError, Interrupted, StepError
from rag.flow import Flow, RunContext
from rag.flow.memory.checkpoints import Checkpoints
from rag.models import LLM
from rag.operators import Agent
from rag.tools import Found, Tools
from tests.agent.bricks import (
    ANSWER,
    LENGTH,
    QUESTION,
    Scripted,
    agent,
    call,
    document,
    hosted,
    scripted,
)
from tests.connections.provider import serving


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[Checkpoints]:
    with Checkpoints(tmp_path / "runs.sqlite") as opened:
        yield opened


SOUTH = document("The south lock is 90 m long.", "b")


def test_a_stopped_run_goes_on_where_it_was(checkpoints: Checkpoints) -> None:
    tool = Scripted("search", {"north": [document(LENGTH)], "south": [SOUTH]})
    llm = scripted(call("north"), call("south"), RuntimeError("no power"), ANSWER)
    flow = agent(llm, tool)
    run = checkpoints.start(flow, query=QUESTION)
    with pytest.raises(StepError, match="no power"):
        run.invoke()
    result = checkpoints.resume(flow, run.id).invoke()
    assert tool.calls == ["north", "south"], "neither is made again"
    assert len(llm.calls) == 3 + 2, "nor is the model asked again"
    assert [one.id for one in result["documents"]] == ["a", "b"]
    assert [use.status for use in result["tool_uses"]] == ["done", "done"]
    assert result["ended"] == "answered"


def test_of_calls_that_run_together_those_that_ended_count(checkpoints: Checkpoints) -> None:
    class Asking(Scripted):
        async def call(self, arguments: Mapping[str, Any], ctx: RunContext) -> Found:
            if arguments["query"] == "south":
                await ctx.interrupt("Is it safe?", safe=True)
            return await super().call(arguments, ctx)

    def server(body: dict[str, Any]) -> dict[str, Any]:
        if any(one["role"] == "tool" for one in body["messages"]):
            return {"text": "120 m [1] and 90 m [2]."}
        calls = [{"id": q, "name": "search", "arguments": {"query": q}} for q in ("north", "south")]
        return {"text": "", "calls": calls}

    tool = Asking("search", {"north": [document(LENGTH)], "south": [SOUTH]})
    with serving(server) as provider:
        flow = agent(hosted(provider.address), tool, parallel=1)
        run = checkpoints.start(flow, query=QUESTION)
        with pytest.raises(Interrupted, match="Is it safe"):
            run.invoke()
        assert tool.calls == ["north"]
        result = checkpoints.resume(flow, run.id).invoke()
        assert len(provider.requests) == 2
    assert tool.calls == ["north", "south"]
    assert result["answer"] == "120 m [1] and 90 m [2]."


def careful(llm: LLM, tool: Scripted) -> Flow:
    return Flow(Agent(), resources={"llm": llm, "tools": Tools({"search": tool})})


@pytest.mark.parametrize("approved", [True, False])
def test_a_person_approves_or_refuses_a_call(approved: bool, checkpoints: Checkpoints) -> None:
    tool = Scripted("search", {"north": [document(LENGTH)]}, approve=True)
    llm = scripted(call("north"), ANSWER)
    flow = careful(llm, tool)
    run = checkpoints.start(flow, query=QUESTION)
    with pytest.raises(Interrupted, match="May the agent call search"):
        run.invoke()
    assert tool.calls == []
    resumed = checkpoints.resume(flow, run.id, approved=approved)
    result = resumed.invoke()
    assert tool.calls == (["north"] if approved else [])
    (use,) = result["tool_uses"]
    assert use.status == ("done" if approved else "refused")
    if not approved:
        assert "A person has refused this call." in llm.prompts[1].question


def test_without_a_stored_run_nobody_can_be_asked() -> None:
    tool = Scripted("search", {"north": [document(LENGTH)]}, approve=True)
    with pytest.raises(StepError, match="nothing would store the run") as caught:
        careful(scripted(call("north")), tool).invoke(query=QUESTION)
    assert isinstance(caught.value.__cause__, InputError)
    assert tool.calls == []
