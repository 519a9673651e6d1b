"""`rag up`, `rag down`: an optional process that keeps a pipeline's models open for `rag ask`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Annotated, Any

import typer

from rag.cli.config import AllowImport, Config, Param
from rag.cli.handshake import Asked, Refused, exchange, supported
from rag.cli.status import Status


def up(
    config: Config = None,
    params: Param = None,
    allow: AllowImport = None,
    idle: Annotated[
        float, typer.Option(help="Minutes without a question after which it ends; 0: never.")
    ] = 30.0,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Be the process, until Ctrl-C or `rag down`.")
    ] = False,
) -> None:
    """Start a process that keeps the pipeline's models open; `rag ask` uses it from then on.

    It listens on a socket that only you can open, and answers only where code, pipeline, parameters
    and environment are those that it was started with.
    """
    from rag.errors import ConfigError

    if not supported():
        raise ConfigError("this system has no Unix sockets", where="rag up", fix="use rag chat")
    asked = Asked(config, params or [], allow or [])
    if foreground:
        _be(asked, idle * 60 or None)
        return
    try:
        pid = _ask(asked, "ping")
        typer.echo(f"up already (process {pid})")
        return
    except Refused:
        _stopped(asked)  # one that was started with other code or settings
    with Status() as status:
        status("loading ...")
        typer.echo(f"up (process {_started(asked, idle)}); rag down ends it", err=False)


def down(config: Config = None, params: Param = None, allow: AllowImport = None) -> None:
    """End the process that `rag up` started for the same pipeline and parameters."""
    pid = _stopped(Asked(config, params or [], allow or []))
    typer.echo("none was up" if pid is None else f"down (process {pid})")


def _be(asked: Asked, idle: float | None) -> None:
    from rag.cli.resident import Resident
    from rag.flow.absence import opening

    resident = Resident(asked, idle)
    for _, _, error in opening(resident.flow):
        if error is not None:
            resident.flow.close()
            raise error
    listener = resident.listen()
    typer.echo("ready")
    sys.stdout.flush()
    resident.serve(listener)


def _started(asked: Asked, idle: float) -> int:
    """Start the process and wait until it is ready; its id."""
    command = [sys.executable, "-m", "rag", "up", "--foreground", "--idle", str(idle)]
    command += ["--config", asked.config] if asked.config else []
    for option, values in (("--param", asked.params), ("--allow-import", asked.allow)):
        for value in values:
            command += [option, value]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - this program
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        if process.stdout.readline().strip() == b"ready":
            return process.pid
        code = process.wait()
        said.seek(0)
        sys.stderr.write(said.read().decode(errors="replace"))
        raise typer.Exit(code or 1)


def _stopped(asked: Asked) -> int | None:
    """End the process; its id, or None where there was none."""
    try:
        return int(_ask(asked, "stop"))
    except Refused:
        if supported():
            asked.socket.unlink(missing_ok=True)
        return None


def _ask(asked: Asked, what: str) -> Any:
    return dict(exchange(asked, {what: os.getpid()}))["done"]
