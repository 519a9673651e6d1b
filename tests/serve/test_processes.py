"""Servers in several processes: runs seen, followed, cancelled from any; killed, told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.serve import Settings
from tests.serve.conftest import numbered
from tests.serve.held import Held, servers
from tests.serve.waiting import until
from tests.serve.worker_processes import answers, metrics, pids, workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks and signals")


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path / "held")


@pytest.fixture
def settings(kept: Settings) -> Settings:
    return kept.model_copy(update={"concurrency": 2})


@pytest.fixture
def file(tmp_path: Path) -> Settings:
    """Over SQLite alone."""
    return Settings(data=tmp_path / "data", concurrency=2)


def start(http: httpx.Client, query: str, **more: Any) -> str:
    response = http.post("/runs", json={"query": query} | more)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def follow(
    http: httpx.Client, run: str, after: int = 0, seen: list[str] | None = None
) -> list[tuple[int, str, Any]]:
    """The events of a run to its end; their names are put into `seen` as they come."""
    found = []
    with http.stream("GET", f"/runs/{run}/events", params={"after": after}) as response:
        assert response.status_code == 200, response.read()
        for one in numbered(response):
            found.append(one)
            if seen is not None:
                seen.append(one[1])
    return found


def test_a_run_of_another_process(settings: Settings, held: Held, client: Any) -> None:
    held.open("searching")
    with servers(held, settings) as (here, there), ThreadPoolExecutor() as pool:
        mine, other = client(here.address), client(there.address)
        key = other.post("/conversations").json()["id"]
        run = start(mine, "a", conversation=key)
        assert held.entered("a", "streaming") == here.pid
        until(lambda: len(other.get(f"/runs/{run}").json()["steps"]) == 1)
        assert other.get(f"/conversations/{key}").json()["run"] == run
        following = pool.submit(follow, client(there.address), run)
        held.open("a")
        found = following.result()
        assert [number for number, *_ in found] == list(range(1, len(found) + 1))
        assert "".join(data["text"] for _, name, data in found if name == "token") == "a is held."
        assert (found[-1][1], found[-1][2]["answer"]) == ("done", "a is held.")
        assert follow(mine, run) == found
        assert other.get(f"/runs/{run}").json() == mine.get(f"/runs/{run}").json()
        assert other.get(f"/conversations/{key}").json()["messages"][1]["content"] == "a is held."


@pytest.mark.parametrize("background", [True, False])
def test_a_run_is_cancelled_from_another_process(
    file: Settings, held: Held, client: Any, background: bool
) -> None:
    held.open("searching")
    with servers(held, file) as (here, there), ThreadPoolExecutor() as pool:
        mine, other = client(here.address), client(there.address)
        if background:
            run = start(mine, "a")
        else:
            asked = pool.submit(client(here.address).post, "/ask", json={"query": "a"})
        assert held.entered("a", "streaming") == here.pid
        run = other.get("/runs").json()[0]["id"]
        assert other.post(f"/runs/{run}/cancel").json()["status"] == "cancelled"
        if background:
            assert follow(mine, run)[-1][2]["code"] == "cancelled"
        else:
            refused = asked.result()
            assert (refused.status_code, refused.json()["code"]) == (409, "cancelled")
        assert mine.get(f"/runs/{run}").json()["status"] == "cancelled"


@pytest.mark.parametrize("phase", ["waiting", "searching", "streaming"])
def test_a_process_is_killed(settings: Settings, held: Held, client: Any, phase: str) -> None:
    settings = settings.model_copy(update={"concurrency": 1, "lease": 2})
    with servers(held, settings) as (here, there), ThreadPoolExecutor() as pool:
        mine, other = client(here.address), client(there.address)
        key = mine.post("/conversations").json()["id"]
        if phase == "waiting":
            start(mine, "first")
            held.entered("first", "searching")
        if phase == "streaming":
            held.open("searching")
        run = start(mine, "a", conversation=key)
        seen: list[str] = []
        following = pool.submit(follow, client(there.address), run, 0, seen)
        if phase == "waiting":
            assert mine.get(f"/runs/{run}").json()["status"] == "waiting"
        else:
            held.entered("a", phase)
        until(lambda: ("token" if phase == "streaming" else "run") in seen)
        here.kill()
        _, name, data = following.result()[-1]
        assert (name, data["code"], data["status"]) == ("error", "interrupted", 503)
        read = other.get(f"/runs/{run}").json()
        assert (read["status"], read["error"], read["answer"]) == ("failed", data, None)
        found = other.get(f"/conversations/{key}").json()
        question, answer = found["messages"]
        assert (found["run"], question["content"]) == (None, "a")
        assert answer["content"] == ("a " if phase == "streaming" else "")
        assert answer["about"]["error"]["code"] == "interrupted"
        held.open("searching")
        held.open("streaming")
        assert other.post("/ask", json={"query": "b"}).json()["answer"] == "b is held."


def test_what_was_told_is_not_lost_by_a_kill(settings: Settings, held: Held, client: Any) -> None:
    held.open("searching")
    held.open("streaming")
    with servers(held, settings) as (here, there):
        mine, other = client(here.address), client(there.address)
        keys = [mine.post("/conversations").json()["id"] for _ in range(2)]
        run = start(mine, "a", conversation=keys[0])
        body = {"query": "a", "conversation": keys[1], "stream": True}
        assert "event: done" in mine.post("/ask", json=body).text
        assert follow(mine, run)[-1][1] == "done"
        here.kill()
        assert other.get(f"/runs/{run}").json()["answer"]["answer"] == "a is held."
        for key in keys:
            messages = other.get(f"/conversations/{key}").json()["messages"]
            assert [one["content"] for one in messages] == ["a", "a is held."]


@pytest.mark.parametrize("in_time", [True, False])
def test_a_process_is_told_to_stop(file: Settings, held: Held, client: Any, in_time: bool) -> None:
    """What streams and what runs in the background is finished, or ended with an error."""
    held.open("searching")
    settings = file if in_time else file.model_copy(update={"shutdown_timeout": 0.2})
    with servers(held, settings) as (here, there), ThreadPoolExecutor() as pool:
        mine, other = client(here.address), client(there.address)
        body = {"query": "a", "stream": True}
        asked = pool.submit(client(here.address).post, "/ask", json=body)
        held.entered("a", "streaming")
        run = start(mine, "b")
        held.entered("b", "streaming")
        following = pool.submit(follow, client(there.address), run)
        here.terminate()
        if in_time:
            until(lambda: _refuses(here.address))
            held.open("streaming")
        here.ended()
        status = "done" if in_time else "failed"
        assert other.get(f"/runs/{run}").json()["status"] == status
        *_, (_, name, data) = following.result()
        streamed = asked.result().text
        if in_time:
            assert (name, "event: done" in streamed) == ("done", True)
        else:
            assert (name, data["code"]) == ("error", "stopping")
            assert '"code":"stopping"' in streamed


def _refuses(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready").status_code == 503
    except httpx.HTTPError:
        return True


def test_who_follows_another_processs_run_is_let_go_and_goes_on_there(
    file: Settings, held: Held, client: Any
) -> None:
    held.open("searching")
    with servers(held, file) as (here, there):
        other = client(there.address)
        run = start(other, "a")
        held.entered("a", "streaming")
        found = []
        with client(here.address).stream("GET", f"/runs/{run}/events") as response:
            for one in numbered(response):
                found.append(one)
                if one[1] == "token":
                    here.terminate()
        here.ended()
        assert "done" not in [name for _, name, _ in found]
        held.open("streaming")
        rest = follow(other, run, after=found[-1][0])
        assert rest[0][0] == found[-1][0] + 1
        assert rest[-1][1] == "done"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rag serve", "gunicorn"])
def test_two_workers(held: Held, client: Any, kind: str) -> None:
    held.open("searching")
    with ThreadPoolExecutor(64) as pool, workers(kind, held) as (address, process):
        http = client(address)
        until(lambda: answers(address))
        # A worker that is still starting takes no question.
        until(lambda: len(pids(metrics(address, "process_")) - {process.pid}) == 2, 120)
        asked = []
        while (
            len(asked) < 6
            or len({held.entered(f"{n}", "streaming") for n in range(len(asked))}) < 2
        ):
            assert len(asked) < 40, "one worker got everything"
            body = {"query": str(len(asked)), "stream": True}
            asked.append(pool.submit(httpx.post, f"{address}/ask", json=body, timeout=60))
        # Whichever worker is asked says the same
        running = {metric(address, "rag_runs_running") for _ in range(8)}
        assert running == {float(len(asked))}
        runs = [one["id"] for one in http.get("/runs").json()]
        assert len(runs) == len(asked)
        for run in runs:
            states = {httpx.get(f"{address}/runs/{run}").json()["status"] for _ in range(4)}
            assert states == {"running"}
        last, first = runs[0], runs[-1]
        for run in (last, first):
            assert httpx.post(f"{address}/runs/{run}/cancel").json()["status"] == "cancelled"
        held.open("streaming")
        texts = [one.result().text for one in asked]
        assert sum("event: done" in text for text in texts) == len(asked) - 2
        counted = 'rag_runs_total{pipeline="held",status="done"}'
        assert {metric(address, counted) for _ in range(8)} == {float(len(asked) - 2)}
        assert metric(address, "rag_runs_running") == 0.0
        # A worker that dies is replaced; what ran in it is told and not counted
        (held.folder / "streaming.open").unlink()
        run = start(http, "z")
        os.kill(held.entered("z", "streaming"), signal.SIGKILL)
        until(lambda: _interrupted(address, run))
        assert metric(address, "rag_runs_running") == 0.0
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM)


def _interrupted(address: str, run: str) -> bool:
    try:
        read = httpx.get(f"{address}/runs/{run}", timeout=60).json()
    except httpx.HTTPError:
        return False
    return read["status"] == "failed" and read["error"]["code"] == "interrupted"


def metric(address: str, name: str) -> float:
    """A metric's value, as one of the workers says."""
    return metrics(address, name)[name]


def test_workers_do_not_start_without_their_state(tmp_path: Path) -> None:
    arguments = ["hybrid", "--workers", "2", "--port", "0", "--data", str(tmp_path)]
    state = ["--state", f"postgresql://nobody@/none?host={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "rag", "serve", *arguments, *state],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "the server's state cannot be used" in done.stderr
