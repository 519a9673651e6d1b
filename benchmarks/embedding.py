"""How fast are texts embedded, beside sentence-transformers' `encode`?

    python benchmarks/embedding.py [FILES...] [--texts 400] [--rounds 5] [--model NAME]

The chunks of files (default: the documentation of this repository) are embedded by the model as
`rag` opens it and by sentence-transformers, in turn, in one process. Prints chunks a second of
both, the median of the ratios, the least cosine of a chunk's two vectors, and how many of the ten
nearest chunks of each chunk are the same.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rag.index.readers.discover import FileRef, discover
from rag.index.readers.read import read_file
from rag.models import Embedder
from rag.models.opening.find import find_model
from rag.text.splitting import split

DOCS = Path(__file__).resolve().parent.parent / "docs"
NEIGHBOURS = 10


def chunks(files: list[Path], count: int, embedder: Embedder) -> list[str]:
    """The texts of some chunks of the files, drawn with a seed."""
    loaded = [
        list(read_file(found))
        for found in discover(files)
        if isinstance(found, FileRef) and found.path.suffix != ".svg"
    ]
    texts = [c.embedding_text for one in loaded for c in split(one, count=embedder.lengths)]
    random.Random(0).shuffle(texts)
    return texts[:count]


def overlap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of each text's nearest texts that both vectors agree on."""
    nearest = [np.argsort(-(v @ v.T), axis=1)[:, :NEIGHBOURS] for v in (ours, theirs)]
    shared = [len(set(a) & set(b)) for a, b in zip(*nearest, strict=True)]
    return sum(shared) / (NEIGHBOURS * len(shared))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("files", nargs="*", type=Path, default=[DOCS])
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=Embedder.default)
    given = parser.parse_args()
    embedder = Embedder.load(given.model, base=Path())
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(find_model(given.model, Path()).location)
    texts = chunks(given.files, given.texts, embedder)
    lengths = embedder.lengths(texts)
    by = type(getattr(embedder, "encoder", embedder)).__name__
    print(f"{len(texts)} chunks of {min(lengths)} to {max(lengths)} tokens, by {by}")
    embedder.embed(texts[:32])
    library.encode_document(texts[:32], show_progress_bar=False)
    ratios = []
    print(f"{'round':>5} {'encode/s':>9} {'embed/s':>9} {'ratio':>6}")
    for number in range(given.rounds):
        started = perf_counter()
        theirs = library.encode_document(texts, normalize_embeddings=True, show_progress_bar=False)
        between = perf_counter()
        ours = embedder.embed(texts)
        took = perf_counter() - between
        ratios.append((between - started) / took)
        rates = len(texts) / (between - started), len(texts) / took
        print(f"{number + 1:>5} {rates[0]:>9.1f} {rates[1]:>9.1f} {ratios[-1]:>6.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}, least cosine "
          f"{float((ours * theirs).sum(axis=1).min()):.6f}, nearest {NEIGHBOURS} shared "
          f"{overlap(ours, theirs):.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
