"""`rag ingest`: files into the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import Config, Json, Param, load

if TYPE_CHECKING:
    from rag.flow import Flow
    from rag.index import IndexBinding
    from rag.index.ingest.ingest import IngestReport, Progress
    from rag.index.ingest.plan import IngestPlan

SKIPPED = 3
"""Exit code: done, but some files were skipped."""


def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    config: Config = None,
    params: Param = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove files from the index that are no longer under the paths."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the index up to date with files; unchanged files are not read."""
    from rag.cli.output import print_json
    from rag.index import IndexBinding
    from rag.index.ingest.plan import plan

    flow = load(config, params)
    binding = IndexBinding(flow.resources)
    reader = binding.open(repair=True) if binding.address.exists() else None
    try:
        todo = plan(paths, reader, binding.fingerprint, prune=prune)
    finally:
        if reader:
            reader.close()
    report = _work(flow, binding, todo)
    if as_json:
        print_json(report)
    else:
        _print(report, str(binding.address))
    if report.skipped:
        raise typer.Exit(SKIPPED)


def _work(flow: Flow, binding: IndexBinding, todo: IngestPlan) -> IngestReport:
    from rag.index.ingest.ingest import IngestReport
    from rag.index.ingest.ingest import ingest as run

    if not todo.files and not todo.gone:
        return IngestReport(unchanged=todo.unchanged, skipped=todo.skipped)
    with flow, _bar(todo) as tell, closing(binding.writer()) as index:
        return run(
            todo,
            index,
            binding.open_embedder(),
            split=binding.splitter(),
            fingerprint=binding.fingerprint,
            on_progress=tell,
        )


@contextmanager
def _bar(todo: IngestPlan) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("ingesting {task.fields[files]}/{task.fields[all]} files"),
        BarColumn(), DownloadColumn(),
        TextColumn("{task.fields[chunks]} chunks, {task.fields[rate]:.0f}/s"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        total = sum(file.size for file in todo.files)
        task = bar.add_task("", total=total, files=0, all=len(todo.files), chunks=0, rate=0.0)

        def tell(progress: Progress) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = progress.chunks / elapsed if elapsed else 0.0
            bar.update(
                task,
                completed=progress.bytes,
                files=progress.files,
                chunks=progress.chunks,
                rate=rate,
            )

        yield tell


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
    if report.skipped:
        from rich.table import Table
        from rich.text import Text

        from rag.cli.output import console

        table = Table("skipped", "reason", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for one in report.skipped:
            table.add_row(Text(str(one.path)), Text(one.reason))
        console().print(table)
