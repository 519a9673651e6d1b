"""The `rag` command for tests: in this process, where models load once, or as a process."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from rag.cli.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = Path(sys.executable).parent / "rag"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "COLUMNS": "160"}


def rag(
    *args: str, cwd: Path, code: int = 0, stdin: str | None = None, process: bool = False
) -> str:
    """Run the command.

    Args:
        args: Its arguments.
        cwd: The folder to run it in.
        code: The exit code that is expected.
        stdin: What it reads from standard input.
        process: Run the installed command, in a process of its own.

    Returns:
        What it prints; if it fails, what it prints on standard error first, but for JSON.
    """
    run = _installed if process else _here
    returned, out, err = run(args, cwd, stdin or "")
    assert returned == code, err + out
    assert "Traceback" not in err, err
    return out if code in (0, 3) or "--json" in args else err + out


def _installed(args: tuple[str, ...], cwd: Path, stdin: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(COMMAND), *args], cwd=cwd, input=stdin, env={**os.environ, **ENVIRONMENT},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def _here(args: tuple[str, ...], cwd: Path, stdin: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["rag", *args]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        mock.patch.dict(os.environ, ENVIRONMENT),
    ):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return code, out.getvalue(), err.getvalue()
