"""The process in which files are read: see `rag.index.readers.apart`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from rag.errors import LoadError
from rag.index.readers.read import read_here
from rag.index.readers.registry import readers


def main() -> None:
    """Answer requests, a line each, until there are no more.

    The first argument is the memory, in bytes, that this process may have. A request is JSON with
    `path`, `name` and `seconds`. An answer is its length, 8 bytes, and JSON with `warnings`, and
    `documents` or `error`; an empty one comes first, when this process is ready.
    """
    memory = int(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    readers()  # imports those of other packages
    _send(answers, {})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        with contextlib.suppress(ImportError):  # Windows has no such limits
            _limit(memory, request["seconds"])
        _send(answers, _answer(Path(request["path"]), request["name"]))


def _send(answers: IO[bytes], answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    answers.write(len(data).to_bytes(8, "big") + data)
    answers.flush()


def _answer(path: Path, name: str) -> dict[str, Any]:
    warnings: list[str] = []
    try:
        found = [
            (document.page_content, document.metadata)
            for document in read_here(path, name, warnings.append)
        ]
    except LoadError as error:
        return {"error": error.what, "warnings": warnings}
    return {"documents": found, "warnings": warnings}


def _limit(memory: int, seconds: int) -> None:
    """Limit memory, and the processor time from now on."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + seconds + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until, most))


if __name__ == "__main__":
    main()
