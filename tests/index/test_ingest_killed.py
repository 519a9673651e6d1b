"""An ingest killed at any moment and run again ends as one that was left in peace."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rag.index import Index
from rag.index.ingest import batch
from rag.index.ingest.ingest import IngestReport, ingest
from rag.index.ingest.plan import plan
from rag.testing.encoders import ScriptedEmbedder
from tests.index.kills import killed_runs
from tests.index.test_ingest import cut, paragraphs

KILLS = 20


def write_first(docs: Path) -> None:
    docs.mkdir()
    for number in range(12):
        (docs / f"{number:02}.md").write_text(paragraphs(*range(number, number + 5)))


def write_second(docs: Path) -> None:
    """Changed, new and removed files."""
    for number in range(0, 12, 2):
        (docs / f"{number:02}.md").write_text(paragraphs(*range(number + 2, number + 7)))
    for number in range(20, 30):
        (docs / f"{number}.md").write_text(paragraphs(*range(number, number + 4)))
    (docs / "01.md").unlink()


def run(docs: Path, folder: Path) -> IngestReport:
    batch.WINDOW = 8
    index = Index.writer(folder, embedder="scripted", dim=16)
    try:
        todo = plan([docs], index, "c", prune=True)
        return ingest(todo, index, ScriptedEmbedder(dim=16), split=cut, fingerprint="c")
    finally:
        index.close()


def content(folder: Path) -> object:
    """Sources, chunks and search results; compacted, since BM25 counts deleted chunks till then."""
    index = Index.writer(folder, embedder="scripted", dim=16)
    index.compact()
    query = ScriptedEmbedder(dim=16).embed_query("lock7 keeper")
    found = [index.dense(query, 1000), index.sparse("keeper lock7 lock22", 1000)]
    sources = list(index.sources())
    index.close()
    return sources, [[(hit.chunk, hit.score) for hit in hits] for hits in found]


def test_killed_at_any_call(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(batch, "WINDOW", 8)
    docs = tmp_path / "docs"
    write_first(docs)
    run(docs, tmp_path / "start")
    write_second(docs)
    for name in ("calm", "counted", *(f"killed{n}" for n in range(KILLS))):
        shutil.copytree(tmp_path / "start", tmp_path / name)
    assert run(docs, tmp_path / "calm").files == 16
    expected = content(tmp_path / "calm")

    path = ":".join(entry for entry in (str(Path(__file__).parents[2]), *sys.path) if entry)
    finished = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": path},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) >= KILLS - 4
    partly = 0
    for number in range(KILLS):
        report = run(docs, tmp_path / f"killed{number}")
        partly += 0 < report.files < 16
        assert content(tmp_path / f"killed{number}") == expected
    assert partly > KILLS // 3


if __name__ == "__main__":
    base = Path(sys.argv[1])
    killed_runs(base, lambda folder: run(base / "docs", folder), KILLS)
