"""An ingest killed at any moment and run again ends as one that was left in peace."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from rag.index import Index
from rag.index.ingest import batch
from rag.index.ingest.ingest import IngestReport, ingest
from rag.index.ingest.plan import plan
from rag.testing.encoders import ScriptedEmbedder
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


def run_and_die(docs: Path, folder: Path, calls: int) -> int:
    """Run, but be killed at a call of the ingest's thread; returns the calls made, if not."""
    made = 0

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal made
        if event in ("call", "c_call") and "rag.index" in frame.f_globals.get("__name__", ""):
            made += 1
            if made == calls:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    run(docs, folder)
    sys.setprofile(None)
    return made


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


def main(base: Path) -> None:
    """Fork a process for each kill, since a fresh one spends its time on imports."""

    def fork(name: str, calls: int) -> int:
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writing, str(run_and_die(base / "docs", base / name, calls)).encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return 0 if os.WIFSIGNALED(status) else int(pipe.read())

    calls = fork("counted", 0)
    draw = random.Random(7)  # noqa: S311 - to be repeated
    kills = [fork(f"killed{number}", draw.randint(1, calls)) for number in range(KILLS)]
    print(kills.count(0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
