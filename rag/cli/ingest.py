"""`rag ingest`: files into the index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import Config, Json, Param, load
from rag.errors import ConfigError

if TYPE_CHECKING:
    from rag.index import IndexBinding
    from rag.index.ingest.ingest import IngestReport, Progress
    from rag.index.ingest.plan import IngestPlan
    from rag.index.readers.discover import Skipped

SKIPPED = 3
"""Exit code: done, but some files were skipped."""


def ingest(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files, folders, URLs such as s3://bucket/docs."),
    ],
    config: Config = None,
    params: Param = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove files from the index that are no longer under the paths."
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: ingest what changes, until interrupted.")
    ] = False,
    collection: Annotated[
        str, typer.Option(help="Which of the indexes that `rag serve` searches for its users.")
    ] = "shared",
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="WHERE",
            help="Who reads and embeds: threads:N, processes:N, ray, ray://HOST:PORT. "
            "Default: this process.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring the index up to date with files; unchanged files are not read."""
    from rag.cli.output import print_json
    from rag.index import IndexBinding

    with closing(load(config, params)) as flow:
        binding = IndexBinding(flow.resources, collection=collection)

        def bring_up_to_date(*, quiet: bool = False) -> IngestReport:
            report = _work(binding, _plan(binding, paths, prune=prune), on)
            if quiet and not (report.files or report.removed):
                return report
            if as_json:
                print_json(report)
            else:
                _print(report, str(binding.address))
            return report

        report = bring_up_to_date()
        if watch:
            for _ in changes(paths):
                bring_up_to_date(quiet=True)
    if report.skipped and not watch:
        raise typer.Exit(SKIPPED)


def changes(paths: Iterable[str]) -> Iterator[object]:
    """Something each time that files under the paths change, until the user interrupts."""
    from watchfiles import watch

    paths = list(paths)
    missing = next((path for path in paths if not Path(path).exists()), None)
    if missing is not None:
        raise ConfigError("there is no such file or folder to watch", where=missing)
    try:
        yield from watch(*paths, raise_interrupt=True, ignore_permission_denied=True)
    except KeyboardInterrupt:
        return


def _plan(binding: IndexBinding, paths: list[str], *, prune: bool) -> IngestPlan:
    from rag.index.ingest.plan import plan

    reader = binding.open(repair=True) if binding.address.exists() else None
    try:
        return plan(paths, reader, binding.fingerprint, prune=prune, root=binding.root)
    finally:
        if reader:
            reader.close()


def _work(binding: IndexBinding, todo: IngestPlan, on: str | None) -> IngestReport:
    from rag.index.ingest.ingest import IngestReport
    from rag.index.ingest.ingest import ingest as run
    from rag.index.ingest.on import mapper_on
    from rag.index.ingest.work import OpenWork

    if not todo.files and not todo.gone:
        return IngestReport(unchanged=todo.unchanged, skipped=todo.skipped)
    with ExitStack() as stack:
        on_progress = stack.enter_context(_bar(todo))
        index = stack.enter_context(closing(binding.writer()))
        mapper = stack.enter_context(mapper_on(on, OpenWork.of(binding))) if on else None
        return run(
            todo,
            index,
            binding.open_embedder(),
            split=binding.splitter(),
            fingerprint=binding.fingerprint,
            on_progress=on_progress,
            mapper=mapper,
        )


@contextmanager
def _bar(todo: IngestPlan) -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error that shows progress and the time left; none without a terminal."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from rag.cli.output import console

    columns = (
        TextColumn("ingesting {task.fields[files]}/{task.fields[all]} files"),
        BarColumn(), DownloadColumn(),
        TextColumn("{task.fields[chunks]} chunks, {task.fields[rate]:.0f}/s"),
        TimeRemainingColumn(),
    )  # fmt: skip
    screen = console(stderr=True)
    with Bar(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        total = sum(file.size for file in todo.files)
        task = bar.add_task("", total=total, files=0, all=len(todo.files), chunks=0, rate=0.0)

        def show(progress: Progress) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = progress.chunks / elapsed if elapsed else 0.0
            bar.update(
                task,
                completed=progress.bytes,
                files=progress.files,
                chunks=progress.chunks,
                rate=rate,
            )

        yield show


def _print(report: Any, address: str) -> None:
    parts = [f"{report.files} files ingested", f"{report.unchanged} unchanged"]
    if report.removed:
        parts.append(f"{report.removed} removed")
    if report.skipped:
        parts.append(f"{len(report.skipped)} skipped")
    typer.echo(", ".join(parts))
    if report.files or report.removed:
        rate = report.chunks_added / report.seconds if report.seconds else 0
        typer.echo(
            f"chunks: {report.chunks_added} added, {report.chunks_kept} kept, "
            f"{report.chunks_removed} removed; {report.seconds:.1f} s, "
            f"{rate:.0f} chunks/s; index: {address}"
        )
    _table("skipped", report.skipped)
    _table("not read of", report.partly)


def _table(title: str, rows: Sequence[Skipped]) -> None:
    if not rows:
        return
    from rich.table import Table
    from rich.text import Text

    from rag.cli.output import console

    table = Table(title, "reason", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for one in rows:
        table.add_row(Text(str(one.path)), Text(one.reason))
    console().print(table)
