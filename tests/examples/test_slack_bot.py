"""The bot for Slack, before a server that stands in for Slack's."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from rag import Document, load_flow
from rag.flow import Flow, operator
from rag.operators import CondenseQuery, Generate
from rag.testing import ScriptedLLM
from tests.serve.conftest import running

PIPELINE = Path(__file__).parents[2] / "examples" / "slack_bot" / "pipeline.yaml"
NOW = 1_700_000_000.0
SECRET = "a secret"  # noqa: S105


class FakeSlack:
    """What the bot wrote, and the threads that it may read."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []
        self.threads: dict[str, list[dict[str, str]]] = {}
        self.tokens: set[str | None] = set()
        self.app = FastAPI()
        self.app.post("/api/chat.postMessage")(self.post)
        self.app.get("/api/conversations.replies")(self.replies)

    async def post(self, request: Request) -> dict[str, Any]:
        self.tokens.add(request.headers.get("authorization"))
        self.written.append(await request.json())
        return {"ok": True}

    async def replies(self, channel: str, ts: str, latest: str) -> dict[str, Any]:
        if ts not in self.threads:
            return {"ok": False, "error": "thread_not_found"}
        return {"ok": True, "messages": [m for m in self.threads[ts] if m["ts"] <= latest]}


@operator(writes="documents")
def shelf(query: str) -> list[Document]:
    """Give one document, which tries to wake up everybody."""
    return [Document(page_content=f"{query} <!channel>", metadata={"source": "locks.md"})]


LLM = ScriptedLLM(
    {
        "condense_query": "Who may open the north lock at night?",
        "generate": "Only the keeper & <!channel> [1].",
    }
)
FLOW = Flow(
    CondenseQuery() >> shelf() >> Generate(),
    inputs={"query": str, "history": list[dict[str, str]] | None},
    outputs=["answer", "documents", "query"],
    resources={"llm": LLM},
)


@pytest.fixture
def slack() -> FakeSlack:
    return FakeSlack()


@pytest.fixture
def http(slack: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client of the bot that waits for what is done behind the answer; Slack is a real port."""
    monkeypatch.syspath_prepend(str(PIPELINE.parents[2]))
    from examples.slack_bot.bot import bot

    LLM.calls.clear()
    with running(slack.app) as api:
        served = bot(FLOW, secret=SECRET, token="t", api=f"{api}/api", now=lambda: NOW)  # noqa: S106
        with TestClient(served, raise_server_exceptions=False) as client:
            yield client


def send(
    http: httpx.Client, told: dict[str, Any], *, at: float = NOW, secret: str = SECRET
) -> httpx.Response:
    body = json.dumps(told).encode()
    digest = hmac.new(secret.encode(), b"v0:%d:" % at + body, hashlib.sha256).hexdigest()
    headers = {"X-Slack-Request-Timestamp": str(int(at)), "X-Slack-Signature": f"v0={digest}"}
    return http.post("/slack/events", content=body, headers=headers)


def mention(text: str, event: str = "E1", **fields: str) -> dict[str, Any]:
    said = {"type": "app_mention", "channel": "C1", "ts": "3.0", "text": f"<@U1> {text}", **fields}
    return {"type": "event_callback", "event_id": event, "event": said}


def test_only_what_slack_signed_just_now_counts(http: httpx.Client, slack: FakeSlack) -> None:
    told = {"type": "url_verification", "challenge": "abc"}
    assert send(http, told).json() == {"challenge": "abc"}
    assert send(http, told, secret="another").status_code == 401  # noqa: S106
    assert send(http, told, at=NOW - 301).status_code == 401
    assert send(http, told, at=NOW + 301).status_code == 401
    assert http.post("/slack/events", json=told).status_code == 401
    assert slack.written == []


def test_a_mention_is_answered_in_its_thread_once(http: httpx.Client, slack: FakeSlack) -> None:
    for _ in range(2):  # Slack repeats what it takes for lost
        assert send(http, mention("Who may open it &amp; close it?")).json() == {}
    assert send(http, mention("I said", bot_id="B1", event="E2")).json() == {}
    (said,) = slack.written
    assert (said["channel"], said["thread_ts"]) == ("C1", "3.0")
    assert said["text"] == "Only the keeper &amp; &lt;!channel&gt; [1].\n[1] locks.md"
    assert slack.tokens == {"Bearer t"}
    assert [call.name for call in LLM.calls] == ["generate"]
    assert "Who may open it & close it?" in LLM.calls[0].text


def test_a_thread_is_a_conversation(http: httpx.Client, slack: FakeSlack) -> None:
    slack.threads["1.0"] = [
        {"ts": "1.0", "text": "<@U1> Who may open the north lock?"},
        {"ts": "2.0", "text": "The keeper.", "bot_id": "B1"},
        {"ts": "3.0", "text": "<@U1> And who may open it at night?"},
    ]
    send(http, mention("And who may open it at night?", thread_ts="1.0"))
    assert slack.written[0]["thread_ts"] == "1.0"
    assert [call.name for call in LLM.calls] == ["condense_query", "generate"]
    asked = LLM.calls[0].text
    assert "Who may open the north lock?" in asked
    assert "The keeper." in asked
    assert "Who may open the north lock at night?" in LLM.calls[1].text


def test_a_failure_is_said_in_the_thread(http: httpx.Client, slack: FakeSlack) -> None:
    send(http, mention("And who may open it?", thread_ts="9.0"))
    assert "could not answer" in slack.written[0]["text"]


def test_the_pipeline_takes_what_the_bot_gives() -> None:
    flow = load_flow(PIPELINE)
    assert set(flow.inputs) == {"query", "history"}
    assert {"answer", "documents"} <= set(flow.output_types)
