r"""A bot that answers where it is mentioned in Slack; each thread is a conversation.

SLACK_SIGNING_SECRET=... SLACK_BOT_TOKEN=... \
    uvicorn --factory examples.slack_bot.bot:from_environment

In Slack's settings of the app: the scopes `app_mentions:read`, `channels:history` and `chat:write`,
the event `app_mention`, and https://YOUR.HOST/slack/events as the address of events.
"""

import hashlib
import hmac
import json
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request

from rag import Flow, load_flow

MAX_AGE = 300.0
"""Seconds after which a request's signature no longer counts, so that none can be replayed."""
REMEMBERED = 1000
"""Events whose repetition is noticed; Slack repeats what is not answered within three seconds."""
FAILED = "I could not answer that. The server's log says why."


def signed(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether Slack sent this, and just now: a keyed digest of the time and the body."""
    sent = headers.get("x-slack-request-timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", sent) or abs(now - int(sent)) > MAX_AGE:
        return False
    digest = hmac.new(secret.encode(), f"v0:{sent}:".encode() + body, hashlib.sha256).hexdigest()
    given = headers.get("x-slack-signature", "")
    return hmac.compare_digest(f"v0={digest}".encode(), given.encode())


def plain(text: str) -> str:
    """What a person wrote, without the mention of the bot and Slack's escapes."""
    text = re.sub(r"<@[^>]+>", "", text).strip()
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def escaped(text: str) -> str:
    """A text in which nothing can mention a person or a channel, whatever a document says."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Slack:
    """The two calls of Slack's API that the bot needs."""

    def __init__(self, token: str, api: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(base_url=api, headers=headers, timeout=30)

    async def thread(self, channel: str, thread: str, before: str) -> list[dict[str, str]]:
        """The messages of a thread before one of them, as a flow's `history`."""
        where: dict[str, str | int] = {
            "channel": channel,
            "ts": thread,
            "latest": before,
            "limit": 50,
        }
        said = self._good(await self._http.get("/conversations.replies", params=where))
        return [
            {"role": "assistant" if one.get("bot_id") else "user", "content": plain(one["text"])}
            for one in said["messages"]
            if one["ts"] != before and one.get("text")
        ]

    async def say(self, channel: str, thread: str, text: str) -> None:
        """Write into a thread."""
        message = {"channel": channel, "thread_ts": thread, "text": text}
        self._good(await self._http.post("/chat.postMessage", json=message))

    @staticmethod
    def _good(response: httpx.Response) -> dict[str, Any]:
        found: dict[str, Any] = response.raise_for_status().json()
        if not found["ok"]:
            raise RuntimeError(f"Slack refused: {found['error']}")
        return found


async def reply(flow: Flow, slack: Slack, event: Mapping[str, Any]) -> None:
    """Answer a mention in its thread, with the sources that the answer cites."""
    channel, thread = event["channel"], event.get("thread_ts", event["ts"])
    try:
        history = await slack.thread(channel, thread, event["ts"]) if "thread_ts" in event else []
        result = await flow.ainvoke(query=plain(event["text"]), history=history)
    except Exception:
        await slack.say(channel, thread, FAILED)
        raise
    documents = result["documents"]
    cited = sorted({int(n) for n in re.findall(r"\[(\d+)\]", result["answer"])})
    sources = [f"[{n}] {documents[n - 1].metadata['source']}" for n in cited]
    await slack.say(channel, thread, escaped("\n".join([result["answer"], *sources])))


def bot(
    flow: Flow,
    *,
    secret: str,
    token: str,
    api: str = "https://slack.com/api",
    now: Callable[[], float] = time.time,
) -> FastAPI:
    """The application.

    Args:
        flow: Takes `query` and `history`; gives `answer` and `documents`.
        secret: With which Slack signs what it sends.
        token: With which the bot calls Slack.
        api: The address of Slack's API.
        now: Seconds since 1970.
    """
    app, slack, seen = FastAPI(), Slack(token, api), OrderedDict[str, None]()

    @app.post("/slack/events")
    async def events(request: Request, tasks: BackgroundTasks) -> dict[str, str]:
        """What Slack reports. It is answered at once, and the question afterwards."""
        body = await request.body()
        if not signed(secret, request.headers, body, now()):
            raise HTTPException(401, "the signature is wrong or old")
        told = json.loads(body)
        if told["type"] == "url_verification":
            return {"challenge": told["challenge"]}
        event = told.get("event", {})
        if event.get("type") != "app_mention" or event.get("bot_id") or told["event_id"] in seen:
            return {}
        seen[told["event_id"]] = None
        if len(seen) > REMEMBERED:
            seen.popitem(last=False)
        tasks.add_task(reply, flow, slack, event)
        return {}

    return app


def from_environment() -> FastAPI:
    """The bot over `pipeline.yaml`, with secrets from the environment."""
    flow = load_flow(Path(__file__).with_name("pipeline.yaml"))
    secret, token = os.environ["SLACK_SIGNING_SECRET"], os.environ["SLACK_BOT_TOKEN"]
    return bot(flow, secret=secret, token=token)
