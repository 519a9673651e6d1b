"""An ingest on a cluster of two nodes ends as one in this process, also if a node dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rag.flow.resources import Resources
from rag.index import IndexBinding
from rag.index.ingest import batch as batches
from rag.index.ingest import ingest as ingesting
from rag.index.ingest import ray_workers
from rag.index.ingest.ingest import IngestReport, Progress, ingest
from rag.index.ingest.mapper import Lost, Mapper
from rag.index.ingest.on import mapper_on
from rag.index.ingest.plan import plan
from rag.index.ingest.work import OpenWork
from rag.testing.encoders import ScriptedEmbedder
from tests.index.test_ingest import paragraphs

ray = pytest.importorskip("ray")

SPECS: dict[str, Any] = {
    "embedder": ScriptedEmbedder(dim=16),
    "index": {"path": "index", "chunk_size": 12, "chunk_overlap": 0},
}


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    memory = 150 * 2**20
    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": memory}
    )
    made.second = made.add_node(num_cpus=1, object_store_memory=memory)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.md").write_text(paragraphs(*range(number, number + 5)))
    return folder


def binding(base: Path) -> IndexBinding:
    base.mkdir(exist_ok=True)
    return IndexBinding(Resources(SPECS, base=base))


def run(
    base: Path, docs: Path, mapper: Mapper | None = None, tell: Any = lambda progress: None
) -> tuple[IngestReport, object]:
    bound = binding(base)
    with closing(bound.writer()) as index:
        todo = plan([docs], index, bound.fingerprint)
        report = ingest(
            todo, index, bound.open_embedder(), split=bound.splitter(),
            fingerprint=bound.fingerprint, mapper=mapper, on_progress=tell,
        )  # fmt: skip
        chunks = [chunk for some in index.batches(100) for chunk in some]
        query = ScriptedEmbedder(dim=16).embed_query("lock3")
        return report, (chunks, list(index.sources()), index.dense(query, 1000))


def test_a_node_that_dies_costs_nothing(
    cluster: Any, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "WINDOW", 40)
    for module in (batches, ingesting):  # so that files are still to be read at the kill
        monkeypatch.setattr(module, "HELD", 50)
    calm, expected = run(tmp_path / "calm", docs)
    killed: list[int] = []

    def tell(progress: Progress) -> None:
        if progress.files and not killed:
            killed.append(progress.files)
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.wait_for_nodes()

    class Counted(ray_workers.RayWorker):
        def __init__(self, open_work: Any) -> None:
            super().__init__(open_work)
            started.append(self)
            self.number = len(started)

        def wait(self) -> None:
            super().wait()
            if self.number <= 2:
                both.wait()

    started: list[Counted] = []
    both = threading.Barrier(2, timeout=120)
    monkeypatch.setattr(ray_workers, "RayWorker", Counted)
    with mapper_on("ray", OpenWork.of(binding(tmp_path))) as mapper:
        assert len(mapper._threads) == 2
        report, found = run(tmp_path / "on", docs, mapper, tell)
    assert killed
    assert killed[0] < 40
    assert found == expected
    assert (report.files, report.chunks_added) == (calm.files, calm.chunks_added) == (40, 200)
    assert len(started) == 3  # the lost one's successor waits for a processor, and the other works


class Hungry:
    """Ends as a process does that the system kills for its memory."""

    def eat(self, item: int) -> Iterator[int]:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item


def test_a_worker_that_is_killed_is_reported(cluster: Any) -> None:
    with ray_workers.ray_mapper("ray", Hungry) as mapper:
        found = list(mapper.map("eat", [1, 2, 3]))
    assert [one for one in found if not isinstance(one, Lost)] == [1, 3]
    (lost,) = [one for one in found if isinstance(one, Lost)]
    assert lost.item == 2
    assert "ActorDied" in lost.reason
