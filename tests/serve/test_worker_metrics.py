"""Metrics of a server of two workers: the sums of both, whichever is asked; each one's process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from rag.serve.observe.processes import of_all_processes
from tests.serve.held import Held
from tests.serve.waiting import until
from tests.serve.worker_processes import answers, metrics, pids, served, started, workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")

NAMES = {
    "process_virtual_memory_bytes", "process_resident_memory_bytes", "process_start_time_seconds",
    "process_cpu_seconds_total", "process_open_fds", "process_max_fds",
}  # fmt: skip


def children(process: subprocess.Popen[str]) -> set[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return {int(pid) for pid in text.split()}


@pytest.mark.slow
def test_the_processes_of_all_workers_are_seen_from_any(tmp_path: Path) -> None:
    held = Held(tmp_path / "held")
    with workers("rag serve", held) as (address, process):
        above = {process.pid}  # what starts the workers may be shown, too
        until(lambda: len(pids(_seen(address)) - above) == 2, 120)
        both = pids(_seen(address)) - above
        assert both <= children(process)
        for _ in range(6):  # either worker answers
            found = metrics(address, "process_")
            assert {name.partition("{")[0] for name in found} == NAMES
            assert pids(found) - above == both
            assert all(value > 0 for value in found.values())
        one = min(both)
        os.kill(one, signal.SIGKILL)
        until(lambda: len(pids(_seen(address)) - above - {one}) == 2, 120)
        assert one not in pids(metrics(address, "process_"))


def _seen(address: str) -> dict[str, float]:
    try:
        return metrics(address, "process_")
    except httpx.HTTPError:  # no worker listens
        return {}


STATES = """\
name: states
resources:
  index: {index}
  embedder: all-minilm-l6-v2
  llm: {{model: smollm2-135m-instruct, kv: {{memory: 500MB, disk: {disk}}}}}
steps:
  - {{use: bm25, k: 1}}
  - {{use: generate, max_tokens: 1, reuse: {{mode: craft}}}}
"""


@pytest.mark.slow
def test_stored_states_are_added_up_in_memory_and_counted_once_on_disk(
    tmp_path: Path, library: Path
) -> None:
    pipeline = tmp_path / "states.yaml"
    pipeline.write_text(STATES.format(index=library, disk=tmp_path / "kv"))
    with started(served(tmp_path, pipeline), tmp_path) as (address, _):
        until(lambda: answers(address), 240)
        held: set[float] = set()
        for _ in range(30):  # until both have answered
            body = {"query": "Who may open the north lock?"}
            httpx.post(f"{address}/ask", json=body, timeout=240).raise_for_status()
            (memory,) = {metrics(address, "rag_kv")["rag_kv_cache_memory_bytes"] for _ in range(4)}
            held.add(memory)
            if len(held) == 2:
                break
        one, two = sorted(held)
        assert two == 2 * one > 0
        disk = {metrics(address, "rag_kv")["rag_kv_cache_disk_bytes"] for _ in range(4)}
        files = sum(file.stat().st_size for file in (tmp_path / "kv").rglob("*.safetensors"))
        assert disk == {files}


def test_a_dead_process_counts_and_is_not_shown(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "from prometheus_client import Counter, Gauge\n"
        "Counter('told', 'x').inc()\n"
        "Gauge('now', 'x', multiprocess_mode='livesum').set(1)\n"
        "print(os.getpid(), flush=True)\n"
        "input()\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        )
        for _ in range(2)
    ]  # fmt: skip
    mine, other = started
    for one in started:
        assert one.stdout is not None
        assert int(one.stdout.readline()) == one.pid
    try:
        both = of_all_processes(tmp_path).decode()
        assert "told_total 2.0" in both
        assert "now 2.0" in both
        other.kill()
        other.wait()
        left = of_all_processes(tmp_path).decode()
        assert "told_total 2.0" in left
        assert "now 1.0" in left
        assert set(re.findall(r'process_open_fds\{pid="(\d+)"\}', both)) == {
            str(mine.pid), str(other.pid),
        }  # fmt: skip
        assert re.findall(r'process_open_fds\{pid="(\d+)"\}', left) == [str(mine.pid)]
    finally:
        mine.kill()
        for one in started:
            one.communicate()
