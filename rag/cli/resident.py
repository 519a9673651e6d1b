"""A process that keeps a pipeline's models open and answers `rag ask` over a Unix socket.

One line of JSON asks; lines of JSON answer: the items of `rag.cli.answer`, at last `done`, `error`,
or `refused` where the process would not answer as the asking one would.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.cli.answer import Item, items
from rag.cli.handshake import Asked, Refused, exchange
from rag.errors import BuildError, ConfigError, RagError

if TYPE_CHECKING:
    from rag.flow import Flow

LONGEST = 10 * 2**20
"""Bytes of a question."""
PATIENCE = 10.0
"""Seconds that a question may take to arrive."""


class Resident:
    """Answers questions to one pipeline until it is stopped, or nobody asked for a while.

    Args:
        asked: The pipeline, as it was written on the command line.
        idle: Seconds without a question after which it ends; None: never.
    """

    def __init__(self, asked: Asked, idle: float | None) -> None:
        # Before anything is read: what changes meanwhile is another pipeline.
        self.asked, self.digest, self._idle = asked, asked.digest, idle
        self.flow = self._loaded()
        self._sources = _times(_sources())
        self._stopping = False
        self._answering: set[threading.Thread] = set()

    def listen(self) -> socket.socket:
        """A socket that only the user can open; it takes the place of one that was there.

        Raises:
            ConfigError: The system refused.
        """
        path = self.asked.socket
        new = path.with_suffix(f".{os.getpid()}")
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(str(new))
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"no socket can be made: {error.strerror or error}", where=str(new),
                fix="set XDG_RUNTIME_DIR to a folder of yours with a short path",
            ) from error  # fmt: skip
        finally:
            os.umask(before)
        new.chmod(0o600)
        listener.listen()
        new.replace(path)
        return listener

    def serve(self, listener: socket.socket) -> None:
        """Answer until the end; the flow and the socket are closed then."""
        listener.settimeout(self._idle)
        own = self.asked.socket.stat().st_ino
        try:
            while not self._stopping:
                try:
                    line, _ = listener.accept()
                except TimeoutError:
                    if not self._busy():
                        return
                    continue
                thread = threading.Thread(target=self._answer, args=(line,))
                self._answering.add(thread)
                thread.start()
        finally:
            listener.close()
            with suppress(FileNotFoundError):
                if self.asked.socket.stat().st_ino == own:
                    self.asked.socket.unlink()
            for thread in self._answering:
                thread.join()
            self.flow.close()

    def _busy(self) -> bool:
        self._answering = {thread for thread in self._answering if thread.is_alive()}
        return bool(self._answering)

    def _answer(self, line: socket.socket) -> None:
        # Whoever asked may leave at any time; the run ends then.
        with suppress(OSError, ValueError), line, line.makefile("rwb") as stream:
            line.settimeout(PATIENCE)
            message = json.loads(stream.readline(LONGEST))
            line.settimeout(None)
            with closing(self._items(message)) as found:
                for item in found:
                    stream.write(json.dumps(item).encode() + b"\n")
                    stream.flush()

    def _items(self, message: Mapping[str, Any]) -> Generator[Item]:
        if "stop" in message:
            self._stopping = True
            with socket.socket(socket.AF_UNIX) as wake:
                wake.connect(str(self.asked.socket))
            yield "done", os.getpid()
            return
        try:
            if message.get("digest") != self.digest or self._changed():
                yield "refused", "its code, pipeline or environment is another one (rag up renews)"
            elif "ping" in message:
                yield "done", os.getpid()
            else:
                yield "resident", os.getpid()
                inputs = {"query": str(message["question"])}
                yield from items(self.flow, inputs, trace=bool(message.get("trace")))
        except RagError as error:
            yield "error", told(error)
        except Exception as error:  # noqa: BLE001 - told to whoever asks
            yield "refused", f"it failed: {type(error).__name__}: {error}"

    def _changed(self) -> bool:
        """Whether the pipeline would be read otherwise now, files that it includes too."""
        if _times(self._sources) != self._sources:
            return True
        with self._loaded() as again:
            return again != self.flow

    def _loaded(self) -> Flow:
        from rag.cli.config import load

        return load(self.asked.config, [*self.asked.params], [*self.asked.allow])


def questions(asked: Asked, question: str, *, trace: bool) -> Generator[Item]:
    """The items of an answer by the resident process; the first is `resident`, its process id.

    Raises:
        Refused: It does not answer; nothing was yielded.
        RagError: What it failed with.
    """
    began = False
    try:
        for name, value in exchange(asked, {"question": question, "trace": trace}):
            if name == "error":
                raise raised(value)
            began = True
            yield name, value
    except Refused as error:
        if not began:
            raise
        what = f"the resident process gave up: {error}"
        raise RagError(what, fix="rag down, and ask again") from error


def told(error: RagError) -> dict[str, Any]:
    """An error as JSON data."""
    problems = error.problems if isinstance(error, BuildError) else ()
    return {
        "kind": type(error).__name__, "what": error.what, "where": error.where, "fix": error.fix,
        "code": error.exit_code, "problems": [told(one) for one in problems],
    }  # fmt: skip


def raised(data: Mapping[str, Any]) -> RagError:
    """The error that `told` told, of a class with its name and exit code."""
    if data["problems"]:
        return BuildError([raised(one) for one in data["problems"]])
    kind = type(data["kind"], (RagError,), {"exit_code": data["code"]})
    error: RagError = kind(data["what"], where=data["where"], fix=data["fix"])
    return error


def _sources() -> dict[str, int]:
    """Files of the user's own modules, which neither Python nor a package manager installed."""
    modules = [getattr(one, "__file__", None) for one in list(sys.modules.values())]
    installed = (sys.prefix, sys.base_prefix)
    return {str(file): 0 for file in modules if file and not str(file).startswith(installed)}


def _times(files: Mapping[str, int]) -> dict[str, int]:
    found = {}
    for file in files:
        path = Path(file)
        found[file] = path.stat().st_mtime_ns if path.exists() else -1
    return found
