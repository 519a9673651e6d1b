"""A flow as a LangChain `Runnable`, as langchain-core's own tools see it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough

from rag.errors import InputError, StepError
from rag.flow import Flow, Guard, Input, Loop, Parallel, Route, RunContext, operator
from rag.flow.langchain import Outputs, as_step

TEXT = "the keeper opens it"
WORDS = ["the ", "keeper ", "opens ", "it"]


@operator(writes="answer")
def speak(query: str) -> Iterator[str]:
    """Say the words one by one."""
    yield from WORDS


@operator(writes="answer")
async def aspeak(query: str) -> AsyncIterator[str]:
    """Say the words one by one."""
    for word in WORDS:
        await asyncio.sleep(0)
        yield word


@operator(writes="answer")
def mark(answer: str) -> str:
    """Add a mark."""
    return f"{answer} [1]"


@operator(writes="documents")
def find(query: str, *, ctx: RunContext) -> list[Document]:
    """Find one document, and say so."""
    ctx.emit("found", {"count": 1})
    return [Document(page_content="a lock")]


@operator(writes="answer")
def fail(query: str) -> str:
    """Fail."""
    raise ValueError("no lock")


@operator(writes="answer")
def joined(answer: list[str]) -> str:
    """The first."""
    return answer[0]


class Seen(BaseCallbackHandler):
    """Notes what a tracer is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.parents: dict[str, UUID | None] = {}
        self.ids: dict[str, UUID] = {}
        self.tags: dict[str, list[str]] = {}
        self.metadata: dict[str, Any] = {}

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None,
        tags: list[str] | None = None, metadata: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        name = kwargs["name"]
        self.events.append(("start", name))
        self.ids[name], self.parents[name] = run_id, parent_run_id
        self.tags[name], self.metadata[name] = tags or [], metadata

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self.events.append(("end", outputs))

    def on_chain_error(self, error: BaseException, **kwargs: Any) -> None:
        self.events.append(("error", type(error).__name__))

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        self.parents["model"] = parent_run_id


def told(step: Any = None) -> Flow:
    return Flow(find() >> (step or speak()), name="told", outputs=["answer", "documents"])


def summed(parts: Any) -> Any:
    total: Any = None
    for part in parts:
        total = part if total is None else total + part
    return total


async def events_of(runnable: Any, given: Any, **options: Any) -> list[Any]:
    return [event async for event in runnable.astream_events(given, version="v2", **options)]


def test_its_schemas_are_the_flows_inputs_and_outputs() -> None:
    flow = Flow(speak(), name="told", inputs={"query": str, "k": Input(int, 3)}, outputs=["answer"])
    runnable = flow.as_runnable()
    schema = runnable.get_input_jsonschema()
    assert schema["required"] == ["query"]
    assert schema["properties"]["k"] == {"default": 3, "title": "K", "type": "integer"}
    assert runnable.get_output_jsonschema()["properties"]["answer"]["type"] == "string"
    assert runnable.get_name() == "told"
    assert runnable.get_graph().first_node() is not None


@pytest.mark.parametrize("step", [speak(), aspeak()])
def test_tokens_are_streamed_to_both_kinds_of_callers(step: Any) -> None:
    runnable = told(step).as_runnable()

    async def collect() -> list[Any]:
        return [part async for part in runnable.astream({"query": "who"})]

    for parts in (list(runnable.stream({"query": "who"})), asyncio.run(collect())):
        assert [part["answer"] for part in parts[:-1]] == WORDS
        assert list(parts[-1]) == ["documents"]
        assert summed(parts) == runnable.invoke({"query": "who"})


def test_tokens_are_events_of_the_chain() -> None:
    runnable = told().as_runnable()
    events = asyncio.run(events_of(runnable, {"query": "who"}))
    streamed = [e["data"]["chunk"] for e in events if e["event"] == "on_chain_stream"]
    assert [part["answer"] for part in streamed if "answer" in part] == WORDS
    assert events[0]["event"] == "on_chain_start"
    assert events[0]["data"]["input"] == {"query": "who"}
    assert events[-1]["event"] == "on_chain_end"
    assert events[-1]["data"]["output"] == runnable.invoke({"query": "who"})
    assert {e["name"] for e in events if e["event"] != "on_custom_event"} == {"told"}


def test_what_operators_emit_are_custom_events_of_the_chain() -> None:
    events = asyncio.run(events_of(told().as_runnable(), {"query": "who"}))
    (custom,) = [e for e in events if e["event"] == "on_custom_event"]
    assert (custom["name"], custom["data"]) == ("found", {"count": 1})


def test_tokens_pass_through_a_chain() -> None:
    chain: Any = (
        RunnableLambda(lambda text: {"query": text}) | told().as_runnable() | RunnablePassthrough()
    )
    events = asyncio.run(events_of(chain, "who"))
    inner = [e for e in events if e["name"] == "told" and e["event"] == "on_chain_stream"]
    outer = [e for e in events if e["name"] == "RunnableSequence" and "chunk" in e["data"]]
    for found in (inner, outer):
        parts = [event["data"]["chunk"] for event in found]
        assert [part["answer"] for part in parts if "answer" in part] == WORDS
    assert [part.get("answer") for part in chain.stream("who")][:4] == WORDS


def test_beside_another_branch_its_parts_add_up() -> None:
    both: Any = RunnableParallel(one=told(speak() >> mark()).as_runnable(), two=lambda _: 2)
    assert summed(both.stream({"query": "who"})) == both.invoke({"query": "who"})


def test_a_text_that_a_later_step_rewrites_is_replaced_at_the_end() -> None:
    runnable = told(speak() >> mark()).as_runnable()
    parts = list(runnable.stream({"query": "who"}))
    assert [part["answer"] for part in parts[:-1]] == WORDS
    assert parts[-1]["answer"] == f"{TEXT} [1]"
    assert summed(parts) == runnable.invoke({"query": "who"})
    assert isinstance(parts[-1], Outputs)
    assert parts[-1].final


@pytest.mark.parametrize(
    ("node", "streams"),
    [
        (Guard(speak(), timeout=9), True),
        (Route(by="query", cases={"who": speak()}, default=fail()), True),
        (Flow(speak(), name="inner", outputs=["answer"]), True),
        (Loop(body=speak(), max_turns=2, until="False"), False),
        (Parallel(a=speak(), b=speak(), join=joined()), False),
    ],
)
def test_only_what_becomes_the_output_is_streamed(node: Any, streams: bool) -> None:
    runnable = Flow(node, name="told", outputs=["answer"]).as_runnable()
    parts = list(runnable.stream({"query": "who"}))
    assert [part["answer"] for part in parts] == (WORDS if streams else [TEXT])


def test_only_the_last_of_two_models_is_streamed() -> None:
    class Draft(type(speak())):  # type: ignore[misc]
        span_kind = "LLM"

    runnable = Flow(Draft(name="first") >> Draft(name="last"), outputs=["answer"]).as_runnable()
    assert [part["answer"] for part in runnable.stream({"query": "who"})] == WORDS


def test_batches_keep_their_order_and_their_errors() -> None:
    runnable = told(fail()).as_runnable()
    good = told().as_runnable()
    many = [{"query": str(number)} for number in range(20)]
    assert [out["answer"] for out in good.batch(many)] == [TEXT] * 20
    assert [out["answer"] for out in asyncio.run(good.abatch(many))] == [TEXT] * 20
    results = runnable.batch(many[:2], return_exceptions=True)
    assert all(isinstance(error, StepError) for error in results)
    with pytest.raises(StepError):
        runnable.batch(many[:2])


def test_a_batch_holds_to_the_callers_concurrency() -> None:
    now = peak = 0
    lock = threading.Lock()

    @operator(writes="answer")
    async def busy(query: str) -> str:
        """Count who is here."""
        nonlocal now, peak
        with lock:
            now += 1
            peak = max(peak, now)
        await asyncio.sleep(0.01)
        with lock:
            now -= 1
        return query

    runnable = Flow(busy(), outputs=["answer"]).as_runnable()
    many = [{"query": str(number)} for number in range(8)]
    results = asyncio.run(runnable.abatch(many, {"max_concurrency": 2}))
    assert [out["answer"] for out in results] == [str(number) for number in range(8)]
    assert peak == 2


@pytest.mark.parametrize("method", ["invoke", "ainvoke", "stream", "astream"])
def test_callbacks_tags_and_metadata_see_one_chain(method: str) -> None:
    seen = Seen()
    bound = (
        told()
        .as_runnable()
        .with_config(tags=["night"], metadata={"shift": 2}, run_name="watch", callbacks=[seen])
    )
    call(bound, method, {"query": "who"})
    assert [kind for kind, _ in seen.events] == ["start", "end"]
    assert "night" in seen.tags["watch"]
    assert seen.metadata["watch"]["shift"] == 2
    assert seen.events[-1][1] == bound.invoke({"query": "who"})


def call(runnable: Any, method: str, given: Any) -> Any:
    async def drain() -> Any:
        return [part async for part in runnable.astream(given)]

    match method:
        case "invoke":
            return runnable.invoke(given)
        case "ainvoke":
            return asyncio.run(runnable.ainvoke(given))
        case "stream":
            return list(runnable.stream(given))
    return asyncio.run(drain())


@pytest.mark.parametrize("method", ["invoke", "ainvoke", "stream", "astream"])
def test_an_error_is_told_once(method: str) -> None:
    seen = Seen()
    with pytest.raises(StepError, match="no lock"):
        call(told(fail()).as_runnable().with_config(callbacks=[seen]), method, {"query": "who"})
    assert [kind for kind, _ in seen.events] == ["start", "error"]


@pytest.mark.parametrize("method", ["invoke", "ainvoke", "stream", "astream"])
def test_langchain_steps_are_traced_below_the_flow(method: str) -> None:
    model = as_step(FakeListChatModel(responses=["yes"]), reads="query", writes="answer")
    seen = Seen()
    runnable = Flow(model, name="told").as_runnable().with_config(callbacks=[seen])
    call(runnable, method, {"query": "who"})
    assert seen.parents["model"] == seen.ids["told"]


def test_it_falls_back_and_retries_as_any_runnable() -> None:
    both = told(fail()).as_runnable().with_fallbacks([told().as_runnable()])
    assert both.invoke({"query": "who"})["answer"] == TEXT


def test_bound_arguments_are_inputs() -> None:
    @operator(writes="answer")
    def count(query: str, k: int) -> str:
        """Say how many."""
        return f"{query} {k}"

    runnable = Flow(count(), inputs={"query": str, "k": int}, outputs=["answer"]).as_runnable()
    assert runnable.bind(k=2).invoke({"query": "who"}) == {"answer": "who 2"}
    assert list(runnable.stream({"query": "who"}, k=3)) == [{"answer": "who 3"}]
    with pytest.raises(InputError, match="has no input 'n'"):
        runnable.bind(k=2, n=2).invoke({"query": "who"})


@pytest.mark.parametrize("method", ["invoke", "ainvoke", "stream", "astream"])
def test_an_input_that_is_no_mapping_is_refused(method: str) -> None:
    with pytest.raises(InputError, match="mapping of channels, not str"):
        call(told().as_runnable(), method, "who")


def test_it_is_a_tool_that_gives_its_only_output() -> None:
    flow = Flow(speak(), name="answer_it", description="Answers.", outputs=["answer"])
    tool = flow.as_runnable().as_tool()
    assert (tool.name, tool.description) == ("answer_it", "Answers.")
    assert tool.args["query"]["type"] == "string"
    assert tool.invoke({"query": "who"}) == TEXT
    assert asyncio.run(tool.ainvoke({"query": "who"})) == TEXT
    called = {"name": "answer_it", "args": {"query": "who"}, "id": "7", "type": "tool_call"}
    message = tool.invoke(called)
    assert (message.content, message.tool_call_id) == (TEXT, "7")
    renamed = told().as_runnable().as_tool(name="other", description="Finds.")
    assert (renamed.name, renamed.description) == ("other", "Finds.")
    assert set(renamed.invoke({"query": "who"})) == {"answer", "documents"}


def test_a_tool_is_traced_with_the_flow_below_it() -> None:
    seen = Seen()
    flow = Flow(speak(), name="told", description="Answers.", outputs=["answer"])
    flow.as_runnable().as_tool().invoke({"query": "who"}, {"callbacks": [seen]})
    assert seen.parents["told"] is not None


def test_a_reader_that_leaves_stops_the_run() -> None:
    stopped = threading.Event()

    @operator(writes="answer")
    async def endless(query: str) -> AsyncIterator[str]:
        """Go on until stopped."""
        try:
            while True:
                yield "on "
                await asyncio.sleep(0)
        finally:
            stopped.set()

    runnable = Flow(endless(), outputs=["answer"]).as_runnable()

    async def leave() -> None:
        parts = runnable.astream({"query": "who"})
        async for _ in parts:
            break
        await parts.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    assert stopped.wait(60)
    stopped.clear()
    parts = runnable.stream({"query": "who"})
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert stopped.wait(60)
