"""Servers that behave as providers of language models do, over HTTP on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.http_server import LocalServer


class RefusalError(Exception):
    """An error of a provider: a status, what it says, and headers."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


Answer = Callable[[dict[str, Any]], "dict[str, Any]"]
"""From a request to what is answered: text, reasoning, logprobs, finish, usage, and calls of
tools, each with name, arguments (an object, or a text as it is) and id."""


class Provider:
    """What a server was asked, and how many requests it had at once."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self.address = ""
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    @contextmanager
    def request(self, body: dict[str, Any]) -> Iterator[None]:
        with self._lock:
            self.requests.append(body)
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1


@contextmanager
def serving(answer: Answer) -> Iterator[Provider]:
    """A server for OpenAI's and Anthropic's protocol."""
    provider = Provider(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with provider.request(body):
                try:
                    given = provider.answer(body)
                except RefusalError as refusal:
                    self._send(refusal.status, _error(refusal.message), refusal.headers)
                    return
                write = _anthropic if self.path.endswith("/messages") else _openai
                self._send(200, write(body, given), {})

        def _send(self, status: int, body: str, headers: dict[str, str]) -> None:
            data = body.encode()
            streamed = body.startswith(("data:", "event:"))
            self.send_response(status)
            kind = "text/event-stream" if streamed else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = LocalServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    provider.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _error(message: str) -> str:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error"}})


def _pieces(text: str) -> list[str]:
    """As streams cut texts: anywhere, also within a delimiter."""
    return [text[at : at + 5] for at in range(0, len(text), 5)] or [""]


def _written(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _openai(body: dict[str, Any], given: dict[str, Any]) -> str:
    head = {"id": "1", "created": 1, "model": body["model"]}
    usage = given.get("usage", (7, 4))
    used = {
        "prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage),
    }  # fmt: skip
    finish = given.get("finish", "stop")
    logprobs = {"content": given["logprobs"]} if "logprobs" in given else None
    if not body.get("stream"):
        message = {"role": "assistant", "content": given["text"]}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": logprobs}
        whole = {**head, "object": "chat.completion", "choices": [choice], "usage": used}
        return json.dumps(whole)
    deltas = [{"reasoning_content": one} for one in _pieces(given.get("reasoning", "")) if one]
    deltas += [{"content": piece} for piece in _pieces(given["text"])]
    calls = given.get("calls", ())
    for at, call in enumerate(calls):
        head_of_call = {"index": at, "id": call["id"], "type": "function"}
        named = {"function": {"name": call["name"], "arguments": ""}}
        deltas.append({"tool_calls": [{**head_of_call, **named}]})
        deltas += [
            {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}
            for piece in _pieces(_written(call["arguments"]))
        ]
    finish = "tool_calls" if calls else finish
    chunk = {**head, "object": "chat.completion.chunk"}
    events: list[dict[str, Any]] = []
    for at, delta in enumerate(deltas):
        last = at == len(deltas) - 1
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None}
        events.append({**chunk, "choices": [{**choice, "logprobs": logprobs if last else None}]})
    events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    events.append({**chunk, "choices": [], "usage": used})
    return "".join(f"data: {json.dumps(one)}\n\n" for one in events) + "data: [DONE]\n\n"


def _anthropic(body: dict[str, Any], given: dict[str, Any]) -> str:
    blocks: list[tuple[str, str, str]] = []
    if "reasoning" in given:
        blocks.append(("thinking", "thinking_delta", given["reasoning"]))
    if given["text"]:
        blocks.append(("text", "text_delta", given["text"]))
    usage = given.get("usage", (7, 4))
    message = {
        "id": "1", "type": "message", "role": "assistant", "model": body["model"], "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": usage[0], "output_tokens": 1},
    }  # fmt: skip
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for at, (kind, delta, text) in enumerate(blocks):
        empty = {"type": kind, kind: "", **({"signature": ""} if kind == "thinking" else {})}
        events.append({"type": "content_block_start", "index": at, "content_block": empty})
        for piece in _pieces(text):
            change = {"type": delta, kind: piece}
            events.append({"type": "content_block_delta", "index": at, "delta": change})
        events.append({"type": "content_block_stop", "index": at})
    calls = given.get("calls", ())
    for at, call in enumerate(calls, len(blocks)):
        block = {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
        events.append({"type": "content_block_start", "index": at, "content_block": block})
        for piece in _pieces(_written(call["arguments"])):
            delta = {"type": "input_json_delta", "partial_json": piece}
            events.append({"type": "content_block_delta", "index": at, "delta": delta})
        events.append({"type": "content_block_stop", "index": at})
    stopped = "tool_use" if calls else given.get("finish", "end_turn")
    events.append({
        "type": "message_delta",
        "delta": {"stop_reason": stopped, "stop_sequence": None},
        "usage": {"input_tokens": usage[0], "output_tokens": usage[1]},
    })  # fmt: skip
    events.append({"type": "message_stop"})
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
