"""What a client's script tells: the client, its version, what was tried."""

import json
import os
from collections.abc import Callable
from importlib.metadata import version

BASE = os.environ["RAG_ADDRESS"]
"""The server's address."""
V1 = f"{BASE}/v1"
KEY = os.environ["RAG_KEY"]
QUESTION = "Who may open the north lock?"
ANSWER = f"{QUESTION} stand on the shelf"
"""How the pipeline `locks` begins its answer."""


def report(client: str, package: str, *checks: Callable[[], object]) -> None:
    """Run the checks, each named by its function, and print what was tried."""
    for check in checks:
        check()
    tried = [check.__name__.replace("_", " ") for check in checks]
    print(json.dumps({"client": client, "version": version(package), "tried": tried}))


def opens(url: str) -> None:
    """See that a link opens as a browser would follow it: without a key."""
    from urllib.request import urlopen

    with urlopen(url) as answer:  # noqa: S310 - the server under test
        assert answer.status == 200
        assert b"north lock" in answer.read()


def error_of(kind: type[Exception], call: Callable[[], object]) -> Exception:
    """The error of that kind that a call ends with."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")
