"""What a node's fingerprint is in another process, which hashes strings with another seed."""

from __future__ import annotations

import atexit
import base64
import json
import os
import pickle
import subprocess
import sys
from functools import cache
from typing import IO, TYPE_CHECKING, cast

from rag.flow.memory.fingerprint import fingerprint

if TYPE_CHECKING:
    from rag.flow.node import Node

_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from rag.testing import elsewhere
elsewhere.answer()
"""


def fingerprint_elsewhere(node: Node) -> str:
    """The fingerprint of a node whose classes can be imported, or why there is none."""
    ask, reply = _child()
    ask.write(base64.b64encode(pickle.dumps(node)).decode() + "\n")
    ask.flush()
    return reply.readline().strip()


@cache
def _child() -> tuple[IO[str], IO[str]]:
    """Its input and output. One process for all questions: it imports the package once."""
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    child = subprocess.Popen(  # noqa: S603 - this program itself
        [sys.executable, "-c", _CHILD, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    atexit.register(child.kill)
    return cast("tuple[IO[str], IO[str]]", (child.stdin, child.stdout))


def answer() -> None:
    """Answer with a fingerprint for each line, a pickled node, until there are no more."""
    for line in sys.stdin:
        try:
            # What the parent process wrote, through a pipe of its own.
            found = fingerprint(pickle.loads(base64.b64decode(line)))  # noqa: S301
        except Exception as error:  # noqa: BLE001 - the parent's test shows it
            found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(found, flush=True)
