"""Runs in the background: started, followed from any event, cancelled, kept, each a user's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import Request

from rag.serve import Identity, Settings, app
from tests.serve.conftest import Doors, local, numbered, running, sent, toy
from tests.serve.waiting import until

QUESTION = {"query": "Books"}
ANSWER = "Books stand on the shelf [1]."


def by_header(request: Request) -> Identity:
    """The user that a header names."""
    return Identity(request.headers.get("x-user", "ann"), ("shared",))


@pytest.fixture
def http(kept: Settings, client: Any) -> Iterator[httpx.Client]:
    with running(app(toy(), identity=by_header, settings=kept)) as address:
        yield client(address)


def events(http: httpx.Client, run: str, **more: Any) -> list[tuple[int, str, Any]]:
    """All events of a run, to its end."""
    with http.stream("GET", f"/runs/{run}/events", **more) as response:
        assert response.status_code == 200, response.read()
        return list(numbered(response))


def start(http: httpx.Client, **more: Any) -> str:
    response = http.post("/runs", json=QUESTION | more)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/runs/{response.json()['id']}"
    return str(response.json()["id"])


def test_a_run_is_started_followed_and_read(http: httpx.Client) -> None:
    run = start(http)
    found = events(http, run)
    assert [number for number, *_ in found] == list(range(1, len(found) + 1))
    assert found[0][1:] == ("run", {"run": run, "pipeline": "toy", "conversation": None})
    text = "".join(data["text"] for _, name, data in found if name == "token")
    assert text == "Books stand on the shelf."
    assert found[-1][1] == "done"
    assert found[-1][2]["answer"] == ANSWER
    read = http.get(f"/runs/{run}").json()
    assert (read["status"], read["background"], read["answer"]["answer"]) == ("done", True, ANSWER)
    assert [step["node"].split(".")[-1] for step in read["steps"]] == ["shelf", "say", "cite"]
    # The same events as a question's own stream has
    direct = sent(http.post("/ask", json=QUESTION | {"stream": True}).text)
    assert [name for name, _ in direct] == [name for _, name, _ in found]


def test_a_stream_is_taken_up_where_it_broke_off(http: httpx.Client) -> None:
    run = start(http)
    found = events(http, run)
    third = found[2][0]
    assert events(http, run, headers={"Last-Event-ID": str(third)}) == found[3:]
    assert events(http, run, params={"after": third}) == found[3:]
    at_end = http.get(f"/runs/{run}/events", params={"after": found[-1][0]})
    assert (at_end.status_code, at_end.text) == (204, "")  # a browser's EventSource stops at this
    wrong = http.get(f"/runs/{run}/events", headers={"Last-Event-ID": "x"})
    assert (wrong.status_code, wrong.json()["where"]) == (422, "header.last-event-id")


def test_a_run_outlives_its_connection(http: httpx.Client, doors: Doors) -> None:
    doors.shut()
    key = http.post("/conversations").json()["id"]
    with http.stream("POST", "/runs", json=QUESTION | {"conversation": key, "stream": True}) as one:
        number, _, data = next(numbered(one))
    until(lambda: bool(doors.entered))
    run = data["run"]
    # The page was loaded again: which question is open, and which run answers it?
    reloaded = http.get(f"/conversations/{key}").json()
    assert (reloaded["run"], len(reloaded["messages"])) == (run, 1)
    assert http.get("/conversations").json()[0]["run"] == run
    assert http.get(f"/runs/{run}").json()["status"] == "running"
    with http.stream("GET", f"/runs/{run}/events", params={"after": number}) as response:
        doors.open()
        assert list(numbered(response))[-1][2]["answer"] == ANSWER
    ended = http.get(f"/conversations/{key}").json()
    assert (ended["run"], ended["messages"][1]["content"]) == (None, ANSWER)
    assert doors.cancelled == []


@pytest.mark.parametrize("waiting", [False, True])
def test_a_run_is_cancelled(kept: Settings, client: Any, doors: Doors, waiting: bool) -> None:
    doors.shut()
    settings = kept.model_copy(update={"concurrency": 1})
    with running(local(toy(), settings=settings)) as address:
        http = client(address)
        key = http.post("/conversations").json()["id"]
        if waiting:
            start(http, query="Maps")
            until(lambda: bool(doors.entered))
        run = start(http, conversation=key)
        if not waiting:
            until(lambda: bool(doors.entered))
        assert http.post(f"/runs/{run}/cancel").json()["status"] == "cancelled"
        _, name, data = events(http, run)[-1]
        assert (name, data["code"], data["status"]) == ("error", "cancelled", 409)
        message = http.get(f"/conversations/{key}").json()["messages"][1]
        assert (message["content"], message["about"]) == ("", {"run": run, "stopped": True})
        again = http.post(f"/runs/{run}/cancel")
        assert (again.status_code, again.json()["status"]) == (200, "cancelled")
        assert doors.cancelled == ([] if waiting else ["Books"])
        doors.open()
        if not waiting:
            counted = http.get("/metrics").text
            assert 'rag_runs_total{pipeline="toy",status="cancelled"} 1.0' in counted


def test_a_question_that_is_streamed_is_cancelled_too(http: httpx.Client, doors: Doors) -> None:
    doors.shut()
    with http.stream("POST", "/ask", json=QUESTION | {"stream": True}) as response:
        until(lambda: bool(doors.entered))
        run = response.headers["x-run-id"]
        assert http.post(f"/runs/{run}/cancel").json()["status"] == "cancelled"
        assert sent(response.read().decode())[-1][1]["code"] == "cancelled"
    refused = http.get(f"/runs/{run}/events")
    assert (refused.status_code, refused.json()["code"]) == (409, "no_events")


def test_a_run_that_fails(http: httpx.Client) -> None:
    run = start(http, query="crash")
    _, name, data = events(http, run)[-1]
    assert (name, data["code"], data["status"]) == ("error", "step_error", 500)
    read = http.get(f"/runs/{run}").json()
    assert (read["status"], read["error"], read["answer"]) == ("failed", data, None)


def test_a_run_is_its_users_own(http: httpx.Client, doors: Doors) -> None:
    doors.shut()
    run = start(http)
    other = {"headers": {"x-user": "bob"}}
    calls = [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")]
    for method, path in calls:
        answer = http.request(method, f"/runs/{run}{path}", **other)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_run"), path
    assert http.get("/runs", **other).json() == []
    assert [one["id"] for one in http.get("/runs").json()] == [run]
    key = http.post("/conversations").json()["id"]
    foreign = http.post("/runs", json=QUESTION | {"conversation": key}, **other)
    assert (foreign.status_code, foreign.json()["code"]) == (404, "no_conversation")
    doors.open()
    assert events(http, run)[-1][1] == "done"


@pytest.mark.parametrize("what", ["run", "conversation"])
def test_what_is_deleted_ends(http: httpx.Client, doors: Doors, what: str) -> None:
    doors.shut()
    key = http.post("/conversations").json()["id"]
    run = start(http, conversation=key)
    until(lambda: bool(doors.entered))
    path = f"/runs/{run}" if what == "run" else f"/conversations/{key}"
    assert http.delete(path).status_code == 204
    until(lambda: doors.cancelled == ["Books"])
    assert http.get(f"/runs/{run}").status_code == 404
    assert http.delete(f"/runs/{run}").status_code == 404
    assert http.get("/runs").json() == []


def test_events_are_bounded_and_forgotten(kept: Settings, client: Any) -> None:
    settings = kept.model_copy(update={"max_events": 3})
    with running(local(toy(), settings=settings)) as address:
        http = client(address)
        run = start(http)
        until(lambda: http.get(f"/runs/{run}").json()["status"] == "done")
        (first, name, data), *kept_events = events(http, run)
        assert (name, data) == ("missed", {"events": first})
        assert [number for number, *_ in kept_events] == list(range(first + 1, first + 5))
        assert kept_events[-1][1] == "done"
    settings = kept.model_copy(update={"keep_events": 1e-6, "lease": 0.05})
    with running(local(toy(), settings=settings)) as address:
        http = client(address)
        until(lambda: len(events(http, run)) == 2)
        assert [name for _, name, _ in events(http, run)] == ["missed", "done"]


def test_old_runs_are_deleted(kept: Settings, client: Any) -> None:
    settings = kept.model_copy(update={"max_runs": 2})
    with running(app(toy(), identity=by_header, settings=settings)) as address:
        http, other = client(address), client(address, headers={"x-user": "bob"})
        kept_for_bob = start(other)
        events(other, kept_for_bob)
        runs = []
        for _ in range(3):
            runs.append(start(http))
            events(http, runs[-1])
        assert [one["id"] for one in http.get("/runs").json()] == runs[:0:-1]
        assert http.get(f"/runs/{runs[0]}").status_code == 404
        assert http.get("/runs").json()[0]["steps"] == []
        assert [one["id"] for one in other.get("/runs").json()] == [kept_for_bob]
