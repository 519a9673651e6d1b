"""Finding the resident process of `rag up`, and seeing that it would answer as this process does.

What both must have in common: this package's code, the pipeline's file and parameters, the folder,
and the variables of the environment that models and pipelines read. Nothing heavy is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import stat
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROTOCOL = 1
_READ = re.compile(r"(RAG|HF|TORCH|OMP|CUDA|OPENAI|ANTHROPIC|OLLAMA)_|.*_(API_KEY|TOKEN|BASE_URL)$")
"""Variables that decide what answers and with which rights."""
_PLACEHOLDER = re.compile(r"\$\{env:(\w+)")


@dataclass(frozen=True)
class Asked:
    """The pipeline that a command works with, as it was written on the command line.

    Args:
        config: A file or name; None: the default.
        params: `NAME=VALUE`.
        allow: Packages that operators may be imported from.
    """

    config: str | None
    params: Sequence[str]
    allow: Sequence[str]

    @property
    def socket(self) -> Path:
        """Where a resident process for it listens."""
        from rag.cli.config import default

        name = default(self.config)
        where = os.path.realpath(name) if os.path.exists(name) else name  # noqa: PTH110
        parts = (os.path.realpath("."), where, *sorted(self.params), "", *sorted(self.allow))
        return runtime_folder() / f"{_digest(parts)[:16]}.sock"

    @property
    def digest(self) -> str:
        """Differs where an answer might: another code, file, variable."""
        from rag.cli.config import pipeline_file

        file, _ = pipeline_file(self.config)
        text = file.read_text(encoding="utf-8", errors="replace")
        named = set(_PLACEHOLDER.findall(text))
        variables = sorted(
            f"{k}={v}" for k, v in os.environ.items() if k in named or _READ.match(k)
        )
        return _digest((str(PROTOCOL), code_digest(), text, *self.params, *variables))


def code_digest() -> str:
    """Of the files of this package, by their sizes and times of change."""
    found = []
    for folder, _, names in os.walk(Path(__file__).parents[1], followlinks=True):
        for name in names:
            if name.endswith((".py", ".yaml")):
                path = os.path.join(folder, name)  # noqa: PTH118 - hundreds of files at every start
                about = os.stat(path)  # noqa: PTH116
                found.append(f"{path} {about.st_size} {about.st_mtime_ns}")
    return _digest(sorted(found))


def runtime_folder() -> Path:
    """The user's folder for sockets, made if it is missing.

    Raises:
        PermissionError: It is another user's, or open to others.
    """
    given = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(given) / "modular-rag" if given else Path(f"/tmp/modular-rag-{os.getuid()}")  # noqa: S108
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077 or folder.is_symlink():
        raise PermissionError(13, "the folder is open to other users", str(folder))
    return folder


def supported() -> bool:
    """Whether this system has Unix sockets."""
    return hasattr(socket, "AF_UNIX") and hasattr(os, "getuid")


class Refused(Exception):  # noqa: N818 - no error: the caller does the work itself
    """A resident process is not used; the message says why."""


def exchange(asked: Asked, message: Mapping[str, Any]) -> Generator[Any]:
    """Send a message to the resident process, and what it answers, line by line.

    Raises:
        Refused: There is none, it was started with other code or settings, or it ended.
    """
    try:
        if not supported():
            raise Refused("this system has no Unix sockets")
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(asked.socket))
            sent = {**asdict(asked), "digest": asked.digest, **message}
            line.sendall(json.dumps(sent).encode() + b"\n")
            with line.makefile("rb") as answers:
                yield from _lines(answers)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise Refused("none runs for this pipeline (rag up starts one)") from error
    except OSError as error:
        raise Refused(f"it cannot be reached: {error.strerror or error}") from error


def _lines(answers: Any) -> Iterator[Any]:
    ended = False
    for answer in answers:
        item = json.loads(answer)
        if item[0] == "refused":
            raise Refused(str(item[1]))
        ended = item[0] in ("done", "error")
        yield item
    if not ended:
        raise Refused("it ended before it had answered")


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
