"""A study as a command describes it, and the processes that work on it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError, RagError
from rag.eval.loading import load_dataset
from rag.flow.registry import Registry
from rag.names import suggestion
from rag.tune.documents import read_documents
from rag.tune.journal import open_journal
from rag.tune.read import Tuning, read_tuning
from rag.tune.settings import Settings
from rag.tune.state import State
from rag.tune.study import About, Study

if TYPE_CHECKING:
    from rag.eval.corpus import Progress


@dataclass(frozen=True)
class Job:
    """What a worker needs to open a study.

    Attributes:
        pipeline: The file with the space.
        data: The data set.
        folder: The study's.
        base: The folder that relative paths of the pipeline start from; None: the file's.
        storage: Where the journal is, if not in the folder.
        params: Values of the file's parameters.
        allow: Packages that it may import operators from.
        split: Of the data set's judgements.
        limit: Questions at most.
        documents: Files and folders that are indexed, for a data set without a corpus.
        settings: What is set otherwise than in the file.
        concurrency: Questions answered at a time.
    """

    pipeline: str
    data: str
    folder: str
    base: str | None = None
    storage: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    split: str | None = None
    limit: int | None = None
    documents: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 1

    def tuning(self) -> Tuning:
        """The pipeline and its space.

        Raises:
            ConfigError, BuildError: See `read_tuning`.
        """
        return read_tuning(
            Path(self.pipeline),
            params=self.params,
            registry=self.registry,
            base=None if self.base is None else Path(self.base),
            folder=Path(self.folder) / "prompts",
        )

    @property
    def registry(self) -> Registry:
        """The operators that the pipeline may use."""
        return Registry(allow_import=self.allow)

    def open(self, tuning: Tuning | None = None, progress: Progress | None = None) -> Study:
        """The study, begun if it was not.

        Raises:
            ConfigError, BuildError: See `Study`.
        """
        found = tuning or self.tuning()
        settings = Settings.model_validate({**found.settings.model_dump(), **self.settings})
        seed = settings.seed
        data = load_dataset(Path(self.data), split=self.split, limit=self.limit, seed=seed)
        if self.documents:
            if data.documents:
                what = "the data set has a corpus of its own"
                raise ConfigError(what, where="--documents", fix="leave it out")
            data = replace(data, documents=read_documents(map(Path, self.documents)))
        options = {
            "split": self.split, "limit": self.limit, "documents": list(self.documents),
            "params": dict(self.params), "allow": list(self.allow), "base": self.base,
            "settings": dict(self.settings),
        }  # fmt: skip
        about = About(self.pipeline, self.data, found.text, tuple(options.items()))
        return Study(
            found.space, data, settings, Path(self.folder), storage=self.storage, about=about,
            concurrency=self.concurrency, progress=progress,
        )  # fmt: skip


def joined(
    folder: Path,
    storage: str | None,
    *,
    pipeline: str | None = None,
    data: str | None = None,
    documents: tuple[str, ...] = (),
    concurrency: int = 1,
) -> Job:
    """The job of a study that was begun elsewhere.

    Args:
        folder: Of this worker, by the study's name.
        storage: Where the journal is, if not in the folder.
        pipeline: The file on this machine; None: where it was begun.
        data: The data set on this machine, likewise.
        documents: Likewise.
        concurrency: Questions answered at a time.

    Raises:
        ConfigError: There is no such study.
    """
    if storage is None and not folder.is_dir():
        near = [one.name for one in folder.parent.glob("*") if one.is_dir()]
        fix = suggestion(folder.name, near)
        raise ConfigError("there is no such study", where=str(folder), fix=fix)
    folder.mkdir(parents=True, exist_ok=True)
    journal = open_journal(folder, storage)
    try:
        state = State()
        state.add(journal.read())
    finally:
        journal.close()
    start = state.start
    if start is None:
        fix = "begin it: rag tune -c FILE --data DATA --study DIR"
        raise ConfigError("the study has not begun", where=str(storage or folder), fix=fix)
    if not start["pipeline"]:
        fix = "call `tune` with the same arguments in another process"
        raise ConfigError("the study was begun from Python", where=str(folder), fix=fix)
    return Job(
        pipeline=pipeline or start["pipeline"],
        data=data or start["data"],
        folder=str(folder),
        base=None if pipeline else start["base"],
        storage=storage,
        params=start["params"],
        allow=tuple(start["allow"]),
        split=start["split"],
        limit=start["limit"],
        documents=documents or tuple(start["documents"]),
        settings=start["settings"],
        concurrency=concurrency,
    )


def work(job: Job) -> None:
    """Work on a study until it is over."""
    with job.open() as study:
        study.work()


def end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, be it by a kill."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="rag-tune-parent", daemon=True).start()


def _help(job: Job) -> None:
    """What a process of `workers` runs; an error is the first process's to report."""
    end_with_parent()
    with suppress(RagError):
        work(job)


@contextmanager
def workers(job: Job, count: int) -> Iterator[None]:
    """Further processes that work on a study, ended with the block or with this process.

    One that dies leaves its task to the others.
    """
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_help, args=(job,), daemon=True) for _ in range(count)]
    for process in started:
        process.start()
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join()
