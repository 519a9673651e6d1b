"""The TypeScript client is that of this server: its document and its types are not stale."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "clients" / "typescript"
STALE = "run: cd clients/typescript && npm install && npm run generate"


def test_the_types_are_those_of_the_server() -> None:
    spec = importlib.util.spec_from_file_location("generate", CLIENT / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    text = generate.document()
    assert json.loads(generate.DOCUMENT.read_text()) == json.loads(text), STALE
    assert generate.TYPES.read_text().startswith(generate.stamp(text)), STALE


@pytest.mark.skipif(
    not (CLIENT / "node_modules").exists(), reason="npm install in clients/typescript comes first"
)
def test_the_client_compiles() -> None:
    done = subprocess.run(
        ["npx", "tsc", "--noEmit"], cwd=CLIENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
