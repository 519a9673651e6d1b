"""Runs that are stored while they go on: started, resumed, forked, rewound, edited."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from rag.errors import CheckpointError, InputError
from rag.flow.flow import Flow
from rag.flow.memory.codec import unstorable
from rag.flow.memory.sqlite_store import SqliteRunStore
from rag.flow.memory.store import RunStore, StoredRun, StoredStep, Written
from rag.flow.memory.stored_run import CheckpointedRun, check_fits, kinds_at
from rag.flow.place import Place
from rag.flow.run.inputs import initial_state
from rag.flow.types import show
from rag.names import suggestion


class Checkpoints:
    """Stored runs. Only what steps wrote is stored, never the whole state.

    Args:
        where: An SQLite file, made if there is none; `postgresql://...`; or an open store of
            another kind, which is closed with this.

    Raises:
        CheckpointError: It cannot be opened.
    """

    def __init__(self, where: str | Path | RunStore) -> None:
        if isinstance(where, RunStore):
            self._store = where
        elif str(where).startswith(("postgresql://", "postgres://")):
            from rag.flow.memory.postgres import PostgresRunStore

            self._store = PostgresRunStore(str(where))
        else:
            self._store = SqliteRunStore(Path(where))

    def start(
        self,
        flow: Flow,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        source: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> CheckpointedRun:
        """A new run, to be invoked or streamed.

        Args:
            flow: What runs.
            inputs: The flow's input channels; `named` is the short way.
            source: How to load the flow again, for whoever resumes from another process. A flow
                that has an input of this name gets it by `inputs`.
            named: Input channels.

        Raises:
            InputError: The inputs do not fit or cannot be stored, or a step writes values that
                cannot.
            ConfigError: A resource is not there.
        """
        state = initial_state(flow, {**(inputs or {}), **named})
        _check_types(flow)
        flow.check_resources()
        stored = {name: self._store.encoded_alone(state[name], flow.inputs[name]) for name in state}
        record = StoredRun(
            id=secrets.token_hex(4),
            flow=flow.name,
            source=None if source is None else dict(source),
            inputs=stored,
            status="running",
            started=time.time(),
            ended=None,
            error=None,
            stops=None,
            llm_calls=0,
            tokens=0,
        )
        self._store.add(record)
        return CheckpointedRun(self._store, flow, record, state)

    def resume(
        self,
        flow: Flow,
        run: str,
        edits: Mapping[str, Any] | None = None,
        /,
        *,
        answers: Mapping[str, Mapping[str, Any]] | None = None,
        force: bool = False,
        **named: Any,
    ) -> CheckpointedRun:
        """A run that stopped, to go on behind the last step that it finished.

        The flow may have been edited: what stands before the first changed step counts, the
        rest runs again.

        Args:
            flow: The flow.
            run: The run's id.
            edits: Of a run that waits for approval at one place: channels with their new
                values; `named` is the short way.
            answers: Of a run that waits at several: place to such edits. Places that are left
                out go on waiting.
            force: Resume although the flow has another name or other inputs.
            named: Channels with their new values.

        Raises:
            CheckpointError: There is no such run, or it is one of another flow.
            InputError: A channel may not be edited, or its value is of another type.
        """
        record = self.get(run)
        if not force and record.flow != flow.name:
            raise CheckpointError(
                f"it is a run of {record.flow or 'a flow without a name'}, "
                f"not of {flow.name or 'a flow without a name'}",
                where=f"run {run}",
                fix="resume it with its own pipeline, or force it",
            )
        inputs = {
            name: self._store.decoded(data, flow.inputs[name])
            for name, data in record.inputs.items()
            if name in flow.inputs
        }
        if not force and record.inputs.keys() != flow.inputs.keys():
            raise CheckpointError(
                f"the run has the inputs {', '.join(record.inputs)}, "
                f"the flow {', '.join(flow.inputs)}",
                where=f"run {run}",
                fix="resume it with the inputs as they were, start a new run, or force it",
            )
        resumed = CheckpointedRun(self._store, flow, record, initial_state(flow, inputs))
        resumed.answer({**(edits or {}), **named}, answers)
        return resumed

    # Reading

    def get(self, run: str) -> StoredRun:
        """What is known of a run.

        Raises:
            CheckpointError: There is no such run.
        """
        found = self._store.runs(run)
        if not found:
            raise CheckpointError(
                f"there is no run {run!r}", where=self._store.where, fix="`rag runs` lists them"
            )
        return found[0]

    def runs(self, *, flow: str | None = None, status: str | None = None) -> list[StoredRun]:
        """All runs, the newest first; those of a flow, or with a status."""
        return self._store.runs(flow=flow, status=status)

    def steps(self, run: str) -> list[StoredStep]:
        """The steps that a run finished, in the order of their ends."""
        return self._store.steps(run)

    def values(self, flow: Flow, run: str) -> list[tuple[StoredStep, dict[str, Any]]]:
        """The steps that a run finished, each with what it wrote: channel to value."""
        written, _ = self._store.written(run)
        return [
            (step, self._values(flow, step.place, written[step.place])) for step in self.steps(run)
        ]

    def _values(self, flow: Flow, place: Place, written: Written) -> dict[str, Any]:
        kinds = kinds_at(flow, place)
        return {
            name: self._store.value(number, kinds.get(name, Any))
            for name, number in written.channels.items()
        }

    # Changing the past

    def fork(
        self,
        flow: Flow,
        run: str,
        /,
        *,
        before: str | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> CheckpointedRun:
        """A new run that begins as another did.

        Args:
            flow: The flow.
            run: The other run's id.
            before: Place of an occurrence: it and what was written after it run again; None:
                only what the other run did not finish.
            inputs: Inputs that differ; with one, nothing that was written counts.

        Raises:
            CheckpointError: There is no such run, or nothing was written at the place.
            InputError: An input does not fit.
        """
        record = self.get(run)
        number = None if before is None else self._number(run, before)
        new = replace(
            record,
            id=secrets.token_hex(4),
            status="running",
            started=time.time(),
            ended=None,
            error=None,
            stops=None,
            parent=run,
        )
        if inputs:
            number = 0
            given = {n: self._store.decoded(d, flow.inputs[n]) for n, d in record.inputs.items()}
            state = initial_state(flow, {**given, **inputs})
            stored = {n: self._store.encoded_alone(v, flow.inputs[n]) for n, v in state.items()}
            new = replace(new, inputs=stored)
        self._store.copy(run, new, number)
        return self.resume(flow, new.id)

    def rewind(self, run: str, before: str) -> None:
        """Forget what a run wrote at a place and after it; resuming runs that again.

        Raises:
            CheckpointError: There is no such run, another process works on it, or nothing was
                written at the place.
        """
        self.get(run)
        with self._store.owned(run):
            self._store.forget(run, self._number(run, before))
            self._store.update(run, status="failed", stops=None, error="rewound")

    def edit(self, flow: Flow, run: str, place: str, /, **channels: Any) -> None:
        """Change what a step wrote; what was written after it is forgotten, and runs again.

        Raises:
            CheckpointError: There is no such run, another process works on it, or nothing was
                written at the place.
            InputError: The step does not write such a channel, or its value is of another type.
        """
        self.get(run)
        where = Place.parse(place)
        with self._store.owned(run):
            written, _ = self._store.written(run)
            if where not in written:
                self._number(run, place, exact=True)
            kinds, number = kinds_at(flow, where), self._number(run, place)
            values = self._values(flow, where, written[where])
            for name, value in channels.items():
                if name not in values:
                    fix = suggestion(name, values, label="it writes")
                    raise InputError(f"{place} does not write {name!r}", where=run, fix=fix)
                check_fits(name, value, kinds.get(name, Any), run)
            kinds = {name: kinds.get(name, Any) for name in values}
            record = self.get(run)
            spent = (record.llm_calls, record.tokens)
            self._store.forget(run, number)
            fingerprint = written[where].fingerprint
            values.update(channels)
            self._store.record(run, where, number, kinds, values, 0.0, fingerprint, spent)
            self._store.update(run, status="failed", stops=None, error="edited")

    def _number(self, run: str, place: str, *, exact: bool = False) -> int:
        number = None if exact else self._store.number_of(run, Place.parse(place))
        if number is None:
            places = [str(step.place) for step in self.steps(run)]
            fix = suggestion(place, places, label="there is")
            raise CheckpointError(f"nothing was written at {place!r}", where=f"run {run}", fix=fix)
        return number

    # Forgetting

    def delete(self, run: str) -> None:
        """Forget a run, and what only it used."""
        self.get(run)
        with self._store.owned(run):
            self._store.delete([run])

    def prune(self, *, older_than: float | None = None, keep: int | None = None) -> int:
        """Forget runs that have ended, well or not; those that run or wait stay.

        Args:
            older_than: Only those that ended more than so many seconds ago.
            keep: Not the newest so many.

        Returns:
            How many were forgotten.
        """
        ended = [run for run in self._store.runs() if run.status in ("done", "failed")]
        gone = ended[keep or 0 :] if keep is not None else ended
        if older_than is not None:
            limit = time.time() - older_than
            gone = [run for run in gone if (run.ended or run.started) < limit]
        self._store.delete([run.id for run in gone])
        return len(gone)

    def close(self) -> None:
        """Close the file or the connection."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_types(flow: Flow) -> None:
    """Refuse a flow whose channels could not be restored, before anything runs."""
    for place, step in flow.steps.items():
        for port in step.signature().writes:
            kind = unstorable(port.type)
            if kind is not None:
                raise InputError(
                    f"{port.name!r} holds {show(kind)}, which cannot be stored",
                    where=str(place),
                    fix="make it a pydantic model or a dataclass, or run without a checkpoint",
                )
