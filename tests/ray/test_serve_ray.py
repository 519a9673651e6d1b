"""Two replicas on Ray Serve share an index in PostgreSQL, limits and stored states in Redis."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rag import load_flow
from rag.index import IndexBinding, IndexWriter
from rag.serve.identity.keys import KeyFile
from tests.kvcache.store.servers import Server
from tests.postgres import server as postgres

ray = pytest.importorskip("ray")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    redis = Server(tmp_path)
    with postgres() as host:
        for name, value in {
            "RAG_INDEX": f"postgresql://rag@/postgres?host={host}",
            "RAG_REDIS": redis.url,
            "RAG_DATA": str(tmp_path / "data"),
            "RAG_KEYS": str(tmp_path / "keys.json"),
            "RAG_REPLICAS": "2",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": ":".join([str(ROOT), *filter(None, sys.path)]),
        }.items():
            monkeypatch.setenv(name, value)
        yield
    redis.stop()


def test_two_replicas_answer_as_one_server(places: None) -> None:
    from langchain_core.documents import Document
    from ray import serve

    from examples.ray.serve_app import PIPELINE, app

    with load_flow(PIPELINE) as flow:
        binding = IndexBinding(flow.resources)
        text = Document(page_content="The north lock opens at six.", metadata={"source": "locks"})
        IndexWriter.open(binding.address).write([text], binding.open_embedder())
    keys = KeyFile(Path(os.environ["RAG_KEYS"]))
    key, limited = keys.add("ann"), keys.add("ben", tokens_per_day=1)
    ray.init(num_cpus=3, object_store_memory=150 * 2**20, log_to_driver=False)
    try:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        serve.start(http_options={"port": port, "host": "127.0.0.1"})
        serve.run(app)
        (deployment,) = serve.status().applications["default"].deployments.values()
        assert sum(deployment.replica_states.values()) == 2
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=120,
        ) as http:
            body = {"query": "When does the north lock open?", "max_tokens": 4}
            answers = [http.post("/ask", json=body) for _ in range(6)]
            assert [one.status_code for one in answers] == [200] * 6
            for one in answers:
                assert [source["place"] for source in one.json()["sources"]] == ["locks"]
            hits = [one.json()["reuse"]["chunks"][0]["hit"] for one in answers]
            # Computed once; the other replica finds the states in Redis.
            assert hits == [False] + [True] * 5
            run = answers[0].json()["run"]
            assert {http.get(f"/runs/{run}").status_code for _ in range(6)} == {200}
            # What a user has used is counted by both together.
            ben = {"Authorization": f"Bearer {limited}"}
            codes = [http.post("/ask", json=body, headers=ben).status_code for _ in range(5)]
            assert codes == [200] + [429] * 4
    finally:
        serve.shutdown()
        ray.shutdown()
