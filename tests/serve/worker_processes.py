"""Servers of two workers: `rag serve --workers 2`, and gunicorn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from rag.serve.observe.processes import FOLDER as METRICS
from tests.serve.held import FOLDER, LEASE, Held

PIPELINE = """\
name: held
steps:
  - use: "tests.serve.held:found"
  - use: "tests.serve.held:held"
"""


def command(kind: str, folder: Path, *options: str) -> list[str]:
    """What starts a server over the held flow: `rag serve`, or `gunicorn`."""
    if kind == "gunicorn":
        worker = ["-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", "127.0.0.1:0"]
        return ["gunicorn", *worker, "tests.serve.held:application()"]
    (folder / "held.yaml").write_text(PIPELINE)
    return [
        *served(folder, folder / "held.yaml"), "--allow-import", "tests", "--lease", str(LEASE),
        "--concurrency", "64", *options,
    ]  # fmt: skip


def served(folder: Path, pipeline: Path) -> list[str]:
    """What starts `rag serve` over a pipeline."""
    options = ["--workers", "2", "--port", "0", "--data", str(folder / "data")]
    return ["rag", "serve", str(pipeline), *options]


@contextmanager
def started(
    command: list[str], folder: Path, **variables: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process: its address, and the process. What it logs is in `folder/log`."""
    metrics = folder / "metrics"
    metrics.mkdir()
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stderr=errors,
            env=os.environ | {METRICS: str(metrics)} | variables,
            text=True,
        )
    try:
        yield _address(process, log), process
    finally:
        process.terminate()
        process.wait(120)


def _address(process: subprocess.Popen[str], log: Path) -> str:
    while process.poll() is None:
        if match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return match.group()
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text())


@contextmanager
def workers(kind: str, held: Held) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server of two workers over the held flow: its address and its process."""
    given = command(kind, held.folder)
    with started(given, held.folder, **{FOLDER: str(held.folder)}) as (address, process):
        try:
            yield address, process
        finally:
            held.open("streaming")


def answers(address: str) -> bool:
    """Whether a server is ready."""
    try:
        return httpx.get(f"{address}/ready", timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


def pids(found: dict[str, float]) -> set[int]:
    """The processes that metrics are of."""
    return {int(pid) for name in found for pid in re.findall(r'pid="(\d+)"', name)}


def metrics(address: str, prefix: str = "") -> dict[str, float]:
    """The metrics of a name, as one of the workers says."""
    text = httpx.get(f"{address}/metrics", timeout=60).text
    found = dict(re.findall(rf"^({re.escape(prefix)}\S*) (\S+)$", text, re.MULTILINE))
    return {name: float(value) for name, value in found.items()}
