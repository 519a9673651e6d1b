"""OpenAI's Responses API, by OpenAI's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import openai
import pytest
from fastapi import Header

from rag import Flow, operator
from rag.operators.history import History
from rag.serve import Identity, Settings, app
from rag.serve.conversations.conversations import (
    CONVERSATIONS_SCHEMA,
    Conversations,
    insert_message,
)
from rag.serve.conversations.feedback import FEEDBACK_SCHEMA
from rag.serve.conversations.responses import RESPONSES_SCHEMA, Responses
from rag.serve.errors import Problem
from rag.serve.identity.identity import EVERYTHING
from rag.serve.runs.table import RUNS_SCHEMA
from rag.serve.state.server_state import ServerState
from tests.serve.conftest import Doors, running, toy
from tests.serve.waiting import until


@operator(writes="answer")
def recall(query: str, history: History, *, max_tokens: int = 999, system: str = "") -> str:
    """Answer with what was said before."""
    said = " | ".join(one["content"] for one in history)
    return f"{system} ({said}) {query}"[:max_tokens].strip()


def user(x_user: Annotated[str, Header()] = "ann") -> Identity:
    limit = 1 if x_user == "slow" else None
    return Identity(x_user, may=EVERYTHING, requests_per_minute=limit)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    remembers = Flow(recall(), name="recall", inputs={"query": str, "history": History})
    settings = Settings(data=tmp_path_factory.mktemp("served") / "data")
    with running(app({"toy": toy(), "recall": remembers}, identity=user, settings=settings)) as at:
        yield at


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as found:
        yield found


def titles(address: str, user: str = "ann") -> list[str]:
    heads = httpx.get(f"{address}/conversations", headers={"X-User": user}).json()
    return [one["title"] for one in heads]


def test_a_response(client: openai.OpenAI) -> None:
    made = client.responses.create(model="toy", input="Books", metadata={"a": "b"}, temperature=0.5)
    assert made.output_text == "Books stand on the shelf [1]."
    assert (made.status, made.model, made.metadata, made.temperature) == (
        "completed", "toy", {"a": "b"}, 0.5,
    )  # fmt: skip
    (item,) = made.output
    assert item.type == "message"
    (part,) = item.content
    assert part.type == "output_text"
    (note,) = part.annotations
    assert note.type == "url_citation"
    assert part.text[note.start_index : note.end_index] == "[1]"
    assert note.title == "The shelf"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens


def test_a_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model="toy", input="Maps") as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-5:] == [
        "response.output_text.annotation.added", "response.output_text.done",
        "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events if hasattr(event, "sequence_number")] == list(
        range(len(events))
    )
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert final.output_text == text
    assert text.startswith("Maps stand on the shelf.")
    assert text.endswith("[1]")


def test_instructions_and_limits(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model="recall",
        instructions="Be kind.",
        input=[
            {"role": "developer", "content": "And brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "two"}]},  # type: ignore[list-item, typeddict-item]
            {"type": "message", "role": "user", "content": "three"},
        ],
    )
    assert made.output_text == "Be kind.\nAnd brief. (one | two) three"
    assert made.model_extra is not None
    assert made.model_extra["store"] is False  # who sends the history has it
    short = client.responses.create(model="recall", input="abcdefgh", max_output_tokens=5)
    assert short.output_text == "() a"


def test_a_response_is_continued(client: openai.OpenAI, address: str) -> None:
    first = client.responses.create(model="recall", input="one")
    second = client.responses.create(model="recall", input="two", previous_response_id=first.id)
    assert second.output_text == f"(one | {first.output_text}) two"
    assert second.previous_response_id == first.id
    before = titles(address)
    third = client.responses.create(model="recall", input="three", previous_response_id=second.id)
    assert third.output_text.startswith("(one | () one | two |")
    assert titles(address) == before
    # From an earlier one on, the conversation is another.
    other = client.responses.create(model="recall", input="else", previous_response_id=first.id)
    assert other.output_text == f"(one | {first.output_text}) else"
    assert titles(address).count("one") == before.count("one") + 1
    fourth = client.responses.create(model="recall", input="four", previous_response_id=third.id)
    assert "else" not in fourth.output_text
    assert fourth.output_text.endswith("three) four")


def test_an_answer_may_be_named_instead_of_sent(client: openai.OpenAI) -> None:
    first = client.responses.create(model="recall", input="one")
    items: Any = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": "two"},
    ]
    second = client.responses.create(model="recall", input=items)
    assert second.output_text == f"Be kind. (one | {first.output_text}) two"


def test_what_is_not_stored_cannot_be_continued(client: openai.OpenAI, address: str) -> None:
    before = titles(address)
    made = client.responses.create(model="recall", input="unstored", store=False)
    assert titles(address) == before
    foreign = client.responses.create(model="recall", input="one", extra_headers={"X-User": "ben"})
    for name in (made.id, foreign.id, "resp_" + "0" * 32):
        with pytest.raises(openai.NotFoundError) as missing:
            client.responses.create(model="recall", input="x", previous_response_id=name)
        assert missing.value.code == "previous_response_not_found"
    with pytest.raises(openai.UnprocessableEntityError):
        client.responses.create(model="recall", input="x", previous_response_id="resp_1")
    seeded = client.responses.create(
        model="recall",
        store=True,
        input=[
            {"role": "user", "content": "seed"},
            {"role": "assistant", "content": "grown"},
            {"role": "user", "content": "two"},
        ],
    )
    after = client.responses.create(model="recall", input="three", previous_response_id=seeded.id)
    assert after.output_text.startswith("(seed | grown | two | ")


def test_a_refused_response_leaves_no_conversation(client: openai.OpenAI, address: str) -> None:
    slow = {"X-User": "slow"}
    client.responses.create(model="recall", input="one", extra_headers=slow)
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="recall", input="two", extra_headers=slow)
    assert titles(address, "slow") == ["one"]


def test_conversations_of_responses_over_both_states(state_at: Path | str) -> None:
    async def run() -> None:
        tables = (CONVERSATIONS_SCHEMA, RUNS_SCHEMA, FEEDBACK_SCHEMA, RESPONSES_SCHEMA)
        state = ServerState(state_at, *tables)
        await state.open()
        stored, conversations = Responses(state), Conversations(state)

        async def answered(name: str, run: str) -> None:
            await stored.note("ann", run, name, {})
            await state.do(lambda db: insert_message(db, name, "assistant", run, {"run": run}))

        seed = [{"role": "user", "content": "the seed"}]
        first, is_new = await stored.begin("ann", None, seed)
        assert is_new
        await answered(first, "one")
        assert await stored.begin("ann", "one", ()) == (first, False)
        await answered(first, "two")
        branch, is_new = await stored.begin("ann", "one", seed)
        assert is_new
        copy = await conversations.get("ann", branch)
        assert [one.content for one in copy.messages] == ["the seed", "one", "the seed"]
        assert copy.title == "the seed"
        for user, previous in (("ben", "one"), ("ann", "three")):
            with pytest.raises(Problem, match="no response"):
                await stored.begin(user, previous, ())
        await conversations.delete("ann", first)
        with pytest.raises(Problem, match="no response"):
            await stored.begin("ann", "two", ())
        await state.close()

    asyncio.run(run())


def test_strangers_store_nothing(tmp_path: Path) -> None:
    with (
        running(app(toy(), settings=Settings(data=tmp_path / "data"))) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        made = client.responses.create(model="toy", input="Books", store=True)
        assert made.model_extra is not None
        assert made.model_extra["store"] is False
        with pytest.raises(openai.BadRequestError, match="identity"):
            client.responses.create(model="toy", input="x", previous_response_id=made.id)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"role": "assistant", "content": "x"}]}, "input"),
    ],
)
def test_what_there_is_not_is_refused(
    client: openai.OpenAI, wrong: dict[str, Any], where: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{"model": "toy", "input": "x", "extra_body": {}, **wrong})
    assert refused.value.param == where


def test_errors(client: openai.OpenAI, doors: Doors) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(model="gpt", input="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError, match="start it"):
        client.responses.create(model="toy", input="unreachable")
    *_, last = client.responses.create(model="toy", input="unreachable", stream=True)
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert "start it" in last.response.error.message


def test_closing_a_stream_cancels_the_run(client: openai.OpenAI, doors: Doors) -> None:
    doors.shut()
    stream = client.responses.create(model="toy", input="Gone", stream=True)
    next(iter(stream))
    until(lambda: doors.entered == ["Gone"])
    stream.close()
    until(lambda: bool(doors.cancelled))
