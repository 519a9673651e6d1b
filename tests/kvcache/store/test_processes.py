"""Processes that die and processes that share a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rag.kvcache.store import DiskTier
from rag.testing.entries import entry_of, key_of, same

ROOT = Path(__file__).parents[3]


def start(what: str, folder: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.kvcache.store.worker", what, str(folder), str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("lines", [1, 17, 40])
def test_killed_while_writing(lines: int, tmp_path: Path) -> None:
    with start("write", tmp_path, 1000) as process:
        assert process.stdout is not None
        numbers = [int(process.stdout.readline()) for _ in range(lines)]
        process.kill()
    tier = DiskTier(tmp_path)
    names = {key_of(number): number for number in range(1000, 1000 + 10_000)}
    keys = tier.keys()
    assert {key_of(number) for number in numbers} <= set(keys)
    for name in keys:
        found = tier.get(name)
        assert found is not None
        assert same(found, entry_of(names[name], tokens=64))
    assert tier.verify() == []
    assert tier.counts.quarantined == 0
    tier.close()


def test_two_processes_on_one_folder(tmp_path: Path) -> None:
    both = [start("mix", tmp_path, seed) for seed in (1, 2)]
    for process in both:
        counts = json.loads(process.communicate(timeout=120)[0])
        assert process.returncode == 0
        assert counts["wrong"] == counts["errors"] == counts["quarantined"] == 0
        assert set(counts["reasons"]) <= {"absent"}
        assert counts["hits"]
        assert counts["evictions"]
        assert counts["bytes"] <= counts["max_bytes"]
    tier = DiskTier(tmp_path)
    files = {path.stem: path.stat().st_size for path in tmp_path.glob("??/*.safetensors")}
    assert set(tier.keys()) == set(files)
    assert tier.size()[1] == sum(files.values()) <= 6 * 9000
    assert tier.verify() == []
    tier.close()
