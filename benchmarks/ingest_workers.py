"""How much faster is an ingest with several processes?

    python benchmarks/ingest_workers.py [--files 300] [--processes 2] [--rounds 3] [--real]

A seeded corpus whose reading takes long, HTML pages of nested tables, is ingested into fresh
indexes by one process and by several, in turn. The embedder only counts words, unless `--real`
takes the default one. Processes are started before the clock, as for a long ingest. Prints the
seconds of both, and the median of their ratios.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rag.flow.resources import Resources
from rag.index import IndexBinding
from rag.index.ingest.ingest import ingest
from rag.index.ingest.mapper import Mapper
from rag.index.ingest.on import mapper_on
from rag.index.ingest.plan import plan
from rag.index.ingest.work import OpenWork
from rag.models import Embedder
from rag.testing.encoders import ScriptedEmbedder


def write_corpus(folder: Path, files: int) -> None:
    draw = random.Random(1)
    words = ["lock", "gate", "keeper", "boat", "pump", "river", "winch", "north", "south"]
    for number in range(files):
        rows = "".join(
            "<tr>"
            + "".join(f"<td><b>{draw.choice(words)}</b> {n}</td>" for n in range(6))
            + "</tr>"
            for _ in range(120)
        )
        text = " ".join(draw.choices(words, k=200))
        page = f"<html><body><h1>Page {number}</h1><p>{text}</p><table>{rows}</table></body></html>"
        (folder / f"{number:05}.html").write_text(page)


def seconds(base: Path, docs: Path, embedder: object, mapper: Mapper | None) -> float:
    binding = IndexBinding(Resources({"embedder": embedder, "index": "./index"}, base=base))
    with closing(binding.writer()) as index:
        todo = plan([docs], index, binding.fingerprint)
        started = perf_counter()
        report = ingest(
            todo, index, binding.open_embedder(), split=binding.splitter(),
            fingerprint=binding.fingerprint, mapper=mapper,
        )  # fmt: skip
        took = perf_counter() - started
    assert report.files == len(todo.files)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()
    embedder = Embedder.default if given.real else ScriptedEmbedder()
    ratios = []
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        base = Path(temporary)
        docs, warm = base / "docs", base / "warm"
        for folder, files in ((docs, given.files), (warm, 4 * given.processes)):
            folder.mkdir()
            write_corpus(folder, files)
        binding = IndexBinding(Resources({"embedder": embedder, "index": "./index"}, base=base))
        mappers = {
            count: stack.enter_context(mapper_on(f"processes:{count}", OpenWork.of(binding)))
            for count in (1, given.processes)
        }
        for count, mapper in mappers.items():
            seconds(base / f"warm{count}", warm, embedder, mapper)
        for number in range(given.rounds):
            one, many = (
                seconds(base / f"{number}-{count}", docs, embedder, mapper)
                for count, mapper in mappers.items()
            )
            ratios.append(one / many)
            print(f"{given.files} files: {one:.1f} s, {many:.1f} s by {given.processes} processes")
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
