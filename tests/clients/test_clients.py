"""Each client's script against one real server, which asks for a key.

`RAG_CLIENTS` names the folder that `make test-clients` installs them in; without it nothing of
this can run, and is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import Flow
from rag.index import IndexBinding
from rag.index.ingest.ingest import ingest
from rag.index.ingest.plan import plan
from rag.models import LLM, Embedder
from rag.operators import BM25, Cite, Generate
from rag.serve import Settings, app
from rag.serve.identity.keys import KeyFile
from tests.serve.conftest import TEXTS, running, say

HERE = Path(__file__).parent
INSTALLED = os.environ.get("RAG_CLIENTS", "")
MATRIX = "matrix.md"
SCRIPTS = sorted(
    path.relative_to(HERE).as_posix()
    for pattern in ("python/*_client.py", "node/*.mjs")
    for path in HERE.glob(pattern)
    if path.stem != "report"
)

pytestmark = pytest.mark.skipif(not INSTALLED, reason="run by `make test-clients`")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, llm: LLM
) -> Iterator[dict[str, str]]:
    """Where the server is, and a key for it, as the scripts read them."""
    folder = tmp_path_factory.mktemp("server")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    spec = {"path": str(folder / "index"), "root": str(folder)}
    resources = {"index": spec, "embedder": embedder, "llm": llm}
    locks = Flow(BM25(k=2) >> say() >> Cite(), name="locks", resources=resources)
    reader = Flow(BM25(k=1) >> Generate(max_tokens=8), name="reader", resources=resources)
    binding = IndexBinding(locks.resources)
    index = binding.writer()
    try:
        files = [folder / name for name in TEXTS]
        ingest(
            plan(files, index, "x", root=folder),
            index,
            embedder,
            split=binding.splitter(),
            fingerprint="x",
        )
    finally:
        index.close()
    keys = folder / "keys.json"
    key = KeyFile(keys).add("ann")
    served = app(
        {"locks": locks, "reader": reader}, keys=keys, settings=Settings(data=folder / "data")
    )
    with running(served) as address:
        yield {"RAG_ADDRESS": address, "RAG_KEY": key}


@pytest.fixture(scope="module", autouse=True)
def matrix() -> Iterator[list[str]]:
    """The rows of the table of clients, written where the clients are."""
    rows: list[str] = []
    yield rows
    if INSTALLED and rows:
        lines = ["| Client | Version | Tried |", "|---|---|---|", *rows]
        (Path(INSTALLED) / MATRIX).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("script", SCRIPTS)
def test_client(script: str, server: dict[str, str], matrix: list[str]) -> None:
    installed = Path(INSTALLED).absolute()
    program = [str(installed / "venv/bin/python")] if script.endswith(".py") else ["node"]
    if program == ["node"]:  # which finds packages beside the script only
        copy = installed / "node" / Path(script).name
        for path in (HERE / "node").iterdir():
            (installed / "node" / path.name).write_bytes(path.read_bytes())
    else:
        copy = HERE / script
    done = subprocess.run(
        [*program, str(copy)],
        cwd=installed / "node",
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **server},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["client"] in (HERE.parents[1] / "docs/clients.md").read_text()
    matrix.append(f"| {told['client']} | {told['version']} | {', '.join(told['tried'])} |")
