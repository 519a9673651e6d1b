"""What identities may do: permissions, collections, documents of groups, limits."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI, Header
from starlette.middleware.cors import CORSMiddleware

from rag import Document, Flow
from rag.errors import ConfigError, InputError
from rag.index import IndexWriter
from rag.models import LLM, Embedder
from rag.operators import BM25, Dense, Generate, Hybrid
from rag.serve import Identity, Settings, app, router, single_user
from rag.serve.identity.identity import EVERYTHING, identity_of
from rag.serve.identity.keys import KeyFile
from rag.serve.pipelines.flows import Flows
from rag.serve.pipelines.pipeline import Pipelines
from tests.cli.command import rag
from tests.kvcache.store.servers import Server
from tests.serve.conftest import Doors, local, running, toy
from tests.serve.waiting import until


def settings(folder: Path, **limits: Any) -> Settings:
    return Settings(data=folder / "data", **limits)


def test_without_an_identity_anybody_may_ask_and_nothing_else(tmp_path: Path) -> None:
    own = FastAPI()
    own.include_router(router(toy(), settings=settings(tmp_path)), prefix="/rag")
    with running(own) as address:
        for path in ("health", "ready", "pipelines", "v1/models", "identity"):
            assert httpx.get(f"{address}/rag/{path}").status_code == 200, path
        assert httpx.post(f"{address}/rag/ask", json={"query": "Books"}).status_code == 200
        for path in ("documents", "conversations", "metrics", "chat/", "runs/" + "0" * 32):
            assert httpx.get(f"{address}/rag/{path}").status_code == 404, path
        assert httpx.get(f"{address}/rag/identity").json()["may"] == ["ask"]


@pytest.mark.parametrize(
    ("value", "user"),
    [
        ("ann", "ann"),
        (7, "7"),
        (UUID(int=7), str(UUID(int=7))),
        (("acme", 7), "('acme', 7)"),
        (Identity("ann", ("handbook",)), "ann"),
    ],
)
def test_what_names_a_user(value: object, user: str) -> None:
    found = identity_of(value)
    assert found.user == user
    assert found.own == ("handbook" if isinstance(value, Identity) else user)


@pytest.mark.parametrize("value", [None, True, "", [], {}, object()])
def test_what_names_no_user(value: object) -> None:
    with pytest.raises(ConfigError, match="names no user"):
        identity_of(value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": ""},
        {"user": "ann", "collections": ()},
        {"user": "ann", "collections": "handbook"},
        {"user": "ann", "may": {"ask", "fly"}},
        {"user": "ann", "groups": {3}},
        {"user": "ann", "requests_per_minute": 0},
    ],
)
def test_an_identity_that_is_wrong(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="identity is not valid"):
        Identity(**wrong)


def test_the_applications_users_of_any_kind(tmp_path: Path) -> None:
    calls: list[int] = []

    def number(x_user: Annotated[int, Header()]) -> int:
        calls.append(x_user)
        return x_user

    with running(app(toy(), identity=number, settings=settings(tmp_path))) as address:
        one, two = ({"X-User": str(user)} for user in (1, 2))
        talk = httpx.post(f"{address}/conversations", headers=one).json()["id"]
        body = {"query": "Books", "conversation": talk}
        assert httpx.post(f"{address}/ask", json=body, headers=one).status_code == 200
        assert calls == [1, 1]
        assert httpx.post(f"{address}/ask", json=body, headers=two).status_code == 404
        missing = httpx.post(f"{address}/ask", json=body)
        assert (missing.status_code, missing.json()["where"]) == (422, "header.x-user")


def test_overridden_dependencies_count(tmp_path: Path) -> None:
    def user() -> str:
        raise AssertionError

    own = app(toy(), identity=user, settings=settings(tmp_path))
    own.dependency_overrides[user] = lambda: "ann"
    with running(own) as address:
        assert httpx.get(f"{address}/identity").json()["user"] == "ann"


def test_permissions(tmp_path: Path) -> None:
    may: dict[str, frozenset[str]] = {}

    def user(who: str = "nobody") -> Identity:
        return Identity("ann", may=may[who])

    for name in ("ask", "upload", "admin"):
        may[name] = frozenset({name})
    with running(app(toy(), identity=user, settings=settings(tmp_path))) as address:
        for path, needed in (
            ("conversations", "ask"),
            ("pipelines", "ask"),
            ("v1/models", "ask"),
            ("documents", "upload"),
            ("metrics", "admin"),
        ):
            for who in may:
                response = httpx.get(f"{address}/{path}", params={"who": who})
                assert response.status_code == (200 if who == needed else 403), (path, who)
                assert httpx.get(f"{address}/identity", params={"who": who}).status_code == 200


def raw(address: str, lines: list[str]) -> str:
    """What a server answers to the head of a request whose body never comes."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, f"Host: {host}", "", ""]).encode())
        return connection.recv(200).decode()


def test_the_body_is_not_read_before_the_key(tmp_path: Path) -> None:
    KeyFile(tmp_path / "keys.json").add("ann")
    served = app(toy(), keys=tmp_path / "keys.json", settings=settings(tmp_path))
    form = "Content-Type: multipart/form-data; boundary=x"
    with running(served) as address:
        for path, kind in (("documents", form), ("ask", "Content-Type: application/json")):
            head = [f"POST /{path} HTTP/1.1", "Content-Length: 1000", kind]
            assert raw(address, head).startswith("HTTP/1.1 401 ")
            foreign = [*head, "Origin: http://evil.example"]
            assert raw(address, foreign).startswith("HTTP/1.1 403 ")


def test_names_that_are_not_the_servers(tmp_path: Path) -> None:
    def status(address: str, host: str) -> int:
        body = {"query": "Books"}
        return httpx.post(f"{address}/ask", json=body, headers={"Host": host}).status_code

    with running(app(toy(), settings=settings(tmp_path / "a"))) as address:
        for host in ("localhost", "127.0.0.1:80", "[::1]:8000", "rag", "a.localhost"):
            assert status(address, host) == 200, host
        assert status(address, "evil.example") == 421
    named = app(toy(), hosts=["rag.example", "*.own.example"], settings=settings(tmp_path / "b"))
    with running(named) as address:
        assert status(address, "RAG.example:443") == status(address, "a.own.example") == 200
        assert status(address, "evil.example") == status(address, "127.0.0.1") == 421


ORIGINS: list[tuple[dict[str, str], int]] = [
    ({}, 200),
    ({"Origin": "http://own.test", "Host": "own.test"}, 200),
    ({"Origin": "http://evil.test", "Host": "own.test"}, 403),
    ({"Origin": "null", "Host": "own.test"}, 403),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.test", "Host": "inner"}, 200),
    ({"Sec-Fetch-Site": "same-site", "Origin": "http://own.test:81", "Host": "own.test"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "none"}, 200),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "https://spa.test"}, 200),
]


@pytest.mark.parametrize("by", ["router", "application"])
def test_pages_of_other_sites(tmp_path: Path, by: str) -> None:
    own = FastAPI()
    spa = ["https://spa.test"]
    named = {"origins": spa} if by == "router" else {}
    own.include_router(
        router(toy(), identity=single_user, settings=settings(tmp_path), **named)  # type: ignore[arg-type]
    )
    if by == "application":
        own.add_middleware(CORSMiddleware, allow_origins=spa, allow_methods=["POST"])
    with running(own) as address:
        for headers, status in ORIGINS:
            sent = httpx.post(f"{address}/conversations", headers=headers)
            assert sent.status_code == (201 if status == 200 else status), headers
        ask = {"Origin": spa[0], "Access-Control-Request-Method": "POST"}
        preflight = httpx.options(f"{address}/conversations", headers=ask)
        assert preflight.headers["access-control-allow-origin"] == spa[0]
        read = httpx.get(f"{address}/conversations", headers={"Origin": spa[0]})
        assert read.headers["access-control-allow-origin"] == spa[0]
        foreign = httpx.get(f"{address}/conversations", headers={"Origin": "https://evil.test"})
        assert "access-control-allow-origin" not in foreign.headers


def test_any_origin_is_not_for_cookies(tmp_path: Path) -> None:
    own = FastAPI()
    own.include_router(router(toy(), identity=single_user, settings=settings(tmp_path)))
    own.add_middleware(CORSMiddleware, allow_origins=["*"])
    with running(own) as address:

        def status(**headers: str) -> int:
            headers["Origin"] = "https://evil.test"
            return httpx.post(f"{address}/conversations", headers=headers).status_code

        assert status() == 201
        assert status(Cookie="session=1") == status(Authorization="Basic YTpi") == 403


@pytest.mark.parametrize("talking", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_place_is_reserved_when_it_is_given(
    tmp_path: Path, doors: Doors, talking: bool, stream: bool
) -> None:
    doors.shut()
    limits = settings(tmp_path, concurrency=2, queue=4)
    with running(local(toy(), settings=limits)) as address, ThreadPoolExecutor(60) as pool:
        body: dict[str, Any] = {"query": "Books", "stream": stream}
        if talking:
            body["conversation"] = httpx.post(f"{address}/conversations").json()["id"]
        sent = [pool.submit(httpx.post, f"{address}/ask", json=body, timeout=60) for _ in range(60)]
        until(lambda: sum(one.done() for one in sent) == 54, 60)
        doors.open()
        codes = sorted(one.result().status_code for one in sent)
    assert codes == [200] * 6 + [503] * 54


def filled(index: Path, embedder: Embedder, **texts: str) -> None:
    """Write texts into an index, each a source; `name__a__b` may be seen by a and b only."""
    with_access = []
    for key, text in texts.items():
        name, *groups = key.split("__")
        access = {"access": groups if groups[1:] else groups[0]} if groups else {}
        about = {"source": name, **access}
        with_access.append(Document(page_content=text, metadata=about))
    IndexWriter.open(index).write(with_access, embedder)


SEARCHES: list[Callable[[], Any]] = [
    lambda: BM25(k=4),
    lambda: Dense(k=4),
    lambda: Hybrid(k=4),
]


@pytest.mark.parametrize("search", SEARCHES, ids=["bm25", "dense", "hybrid"])
def test_a_shared_handbook_and_files_of_ones_own(
    tmp_path: Path, embedder: Embedder, search: Callable[[], Any]
) -> None:
    index = tmp_path / "index"
    pay = "The lock keeper earns much."
    filled(index, embedder, locks="The lock opens at six.", pay__hr__board=pay)
    pipelines = Pipelines(Flow(search(), resources={"index": str(index), "embedder": embedder}))
    flows = Flows(pipelines, tmp_path / "data", 1)

    def found(identity: Identity) -> set[str]:
        lease = flows.open(pipelines["flow"], identity)
        documents = lease.flow.invoke(query="the lock")["documents"]
        lease.close()
        return {one.metadata["source"] for one in documents}

    assert found(Identity("ann")) == {"locks"}
    own = index.with_name("index.collections") / "ann"
    filled(own, embedder, notes="My lock is broken.", plan__ben="The lock of Ben.")
    assert found(Identity("ann")) == {"locks", "notes"}
    assert found(Identity("ben")) == {"locks"}
    assert found(Identity("ben", ("shared", "ann"))) == {"locks", "notes", "plan"}
    assert found(Identity("ann", groups=frozenset({"hr"}))) == {"locks", "notes", "pay"}
    assert found(single_user()) == {"locks", "pay"}
    flows.close()


def test_states_of_shared_documents_are_computed_once(
    tmp_path: Path, embedder: Embedder, llm: LLM
) -> None:
    index = tmp_path / "index"
    private = index.with_name("index.collections")
    filled(index, embedder, locks="The lock opens at six.", pay__hr="The lock keeper earns much.")
    for user in ("ann", "ben"):
        filled(private / user, embedder, notes="My lock is broken, and nobody knows why.")
    filled(private / "team", embedder, plan="The lock is mended on Monday.")
    flow = Flow(
        BM25(k=5) >> Generate(max_tokens=1, reuse={"mode": "focus"}),  # type: ignore[arg-type]
        resources={"index": str(index), "embedder": embedder, "llm": llm},
        outputs=["documents", "generation"],
    )
    pipelines = Pipelines(flow)
    flows = Flows(pipelines, tmp_path / "data", 4)

    def reused(identity: Identity) -> set[str]:
        lease = flows.open(pipelines["flow"], identity)
        result = lease.flow.invoke(query="the lock")
        lease.close()
        chunks = result["generation"].reuse["chunks"]
        found = [one.metadata["source"] for one in result["documents"]]
        assert len(chunks) == len(found)
        return {name for name, chunk in zip(found, chunks, strict=True) if chunk["hit"]}

    hr = frozenset({"hr"})
    assert reused(Identity("ann", ("shared", "team", "ann"), groups=hr)) == set()
    assert reused(Identity("ann", ("shared", "team", "ann"), groups=hr)) == {
        "locks", "pay", "notes", "plan"
    }  # fmt: skip
    # Of what others may not see, nobody can measure whether it was read.
    assert reused(Identity("ben", ("shared", "team", "ben"), groups=hr)) == {"locks", "plan"}
    assert reused(Identity("cat")) == {"locks"}
    flows.close()


def test_the_best_of_a_small_collection_does_not_outrank_a_large_one(
    tmp_path: Path, embedder: Embedder
) -> None:
    index = tmp_path / "index"
    filled(index, embedder, **{f"lock{n}": f"The north lock opens at {n}." for n in range(8)})
    filled(index.with_name("index.collections") / "ann", embedder, cake="A cake with the plums.")
    resources = {"index": str(index), "embedder": embedder}
    pipelines = Pipelines(Flow(Hybrid(k=8), resources=resources))
    flows = Flows(pipelines, tmp_path / "data", 1)
    lease = flows.open(pipelines["flow"], Identity("ann"))
    documents = lease.flow.invoke(query="When does the north lock open?")["documents"]
    assert {one.metadata["source"] for one in documents} == {f"lock{n}" for n in range(8)}
    lease.close()
    flows.close()


def test_indexes_of_users_who_do_nothing_are_closed(tmp_path: Path, embedder: Embedder) -> None:
    index = tmp_path / "index"
    users = [f"user{n}" for n in range(5)]
    for user in ("shared", *users):
        where = index if user == "shared" else index.with_name("index.collections") / user
        filled(where, embedder, **{user: f"A lock of {user}."})
    resources = {"index": str(index), "embedder": embedder}
    pipelines = Pipelines(Flow(BM25(k=8), resources=resources))
    flows = Flows(pipelines, tmp_path / "data", 2)
    leases = [flows.open(pipelines["flow"], Identity(user)) for user in users]
    for lease, user in zip(leases, users, strict=True):  # what is in use stays open
        documents = lease.flow.invoke(query="lock")["documents"]
        assert {one.metadata["source"] for one in documents} == {"shared", user}
    assert len(flows.stores) == 6
    for lease in leases:
        lease.close()
        lease.close()
    assert flows.stores == {
        str(index.resolve()),
        *(str(index.with_name("index.collections") / user) for user in users[3:]),
    }
    flows.close()
    assert not flows.stores


def test_uploads_go_to_ones_own_collection(tmp_path: Path, embedder: Embedder) -> None:
    index = tmp_path / "index"
    filled(index, embedder, locks="The lock opens at six.")
    flow = Flow(BM25(k=4), resources={"index": str(index), "embedder": embedder})

    def user(x_user: Annotated[str, Header()]) -> Identity:
        return Identity(
            x_user, may=EVERYTHING if x_user == "boss" else frozenset({"ask", "upload"})
        )

    def upload(user: str, collection: str | None = None) -> httpx.Response:
        return httpx.post(
            f"{address}/documents",
            files={"files": ("note.md", f"The lock of {user}.".encode())},
            params={"collection": collection} if collection else {},
            headers={"X-User": user},
        )

    def sources(user: str) -> set[str]:
        answer = httpx.post(
            f"{address}/ask", json={"query": "lock"}, headers={"X-User": user}
        ).json()
        return {one["text"] for one in answer["sources"]}

    with running(app(flow, identity=user, settings=settings(tmp_path))) as address:
        for response in (upload("ann"), upload("boss", "shared")):
            assert response.status_code == 202
        assert upload("ann", "shared").status_code == upload("ann", "ben").status_code == 403
        shared = {"The lock opens at six.", "The lock of boss."}
        until(lambda: sources("ann") == {*shared, "The lock of ann."}, 60)
        assert sources("ben") == shared


def test_uploads_where_there_is_no_index(tmp_path: Path) -> None:
    with running(local(toy(), settings=settings(tmp_path))) as address:
        refused = httpx.post(f"{address}/documents", files={"files": ("note.md", b"A lock.")})
        assert (refused.status_code, refused.json()["code"]) == (409, "no_index")
    assert not (tmp_path / "index").exists()


def test_bytes_of_a_user_are_bounded(tmp_path: Path, embedder: Embedder) -> None:
    resources = {"index": str(tmp_path / "index"), "embedder": embedder}
    limits = settings(tmp_path, max_user_bytes=100)
    with running(local(Flow(BM25(), resources=resources), settings=limits)) as address:

        def upload(name: str, size: int) -> int:
            files = {"files": (name, b"x" * size)}
            return httpx.post(f"{address}/documents", files=files).status_code

        assert upload("a.md", 60) == 202
        assert upload("b.md", 60) == 413
        assert upload("a.md", 90) == 202


def test_keys_with_scopes(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    day = datetime.now(UTC) + timedelta(days=1)
    key = keys.add("ann", collections=["handbook"], may=["ask"], groups=["hr"], expires=day)
    record = keys.find(key)
    assert record is not None
    assert record.identity == Identity("ann", ("handbook",), frozenset({"ask"}), frozenset({"hr"}))
    assert keys.find(keys.add("ann", expires=day - timedelta(days=2))) is None
    assert keys.find(key[:-1] + ("A" if key[-1] != "A" else "B")) is None
    for wrong in ({"may": ["fly"]}, {"collections": ["../x"]}, {"requests_per_minute": 0}):
        with pytest.raises(InputError):
            keys.add("ann", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("shared", [False, True])
def test_limits_of_a_user(tmp_path: Path, shared: bool) -> None:
    server = Server(tmp_path) if shared else None
    redis = server.url if server else None

    def user(x_user: Annotated[str, Header()]) -> Identity:
        return Identity(x_user, requests_per_minute=2 if x_user == "ann" else None)

    def status(user: str) -> int:
        sent = httpx.post(f"{address}/ask", json={"query": "x"}, headers={"X-User": user})
        assert ("retry-after" in sent.headers) == (sent.status_code == 429)
        return sent.status_code

    limits = settings(tmp_path, redis=redis, requests_per_minute=3)
    with running(app(toy(), identity=user, settings=limits)) as address:
        assert [status("ann") for _ in range(3)] == [200, 200, 429]
        assert [status("ben") for _ in range(4)] == [200, 200, 200, 429]
    if shared:  # another server counts on
        with running(app(toy(), identity=user, settings=limits)) as address:
            assert status("ann") == 429
    if server:
        server.stop()


def test_outputs_have_a_ceiling(tmp_path: Path) -> None:
    with running(local(toy(), settings=settings(tmp_path, max_tokens=3))) as address:
        body = {"query": "Books", "max_tokens": 4}
        assert httpx.post(f"{address}/ask", json=body).json()["code"] == "too_many_tokens"
        messages = [{"role": "user", "content": "Books"}]
        more = {"model": "toy", "messages": messages, "max_tokens": 4}
        answer = httpx.post(f"{address}/v1/chat/completions", json=more).json()
        assert answer["choices"][0]["message"]["content"] == "Books stand on [1]"


def test_a_server_that_could_not_start_recovers(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.serve.service.FIRST_PAUSE", 0.01)
    index = tmp_path / "index"
    index.mkdir()
    (index / "index.sqlite").write_text("no database")
    flow = Flow(BM25(), resources={"index": str(index), "embedder": embedder})
    with running(local(flow, settings=settings(tmp_path))) as address:
        until(lambda: httpx.get(f"{address}/ready").json().get("code") == "index_state_error")
        told = httpx.get(f"{address}/ready").json()
        assert str(index) not in str(told)
        (index / "index.sqlite").unlink()
        filled(index, embedder, locks="The lock opens at six.")
        until(lambda: httpx.get(f"{address}/ready").status_code == 200)


def test_errors_tell_nothing_of_the_server(tmp_path: Path, embedder: Embedder) -> None:
    index = tmp_path / "index"
    index.mkdir()
    (index / "index.sqlite").write_text("no database")
    flow = Flow(BM25(), resources={"index": str(index), "embedder": embedder})

    def user(x_user: Annotated[str, Header()]) -> Identity:
        return Identity(x_user, may=EVERYTHING if x_user == "boss" else frozenset({"ask"}))

    with running(app(flow, identity=user, settings=settings(tmp_path))) as address:
        for stream in (False, True):
            ask = {"json": {"query": "lock", "stream": stream}}
            ann = httpx.post(f"{address}/ask", headers={"X-User": "ann"}, **ask).text  # type: ignore[arg-type]
            boss = httpx.post(f"{address}/ask", headers={"X-User": "boss"}, **ask).text  # type: ignore[arg-type]
            assert "index_state_error" in ann
            assert str(tmp_path) not in ann
            assert str(index) in boss


def test_a_collection_is_filled_by_the_command(tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "notes.md").write_text("My lock is broken.")
    rag("ingest", "notes.md", "--collection", "Ann B.", cwd=tmp_path)
    resources = {"index": str(tmp_path / "index"), "embedder": embedder}
    pipelines = Pipelines(Flow(BM25(k=4), resources=resources))
    flows = Flows(pipelines, tmp_path / "data", 1)
    lease = flows.open(pipelines["flow"], Identity("Ann B."))
    assert [one.page_content for one in lease.flow.invoke(query="lock")["documents"]] == [
        "My lock is broken."
    ]
    lease.close()
    flows.close()
    assert not (tmp_path / "index").exists()
