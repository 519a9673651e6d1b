"""`rag resume`, `rag runs`: runs that were started with `--checkpoint`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import AllowImport, Json, default, load
from rag.cli.output import print_fields
from rag.cli.values import pairs, typed
from rag.plain import summary

if TYPE_CHECKING:
    from rag.flow import Flow
    from rag.flow.memory.checkpoints import Checkpoints
    from rag.flow.memory.store import StoredRun
    from rag.flow.memory.stored_run import CheckpointedRun

RUNS = Path(".rag/runs.sqlite")

Runs = Annotated[Path, typer.Option("--runs", help="The file of checkpointed runs.")]


def start(
    runs: Path,
    flow: Flow,
    file: str | None,
    params: list[str] | None,
    allow: list[str] | None,
    inputs: dict[str, Any],
) -> CheckpointedRun:
    """Start a checkpointed run, recording what is needed to load its pipeline again."""
    from rag.flow.memory.checkpoints import Checkpoints

    name = default(file)
    where = str(Path(name).resolve()) if Path(name).exists() else name
    source = {"file": where, "params": params or [], "allow": allow or []}
    return Checkpoints(runs).start(flow, source=source, **inputs)


@contextmanager
def announced(run: CheckpointedRun) -> Iterator[None]:
    """Print the run's id on standard error, and how to resume it when it stops."""
    from rag.errors import Interrupted

    typer.echo(f"run {run.id}", err=True)
    try:
        yield
    except Interrupted as pause:
        several = len(pause.stops) > 1
        edits = []
        for stop in pause.stops:
            typer.echo(f"{stop.place}: {stop.message}", err=True)
            for name, value in stop.channels.items():
                typer.echo(f"{name}: {summary(value)}", err=True)
            edits += [
                f" [--set {f'{stop.place}:' if several else ''}{name}=...]"
                for name in run.editable(stop)
            ]
        pause.fix = f"rag resume {run.id}{''.join(edits)}"
        raise
    except Exception:
        typer.echo(f"the finished steps are saved; resume with: rag resume {run.id}", err=True)
        raise


def resume(
    run: Annotated[str, typer.Argument(help="The run's id; `rag runs` lists them.")],
    edits: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="CHANNEL=VALUE, a value to change before the run continues; repeatable. "
            "Where it waits at several places: PLACE:CHANNEL=VALUE.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also with a pipeline of another name or other inputs."),
    ] = False,
    runs: Runs = RUNS,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Continue a run that stopped, after the last step that it finished.

    A run that waits for approval is thereby approved. The pipeline may have been edited: the
    steps before the first changed one count, the others run again.
    """
    with _opened(runs) as checkpoints:
        record = checkpoints.get(run)
        with _flow(record, allow) as flow:
            resumed = checkpoints.resume(flow, run, force=force)
            answers = _answers(resumed, pairs(edits or [], "--set"))
            if answers is not None:
                resumed = checkpoints.resume(flow, run, answers=answers, force=force)
            with announced(resumed):
                result = resumed.invoke()
    print_fields(result, as_json=as_json)


def _answers(run: CheckpointedRun, edits: dict[str, str]) -> dict[str, dict[str, Any]] | None:
    """Place to the channels that are set there; None: nothing is set."""
    from rag.errors import InputError

    if not edits:
        return None
    stops = {str(stop.place): stop for stop in run.stops}
    answers: dict[str, dict[str, str]] = {place: {} for place in stops}
    for key, text in edits.items():
        place, _, name = key.rpartition(":")
        if not place and len(stops) == 1:
            (place,) = stops
        if place not in stops:
            there = ", ".join(stops) or "nowhere"
            fix = f"it waits at: {there}"
            raise InputError(f"the channel {key!r} may not be set", where=f"run {run.id}", fix=fix)
        answers[place][name] = text
    return {place: typed(given, run.editable(stops[place])) for place, given in answers.items()}


def runs(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Show only this one.", show_default=False),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the run RUN.")] = False,
    values: Annotated[bool, typer.Option("--values", help="Show what each step wrote.")] = False,
    flow: Annotated[
        str | None, typer.Option("--flow", help="Only runs of this flow.", show_default=False)
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(
            "--prune",
            help="Delete the runs that ended more than DAYS ago.",
            metavar="DAYS",
            show_default=False,
        ),
    ] = None,
    file: Runs = RUNS,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """List the checkpointed runs, or show one: its steps and how long they took."""
    from rag.cli.output import console, print_json

    with _opened(file) as checkpoints:
        if run is not None and delete:
            checkpoints.delete(run)
            print_fields({"deleted": run}, as_json=as_json)
            return
        if prune is not None:
            gone = checkpoints.prune(older_than=prune * 86400)
            print_fields({"deleted": gone}, as_json=as_json)
            return
        records = checkpoints.runs(flow=flow) if run is None else [checkpoints.get(run)]
        steps = checkpoints.steps(run) if run is not None else []
        written: dict[str, Any] = {}
        if values and run is not None:
            with _flow(records[0], allow) as loaded:
                written = {str(s.place): one for s, one in checkpoints.values(loaded, run)}
    rows = [_row(record) for record in records]
    if as_json:
        listed = [
            {"place": str(step.place), "seconds": step.seconds}
            | ({"writes": written[str(step.place)]} if values else {})
            for step in steps
        ]
        print_json(rows if run is None else {**rows[0], "steps": listed})
        return
    from rich.table import Table
    from rich.text import Text

    columns = ("run", "pipeline", "status", "started", "llm_calls", "tokens")
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(str(row[name])) for name in columns))
    console().print(table)
    for row in rows if run else []:
        for name in ("error", "waits_for"):
            if row[name]:
                typer.echo(f"{name.replace('_', ' ')}: {row[name]}")
    for step in steps:
        typer.echo(f"{step.seconds:9.3f} s  {step.place}")
        for name, value in written.get(str(step.place), {}).items():
            typer.echo(f"             {name}: {summary(value)}")


def durations(runs: Path, run: str, allow: list[str] | None) -> tuple[Flow, dict[str, str]]:
    """The flow of a run, and for each of its steps how often it ran and how long it took."""
    with _opened(runs) as checkpoints:
        record = checkpoints.get(run)
        seconds: dict[str, list[float]] = {}
        for step in checkpoints.steps(run):
            seconds.setdefault(str(step.place.static), []).append(step.seconds)
    notes = {
        path: f"{sum(each) * 1000:.0f} ms" + (f" in {len(each)} runs" if len(each) > 1 else "")
        for path, each in seconds.items()
    }
    return _flow(record, allow), notes


@contextmanager
def _opened(path: Path) -> Iterator[Checkpoints]:
    from rag.errors import CheckpointError
    from rag.flow.memory.checkpoints import Checkpoints

    if not path.exists():
        raise CheckpointError(
            "there are no checkpointed runs", where=str(path), fix="start one: rag run --checkpoint"
        )
    with Checkpoints(path) as checkpoints:
        yield checkpoints


def _flow(record: StoredRun, allow: list[str] | None) -> Flow:
    from rag.errors import CheckpointError

    source = record.source
    if source is None:
        raise CheckpointError(
            "the run was started from Python, so its pipeline file is unknown",
            where=f"run {record.id}",
            fix="resume it there: Checkpoints(...).resume(flow, run)",
        )
    # The packages that the user allows now count as well as those allowed at the start.
    return load(source["file"], source["params"], [*source["allow"], *(allow or [])])


def _row(record: StoredRun) -> dict[str, Any]:
    started = datetime.fromtimestamp(record.started).isoformat(timespec="seconds")
    return {
        "run": record.id,
        "pipeline": record.flow or (record.source or {}).get("file") or "-",
        "status": record.status,
        "started": started,
        "llm_calls": record.llm_calls,
        "tokens": record.tokens,
        "error": record.error,
        "waits_for": "; ".join(stop["message"] for stop in record.stops or ()) or None,
    }
