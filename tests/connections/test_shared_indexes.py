"""An index on a server, by the command and over HTTP, with the same pipeline file as a folder's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rag.flow import load_flow
from rag.serve import Settings, app
from rag.serve.identity.keys import KeyFile
from rag.testing import ScriptedEmbedder, ScriptedLLM
from tests.cli.command import rag
from tests.postgres import server
from tests.serve.conftest import TEXTS, running
from tests.serve.test_documents import NOTE, ready, send

PIPELINE = """
resources:
  index: {{path: "{address}", chunk_size: 24, chunk_overlap: 0, parents: [60]}}
steps:
  - {{use: hybrid, k: 2}}
  - {{use: parents}}
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with server() as folder:
        yield f"postgresql://rag@/postgres?host={folder}"


@pytest.fixture(params=["postgresql", "qdrant"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A pipeline file beside two documents."""
    if request.param == "postgresql":
        address = f"{request.getfixturevalue('postgres')}&collection={tmp_path.name}"
    else:
        address = "qdrant+file://./qdrant/book"
    (tmp_path / "docs").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "docs" / name).write_text(text)
    file = tmp_path / "rag.yaml"
    file.write_text(PIPELINE.format(address=address))
    return file


def test_files_are_ingested_found_pruned_and_checked(pipeline: Path) -> None:
    folder = pipeline.parent
    assert "rag ingest" in rag("index", "stats", cwd=folder, code=4)
    first = rag("ingest", "docs", cwd=folder)
    assert "2 files ingested" in first
    assert "0 files ingested, 2 unchanged" in rag("ingest", "docs", cwd=folder)
    found = json.loads(
        rag("run", "rag.yaml", "--input", "query=ferry Aurora", "--json", cwd=folder)
    )
    best = found["documents"][0]
    assert best["metadata"]["path"] == "boats.md"
    assert "carries forty passengers" in best["text"]
    assert "Boats longer than twelve metres" in best["text"]
    (folder / "docs" / "boats.md").unlink()
    assert "1 removed" in rag("ingest", "docs", "--prune", cwd=folder)
    stats = json.loads(rag("index", "stats", "--json", cwd=folder))
    assert stats["sources"] == 1
    assert "no problems" in rag("index", "verify", cwd=folder)
    assert "sound" in rag("index", "rebuild", cwd=folder)
    assert "1 sources" in rag("index", "compact", cwd=folder)


def test_tenants_upload_into_collections_of_their_own(pipeline: Path, tmp_path: Path) -> None:
    llm = ScriptedLLM("It leaves at seven [1].")
    flow = load_flow(pipeline.read_text() + "  - {use: generate}\n  - {use: cite}\n", base=tmp_path)
    flow = flow.with_resources(embedder=ScriptedEmbedder(), llm=llm)
    keys = KeyFile(tmp_path / "keys.json")
    one, two = keys.add("one"), keys.add("two")
    with running(app(flow, keys=keys.path, settings=Settings(data=tmp_path / "data"))) as address:
        mine, other = (
            httpx.Client(base_url=address, timeout=60, headers={"Authorization": f"Bearer {key}"})
            for key in (one, two)
        )
        with mine, other:
            (document,) = send(mine, "ferry.md", NOTE).json()
            assert ready(mine, document["id"])["status"] == "ready"

            def sources(client: httpx.Client) -> list[str]:
                answer = client.post("/ask", json={"query": "When does the Borealis leave?"}).json()
                return [source["place"] for source in answer["sources"]]

            assert len(sources(mine)) == 1
            assert sources(other) == []
            assert mine.delete(f"/documents/{document['id']}").status_code == 204
            assert sources(mine) == []
