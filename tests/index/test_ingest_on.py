"""An ingest by workers ends as one in this process, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.errors import ConfigError
from rag.flow.resources import Resources
from rag.index import IndexBinding
from rag.index.ingest.ingest import IngestReport, ingest
from rag.index.ingest.mapper import Mapper
from rag.index.ingest.on import mapper_on
from rag.index.ingest.parse import Parsed
from rag.index.ingest.plan import plan
from rag.index.ingest.work import IngestWork, OpenWork
from rag.index.ingest.workers import ProcessWorker
from rag.index.readers.discover import FileRef
from rag.testing.encoders import ScriptedEmbedder
from rag.text.chunk import Chunk
from tests.index.test_ingest import paragraphs

SPECS: dict[str, Any] = {
    "embedder": ScriptedEmbedder(dim=16),
    "index": {"path": "index", "chunk_size": 12, "chunk_overlap": 0},
}


class Mortal(IngestWork):
    """Kills its process at the first file and at the first slice, and at one file always."""

    marks = Path()

    def parse(self, item: tuple[FileRef, str]) -> Iterator[Parsed]:
        name = item[0].name
        self._die(f"parse {name}", always=name == "poison.md")
        return super().parse(item)

    def embed(self, chunks: Sequence[Chunk]) -> Iterator[np.ndarray]:
        self._die("embed")
        return super().embed(chunks)

    def _die(self, name: str, *, always: bool = False) -> None:
        mark = self.marks / name.replace("/", "_")
        if always or not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class OpenMortal:
    def __init__(self, work: OpenWork, marks: Path) -> None:
        self.work, self.marks = work, marks

    def __call__(self) -> IngestWork:
        work = self.work()
        work.__class__ = Mortal
        work.marks = self.marks  # type: ignore[attr-defined]
        return work


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.md").write_text(paragraphs(*range(number, number + 5)))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    return folder


def run(base: Path, docs: Path, mapper: Mapper | None = None) -> tuple[IngestReport, object]:
    base.mkdir(exist_ok=True)
    binding = IndexBinding(Resources(SPECS, base=base))
    with closing(binding.writer()) as index:
        todo = plan([docs], index, binding.fingerprint)
        report = ingest(
            todo, index, binding.open_embedder(), split=binding.splitter(),
            fingerprint=binding.fingerprint, mapper=mapper,
        )  # fmt: skip
        query = ScriptedEmbedder(dim=16).embed_query("lock3")
        chunks = [chunk for some in index.batches(100) for chunk in some]
        return report, (chunks, list(index.sources()), index.dense(query, 100))


def work(base: Path) -> OpenWork:
    return OpenWork.of(IndexBinding(Resources(SPECS, base=base)))


@pytest.mark.parametrize("on", ["threads:3", "processes:2"])
def test_it_is_as_an_ingest_in_this_process(on: str, docs: Path, tmp_path: Path) -> None:
    calm, expected = run(tmp_path / "calm", docs)
    with mapper_on(on, work(tmp_path)) as mapper:
        report, found = run(tmp_path / "on", docs, mapper)
        again, _ = run(tmp_path / "on", docs, mapper)
    assert found == expected
    assert report.skipped == calm.skipped
    assert (report.files, report.chunks_added) == (calm.files, calm.chunks_added) == (7, 35)
    assert (again.files, again.unchanged, again.chunks_added) == (0, 7, 0)


def test_killed_workers_cost_nothing(docs: Path, tmp_path: Path) -> None:
    _, expected = run(tmp_path / "calm", docs)
    (docs / "poison.md").write_text("This file is fatal.")
    (tmp_path / "marks").mkdir()
    mortal = OpenMortal(work(tmp_path), tmp_path / "marks")
    with Mapper(lambda: ProcessWorker(mortal, 1), 2) as mapper:
        report, found = run(tmp_path / "on", docs, mapper)
    assert found == expected
    reasons = {Path(one.path).name: one.reason for one in report.skipped}
    assert reasons["poison.md"] == "no worker could read it: its process was ended by SIGKILL"
    assert len(list((tmp_path / "marks").iterdir())) == 10  # each file, and a slice, once


def test_what_cannot_be_sent_is_an_error_before_anything_is_done(tmp_path: Path) -> None:
    specs: dict[str, Any] = {**SPECS, "embedder": ScriptedEmbedder()}
    specs["embedder"].hook = lambda: None
    with pytest.raises(ConfigError, match="cannot be sent") as caught:
        OpenWork.of(IndexBinding(Resources(specs, base=tmp_path)))
    assert caught.value.where == "resources.embedder"


@pytest.mark.parametrize("where", ["processes:0", "cluster", "threads:x"])
def test_an_unknown_place_is_an_error(where: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no place for workers"):
        mapper_on(where, work(tmp_path))


def test_an_embedder_that_cannot_be_opened_there_is_the_callers_error(tmp_path: Path) -> None:
    away = OpenWork({**SPECS, "embedder": "./nowhere"}, tmp_path, ("index", "embedder", "llm"))
    with mapper_on("processes:1", away) as mapper, pytest.raises(Exception, match="no such folder"):
        list(mapper.map("embed", [[Chunk("a", {})]]))
