"""`POST /ask`: answers, events, errors, limits, over real connections."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from rag import Budget, Document, Flow, Interrupt, RunContext, operator
from rag.errors import ConfigError
from rag.flow import Guard, Loop, Node, Retry, Route
from rag.operators import Generate
from rag.serve import Identity, Settings, app, router, single_user
from rag.serve.identity.identity import EVERYTHING
from rag.serve.pipelines.answer_steps import final, writers
from rag.serve.pipelines.pipeline import Overrides, Pipeline
from rag.serve.service import Service
from tests.serve.conftest import Doors, local, running, say, sent, shelf, toy
from tests.serve.waiting import until


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(data=folder / "data", **more)


def test_one_line_in_an_application(tmp_path: Path, client: Any) -> None:
    own = FastAPI()
    own.include_router(
        router(toy(), identity=single_user, settings=settings(tmp_path)), prefix="/rag"
    )
    with running(own) as address:
        http = client(address)
        response = http.post("/rag/ask", json={"query": "Books"})
        assert response.status_code == 200
        answer = response.json()
        assert answer["answer"] == "Books stand on the shelf [1]."
        assert answer["sources"][0] | {"text": ""} == {
            "number": 1, "id": "page", "title": "The shelf", "place": "shelf.md", "text": "",
                "path": "shelf.md", "page": None, "link": None,
            "start": None, "end": None, "score": 0.5, "cited": True,
            "quote": "Books stand on the shelf.", "support": 1.0,
        }  # fmt: skip
        run = http.get(f"/rag/runs/{answer['run']}").json()
        assert run["status"] == "done"
        assert [step["node"].split(".")[-1] for step in run["steps"]] == ["shelf", "say", "cite"]
        assert http.get("/rag/ready").json() == {"status": "ready"}
        assert 'rag_runs_total{pipeline="toy",status="done"} 1.0' in http.get("/rag/metrics").text
        assert "/rag/ask" in http.get("/openapi.json").json()["paths"]
        assert http.get("/rag").status_code in (307, 404)
        assert http.get("/rag/", follow_redirects=True).url.path == "/rag/chat/"


def test_events(tmp_path: Path, client: Any) -> None:
    with running(local(toy(), settings=settings(tmp_path))) as address:
        http = client(address)
        by_header = http.post(
            "/ask", json={"query": "Maps"}, headers={"Accept": "text/event-stream"}
        )
        by_field = http.post("/ask", json={"query": "Maps", "stream": True})
        for response in (by_header, by_field):
            assert response.headers["content-type"].startswith("text/event-stream")
            events = sent(response.text)
            names = [name for name, _ in events]
            assert names[0] == "run"
            assert names[-1] == "done"
            tokens = [data for name, data in events if name == "token"]
            assert "".join(one["text"] for one in tokens) == "Maps stand on the shelf."
            assert all(one["answer"] for one in tokens)
            assert events[-1][1]["answer"] == "Maps stand on the shelf [1]."
            finished = [data for name, data in events if name == "node_finished"]
            assert finished[0]["writes"] == {"documents": "(1 items)"}


def test_errors_are_problems(tmp_path: Path, client: Any) -> None:
    with running(local(toy(), settings=settings(tmp_path, max_question=100))) as address:
        http = client(address)

        def problem(expected: int, **body: Any) -> dict[str, Any]:
            response = http.post("/ask", json=body)
            assert response.status_code == expected, response.text
            assert response.headers["content-type"] == "application/problem+json"
            found: dict[str, Any] = response.json()
            assert set(found) == {"type", "title", "status", "code", "what", "where", "fix"}
            return found

        assert problem(422, query="  ")["code"] == "empty_question"
        assert problem(422, query="x" * 101)["code"] == "question_too_long"
        assert problem(422, nothing=1)["code"] == "invalid_request"
        other = problem(422, query="x", inputs={"colour": 1})
        assert other["what"] == "the flow has no input 'colour'"
        assert problem(404, query="x", pipeline="other")["fix"] == "there are: toy"
        unreachable = problem(503, query="unreachable")
        assert (unreachable["code"], unreachable["fix"]) == ("model_error", "start it")
        crash = problem(500, query="crash")
        assert crash["where"] == "say"
        assert "secret" not in json.dumps(crash)
        events = sent(http.post("/ask", json={"query": "crash", "stream": True}).text)
        assert events[-1][0] == "error"
        assert events[-1][1]["code"] == "step_error"
        assert "secret" not in json.dumps(events)
        assert http.get(f"/runs/{events[0][1]['run']}").json()["status"] == "failed"
        for path, listed in (
            ("/runs/", "GET /runs"), ("/conversations/", "GET /conversations"),
            ("/documents/", "GET /documents"), ("/nothing/", "GET /openapi.json"),
        ):  # fmt: skip
            absent = http.get(f"{path}{'0' * 32}")
            assert absent.status_code == 404
            assert listed in absent.json()["fix"]
        assert absent.json()["code"] == "not_found"
        wrong = http.get("/ask").json()
        assert (wrong["code"], wrong["fix"]) == ("method_not_allowed", "use POST")
        assert http.post("/ask", content=b"{").status_code == 422


def test_bodies_are_bounded(tmp_path: Path, client: Any) -> None:
    with running(local(toy(), settings=settings(tmp_path, max_body=1000))) as address:
        http = client(address)
        declared = http.post("/ask", json={"query": "x" * 2000})
        chunked = http.post("/ask", content=(b"x" * 100 for _ in range(50)))
        for response in (declared, chunked):
            assert response.status_code == 413
            assert response.json()["code"] == "too_large"


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_cancels(tmp_path: Path, doors: Doors, stream: bool) -> None:
    doors.shut()

    async def leave(address: str) -> None:
        async with httpx.AsyncClient(base_url=address) as http:
            asked = asyncio.create_task(http.post("/ask", json={"query": "Gone", "stream": stream}))
            while not doors.entered:
                await asyncio.sleep(0.002)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        await asyncio.to_thread(until, lambda: doors.cancelled == ["Gone"])

    with running(local(toy(), settings=settings(tmp_path))) as address:
        asyncio.run(leave(address))


def test_the_queue_is_bounded(tmp_path: Path, doors: Doors, client: Any) -> None:
    doors.shut()
    limits = settings(tmp_path, concurrency=1, queue=3, queue_per_user=2)

    def user(name: str = "a") -> Identity:
        return Identity(name, may=EVERYTHING)

    with (
        running(app(toy(), identity=user, settings=limits)) as address,
        ThreadPoolExecutor(8) as pool,
    ):
        http = client(address)

        def ask(user: str) -> httpx.Response:
            return httpx.post(f"{address}/ask?name={user}", json={"query": user}, timeout=30)

        def waits(number: int) -> None:
            until(lambda: f"rag_runs_waiting {number}.0" in http.get("/metrics").text)

        asked = [pool.submit(ask, "a")]
        until(lambda: doors.entered == ["a"])
        for number in (1, 2):
            asked.append(pool.submit(ask, "a"))
            waits(number)
        refused = ask("a")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert int(refused.headers["retry-after"]) >= 1
        asked.append(pool.submit(ask, "b"))
        waits(3)
        full = ask("c")
        assert (full.status_code, full.json()["code"]) == (503, "queue_full")
        assert int(full.headers["retry-after"]) >= 1
        doors.open()
        assert [one.result().status_code for one in asked] == [200] * 4
        # The other user comes before the second question of the first.
        assert doors.entered == ["a", "b", "a", "a"]


def test_a_run_and_a_wait_end_in_time(tmp_path: Path, doors: Doors, client: Any) -> None:
    doors.shut()
    limits = settings(tmp_path, concurrency=1, run_timeout=0.3, queue_timeout=0.1)
    with running(local(toy(), settings=limits)) as address, ThreadPoolExecutor(2) as pool:
        http = client(address)
        first = pool.submit(http.post, "/ask", json={"query": "long"})
        until(lambda: bool(doors.entered))
        waited = http.post("/ask", json={"query": "late"})
        assert (waited.status_code, waited.json()["code"]) == (503, "queue_timeout")
        assert "retry-after" in waited.headers
        assert (first.result().status_code, first.result().json()["code"]) == (504, "run_timeout")
        doors.open()
        assert http.post("/ask", json={"query": "again"}).status_code == 200


def test_a_shutdown_finishes_what_was_accepted(tmp_path: Path, doors: Doors) -> None:
    doors.shut()
    service = Service(toy(), settings(tmp_path, concurrency=1))
    with ThreadPoolExecutor(4) as pool:
        with running(local({}, service=service), service) as address:
            asked = [pool.submit(_ask, address, one) for one in "ab"]
            until(lambda: "rag_runs_waiting 1.0" in httpx.get(f"{address}/metrics").text)
            pool.submit(lambda: (until(lambda: service.queue.draining), doors.open()))
        assert [one.result().status_code for one in asked] == [200, 200]


def test_a_shutdown_that_takes_too_long_ends_with_an_error(tmp_path: Path, doors: Doors) -> None:
    doors.shut()
    service = Service(toy(), settings(tmp_path, concurrency=1, shutdown_timeout=0.2))
    with ThreadPoolExecutor(4) as pool:
        with running(local({}, service=service), service) as address:
            asked = [pool.submit(_ask, address, one, stream=True) for one in "ab"]
            until(lambda: "rag_runs_waiting 1.0" in httpx.get(f"{address}/metrics").text)
        for one in asked:
            name, data = sent(one.result().text)[-1]
            assert (name, data["code"], data["status"]) == ("error", "stopping", 503)


def test_who_comes_during_a_shutdown_is_refused(tmp_path: Path, client: Any) -> None:
    service = Service(toy(), settings(tmp_path))
    with running(local({}, service=service)) as address:
        http = client(address)
        service.queue.drain()
        refused = http.post("/ask", json={"query": "c"})
        assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
        assert "retry-after" in refused.headers
        assert http.get("/ready").status_code == 503


def _ask(address: str, query: str, **more: Any) -> httpx.Response:
    return httpx.post(f"{address}/ask", json={"query": query, **more}, timeout=30)


def test_overrides_reach_the_answering_step(tmp_path: Path, client: Any) -> None:
    with running(local(toy(), settings=settings(tmp_path))) as address:
        http = client(address)
        response = http.post("/ask", json={"query": "Ink", "max_tokens": 2, "seed": 7})
        assert response.json()["answer"] == "Ink stand [1]"
        response = http.post("/ask", json={"query": "Ink", "seed": 7})
        assert response.json()["answer"].startswith("Ink stand on the shelf 7")


@pytest.mark.parametrize(("name", "value"), [("top_p", 0.5), ("temperature", 1.0), ("stop", ["."])])
def test_an_override_without_effect_is_an_error(
    tmp_path: Path, client: Any, name: str, value: Any
) -> None:
    with running(local(toy(), settings=settings(tmp_path))) as address:
        http = client(address)
        response = http.post("/ask", json={"query": "Ink", name: value})
        problem = response.json()
        assert (response.status_code, problem["code"], problem["where"]) == (
            422,
            "unsupported",
            name,
        )
        assert problem["fix"] == "leave it out; its settings are: max_tokens, seed"
        (pipeline,) = http.get("/pipelines").json()
        assert pipeline["settings"] == ["max_tokens", "seed"]


@pytest.mark.parametrize(
    ("body", "where", "fix"),
    [
        ({}, "body.query", "add 'query'"),
        ({"qurey": "x", "query": "x"}, "body.qurey", "did you mean 'query'?"),
        ({"query": 3}, "body.query", "send a valid string"),
        ({"query": ""}, "body.query", "change 'query': it must have at least 1 character"),
        ({"query": "x", "temperature": 9}, "body.temperature", "send a value less than or equal"),
        (
            {"query": "x", "history": [{"role": "system", "content": ""}]},
            "body.history.0.role",
            "send 'user' or 'assistant'",
        ),
        (
            {"query": "x", "history": [{"role": "user", "content": "", "x": 1}] * 51},
            "body.history",
            "it must have at most 50 items",
        ),
        ([], "body", "send a JSON object"),
    ],
)
def test_an_invalid_request_gets_a_fix_that_says_what_to_change(
    tmp_path: Path, client: Any, body: Any, where: str, fix: str
) -> None:
    with running(local(toy(), settings=settings(tmp_path))) as address:
        problem = client(address).post("/ask", json=body).json()
        assert (problem["code"], problem["where"]) == ("invalid_request", where)
        assert fix in problem["fix"]


def test_a_body_that_is_no_json_is_refused(tmp_path: Path, client: Any) -> None:
    with running(local(toy(), settings=settings(tmp_path))) as address:
        http = client(address)
        headers = {"Content-Type": "application/json"}
        broken = http.post("/ask", content=b'{"query": ', headers=headers)
        assert (broken.status_code, broken.json()["fix"]) == (422, "send valid JSON")
        assert "JSON object" in http.post("/ask").json()["fix"]


@operator(writes="answer")
def thinks_twice(query: str, *, ctx: RunContext) -> str:
    """Count two calls of a model."""
    ctx.spend(llm_calls=2)
    return query


def test_a_run_that_exceeds_its_budget_is_a_timeout(tmp_path: Path, client: Any) -> None:
    flow = Flow(thinks_twice(), name="toy", budget=Budget(llm_calls=1))
    with running(local(flow, settings=settings(tmp_path))) as address:
        response = client(address).post("/ask", json={"query": "x"})
        assert (response.status_code, response.json()["code"]) == (504, "budget_error")
        assert "budget is 1" in response.json()["what"]


@operator(writes="answer", use="say")
def draft(query: str, *, ctx: RunContext, seed: int = 0) -> str:
    """Answer with a draft that nobody is to see."""
    ctx.token(f"DRAFT {seed} ")
    return "draft"


@operator(writes="answer", use="say")
def polished(answer: str, *, ctx: RunContext, seed: int = 0) -> str:
    """Answer in the place of the draft."""
    ctx.token(f"final {seed}")
    return f"final {seed}"


def streamed(http: httpx.Client, **more: Any) -> str:
    """The pieces of the final answer."""
    events = sent(http.post("/ask", json={"query": "q", "stream": True, **more}).text)
    assert events[-1][0] == "done"
    return "".join(data["text"] for name, data in events if name == "token" and data["answer"])


def test_a_draft_of_another_channel_is_not_the_answer(tmp_path: Path, client: Any) -> None:
    first = draft(name="first", outputs={"answer": "text"})
    flow = Flow(first >> polished(inputs={"answer": "text"}), name="toy")
    with running(local(flow, settings=settings(tmp_path))) as address:
        http = client(address)
        assert streamed(http) == "final 0"
        events = sent(http.post("/ask", json={"query": "q", "stream": True}).text)
        assert [d["answer"] for n, d in events if n == "token"] == [False, True]


def test_an_inner_flows_draft_is_not_the_answer(tmp_path: Path, client: Any) -> None:
    @operator(writes="prepared")
    def prepare(query: str) -> str:
        """Do something first, so that both steps are the second of their flow."""
        return query

    inner = Flow(prepare() >> draft(), name="inner", outputs=["answer"])
    outer = Flow(inner.at() >> polished(), name="toy", outputs=["answer"])
    with running(local(outer, settings=settings(tmp_path))) as address:
        http = client(address)
        assert http.post("/ask", json={"query": "q"}).json()["answer"] == "final 0"
        assert streamed(http) == "final 0"


def test_an_inner_flow_that_answers_is_streamed_and_set(tmp_path: Path, client: Any) -> None:
    inner = Flow(draft(), name="inner", outputs=["answer"])
    outer = Flow(inner.at(outputs={"answer": "first"}) >> inner.at(name="last"), name="toy")
    with running(local(outer, settings=settings(tmp_path))) as address:
        http = client(address)
        assert streamed(http) == "DRAFT 0 "
        assert streamed(http, seed=3) == "DRAFT 3 "
        events = sent(http.post("/ask", json={"query": "q", "stream": True, "seed": 3}).text)
        assert [d["text"] for n, d in events if n == "token"] == ["DRAFT 0 ", "DRAFT 3 "]


def test_generate_takes_all_settings() -> None:
    inputs = {"query": str, "documents": list[Document]}
    pipeline = Pipeline("p", Flow(Generate(system="Be brief."), inputs=inputs))
    every = {"temperature", "top_p", "seed", "stop", "max_tokens", "system"}
    assert pipeline.settings == every
    overrides = Overrides(top_p=0.5, stop=("x",), system="In Latin.")
    assert pipeline.config(overrides) == {
        "generate": {"top_p": 0.5, "stop": ("x",), "system": "Be brief.\nIn Latin."}
    }
    assert pipeline.config(Overrides()) == {}


def finals(node: Node) -> set[str]:
    return {str(place) for place in final(Flow(node))}


def test_which_steps_are_final() -> None:
    assert finals(toy().node) == {"say"}
    choice = shelf() >> Route(by="len(query) > 3", cases={True: say(), False: say(name="short")})
    assert finals(choice) == {"route/true/say", "route/false/short"}
    written = Route(by=say(), cases={"x": say(name="one")}, default=say(name="other"))
    assert finals(shelf() >> written) == {"route/x/one", "route/.default/other"}
    assert finals(shelf() >> Loop(body=say(), max_turns=2)) == set()
    assert finals(shelf() >> Guard(say(), retry=Retry(times=1))) == set()
    assert finals(shelf() >> say(outputs={"answer": "draft"}) >> say(name="last")) == {"last"}
    inner = Flow(say(), name="inner", inputs={"query": str, "documents": list[Document]})
    assert finals(shelf() >> inner) == {"inner/say"}
    swapped = Flow(
        say(outputs={"answer": "text"}) >> say(),
        name="inner",
        inputs={"query": str, "documents": list[Document]},
        outputs=["text", "answer"],
    )
    renamed = swapped.at(outputs={"text": "answer", "answer": "draft"})
    assert finals(shelf() >> renamed) == {"inner/say"}
    assert {str(place) for place in writers(Flow(shelf() >> renamed >> say()))} == {
        "inner/say",
        "say",
    }


def test_flows_that_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes the question as its input query"):
        router(Flow(shelf(inputs={"query": "text"}), inputs={"text": str}))
    with pytest.raises(ConfigError, match="pauses for human approval"):
        router(Flow(shelf() >> Interrupt("Good?")))
