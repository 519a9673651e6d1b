"""Who may ask, and that nobody sees another's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from rag import Document, Flow, operator
from rag.flow import Resources
from rag.models import LLM, Embedder
from rag.operators import BM25, Agent, Cite, Generate, Rewrite, WriteIndex
from rag.serve import Identity, Settings, app
from rag.serve.identity.keys import KeyFile
from rag.serve.pipelines.flows import Flows
from rag.serve.pipelines.pipeline import Pipelines
from rag.testing.llm import ScriptedLLM
from tests.cli.command import rag
from tests.serve.conftest import local, running, toy
from tests.serve.waiting import until


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    path = tmp_path / "keys.json"
    return path, {user: KeyFile(path).add(user) for user in ("north", "south")}


@pytest.fixture
def clients(
    tmp_path: Path, library: Path, embedder: Embedder, llm: LLM, keys: tuple[Path, dict[str, str]]
) -> Iterator[dict[str, httpx.Client]]:
    flow = Flow(
        BM25(k=2) >> Generate(max_tokens=4, reuse={"mode": "focus"}) >> Cite(),  # type: ignore[arg-type]
        name="real",
        resources={"index": str(tmp_path / "index"), "embedder": embedder, "llm": llm},
    )
    path, made = keys
    with running(app(flow, keys=path, settings=Settings(data=tmp_path / "data"))) as address:
        found = {
            user: httpx.Client(
                base_url=address, timeout=60, headers={"Authorization": f"Bearer {key}"}
            )
            for user, key in made.items()
        }
        found["nobody"] = httpx.Client(base_url=address)
        yield found
        for client in found.values():
            client.close()


def upload(client: httpx.Client) -> str:
    note = b"# Ferry\n\nThe ferry Borealis leaves the quay at seven.\n"
    (document,) = client.post("/documents", files={"files": ("ferry.md", note)}).json()
    key = str(document["id"])
    until(lambda: client.get(f"/documents/{key}").json()["status"] == "ready", 60)
    return key


def ask(client: httpx.Client) -> dict[str, object]:
    answer: dict[str, object] = client.post("/ask", json={"query": "ferry Borealis"}).json()
    return answer


def test_users_see_nothing_of_each_other(clients: dict[str, httpx.Client]) -> None:
    north, south = clients["north"], clients["south"]
    document = upload(north)
    assert len(ask(north)["sources"]) == 1  # type: ignore[arg-type]
    assert ask(south)["sources"] == []
    assert south.get("/documents").json() == []
    assert south.get(f"/documents/{document}").status_code == 404
    assert south.delete(f"/documents/{document}").status_code == 404
    talk = north.post("/conversations").json()["id"]
    run = ask(north)["run"]
    for path in (f"/conversations/{talk}", f"/conversations/{talk}/export", f"/runs/{run}"):
        assert north.get(path).status_code == 200
        assert south.get(path).status_code == 404
    assert south.post("/ask", json={"query": "x", "conversation": talk}).status_code == 404


def test_stored_states_are_a_users_own(clients: dict[str, httpx.Client]) -> None:
    def hits(client: httpx.Client) -> list[bool]:
        reuse = ask(client)["reuse"]
        return [chunk["hit"] for chunk in reuse["chunks"]]  # type: ignore[index]

    for user in ("north", "south"):
        upload(clients[user])
        assert hits(clients[user]) == [False]
        assert hits(clients[user]) == [True]


def test_who_has_no_key_gets_nothing(clients: dict[str, httpx.Client]) -> None:
    nobody = clients["nobody"]
    for method, path in (
        ("POST", "/ask"),
        ("GET", "/documents"),
        ("GET", "/conversations"),
        ("GET", "/pipelines"),
        ("GET", "/metrics"),
        ("GET", "/identity"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
    ):
        response = nobody.request(method, path, json={} if method == "POST" else None)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
    assert nobody.get("/health").status_code == 200


def test_a_revoked_key_is_refused_at_once(
    clients: dict[str, httpx.Client], keys: tuple[Path, dict[str, str]]
) -> None:
    file = KeyFile(keys[0])
    assert clients["south"].get("/documents").status_code == 200
    file.revoke(next(one.id for one in file.records() if one.user == "south"))
    assert clients["south"].get("/documents").status_code == 401
    assert clients["north"].get("/documents").status_code == 200


def test_a_file_of_keys_that_is_away_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = KeyFile(path).add("ann")
    with running(app(toy(), keys=path, settings=Settings(data=tmp_path / "data"))) as address:
        path.unlink()
        for given in (key, f"rag_{'0' * 8}_{'A' * 43}"):
            sent = {"Authorization": f"Bearer {given}"}
            told = httpx.get(f"{address}/identity", headers=sent, timeout=60)
            assert told.status_code == 500
            assert path.name not in told.text
            assert "rag keys" not in told.text


def test_keys_are_kept_as_digests(keys: tuple[Path, dict[str, str]]) -> None:
    text = keys[0].read_text()
    assert all(key not in text for key in keys[1].values())
    assert keys[0].stat().st_mode & 0o077 == 0


def test_the_command(tmp_path: Path) -> None:
    key = rag("keys", "add", "north", cwd=tmp_path).strip()
    record = KeyFile(tmp_path / ".rag" / "keys.json").find(key)
    assert record is not None
    assert record.identity == Identity("north")
    (one,) = json.loads(rag("keys", "list", "--json", cwd=tmp_path))
    assert (one["user"], one["may"]) == ("north", ["ask", "upload"])
    rag("keys", "revoke", one["id"], cwd=tmp_path)
    assert json.loads(rag("keys", "list", "--json", cwd=tmp_path)) == []
    assert "rag keys add" in rag("serve", "--host", "192.0.2.1", cwd=tmp_path, code=2)


def alone(user: str) -> Identity:
    """A user who sees one collection of their own and nothing else."""
    return Identity(user, (user,))


def refuse(*_: object, **__: object) -> None:
    """In the place of opening a model."""
    raise AssertionError("a model is opened that no step takes")


@operator(writes="documents")
def note(query: str) -> list[Document]:
    """The question as a document."""
    return [Document(page_content=query, metadata={"source": query})]


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_what_a_user_writes_goes_to_the_own_collection(
    tmp_path: Path, embedder: Embedder, inner: bool, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Embedder, "load", refuse)
    steps = note() >> WriteIndex() >> BM25(k=5)
    index = {"index": str(tmp_path / "index")}
    if inner:
        embeds = {"embedder": embedder}
        within = Flow(steps, name="inner", resources={**index, **(embeds if own else {})})
        flow = Flow(within, resources={} if own else embeds)
    else:
        flow = Flow(steps, resources={**index, "embedder": embedder})
    pipelines = Pipelines({"notes": flow})
    flows = Flows(pipelines, tmp_path / "data", 8)
    for user in ("north", "south"):
        with closing(flows.open(pipelines["notes"], alone(user))) as lease:
            found = lease.flow.invoke(query=f"ferry of {user}")["documents"]
            assert [one.page_content for one in found] == [f"ferry of {user}"]
    assert not (tmp_path / "index").exists()
    flows.close()


def test_an_index_that_the_flow_does_not_name_has_collections_too(
    tmp_path: Path, embedder: Embedder
) -> None:
    resources = Resources({"embedder": embedder}, base=tmp_path)
    pipelines = Pipelines({"notes": Flow(note() >> WriteIndex(), resources=resources)})
    flows = Flows(pipelines, tmp_path / "data", 8)
    with closing(flows.open(pipelines["notes"], alone("north"))) as lease:
        lease.flow.invoke(query="ferry")
    assert [path.name for path in tmp_path.glob("index*/*")] == ["north"]
    flows.close()


def test_what_an_agents_tools_search_is_the_users_own(tmp_path: Path, embedder: Embedder) -> None:
    search = {"tool": "search", "arguments": {"query": "ferry"}}
    llm = ScriptedLLM({"agent": [search, {"tool": "answer"}] * 4}, constrained=True)
    inner = {"resources": {"index": str(tmp_path / "own")}, "steps": [{"use": "bm25"}]}
    for tool in ({"use": "bm25"}, {"flow": inner}):
        resources = {
            "index": str(tmp_path / "index"), "embedder": embedder, "llm": llm,
            "tools": {"search": tool},
        }  # fmt: skip
        fill = note() >> WriteIndex()
        own = Flow(fill, resources={"index": str(tmp_path / "own"), "embedder": embedder})
        flow = Flow(fill >> own.at(outputs={"written": "others"}) >> Agent(), resources=resources)
        pipelines = Pipelines({"notes": flow})
        flows = Flows(pipelines, tmp_path / "data", 8)
        for user in ("north", "south"):
            with closing(flows.open(pipelines["notes"], alone(user))) as lease:
                found = lease.flow.invoke(query=f"ferry of {user}")["documents"]
                assert [one.page_content for one in found] == [f"ferry of {user}"]
        flows.close()


def test_a_flow_with_two_models_opens_no_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LLM, "load", refuse)
    small = ScriptedLLM({"rewrite": "who opens"})
    large = ScriptedLLM({"generate": "The keeper."})
    inner = Flow(
        Generate(),
        name="answers",
        inputs={"query": str, "documents": list[Document]},
        outputs=["answer"],
        resources={"llm": large},
    )
    rewrite = Rewrite(outputs={"query": "search"}, resources={"llm": "small"})
    flow = Flow(rewrite >> note() >> inner, name="two", resources={"small": small})
    with running(local(flow, settings=Settings(data=tmp_path / "data"))) as address:
        answer = httpx.post(f"{address}/ask", json={"query": "Who?"}).json()
        assert answer["answer"] == "The keeper."
        assert (small.names, large.names) == (["rewrite"], ["generate"])
        assert httpx.get(f"{address}/pipelines").json()[0]["settings"][0] == "max_tokens"
