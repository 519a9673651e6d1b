"""Responses that are read again and deleted, by OpenAI's own client; none of another user's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import openai
import pytest
from fastapi import Header

from rag import Flow, operator
from rag.operators.history import History
from rag.serve import Identity, Settings, app
from rag.serve.identity.identity import EVERYTHING
from tests.serve.conftest import Doors, running, toy
from tests.serve.waiting import until


@operator(writes="answer")
def recall(query: str, history: History) -> str:
    """Answer with what was said before."""
    return f"({' | '.join(one['content'] for one in history)}) {query}"


def user(x_user: Annotated[str, Header()] = "ann") -> Identity:
    return Identity(x_user, may=EVERYTHING)


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


def said(address: str, user: str = "ann") -> list[str]:
    """All that a user's conversations hold."""
    with httpx.Client(base_url=address, headers={"X-User": user}) as http:
        heads = http.get("/conversations").json()
        whole = [http.get(f"/conversations/{one['id']}").json() for one in heads]
    return sorted(one["content"] for each in whole for one in each["messages"])


def as_sent(response: Any) -> dict[str, Any]:
    return {**response.model_dump(exclude={"output"}), "text": response.output_text}


def test_a_response_is_read_as_it_was_given(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model="toy", input="Books", metadata={"a": "b"}, temperature=0.5, instructions="Be kind."
    )
    again = client.responses.retrieve(made.id)
    assert as_sent(again) == as_sent(made)
    assert again.output == made.output
    with client.responses.stream(model="toy", input="Maps") as stream:
        stream.until_done()
        streamed = stream.get_final_response()
    again = client.responses.retrieve(streamed.id)
    assert (again.status, again.output_text) == ("completed", streamed.output_text)


def test_a_response_under_way_and_one_that_failed(client: openai.OpenAI, doors: Doors) -> None:
    doors.shut()
    stream = client.responses.create(model="toy", input="Slow", stream=True)
    name = next(iter(stream)).response.id  # type: ignore[union-attr]
    going = client.responses.retrieve(name)
    assert (going.status, going.output, going.model) == ("in_progress", [], "toy")
    stream.close()
    until(lambda: client.responses.retrieve(name).status == "cancelled")
    doors.open()
    *_, last = client.responses.create(model="toy", input="unreachable", stream=True)
    failed = client.responses.retrieve(last.response.id)  # type: ignore[union-attr]
    assert failed.status == "failed"
    assert failed.error is not None
    assert "start it" in failed.error.message


def test_what_is_deleted_is_gone_everywhere(client: openai.OpenAI, address: str) -> None:
    who = {"X-User": "del"}
    first = client.responses.create(model="recall", input="the first", extra_headers=who)
    second = client.responses.create(
        model="recall", input="the second", previous_response_id=first.id, extra_headers=who
    )
    branch = client.responses.create(
        model="recall", input="the other", previous_response_id=first.id, extra_headers=who
    )
    assert client.responses.delete(first.id, extra_headers=who) is None  # type: ignore[func-returns-value]
    assert said(address, "del") == sorted(
        ["the second", second.output_text, "the other", branch.output_text]
    )
    run = first.id.removeprefix("resp_")
    assert httpx.get(f"{address}/runs/{run}", headers=who).status_code == 404
    for call in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.NotFoundError) as missing:
            call(first.id, extra_headers=who)
        assert missing.value.code == "response_not_found"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(
            model="recall", input="x", previous_response_id=first.id, extra_headers=who
        )
    third = client.responses.create(
        model="recall", input="3", previous_response_id=second.id, extra_headers=who
    )
    assert third.output_text.startswith("(the second | ")
    for one in (second, branch, third):
        client.responses.delete(one.id, extra_headers=who)
    assert httpx.get(f"{address}/conversations", headers=who).json() == []


def test_the_raw_answer_to_a_deletion(client: openai.OpenAI, address: str) -> None:
    made = client.responses.create(model="toy", input="Books")
    answer = httpx.delete(f"{address}/v1/responses/{made.id}").json()
    assert answer == {"id": made.id, "object": "response", "deleted": True}


def test_nobody_reads_or_deletes_what_is_anothers(client: openai.OpenAI) -> None:
    made = client.responses.create(model="toy", input="Books")
    for call in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.NotFoundError) as missing:
            call(made.id, extra_headers={"X-User": "ben"})
        assert missing.value.code == "response_not_found"
    assert client.responses.retrieve(made.id).output_text == made.output_text


def test_what_is_not_stored_leaves_nothing(client: openai.OpenAI, address: str) -> None:
    who = {"X-User": "eve"}
    first = client.responses.create(model="recall", input="kept", extra_headers=who)
    before = said(address, "eve")
    second = client.responses.create(
        model="recall", input="unkept", store=False, previous_response_id=first.id,
        extra_headers=who,
    )  # fmt: skip
    assert second.output_text == f"(kept | {first.output_text}) unkept"
    assert second.model_extra is not None
    assert second.model_extra["store"] is False
    assert said(address, "eve") == before
    with pytest.raises(openai.NotFoundError, match="store"):
        client.responses.retrieve(second.id, extra_headers=who)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(
            model="recall", input="x", store=False, previous_response_id=second.id,
            extra_headers=who,
        )  # fmt: skip
    with pytest.raises(openai.BadRequestError, match="stream"):
        client.responses.retrieve(first.id, stream=True, extra_headers=who)


def test_what_a_response_answers_is_listed(client: openai.OpenAI) -> None:
    given: Any = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    first = client.responses.create(model="recall", input=given, store=True)
    second = client.responses.create(model="recall", input="four", previous_response_id=first.id)
    expected = [
        ("user", "input_text", "one"),
        ("assistant", "output_text", "two"),
        ("user", "input_text", "three"),
        ("assistant", "output_text", first.output_text),
        ("user", "input_text", "four"),
    ]

    def listed(name: str, **more: Any) -> list[Any]:
        return list(client.responses.input_items.list(name, **more))

    def texts(items: list[Any]) -> list[tuple[str, str, str]]:
        return [(one.role, one.content[0].type, one.content[0].text) for one in items]

    items = listed(second.id)
    assert texts(items) == expected[::-1]
    assert len({one.id for one in items}) == len(items)
    assert items[1].id == first.output[0].id
    assert texts(listed(first.id, order="asc")) == expected[:3]
    # Part by part, as the client goes through them
    assert listed(second.id, limit=2) == items
    part = client.responses.input_items.list(second.id, limit=2, order="asc", after=items[-1].id)
    assert (texts(part.data), part.has_more) == (expected[1:3], True)
    part = client.responses.input_items.list(second.id, limit=2, order="asc", after=items[2].id)
    assert (texts(part.data), part.has_more) == (expected[3:], False)
    with pytest.raises(openai.BadRequestError, match="no input item"):
        listed(second.id, after="msg_0")
    with pytest.raises(openai.NotFoundError) as missing:
        listed(second.id, extra_headers={"X-User": "ben"})
    assert missing.value.code == "response_not_found"
    client.responses.delete(first.id)
    assert texts(listed(second.id, order="asc")) == [*expected[:2], expected[-1]]
    with pytest.raises(openai.NotFoundError):
        listed(first.id)
