"""How much memory an ingest takes, as the corpus grows.

    python benchmarks/ingest_memory.py [--chunks 1000 5000 20000 40000]

A stand-in for the embedder, so that the model's own memory does not hide the ingest's. Each size
runs in a process of its own; prints the highest private memory seen.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def measure(chunks: int) -> None:
    """Ingest so many chunks and print what it took."""
    import numpy as np
    import psutil

    from rag.index import Index
    from rag.index.ingest.ingest import ingest
    from rag.index.ingest.plan import plan
    from rag.models import Embedder
    from rag.text.splitting import split, words

    class Lengths(Embedder):
        """Vectors of text lengths: quick, and good for nothing else."""

        id, dim, window = "lengths", 384, 256

        def embed(self, texts: Any) -> np.ndarray:
            vectors = np.ones((len(texts), self.dim), dtype=np.float32)
            vectors[:, 0] = [len(text) for text in texts]
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        def embed_query(self, text: str) -> np.ndarray:
            return self.embed([text])[0]

        def token_vectors(self, texts: Any, *, query: bool = False) -> list[np.ndarray]:
            return []

        def lengths(self, texts: Any) -> list[int]:
            return words(texts)

    draw, embedder, process = random.Random(0), Lengths(), psutil.Process()
    vocabulary = [f"word{number}" for number in range(20_000)]
    peak = 0

    def look(_: object) -> None:
        nonlocal peak
        peak = max(peak, process.memory_full_info().uss)

    with tempfile.TemporaryDirectory() as scratch:
        docs = Path(scratch) / "docs"
        docs.mkdir()
        for number in range(chunks // 10):
            parts = (" ".join(draw.choices(vocabulary, k=180)) + "." for _ in range(10))
            (docs / f"{number}.txt").write_text("\n\n".join(parts))
        index = Index.writer(Path(scratch) / "index", embedder=embedder.id, dim=embedder.dim)
        report = ingest(
            plan([docs], index, "v1"), index, embedder,
            split=lambda documents: split(documents, count=words), fingerprint="v1",
            on_progress=look,
        )  # fmt: skip
    print(f"{report.chunks_added:7} chunks {peak / 2**20:7.0f} MB {report.seconds:7.1f} s")


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, nargs="+", default=[1000, 5000, 20_000, 40_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one)
        return
    for chunks in options.chunks:
        subprocess.run([sys.executable, __file__, "--one", str(chunks)], check=True)


if __name__ == "__main__":
    main()
