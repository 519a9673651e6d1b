"""`rag resume`, `rag runs`: runs that were started with `--checkpoint`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import AllowImport, Json, default, load, pairs
from rag.plain import summary

if TYPE_CHECKING:
    from rag.flow import Flow
    from rag.flow.memory.checkpoints import CheckpointedRun, Checkpoints
    from rag.flow.memory.store import RunRecord

RUNS = Path(".rag/runs.sqlite")

Runs = Annotated[Path, typer.Option("--runs", help="The file in which runs are kept.")]


def start(
    runs: Path,
    flow: Flow,
    file: str | None,
    params: list[str] | None,
    allow: list[str] | None,
    inputs: dict[str, Any],
) -> CheckpointedRun:
    """Begin a run that is remembered, with what is needed to load its pipeline again."""
    from rag.flow.memory.checkpoints import Checkpoints

    name = default(file)
    where = str(Path(name).resolve()) if Path(name).exists() else name
    source = {"file": where, "params": params or [], "allow": allow or []}
    return Checkpoints(runs).start(flow, source=source, **inputs)


@contextmanager
def telling(run: CheckpointedRun) -> Iterator[None]:
    """Say on standard error which run it is, and how to go on when it stops."""
    from rag.errors import Interrupted

    typer.echo(f"run {run.id}", err=True)
    try:
        yield
    except Interrupted as stop:
        for name, value in stop.channels.items():
            typer.echo(f"{name}: {summary(value)}", err=True)
        may = "".join(f" [--set {name}=...]" for name in run.editable)
        stop.fix = f"rag resume {run.id}{may}"
        raise
    except Exception:
        typer.echo(f"what was done is kept; go on with: rag resume {run.id}", err=True)
        raise


def resume(
    run: Annotated[str, typer.Argument(help="The run's id; `rag runs` lists them.")],
    edits: Annotated[
        list[str] | None, typer.Option("--set", help="CHANNEL=VALUE, where the run waits for it.")
    ] = None,
    runs: Runs = RUNS,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Go on with a run that stopped, behind the last step that it finished.

    A run that waits for a person is thereby approved.
    """
    from rag.cli.flows import print_result, value_of

    with _opened(runs) as checkpoints:
        record = checkpoints.get(run)
        with _flow(record, allow) as flow:
            given = pairs(edits or [], "--set")
            kinds = checkpoints.resume(flow, run).editable
            values = {name: value_of(name, text, kinds) for name, text in given.items()}
            resumed = checkpoints.resume(flow, run, **values)
            with telling(resumed):
                result = resumed.invoke()
    print_result(result, as_json=as_json)


def runs(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Show this one.", show_default=False)
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Forget the run.")] = False,
    file: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """List the runs that are remembered, or show one: its steps and how long they took."""
    from rag.cli.output import console, print_json

    with _opened(file) as checkpoints:
        if run is not None and delete:
            checkpoints.delete(run)
            typer.echo(f"run {run} is forgotten")
            return
        found = checkpoints.runs() if run is None else [checkpoints.get(run)]
        steps = checkpoints.steps(run) if run is not None else []
    told = [_told(record) for record in found]
    if as_json:
        listed = [{"place": step.place, "seconds": step.seconds} for step in steps]
        print_json(told if run is None else {**told[0], "steps": listed})
        return
    from rich.table import Table
    from rich.text import Text

    columns = ("run", "pipeline", "status", "started", "llm_calls", "tokens")
    table = Table(*columns, box=None, pad_edge=False)
    for one in told:
        table.add_row(*(Text(str(one[name])) for name in columns))
    console().print(table)
    for one in told if run else []:
        for name in ("error", "waits_for"):
            if one[name]:
                typer.echo(f"{name.replace('_', ' ')}: {one[name]}")
    for step in steps:
        typer.echo(f"{step.seconds:9.3f} s  {step.place}")


def drawn(runs: Path, run: str, allow: list[str] | None) -> tuple[Flow, dict[str, str]]:
    """The flow of a run, and for each of its steps how often it ran and how long."""
    from rag.flow.memory.checkpoints import static_path

    with _opened(runs) as checkpoints:
        record = checkpoints.get(run)
        seconds: dict[str, list[float]] = {}
        for step in checkpoints.steps(run):
            seconds.setdefault(static_path(step.place), []).append(step.seconds)
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
            "no runs are kept here", where=str(path), fix="rag run --checkpoint keeps one"
        )
    with Checkpoints(path) as checkpoints:
        yield checkpoints


def _flow(record: RunRecord, allow: list[str] | None) -> Flow:
    from rag.errors import CheckpointError

    source = record.source
    if source is None:
        raise CheckpointError(
            "the run was started from Python, which pipeline it is of is not known",
            where=f"run {record.id}",
            fix="resume it there: Checkpoints(...).resume(flow, run)",
        )
    # What a file may import is said by whoever runs it now, as it was then.
    return load(source["file"], source["params"], [*source["allow"], *(allow or [])])


def _told(record: RunRecord) -> dict[str, Any]:
    started = datetime.fromtimestamp(record.started).isoformat(timespec="seconds")
    return {
        "run": record.id,
        "pipeline": record.flow or (record.source or {}).get("file") or "-",
        "status": record.status,
        "started": started,
        "llm_calls": record.llm_calls,
        "tokens": record.tokens,
        "error": record.error,
        "waits_for": record.stop["message"] if record.stop else None,
    }
