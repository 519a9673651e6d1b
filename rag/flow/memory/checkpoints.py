"""Starting runs that are remembered, and resuming them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from rag.errors import CheckpointError, InputError, Interrupted
from rag.flow.flow import Flow
from rag.flow.memory.store import RunRecord, StepRecord, Store
from rag.flow.run.events import Event
from rag.flow.run.execution import Execution, initial_state
from rag.flow.types import matcher, show

_OCCURRENCE = re.compile(r"[#@^]\d+$")


class Checkpoints:
    """A file of runs. Only what steps wrote is kept, never the whole state.

    Args:
        path: The SQLite file; made if there is none.

    Raises:
        CheckpointError: The file cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._store = Store(Path(path))

    def start(
        self, flow: Flow, *, source: Mapping[str, Any] | None = None, **inputs: Any
    ) -> CheckpointedRun:
        """A new run, to be invoked or streamed.

        Args:
            flow: What runs.
            source: How to load the flow again, for whoever resumes from another process.
            inputs: The flow's input channels.

        Raises:
            InputError: The inputs do not fit, or cannot be kept.
        """
        state = initial_state(flow, inputs)
        kept = {name: self._store.encoded(None, state[name], flow.inputs[name]) for name in state}
        record = RunRecord(
            id=secrets.token_hex(4),
            flow=flow.name,
            source=None if source is None else dict(source),
            digest=digest_of(flow),
            inputs=kept,
            status="running",
            started=time.time(),
            ended=None,
            error=None,
            stop=None,
            llm_calls=0,
            tokens=0,
        )
        self._store.add(record)
        return CheckpointedRun(self._store, flow, record, state)

    def resume(self, flow: Flow, run: str, **edits: Any) -> CheckpointedRun:
        """A run that stopped, to go on behind the last step that it finished.

        Args:
            flow: The same flow.
            run: The run's id.
            edits: Of a run that waits for a person: channels with their new values.

        Raises:
            CheckpointError: There is no such run, or it is one of another flow.
            InputError: A channel may not be edited, or its value is of another type.
        """
        record = self.get(run)
        if record.digest != digest_of(flow):
            raise CheckpointError(
                "the pipeline has changed since the run began",
                where=f"run {run}",
                fix="resume it with the pipeline as it was, or start a new run",
            )
        inputs = {
            name: self._store.decoded(data, flow.inputs[name])
            for name, data in record.inputs.items()
        }
        resumed = CheckpointedRun(self._store, flow, record, inputs)
        resumed.answer(edits)
        return resumed

    def get(self, run: str) -> RunRecord:
        """What is known of a run.

        Raises:
            CheckpointError: There is no such run.
        """
        found = self._store.runs(run)
        if not found:
            raise CheckpointError(
                f"there is no run {run!r}", where=str(self._store.path), fix="`rag runs` lists them"
            )
        return found[0]

    def runs(self) -> list[RunRecord]:
        """All runs, the newest first."""
        return self._store.runs()

    def steps(self, run: str) -> list[StepRecord]:
        """The steps that a run finished, in the order of their ends."""
        return self._store.steps(run)

    def delete(self, run: str) -> None:
        """Forget a run, and what only it used."""
        self.get(run)
        with _Alone(self._store.path, run):
            self._store.delete(run)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CheckpointedRun:
    """A run that is remembered. It is run by one process at a time."""

    def __init__(
        self, store: Store, flow: Flow, record: RunRecord, inputs: Mapping[str, Any]
    ) -> None:
        self.id = record.id
        self._store, self._flow, self._record, self._inputs = store, flow, record, inputs
        self._answer: tuple[str, Mapping[str, Any], Mapping[str, Any]] | None = None
        self._waiting = False

    @property
    def editable(self) -> dict[str, Any]:
        """Of a run that waits: the channels that may be set, each with its type."""
        stop = self._record.stop
        return {} if stop is None else self._flow.interrupts.get(static_path(stop["place"]), {})

    def answer(self, edits: Mapping[str, Any]) -> None:
        """Approve what the run waits for, with these changes.

        Raises:
            InputError: A channel may not be set, or its value is of another type.
        """
        kinds, stop = self.editable, self._record.stop
        for name, value in edits.items():
            if name not in kinds:
                what = f"the channel {name!r} may not be set"
                fix = f"may be set: {', '.join(kinds)}" if stop else "the run waits for nobody"
                raise InputError(what, where=f"run {self.id}", fix=fix)
            if not matcher(kinds[name])(value):
                what = f"{name!r} is {type(value).__name__}, {show(kinds[name])} is wanted"
                raise InputError(what, where=f"run {self.id}")
        if stop is not None:
            shown = {n: self._store.decoded(stop["channels"][n], k) for n, k in kinds.items()}
            self._answer = (stop["place"], kinds, {**shown, **edits})

    # Journal

    def recall(self, place: str, kinds: Mapping[str, Any]) -> dict[str, Any] | None:
        """See `Journal`."""
        found = self._places.get(place)
        if found is None or found.keys() != kinds.keys():
            return None
        return {name: self._store.value(found[name], kind) for name, kind in kinds.items()}

    def record(
        self, place: str, kinds: Mapping[str, Any], wrote: Mapping[str, Any], seconds: float
    ) -> None:
        """See `Journal`."""
        spent = (self._execution.spent.llm_calls, self._execution.spent.tokens)
        self._store.record(self.id, place, kinds, wrote, seconds, spent)

    # Running

    def invoke(self) -> dict[str, Any]:
        """The flow's outputs.

        Raises:
            Interrupted: The run waits for a person.
            StepError: A step failed; the run may be resumed.
            CheckpointError: Another process works on the run.
        """
        with self._working():
            return self._execution.invoke()

    async def ainvoke(self) -> dict[str, Any]:
        """`invoke` for asynchronous callers."""
        with self._working():
            return await self._execution.ainvoke()

    def stream(self) -> Iterator[Event]:
        """The events; the last is `Done` or `Waiting`, which raises nothing here."""
        with self._working():
            try:
                yield from self._execution.stream()
            except Interrupted as stop:
                self._waits(stop)

    async def astream(self) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers; closing it stops the run, which may be resumed."""
        with self._working():
            try:
                async for event in self._execution.astream():
                    yield event
            except Interrupted as stop:
                self._waits(stop)

    def _working(self) -> _Working:
        return _Working(self)

    def begin(self) -> None:
        """Read what is remembered, and say that the run goes on."""
        self._execution = Execution(self._flow, self._inputs, self)
        self._execution.spent.add(self._record.llm_calls, self._record.tokens)
        self._waiting = False
        if self._answer is not None:
            self.record(*self._answer, seconds=0.0)
            self._answer = None
        self._store.update(self.id, status="running", stop=None, error=None, ended=None)
        self._places = self._store.places(self.id)

    def end(self, error: BaseException | None) -> None:
        """Say how the run ended; one that was cancelled stays as it is."""
        if isinstance(error, Interrupted):
            self._waits(error)
        elif error is None:
            if not self._waiting:
                self._store.update(self.id, status="done", ended=time.time(), error=None)
        elif isinstance(error, Exception):
            self._store.update(self.id, status="failed", ended=time.time(), error=str(error))
        self._record = self._store.runs(self.id)[0]

    def _waits(self, stop: Interrupted) -> None:
        self._waiting = True
        told = {
            "place": stop.place,
            "node": stop.where,
            "message": stop.what,
            "channels": {
                name: self._store.encoded(None, value, stop.kinds[name])
                for name, value in stop.channels.items()
            },
        }
        self._store.update(self.id, status="waiting", stop=told)


class _Alone:
    """The lock that makes one process the runner of a run; the kernel frees it with the process."""

    def __init__(self, path: Path, run: str) -> None:
        self._path, self._run = path.with_name(f"{path.name}.{run}.lock"), run

    def __enter__(self) -> None:
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._file)
                what, fix = "another process works on it", "wait until it ends"
                raise CheckpointError(what, where=f"run {self._run}", fix=fix) from error
            # Whoever held the lock before removed the file: only the file that is there counts.
            if self._path.exists() and self._path.stat().st_ino == os.fstat(self._file).st_ino:
                return
            os.close(self._file)

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)


class _Working:
    def __init__(self, run: CheckpointedRun) -> None:
        self._run = run
        self._alone = _Alone(run._store.path, run.id)

    def __enter__(self) -> None:
        self._alone.__enter__()
        try:
            self._run.begin()
        except BaseException:
            self._alone.__exit__()
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._run.end(error)
        finally:
            self._alone.__exit__()


def static_path(place: str) -> str:
    """The node's path, its inner flows included, without items, turns and depths."""
    return "/".join(part for part in place.split("/") if not _OCCURRENCE.search(part))


def digest_of(flow: Flow) -> str:
    """The digest of what a flow does: its nodes, their configuration and its inputs."""
    return hashlib.sha256(f"{flow.node!r} {flow.inputs!r} {flow.outputs!r}".encode()).hexdigest()
