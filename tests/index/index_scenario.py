"""A seeded series of writes; run as a program, it can be killed at any change on disk.

    python index_scenario.py FOLDER [CHANGES]

resumes the series in FOLDER, kills itself before the given number of changes is made, and prints
the number of changes when it comes to the end.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from rag.index import Index, SourceUpdate, WriteReport
from rag.text.chunk import Chunk

DIM = 16
STEPS = 14
WORDS = [
    "anchor",
    "bridge",
    "canal",
    "dredge",
    "estuary",
    "ferry",
    "gauge",
    "inlet",
    "jetty",
    "keel",
]
WORDS += ["lock", "mooring"]


def embed(text: str) -> np.ndarray:
    """A unit vector of the text alone, float32 [DIM]."""
    seed = int.from_bytes(hashlib.sha256(text.encode(errors="replace")).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def vectors_of(texts: list[str]) -> np.ndarray:
    return np.array([embed(text) for text in texts], dtype=np.float32).reshape(-1, DIM)


def writer(folder: Path, indexed: Sequence[str] | None = None) -> Index:
    index = Index.writer(folder, embedder="scripted", dim=DIM)
    if indexed is not None:
        index.index_metadata(indexed)
    return index


def update(index: Index, uri: str, chunks: list[Chunk], digest: str = "") -> SourceUpdate:
    plan = index.plan(uri, chunks)
    return SourceUpdate(plan, vectors_of([chunk.text for chunk in plan.new]), digest)


def put(index: Index, uri: str, *texts: str, **metadata: Any) -> WriteReport:
    chunks = [Chunk(text, metadata) for text in texts]
    return index.write([update(index, uri, chunks)])


def step(index: Index, number: int) -> None:
    """One commit of the series; the source "progress" says which was the last."""
    draw = random.Random(number)  # noqa: S311 - to be repeated
    updates = [update(index, "progress", [], str(number))]
    for uri in draw.sample([f"doc{n}" for n in range(6)], 3):
        texts = [" ".join(draw.choices(WORDS, k=4)) for _ in range(draw.randint(0, 12))]
        chunks = [Chunk(text, {"step": number}) for text in texts]
        updates.append(update(index, uri, chunks))
    index.write(updates)


def resume(folder: Path) -> None:
    index = writer(folder)
    progress = index.source("progress")
    for number in range(int(progress.digest) + 1 if progress else 0, STEPS):
        step(index, number)
        if number % 5 == 4:
            index.compact()
    index.close()


# The calls that change something on disk, or are about to.
CHANGES = {"execute", "executemany", "write", "truncate", "flush", "fsync", "replace", "rename"}
CHANGES |= {"unlink", "mkdir", "add_document", "delete_documents_by_term", "commit"}


def kill_at(changes: int) -> list[int]:
    """Count the calls that change something from now on, and die just before one of them."""
    made = [0]

    def count(_: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in CHANGES:
            made[0] += 1
            if made[0] == changes:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    return made


if __name__ == "__main__":
    made = kill_at(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    resume(Path(sys.argv[1]))
    sys.setprofile(None)
    print(made[0])
