"""What `rag eval` and `rag bench` share: pipelines over a data set, progress, tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.cli.config import load

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset
    from rag.eval.tables import Table
    from rag.flow import Flow


def flows_of(
    stack: ExitStack,
    configs: Sequence[str],
    params: list[str] | None,
    allow: list[str] | None,
    preset: Mapping[str, str] | None = None,
) -> dict[str, Flow]:
    """Name to pipeline, as loaded with parameters and preset ones (`load`).

    Raises:
        ConfigError: Two pipelines have the same name.
    """
    from rag.errors import ConfigError

    names = [Path(config).stem for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two pipelines are called {name!r}",
                where="--config",
                fix="rename one of the files",
            )
    return {
        name: stack.enter_context(
            load(config, params, allow, several=len(configs) > 1, preset=preset)
        )
        for name, config in zip(names, configs, strict=True)
    }


def result_files(out: Path | None, names: Iterable[str]) -> dict[str, Path]:
    """Pipeline to the file of its results, each checked to be writable."""
    from rag.paths import writable_file

    files = {name: out / f"{name}.jsonl" for name in names} if out is not None else {}
    for file in files.values():
        writable_file(file, "--out")
    return files


def bound(
    stack: ExitStack,
    data: Dataset,
    flows: dict[str, Flow],
    indexes: Path | None,
    progress: Progress,
) -> Iterator[tuple[str, Flow]]:
    """Each pipeline over the data set."""
    from rag.eval.corpus import Corpus
    from rag.paths import writable_folder

    if indexes is not None:
        writable_folder(indexes, "--index")
    corpus = stack.enter_context(Corpus(data, indexes, progress))
    for name, flow in flows.items():
        yield name, corpus.bind(flow)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def update(work: str, done: int, total: int) -> None:
            if work not in tasks:
                tasks[work] = bar.add_task(work, total=total)
            bar.update(tasks[work], completed=done)

        yield update


def print_table(table: Table) -> None:
    """Print a table on standard output."""
    from rich.table import Table as RichTable

    from rag.cli.output import console

    printed = RichTable(*table.columns, box=None, pad_edge=False)
    for row in table.rows:
        printed.add_row(*row)
    console().print(printed)
