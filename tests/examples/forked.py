"""The command `rag` for scripts of many commands: forked from a process that has imported it all.

A command of its own imports torch and reads a model, which takes seconds; a fork has both. All else
is as ever: a process for each command, with its own arguments, folder, environment and streams.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLIENT = """\
import json, os, socket, sys
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[1])
call = {"arguments": sys.argv[2:], "folder": os.getcwd(), "environment": dict(os.environ)}
socket.send_fds(there, [json.dumps(call).encode() + b"\\n"], [0, 1, 2])
sys.exit(int(there.makefile().read() or 1))
"""


@contextmanager
def commands(folder: Path, root: Path) -> Iterator[str]:
    """A line of a shell script that runs `rag` with the arguments that follow it.

    Args:
        folder: For the socket and the client.
        root: Where the packages are.
    """
    address, client = folder / "socket", folder / "client.py"
    client.write_text(CLIENT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-m", __name__, str(address)],
        cwd=root, env=environment, stdout=subprocess.PIPE,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield f'"{sys.executable}" -S -E "{client}" "{address}"'
        finally:
            server.kill()


def serve(address: str) -> None:
    """Run commands until the process is killed."""
    from rag.models import LLM, Embedder

    LLM.opener, Embedder.opener = "tests.opened:open_llm", "tests.opened:open_embedder"
    from rag.cli.main import main

    LLM.load(LLM.default)
    Embedder.load(Embedder.default)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        print("ready", flush=True)
        while True:
            there, _ = door.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                door.close()
                _run(there)
                return main()
            there.close()


def _run(there: socket.socket) -> None:
    """Become the command that a client asks for; another process waits for its end."""
    text, streams, _, _ = socket.recv_fds(there, 2**20, 3)
    while not text.endswith(b"\n"):
        text += there.recv(2**20)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        there.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    there.close()
    call = json.loads(text)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv = ["rag", *call["arguments"]]
    sys.path.insert(0, call["folder"])


if __name__ == "__main__":
    serve(sys.argv[1])
